"""Volumes: DICOM and NIfTI files, which may hold several pictures; `scan.nii.gz#012` names number 12, from 0."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.cache import installed_version
from brain_tumor_tl.data.formats import NIFTI, PILLOW, Source, UnreadableError, format_of, missing_reader

ALL = "all"  # the value of `data.slices` that takes every picture
VERSION = 1  # raise it when the values read from DICOM or NIfTI files change
PACKAGES = {"DICOM": ("pydicom", "python-gdcm", "pylibjpeg-openjpeg"), "NIfTI": ("nibabel",)}  # values depend on them
RULE = re.compile(r"(?:(all)|(middle)|(\d+)(?:-(\d+))?|(\d+)%-(\d+)%)(?:/(\d+))?")


def split_name(path: Path) -> tuple[Path, int | None]:
    """Return the file that a picture is in, and its number there, None if the name gives none.

    >>> split_name(Path("glioma/scan.nii.gz#012"))
    (PosixPath('glioma/scan.nii.gz'), 12)
    """
    file, mark, number = path.name.rpartition("#")
    return (path.with_name(file), int(number)) if mark and file and number.isdecimal() else (path, None)


def picture_names(name: str, count: int, numbers: Sequence[int]) -> list[str]:
    """Return the names of pictures of a file; the numbers have leading zeros, so that bytewise order is their order.

    Args:
        name: Name of the file.
        count: Number of pictures in it; a single one has the file's own name.
        numbers: Which of them.

    >>> picture_names("scan.nii", 155, range(9, 11))
    ['scan.nii#009', 'scan.nii#010']
    """
    if count == 1:
        return [name] * len(numbers)
    return [f"{name}#{number:0{len(str(count - 1))}d}" for number in numbers]


def chosen_slices(rule: str, count: int) -> range:
    """Return the numbers of the slices that `data.slices` chooses of a volume.

    Args:
        rule: `all`; `middle`; `40-110` or `40`, numbers counted from 0; `30%-70%` of the height; with `/3` every third.
        count: Number of slices.

    Raises:
        ValueError: The rule is none of these.

    >>> [list(chosen_slices(rule, 10)) for rule in ("middle", "8-20", "30%-70%", "all/4")]
    [[5], [8, 9], [3, 4, 5, 6], [0, 4, 8]]
    """
    found = RULE.fullmatch(rule)
    if found is None or found[7] == "0":
        raise ValueError(
            f"Expected `data.slices` to be all, middle, numbers such as 40-110 or a part of the height such as "
            f"30%-70%, perhaps with /3 for every third, got {rule!r}."
        )
    every, middle, first, last, low, high, step = found.groups()
    if every:
        chosen = range(count)
    elif middle:
        chosen = range(count // 2, count // 2 + 1)
    elif first:
        chosen = range(int(first), min(int(last or first) + 1, count))
    else:  # slice k is at (k + 0.5) / count of the height
        chosen = range(-((100 - 2 * count * int(low)) // 200), min((2 * count * int(high) - 100) // 200 + 1, count))
    return chosen[:: int(step or 1)]


def pictures_in(path: Path, slices: str = ALL) -> list[Path]:
    """Return the names of the pictures in a file, by which `decode_image` finds them; of most files, its own path.

    Args:
        path: A file.
        slices: Which of several; see `chosen_slices`.

    Raises:
        UnreadableError: The package that reads the file is not installed, the file has no picture or none is chosen.
        OSError: The file can't be read.
    """
    kind = format_of(path)
    if not kind:
        return [path]
    return [path.with_name(name) for name in chosen_names(path.name, count_pictures(path, kind), slices)]


def chosen_names(name: str, count: int, slices: str) -> list[str]:
    """Return the names of the pictures of a file that `data.slices` chooses; a single one is always chosen.

    Args:
        name: Name of the file.
        count: Number of its pictures.
        slices: Which of them; see `chosen_slices`.

    Raises:
        UnreadableError: It chooses none.
    """
    chosen = chosen_slices(slices, count) if count > 1 else range(1)
    if not chosen:
        raise UnreadableError(f"none of its {count} slices is among data.slices={slices}")
    return picture_names(name, count, chosen)


def count_pictures(source: Source, kind: str) -> int:
    """Return the number of pictures in a DICOM or NIfTI file.

    Args:
        source: The file.
        kind: "DICOM" or "NIfTI".

    Raises:
        UnreadableError: The package that reads it is not installed, or the file has no picture.
        OSError: The file can't be read.
    """
    if missing := missing_reader(kind):
        raise UnreadableError(missing)
    if kind == "DICOM":
        from brain_tumor_tl.data.dicom import read_header

        return read_header(source).pictures
    from brain_tumor_tl.data.nifti import volume_of

    assert isinstance(source, Path), "`format_of` finds NIfTI by its name alone"
    return len(volume_of(source))


def picture_values(source: Source, kind: str, number: int | None, own_window: bool) -> NDArray[Any]:
    """Read a picture of a DICOM or NIfTI file.

    Args:
        source: The file.
        kind: "DICOM" or "NIfTI".
        number: Of the picture, from 0; None for the only one.
        own_window: Whether a DICOM picture with its own window is to be seen through it.

    Returns:
        uint8 `(H, W)` or `(H, W, 3)` for a picture of 8 bits or one seen through its own window, else intensities.

    Raises:
        UnreadableError: The file holds no such picture, or one that is not read.
        OSError: It can't be read.
        ValueError: A value is not finite.
    """
    count = count_pictures(source, kind)
    if number is None and count > 1:
        first, *_, last = picture_names("#", count, range(count))
        raise UnreadableError(
            f"{count} pictures in one file; name one of them, {first[1:]} to {last[1:]} after its name"
        )
    if (number or 0) >= count:
        raise UnreadableError(f"no picture of the number {number} in a file of {count}, counted from 0")
    values: NDArray[Any]
    if kind == "DICOM":
        from brain_tumor_tl.data.dicom import read_frame

        values = read_frame(source, number or 0, own_window)
    else:
        from brain_tumor_tl.data.nifti import volume_of

        assert isinstance(source, Path), "`format_of` finds NIfTI by its name alone"
        values = volume_of(source).slice(number or 0)
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite numbers")
    return values


def has_own_window(source: Source, kind: str, number: int | None) -> bool:
    """Tell whether a picture is seen through a window of its own unless `data.intensity` says otherwise.

    NIfTI has one too, `cal_min` and `cal_max`, which programs seldom set and seldom keep up to date: it doesn't count.
    """
    if kind != "DICOM":
        return False
    from brain_tumor_tl.data.dicom import has_window

    return has_window(source, number or 0)


def limits_of(path: Path, kind: str) -> tuple[float, float]:
    """Return the least and the greatest intensity of all pictures of a DICOM or NIfTI file.

    Raises:
        UnreadableError: A picture is not read.
        OSError: The file can't be read.
    """
    if kind == "NIfTI":
        from brain_tumor_tl.data.nifti import volume_of

        return volume_of(path).limits
    status = path.stat()
    return dicom_limits(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def dicom_limits(path: Path, changed: int, size: int) -> tuple[float, float]:
    """Return what `limits_of` does; `changed` and `size` tell a changed file."""
    frames = (picture_values(path, "DICOM", number, False) for number in range(count_pictures(path, "DICOM")))
    extremes = [(float(values.min()), float(values.max())) for values in frames]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def describe_slices(names: Sequence[str], not_chosen: int, slices: str) -> str:
    """Return in words how many images are slices of volumes; empty if none is.

    Args:
        names: Names of the images.
        not_chosen: Number of DICOM files of a series that were not chosen.
        slices: The value of `data.slices`.
    """
    files = [file for file, number in (split_name(Path(name)) for name in names) if number is not None]
    parts = [f"{len(files)} images are from {len(set(files))} files of several"] if files else []
    parts += [f"{not_chosen} further DICOM files are of the same series"] if not_chosen else []
    return "; ".join([*parts, f"chosen by data.slices={slices}"]) if parts else ""


def reader_versions(paths: Iterable[str]) -> tuple[Any, ...]:
    """Return what the values of the DICOM and NIfTI files of an index depend on; nothing if it has none.

    Args:
        paths: Names of its pictures, all of which can be read by their names or, as DICOM, by content.
    """
    files = {split_name(Path(path))[0].name.lower() for path in paths}
    others = {name for name in files if not name.endswith(PILLOW)}
    kinds = {"NIfTI" if name.endswith(NIFTI) else "DICOM" for name in others}
    packages = [package for kind in sorted(kinds) for package in PACKAGES[kind]]
    return (VERSION, *map(installed_version, packages)) if packages else ()
