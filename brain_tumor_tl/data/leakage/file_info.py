"""FileInfo: the properties of each file, read once: its size, mode, pixels' digest and a small grey thumbnail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from brain_tumor_tl.cache import digest_of, load_or_build, new_array
from brain_tumor_tl.data.decode import Pixels, Window, decoder_of, read_picture
from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.reader import read_each
from brain_tumor_tl.data.volumes import split_name

VERSION = 1  # part of the cache's key: raise it when what is read from a file changes
THUMBNAIL = 128  # pixels; with fewer, neighbouring slices of one head don't differ in detail


class FileRecord(NamedTuple):
    """Properties of one file: pixels across and down, bytes, Pillow's mode and format, digest of the pixels."""

    width: int
    height: int
    size: int
    mode: str
    format: str
    pixels: str


@dataclass(frozen=True, eq=False)
class FileInfo:
    """Properties of the files of an index.

    Attributes:
        index: The files that could be read, N of them.
        thumbnails: A grey image of each, uint8 `(N, 128, 128)`, whatever the file's aspect ratio.
        files: The other properties of each.
        key: Digest of everything that this depends on.
    """

    index: Index
    thumbnails: Pixels
    files: tuple[FileRecord, ...]
    key: str

    def column(self, name: str) -> list[Any]:
        """Return one of the fields of `FileRecord` for every file."""
        return [getattr(file, name) for file in self.files]


def load_file_info(index: Index, cache_dir: Path, window: Window = None, own_window: bool = True) -> FileInfo:
    """Read every file of an index, or load their properties from the cache; unreadable files go to `index.bad`.

    Args:
        index: The files.
        cache_dir: Folder of the cache.
        window: The intensities that become 0 and 255 in images of more than 8 bits, as in `find_intensity`.
        own_window: Whether a window that a DICOM file has of its own comes first.
    """
    key = digest_of("file_info", VERSION, decoder_of(index.paths, own_window), THUMBNAIL, window, index.digests)
    entry = load_or_build(cache_dir, "file_info", key, lambda path: read_all(index, path, window, own_window))
    usable = index.without([(index.paths[i], reason) for i, reason in entry.about["bad"]])
    files = tuple(FileRecord(*row) for row in entry.about["files"])
    return FileInfo(usable, entry.array[: len(files)], files, key)


def read_all(index: Index, path: Path, window: Window, own_window: bool) -> dict[str, Any]:
    """Write the thumbnails of all files to a .npy file; return the other properties, and the bad files with reasons."""
    thumbnails = new_array(path, np.uint8, (len(index), THUMBNAIL, THUMBNAIL))
    files: list[FileRecord] = []

    def keep(result: tuple[FileRecord, Pixels]) -> None:
        thumbnails[len(files)] = result[1]
        files.append(result[0])

    bad = read_each(lambda path: read_file(path, window, own_window), index, f"Reading {len(index)} files", keep)
    thumbnails.flush()
    return {"files": files, "bad": bad}


def read_file(path: Path, window: Window = None, own_window: bool = True) -> tuple[FileRecord, Pixels]:
    """Return record and thumbnail, 128 x 128 antialiased grey pixels, of a file.

    The digest is of the decoded pixels and their shape, of one channel if all three are equal: the same image saved as
    a grey PNG and as a colour PNG has one digest.
    """
    picture, mode, kind = read_picture(path, window, own_window)
    pixels = np.asarray(picture)
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    thumbnail = np.asarray(picture.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR))
    return FileRecord(picture.width, picture.height, split_name(path)[0].stat().st_size, mode, kind, digest), thumbnail
