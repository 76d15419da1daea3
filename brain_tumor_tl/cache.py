"""Store: arrays computed once and kept on disk, whole or not at all, shared by concurrent runs.

Data and model both keep arrays here (decoded images, features), and neither may import the other; so the
store stands beside them and knows nothing of either. An entry is a folder with `array.npy` and `about.json`;
it appears by one rename, so a killed run leaves no half entry, and its checksums are verified each time it is
opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

Build = Callable[[Path], dict[str, Any]]
Mapped = np.memmap[Any, np.dtype[Any]]


@dataclass(frozen=True)
class CacheEntry:
    """An array that lies on disk.

    Attributes:
        array: The array, memory-mapped copy-on-write: writing to it changes nothing on disk.
        about: What its builder noted beside it.
        path: The entry's folder.
        built: Whether this call computed it.
    """

    array: NDArray[Any]
    about: dict[str, Any]
    path: Path
    built: bool

    def megabytes(self) -> float:
        """Return the array's size in 10**6 bytes."""
        return float(self.array.nbytes) / 1e6


def digest_of(*parts: object) -> str:
    """Return the SHA-256, as hexadecimal text, of the JSON of `parts`: a key for an entry."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Mapped:
    """Return a new .npy file, memory-mapped for a builder to fill, whose space on disk is taken now.

    Without that a full disk would end the process with SIGBUS at the first page that finds no room.

    Raises:
        OSError: There is not enough space.
    """
    array: Mapped = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def load_or_build(folder: Path, kind: str, key: str, build: Build) -> CacheEntry:
    """Open an entry, or compute it if it is absent or damaged, while other processes wait for it.

    Args:
        folder: The cache's folder; made if absent.
        kind: What the entry holds, for its name, such as `images`.
        key: Digest of everything that the array depends on.
        build: Writes the array as .npy to the path it is given and returns what to note beside it, as JSON
            values.

    Raises:
        OSError: The folder can't be written to.
    """
    entry = folder.expanduser() / f"{kind}-{key[:20]}"
    found = load(entry, key)
    if found:
        return found
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with locked(entry.with_name(entry.name + ".lock")):
            return load(entry, key, quiet=True) or build_entry(entry, key, build)
    except OSError as error:
        raise OSError(
            f"Can't keep {kind} in {entry.parent}: {error.strerror or error}. "
            "Give a folder with space that you may write to, data.cache_dir=PATH."
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock at `path` while the context lasts; say so where another process has it first."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        print(f"Waiting for another run that holds {path} ...", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def load(entry: Path, key: str, quiet: bool = False) -> CacheEntry | None:
    """Return an entry if it is there and whole; warn, unless `quiet`, if it is there and damaged."""
    if not entry.is_dir():
        return None
    try:
        about = json.loads((entry / "about.json").read_text(encoding="utf-8"))
        intact = about["sha256"] == file_digest(entry / "array.npy")
        if about["key"] != key or not intact or about["note_sha256"] != digest_of(about["note"]):
            raise ValueError("its checksum differs from the one noted when it was made")
        array = np.load(entry / "array.npy", mmap_mode="c")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not quiet:
            warnings.warn(f"The cache entry {entry} is damaged ({error}) and is made anew.", stacklevel=2)
        return None
    return CacheEntry(array, about["note"], entry, built=False)


def build_entry(entry: Path, key: str, build: Build) -> CacheEntry:
    """Compute an entry under a temporary name and rename it into place; the caller holds the lock."""
    temporary = entry.with_name(entry.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        note = build(temporary / "array.npy")
        digest = file_digest(temporary / "array.npy")
        about = {"key": key, "sha256": digest, "note": note, "note_sha256": digest_of(note)}
        (temporary / "about.json").write_text(json.dumps(about), encoding="utf-8")
        if entry.exists():
            shutil.rmtree(entry)
        temporary.rename(entry)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return CacheEntry(np.load(entry / "array.npy", mmap_mode="c"), note, entry, built=True)
