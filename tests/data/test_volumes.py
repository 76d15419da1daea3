"""Volumes: names of pictures that can be read back, the slices that a rule chooses, and what a file holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.data import formats, volumes
from brain_tumor_tl.data.decode import DECODER, decode_image, decoder_of
from brain_tumor_tl.data.formats import UnreadableError
from brain_tumor_tl.data.volumes import chosen_slices, describe_slices, picture_names, pictures_in, split_name

Write = Callable[..., Path]


@pytest.mark.parametrize("count", [2, 10, 11, 155, 1000])
def test_picture_names__read_back_and_in_bytewise_order(count: int) -> None:
    names = picture_names("a#1 scan.nii.gz", count, range(count))

    assert [split_name(Path("b", name)) for name in names] == [(Path("b/a#1 scan.nii.gz"), k) for k in range(count)]
    assert sorted(names, key=str.encode) == names


def test_picture_names__a_single_picture_has_the_name_of_its_file() -> None:
    assert picture_names("a.dcm", 1, range(1)) == ["a.dcm"]


@pytest.mark.parametrize("name", ["a.png", "a#b.png", "#12", "a#", "a#-1", "a#²"])
def test_split_name__of_a_file(name: str) -> None:
    assert split_name(Path("x", name)) == (Path("x", name), None)


CHOSEN = {
    "all": range(9), "middle": [4], "2-4": [2, 3, 4], "7-99": [7, 8], "5": [5], "0%-100%": range(9),
    "30%-70%": [3, 4, 5], "all/3": [0, 3, 6], "1-8/4": [1, 5], "20-30": [], "6-3": [], "50%-51%": [4],
}  # fmt: skip


@pytest.mark.parametrize(("rule", "expected"), CHOSEN.items(), ids=list(CHOSEN))
def test_chosen_slices__of_nine(rule: str, expected: list[int]) -> None:
    assert list(chosen_slices(rule, 9)) == list(expected)


@pytest.mark.parametrize("rule", ["", "first", "1:3", "1-", "-3", "30%-70", "all/0", "0.3-0.7", "all,middle"])
def test_chosen_slices__no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match=r"Expected `data\.slices` to be all, middle, numbers such as 40-110"):
        chosen_slices(rule, 9)


def test_pictures_in__each_kind_of_file(write_dicom: Write, write_nifti: Write, draw: Write, tmp_path: Path) -> None:
    volume = write_nifti(tmp_path / "v.nii.gz", np.zeros((8, 8, 12), np.int16))
    frames = write_dicom(tmp_path / "f.dcm", np.zeros((4, 8, 8), np.uint16))
    single = write_dicom(tmp_path / "s", np.zeros((8, 8), np.uint16))

    assert pictures_in(volume, "10-11") == [tmp_path / "v.nii.gz#10", tmp_path / "v.nii.gz#11"]
    assert [path.name for path in pictures_in(frames)] == ["f.dcm#0", "f.dcm#1", "f.dcm#2", "f.dcm#3"]
    assert pictures_in(single, "middle") == [single]
    assert pictures_in(draw(tmp_path / "a.png"), "3-4") == [tmp_path / "a.png"]
    assert all(decode_image(path, 4).shape == (1, 4, 4) for path in pictures_in(volume))
    with pytest.raises(UnreadableError, match=r"none of its 12 slices is among data\.slices=40-50"):
        pictures_in(volume, "40-50")


@pytest.mark.parametrize(("name", "extra"), [("a.dcm", "dicom"), ("a.nii", "nifti"), ("a.nii.gz", "nifti")])
def test_decode_image__without_the_extra(
    name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"anything")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)

    with pytest.raises(UnreadableError, match=rf"which \w+ reads: pip install 'brain_tumor_tl\[{extra}\]'$"):
        decode_image(tmp_path / name, 8)


def test_decoder_of__versions_of_the_readers_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "installed_version", lambda package: f"{package} 1")

    assert decoder_of(["a/b.png", "a/c.JPG"], own_window=True) == DECODER
    assert "nibabel 1" in decoder_of(["a/b.nii.gz#3"], own_window=True)
    assert "pydicom 1" not in decoder_of(["a/b.nii"], own_window=True)
    assert "python-gdcm 1" in decoder_of(["a/b.png", "a/IM001"], own_window=True)
    assert decoder_of(["a/b.dcm"], own_window=True) != decoder_of(["a/b.dcm"], own_window=False)


def test_describe_slices__case() -> None:
    assert describe_slices(["a.png", "b.dcm"], 0, "all") == ""
    assert describe_slices(["a.nii#1", "a.nii#2", "b.png"], 0, "1-2") == (
        "2 images are from 1 files of several; chosen by data.slices=1-2"
    )
    assert describe_slices(["a.dcm"], 8, "middle") == (
        "8 further DICOM files are of the same series; chosen by data.slices=middle"
    )
