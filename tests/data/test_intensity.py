"""Intensity: the window of a set for each rule, against the set's values; what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data import intensity
from brain_tumor_tl.data.decode import decode_image
from brain_tumor_tl.data.images import load_images
from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.intensity import describe_intensity, find_intensity

RANDOM = np.random.RandomState(1)
DARK, BRIGHT = RANDOM.randint(0, 200, (40, 50)).astype(np.uint16), RANDOM.randint(7, 4000, (30, 20)).astype(np.uint16)
BRIGHT[0, :2] = 7, 3999
EIGHT = RANDOM.randint(0, 256, (10, 10)).astype(np.uint8)


def saved(folder: Path, pictures: Sequence[NDArray[np.generic]]) -> Index:
    """Save pictures, floating point as TIFF, in turn into two class folders, and return their index."""
    for number, values in enumerate(pictures):
        suffix = "tif" if values.dtype.kind == "f" else "png"
        path = folder / ("no", "yes")[number % 2] / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return read_index(folder, [["no"], ["yes"]])


FRACTIONS = np.array([[0.25, 0.5]], np.float32)
WINDOWS = {
    "16 bits": ("auto", [DARK, BRIGHT], [0, 3999]),
    "16 and 8 bits": ("auto", [EIGHT, BRIGHT], [7, 3999]),
    "8 bits in 16": ("auto", [DARK, DARK // 2], [0, 255]),
    "8 bits in 16 by range": ("range", [DARK, DARK // 2], [0, 199]),
    "fractions": ("auto", [FRACTIONS, FRACTIONS / 2], [0, 1]),
    "fractions by range": ("range", [FRACTIONS, FRACTIONS / 2], [0.125, 0.5]),
    "fractions beside 16 bits": ("auto", [FRACTIONS, BRIGHT], [0.25, 3999]),
    "8 bits": ("auto", [EIGHT, EIGHT], None),
    "each file": ("file", [DARK, BRIGHT], None),
}


@pytest.mark.parametrize(("rule", "pictures", "window"), WINDOWS.values(), ids=WINDOWS)
def test_find_intensity__window_P10(
    rule: str, pictures: Sequence[NDArray[np.generic]], window: list[float] | None, tmp_path: Path
) -> None:
    assert find_intensity(saved(tmp_path, pictures), rule)["window"] == window


def test_find_intensity__percentiles(tmp_path: Path) -> None:
    index = saved(tmp_path, [DARK, BRIGHT, EIGHT])

    found = find_intensity(index, "percentile")

    assert found["deep"] == 2
    assert found["window"] == found["percentiles"]
    assert found["window"] == pytest.approx(np.percentile(np.concatenate([DARK.ravel(), BRIGHT.ravel()]), [0.5, 99.5]))


def test_find_intensity__percentiles_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = saved(tmp_path, [RANDOM.randint(0, 4096, (200, 256)).astype(np.uint16) for _ in range(4)])
    whole = find_intensity(index, "percentile")["window"]
    monkeypatch.setattr(intensity, "MOST_VALUES", 4 * 5000)

    sampled = find_intensity(index, "percentile")["window"]

    assert whole is not None
    assert sampled != whole
    assert sampled == pytest.approx(whole, abs=15)
    assert find_intensity(index, "percentile")["window"] == sampled


def test_find_intensity__empty_window(tmp_path: Path) -> None:
    index = saved(tmp_path, [np.full((50, 50), 700, np.uint16)] * 2)
    with pytest.raises(ValueError, match=r"99 % of all intensities are 700\. Give data\.intensity=range"):
        find_intensity(index, "percentile")


def test_find_intensity__bad_files_do_not_count(tmp_path: Path) -> None:
    saved(tmp_path, [DARK, BRIGHT])
    (tmp_path / "no" / "bad.png").write_bytes(b"not an image")
    Image.fromarray(np.array([[np.inf, 9e9]], np.float32)).save(tmp_path / "no" / "inf.tif")

    assert find_intensity(read_index(tmp_path, [["no"], ["yes"]]), "auto")["window"] == [0, 3999]


def test_describe_intensity__words(tmp_path: Path) -> None:
    hot = BRIGHT.copy()
    hot[0, 0] = 65535

    def told(name: str, rule: str, *pictures: NDArray[np.generic]) -> str:
        index = saved(tmp_path / name, pictures)
        return describe_intensity(find_intensity(index, rule), len(index))

    assert told("eight", "auto", EIGHT, EIGHT) == ""
    assert (
        told("all", "auto", DARK, BRIGHT)
        == "2 of 2 images have more than 8 bits; in all of them 0 to 3999 became 0 to 255"
    )
    assert told("mixed", "auto", EIGHT, BRIGHT).endswith("; the others are used as they are")
    assert "so they are dark: try data.intensity=percentile" in told("hot", "auto", hot, BRIGHT)
    assert "one by one" in told("file", "file", DARK, BRIGHT)


@pytest.fixture
def dicom(write_dicom: Callable[..., Path], tmp_path: Path) -> Index:
    """A DICOM file with a window of its own, one without, one of 8 bits and a PNG file of 8 bits."""
    write_dicom(tmp_path / "no" / "0.dcm", BRIGHT, WindowCenter=200, WindowWidth=400)
    write_dicom(tmp_path / "no" / "1.dcm", DARK * 10)
    write_dicom(tmp_path / "yes" / "2.dcm", EIGHT)
    Image.fromarray(EIGHT).save(tmp_path / "yes" / "3.png")
    return read_index(tmp_path, [["no"], ["yes"]])


def test_find_intensity__files_with_a_window_of_their_own_do_not_count(dicom: Index) -> None:
    found = find_intensity(dicom, "auto")

    assert found == {
        "rule": "auto", "window": [0, DARK.max() * 10], "deep": 1, "own_window": 1,
        "percentiles": pytest.approx(np.percentile(DARK * 10, (0.5, 99.5))),
    }  # fmt: skip
    assert describe_intensity(found, 4) == (
        "1 of 4 images are seen through the windows that their DICOM headers have; "
        f"1 of 4 images have more than 8 bits; in all of them 0 to {DARK.max() * 10} became 0 to 255; "
        "the others are used as they are"
    )


def test_find_intensity__other_rules_are_for_all_files(dicom: Index) -> None:
    found = find_intensity(dicom, "range")

    assert (found["deep"], found["window"]) == (2, [0, max(3999, DARK.max() * 10)])
    assert "own_window" not in found


def test_load_images__own_window_by_the_rule(dicom: Index, tmp_path: Path) -> None:
    by_rule = {rule: load_images(dicom, 16, tmp_path / "cache", intensity=rule)[0] for rule in ("auto", "range")}

    for rule, entry in by_rule.items():
        window, own = entry.about["intensity"]["window"], rule == "auto"
        expected = [decode_image(dicom.root / path, 16, window, own_window=own) for path in dicom.paths]
        assert np.array_equal(entry.array, np.stack(expected))
    assert by_rule["auto"].array[0].mean() > 200 > by_rule["range"].array[0].mean()
    assert np.array_equal(by_rule["auto"].array[2:], by_rule["range"].array[2:])
    again, _ = load_images(dicom, 16, tmp_path / "cache", intensity=by_rule["range"].about["intensity"])
    assert np.array_equal(again.array, by_rule["range"].array)
