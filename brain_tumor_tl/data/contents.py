"""Contents: what each file of a data set holds, its digest, pictures and patient; or why it can't be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from brain_tumor_tl.data.formats import (
    EXTENSIONS,
    UnreadableError,
    foreign_format,
    format_of,
    has_image_name,
    missing_reader,
    reason_of,
)
from brain_tumor_tl.data.layout import plain
from brain_tumor_tl.data.volumes import ALL, chosen_names, chosen_slices, count_pictures, split_name
from brain_tumor_tl.files import file_digest

NO_IMAGES = {"mask", "masks", "label", "labels", "annotation", "annotations"}  # folders; names as `plain` returns them
SEQUENCES = ("t1", "t1c", "t1ce", "t1gd", "t1n", "t1w", "t2", "t2f", "t2w", "flair")  # last words of volumes' names
FROM_IDS = "PatientID in the DICOM files, recorded as pseudonyms"
FROM_FOLDERS = "the folders inside the class folders"
FROM_VOLUMES = "the names of the volumes, each of which counts as a patient unless it names another's subject"


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        digest: SHA-256 of its bytes, as hexadecimal text; "" if it can't be used.
        fault: Why it can't be used, "" if it can.
        pictures: Number of its pictures.
        patient: Pseudonym of its patient, "" if the file names none.
        series: Id of the DICOM series that it is of, "" for none.
        place: A number that ascends through the series.
    """

    digest: str
    fault: str = ""
    pictures: int = 1
    patient: str = ""
    series: str = ""
    place: float = 0.0


def examine(path: Path) -> Contents:
    """Return what a file holds, judging by all but its pixels, or why it can't be used."""
    try:
        if fault := fault_of(path):
            return Contents("", fault)
        digest, empty = file_digest(path), not path.stat().st_size
    except OSError as error:
        return Contents("", f"can't be read: {error.strerror or error}")
    if empty:
        return Contents("", "empty, 0 bytes")
    try:
        return with_pictures(path, digest)
    except Exception as error:  # readers of headers raise nearly anything on broken bytes
        return Contents("", reason_of(error))


def with_pictures(path: Path, digest: str) -> Contents:
    """Return what a file holds, with what its header says.

    Raises:
        UnreadableError: It holds no picture that is read.
    """
    kind = format_of(path)
    if kind == "DICOM":
        from brain_tumor_tl.data.dicom import read_header

        header = read_header(path)
        return Contents(digest, "", header.pictures, header.patient, header.series, header.place)
    return Contents(digest, pictures=count_pictures(path, kind) if kind else 1)


def fault_of(path: Path) -> str:
    """Return what is wrong with a file, judging by its name and kind, or an empty string.

    Raises:
        OSError: The file can't be read.
    """
    if path.is_symlink() and not path.exists():
        return f"a broken link to {path.readlink()}"
    if path.is_dir():
        return "a link to a folder inside a class folder"
    if not path.is_file():
        return "not a regular file"
    if plain(path.parent.name) in NO_IMAGES:
        return f"in a folder {path.parent.name}, so no image of its own"
    kind = format_of(path)
    if not kind and not has_image_name(path):
        return foreign_format(path) or f"not an image by its name; expected {' '.join(EXTENSIONS)}"
    if split_name(path)[1] is not None:
        return "ends in # and a number, as the names of pictures in a file do; rename it"
    return missing_reader(kind)


def chosen_of_series(files: Sequence[Contents], slices: str) -> list[str | None]:
    """Return for each file why it is left out: None if it isn't, "" if `data.slices` doesn't choose it, or a fault.

    The files of a DICOM series are the slices of a volume. Any other file stays, since `names_in` chooses its pictures.

    Args:
        files: What each file holds.
        slices: Which slices; see `chosen_slices`.
    """
    result: list[str | None] = [None] * len(files)
    if slices == ALL:
        return result
    series: dict[str, list[int]] = {}
    for position, file in enumerate(files):
        if file.series and file.pictures == 1:
            series.setdefault(file.series, []).append(position)
    for positions in series.values():
        count = len(positions)
        chosen = chosen_slices(slices, count) if count > 1 else range(1)
        positions.sort(key=lambda position: files[position].place)
        for number, position in enumerate(positions):
            if not chosen:
                result[position] = f"none of the {count} slices of its series is among data.slices={slices}"
            elif number not in chosen:
                result[position] = ""
    return result


def digest_of_picture(name: str, digest: str) -> str:
    """Return what identifies a picture: its file's digest, or for one of several a digest of that and its number."""
    number = split_name(Path(name))[1]
    return digest if number is None else hashlib.sha256(f"{digest}#{number}".encode()).hexdigest()


def names_in(path: str, content: Contents, slices: str) -> tuple[list[str], str]:
    """Return the names of the chosen pictures of a file and an empty string, or its own name and why there are none."""
    folder, mark, name = path.rpartition("/")
    try:
        return [f"{folder}{mark}{each}" for each in chosen_names(name, content.pictures, slices)], content.fault
    except UnreadableError as error:
        return [path], str(error)


def patients_of(
    names: Sequence[str], folders: Sequence[str], contents: Sequence[Contents]
) -> tuple[tuple[str, ...], str]:
    """Return the patient of each picture, "" if it is not known, and where that is from; nothing if none is known.

    Ids in DICOM files come first, unless all are the same, as some programs make them; then folders, then volumes.

    Args:
        names: Name of each picture.
        folders: The folder inside the class folder that it is in, "" for none.
        contents: What its file holds.
    """
    ids = [content.patient for content in contents]
    volumes = [
        subject_of(str(split_name(Path(name))[0])) if content.pictures > 1 else ""
        for name, content in zip(names, contents, strict=True)
    ]
    if len(set(ids) - {""}) > 1:
        return tuple(ids), FROM_IDS
    for column, source in ((folders, FROM_FOLDERS), (volumes, FROM_VOLUMES)):
        if any(column):
            return tuple(column), source
    return (), ""


def subject_of(path: str) -> str:
    """Return whose volume a file is by its name: the subject as in BIDS, else the name without the MR sequence.

    >>> subject_of("glioma/sub-07_ses-1_T1w.nii.gz"), subject_of("glioma/BraTS20_001_flair.nii"), subject_of("a/7.nii")
    ('sub-07', 'glioma/BraTS20_001', 'a/7')
    """
    place = PurePosixPath(path)
    if subject := re.match(r"sub-[A-Za-z0-9]+", place.name):
        return subject[0]
    stem = re.split(r"\.(?:nii|dcm|dicom|ima)\b", place.name, flags=re.IGNORECASE)[0]
    found = re.fullmatch(rf"(.+)[_-](?:{'|'.join(SEQUENCES)})", stem, re.IGNORECASE | re.DOTALL)
    return str(place.with_name(found[1] if found else stem))
