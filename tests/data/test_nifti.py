"""Nifti: the same picture however a volume is stored, with nibabel's canonical orientation as the oracle."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data import nifti
from brain_tumor_tl.data.decode import decode_image, read_picture
from brain_tumor_tl.data.formats import UnreadableError
from brain_tumor_tl.data.nifti import volume_of

WriteNifti = Callable[..., Path]
VALUES = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(np.int16)  # to the right, the front and the head
ORIENTATIONS = [
    (axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slice__same_in_all_48_orientations(suffix: str, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, np.diag([1, 1, 3, 1.0]))
    for number, (axes, flips) in enumerate(ORIENTATIONS):
        stored = image.as_reoriented(np.array(list(zip(axes, flips, strict=True)), float))
        path = tmp_path / f"{number}{suffix}"
        nibabel.save(stored, path)
        canonical = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()

        volume = volume_of(path)

        assert len(volume) == 7
        for k in range(7):
            assert np.array_equal(volume.slice(k), canonical[::-1, ::-1, k].T)
    assert number == 47


def test_slice__right_on_the_left_and_face_up(write_nifti: WriteNifti, tmp_path: Path) -> None:
    values = np.zeros((4, 6, 2), np.uint8)
    values[3, 5, 1] = 255  # rightmost, foremost, topmost

    shown = volume_of(write_nifti(tmp_path / "a.nii", values)).slice(1)

    assert shown.shape == (6, 4)  # rows by columns
    assert shown[0, 0] == 255


def test_slice__oblique_volume(write_nifti: WriteNifti, tmp_path: Path) -> None:
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]

    shown = volume_of(write_nifti(tmp_path / "a.nii.gz", VALUES, turn)).slice(3)

    assert np.array_equal(shown, VALUES[::-1, ::-1, 3].T)


def test_slice__scaled_as_nibabel_does(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii.gz")

    oracle = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    assert oracle.min() < 0
    assert np.allclose(volume_of(tmp_path / "a.nii.gz").slice(2), oracle[::-1, ::-1, 2].T)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 7, 1)], ids=str)
def test_volume__other_dimensions(shape: tuple[int, ...], write_nifti: WriteNifti, tmp_path: Path) -> None:
    values = VALUES[:, :, : 7 if len(shape) == 4 else 1].reshape(shape)

    volume = volume_of(write_nifti(tmp_path / "a.nii.gz", values))

    assert len(volume) == (7 if len(shape) == 4 else 1)
    assert np.array_equal(volume.slice(0), VALUES[::-1, ::-1, 0].T)


COLOURS = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
REFUSED = {
    "several": ("a.nii.gz", np.zeros((4, 4, 4, 3), np.int16), r"3 volumes in one file"),
    "colours": ("a.nii.gz", COLOURS, r"colours or complex numbers"),
    "complex": ("a.nii.gz", np.zeros((4, 4, 4), np.complex64), r"colours or complex numbers"),
    "coronal": ("a.nii.gz", np.zeros((6, 1, 5), np.int16), r"axial slices of 6 x 1 pixels: a single slice of another"),
    "BraTS mask": ("BraTS20_001_seg.nii", VALUES, r"ends in seg, so it is a mask"),
    "BIDS mask": ("sub-1_desc-brain_mask.nii.gz", VALUES, r"ends in mask, so it is a mask"),
}


@pytest.mark.parametrize(("name", "values", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_volume__refused(name: str, values: NDArray[Any], reason: str, write_nifti: WriteNifti, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / name, values)

    with pytest.raises(UnreadableError, match=reason):
        volume_of(path)


def test_volume__of_no_orientation(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "a.nii")

    with pytest.raises(UnreadableError, match=r"doesn't say how it is oriented .*; set its affine"):
        volume_of(tmp_path / "a.nii")


def test_volume__packed_and_too_large_for_memory(
    write_nifti: WriteNifti, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nifti, "MOST_BYTES", 2 * VALUES.size - 1)

    with pytest.raises(UnreadableError, match=r"GiB once unpacked; unpack it"):
        volume_of(write_nifti(tmp_path / "a.nii.gz", VALUES))
    assert len(volume_of(write_nifti(tmp_path / "a.nii", VALUES))) == 7  # its slices are read one by one


def test_volume__slices_of_more_pixels_than_pillow_allows(
    write_nifti: WriteNifti, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 29)

    with pytest.raises(Image.DecompressionBombError):
        volume_of(write_nifti(tmp_path / "a.nii.gz", VALUES))


def test_slice__truncated(write_nifti: WriteNifti, tmp_path: Path) -> None:
    packed = write_nifti(tmp_path / "a.nii.gz", VALUES)
    packed.write_bytes(packed.read_bytes()[:-150])
    flat = write_nifti(tmp_path / "b.nii", VALUES)
    flat.write_bytes(flat.read_bytes()[:-10])

    for path in (packed, flat):
        with pytest.raises(Exception, match=r"(?i)end|size|bytes|length"):
            volume_of(path).slice(0)


def test_decode_image__values_that_are_not_numbers(write_nifti: WriteNifti, tmp_path: Path) -> None:
    values = VALUES.astype(np.float32)
    values[2, 2, 2] = np.nan
    write_nifti(tmp_path / "a.nii.gz", values)

    assert decode_image(tmp_path / "a.nii.gz#1", 8).shape == (1, 8, 8)
    with pytest.raises(ValueError, match=r"not finite"):
        decode_image(tmp_path / "a.nii.gz#2", 8)


def test_decode_image__one_scale_for_a_volume(write_nifti: WriteNifti, tmp_path: Path) -> None:
    values = np.zeros((8, 8, 3), np.int16)
    values[:, :, 1], values[:, :, 2] = 50, 200
    write_nifti(tmp_path / "a.nii.gz", values)

    shown = [decode_image(tmp_path / f"a.nii.gz#{number}", 8)[0, 0, 0] for number in range(3)]

    assert shown == [0, 64, 255]
    assert read_picture(tmp_path / "a.nii.gz#1").mode == "int16"


def test_slice__read_by_many_threads_is_unpacked_once(
    write_nifti: WriteNifti, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", VALUES)
    unpack, unpacked = nibabel.arrayproxy.ArrayProxy.get_unscaled, []

    def counted(proxy: Any) -> Any:
        unpacked.append(proxy)
        return unpack(proxy)

    monkeypatch.setattr(nibabel.arrayproxy.ArrayProxy, "get_unscaled", counted)

    with ThreadPoolExecutor(8) as pool:
        slices = list(pool.map(lambda k: volume_of(path).slice(k % 7), range(56)))

    assert all(np.array_equal(shown, VALUES[::-1, ::-1, k % 7].T) for k, shown in enumerate(slices))
    assert len(unpacked) == 1


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volume_of__a_header_that_tells_of_more_values_than_the_file_can_hold(
    suffix: str, write_nifti: WriteNifti, tmp_path: Path
) -> None:
    path = write_nifti(tmp_path / "a.nii", VALUES)
    content = bytearray(path.read_bytes())
    content[42:48] = np.full(3, 3_000, np.int16).tobytes()  # dim[1] to dim[3] of the header
    damaged = tmp_path / f"b{suffix}"
    damaged.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(UnreadableError, match=r"its header tells of 54000000000 bytes of values, and it has fewer"):
        volume_of(damaged)
