"""FileInfo: what each file is, read once: its size, mode and pixels' digest, and one small grey picture."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.cache import digest_of, load_or_build, new_array
from brain_tumor_tl.data.images import FORMATS, eight_bit, in_threads, one_channel_of_grey, unreadable
from brain_tumor_tl.data.index import Index

FACTS_VERSION = 1  # part of the cache's key: raise it when what is read from a file changes
THUMBNAIL = 128  # pixels; neighbouring slices of one head differ in detail that fewer do not hold

Pixels = NDArray[np.uint8]


class FileRecord(NamedTuple):
    """What is told of one file: pixels across and down, bytes, Pillow's words for mode and format, pixels' digest."""

    width: int
    height: int
    size: int
    mode: str
    format: str
    pixels: str


@dataclass(frozen=True)
class FileInfo:
    """What each file of an index is.

    Attributes:
        index: The files that could be read, N of them.
        thumbnails: One grey picture of each, uint8 `(N, 128, 128)`, whatever the file's aspect.
        files: What else is told of each.
        key: Digest of everything that this depends on.
    """

    index: Index
    thumbnails: Pixels
    files: tuple[FileRecord, ...]
    key: str

    def column(self, name: str) -> list[Any]:
        """Return one of the fields of `FileRecord` for every file."""
        return [getattr(file, name) for file in self.files]


def load_file_info(index: Index, cache_dir: Path) -> FileInfo:
    """Read every file of an index, or open what was read from the cache; unreadable files are left out and named.

    Args:
        index: The files.
        cache_dir: Where what was read is kept.
    """
    key = digest_of("facts", FACTS_VERSION, THUMBNAIL, index.digests)
    stored = load_or_build(cache_dir, "facts", key, lambda path: read_all(index, path))
    usable = index.without([(index.paths[i], reason) for i, reason in stored.about["bad"]])
    files = tuple(FileRecord(*row) for row in stored.about["files"])
    return FileInfo(usable, stored.array[: len(files)], files, key)


def read_all(index: Index, path: Path) -> dict[str, Any]:
    """Write the pictures of all files to a .npy file; return the facts of the good ones and what ails the others."""
    pictures = new_array(path, np.uint8, (len(index), THUMBNAIL, THUMBNAIL))
    files: list[FileRecord] = []
    bad: list[tuple[int, str]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for position, read in enumerate(each_file(index)):
            if isinstance(read, str):
                bad.append((position, read))
                continue
            pictures[len(files)] = read[1]
            files.append(read[0])
    pictures.flush()
    return {"files": files, "bad": bad}


def each_file(index: Index) -> Iterator[tuple[FileRecord, Pixels] | str]:
    """Yield facts and picture of each file, or why there are none, while threads read ahead."""
    paths = [index.root / path for path in index.paths]
    return in_threads(read_or_reason, paths, f"Reading {len(paths)} files")


def read_or_reason(path: Path) -> tuple[FileRecord, Pixels] | str:
    """Return facts and picture of a file, or in one line why there are none."""
    try:
        return read_file(path)
    except Exception as error:  # decoders raise nearly anything on broken bytes; one must not end the audit
        return unreadable(error)


def read_file(path: Path) -> tuple[FileRecord, Pixels]:
    """Return what a file is, and its grey picture of 128 x 128 pixels, antialiased.

    The digest is of the decoded pixels and their shape, one channel where all three are equal: the same picture
    saved as a grey PNG and as a colour PNG has one digest.
    """
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        picture, mode, kind = one_channel_of_grey(eight_bit(image)), image.mode, image.format or ""
    pixels = np.asarray(picture)
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    small = np.asarray(picture.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR))
    facts = FileRecord(picture.width, picture.height, path.stat().st_size, mode, kind, digest)
    return facts, small
