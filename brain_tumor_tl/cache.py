"""Cache: arrays computed once and kept on disk, shared by concurrent runs.

Data and model both cache arrays (decoded images, features) but may not import each other, so the cache knows neither.
An entry is a folder with `array.npy` and `about.json`. It is written atomically, so a killed run leaves no partial
entry, and its checksums are verified each time it is opened.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

from brain_tumor_tl.files import file_digest, read_json, remove, replacing, write_text

ENTRY_FILES = ("array.npy", "about.json")
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
Build = Callable[[Path], dict[str, Any]]
Mapped = np.memmap[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """A cached array.

    Attributes:
        array: The array, memory-mapped copy-on-write: writing to it changes nothing on disk.
        about: The JSON values that its builder returned.
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
    """Return the SHA-256 of the JSON of `parts` as hexadecimal text, for use as a cache key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def installed_version(package: str) -> str | None:
    """Return the version of a package, for keys and records; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Mapped:
    """Return a new .npy file, memory-mapped for writing, with its disk space allocated.

    Without the allocation, a full disk would end the process with SIGBUS at the first page without space.

    Raises:
        OSError: There is not enough space.
    """
    array: Mapped = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def load_or_build(folder: Path, kind: str, key: str, build: Build) -> CacheEntry:
    """Open an entry, or compute it if it is absent or damaged. Other processes that need it wait.

    Args:
        folder: The cache's folder; created if absent.
        kind: What the entry holds, for its name, such as `images`.
        key: Digest of everything that the array depends on.
        build: Writes the array as .npy to the given path and returns JSON values to keep with it.

    Raises:
        OSError: The folder can't be written to.
    """
    entry = folder.expanduser() / f"{kind}-{key[:20]}"
    with told_as(kind, entry):
        if found := load(entry, key):
            return found
        with locked_to_write(entry) as alone:
            return load(entry, key, quiet=True) or build_entry(entry, key, build, alone)


def create_once(path: Path, what: str, write: Callable[[Path], object]) -> None:
    """Ensure that a folder exists. Other processes that need it wait.

    Args:
        path: The folder, completely written or not at all.
        what: What it holds, for messages.
        write: Writes it at the given path, if `path` is absent.

    Raises:
        OSError: It can't be written.
    """
    path = path.expanduser()
    with told_as(what, path):
        if path.exists():
            return
        with locked_to_write(path) as alone:
            if not path.exists():
                with replacing(path, exclusive=alone, keep=not alone) as temporary:
                    write(temporary)


@contextmanager
def locked_to_write(path: Path) -> Iterator[bool]:
    """Hold the lock of a folder that is to be written, and create its parents; yield whether there are locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(path.name + ".lock")) as alone:
        yield alone


@contextmanager
def told_as(what: str, path: Path) -> Iterator[None]:
    """Say of an error of files what was to be written.

    Args:
        what: What the folder holds, for the message.
        path: The folder.

    Raises:
        OSError: It can't be written.
    """
    try:
        yield
    except ConnectionError:  # of a download
        raise
    except OSError as error:
        raise OSError(
            f"Can't write {what} to {path.parent}: {error.strerror or error}. "
            "Give a writable folder with enough space, data.cache_dir=PATH."
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file at `path` while the context lasts; print a line if another process holds it.

    Yields:
        True; False if the file system has no locks, as some network ones, which a line tells.
    """
    lock = FileLock(path)
    try:
        held = take(lock)
    except (OSError, NotImplementedError) as error:  # filelock up to 3.24 raises the second for ENOSYS
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        print(f"There are no locks in {path.parent}: runs at the same time may do the same work twice.", flush=True)
        yield False
        return
    with held:
        yield True


def take(lock: BaseFileLock) -> AbstractContextManager[object]:
    """Acquire a lock; print a line if another process holds it."""
    try:
        return lock.acquire(timeout=0.5)
    except Timeout:
        print(f"Waiting for another run that holds {lock.lock_file} ...", flush=True)
        return lock.acquire()


def load(entry: Path, key: str, quiet: bool = False) -> CacheEntry | None:
    """Return an entry, None if it is absent or damaged; warn, unless `quiet`, if it is damaged."""
    if not entry.is_dir():
        return None
    try:
        about = read_json(entry / "about.json")
        intact = about["sha256"] == file_digest(entry / "array.npy")
        if about["key"] != key or not intact or about["note_sha256"] != digest_of(about["note"]):
            raise ValueError("a checksum differs")
        array = np.load(entry / "array.npy", mmap_mode="c")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not quiet:
            warnings.warn(f"The cache entry {entry} is damaged ({error}) and will be rebuilt.", stacklevel=2)
        return None
    return CacheEntry(array, about["note"], entry, built=False)


def build_entry(entry: Path, key: str, build: Build, alone: bool = True) -> CacheEntry:
    """Compute an entry and write it.

    Args:
        entry: Its folder; a damaged one is replaced.
        key: Its key.
        build: As for `load_or_build`.
        alone: Whether the caller holds the lock. Without it, the entry of the process that ends first stays.

    Raises:
        OSError: There are other files in the folder than those of an entry.
    """
    foreign = sorted({path.name for path in entry.glob("*")} - set(ENTRY_FILES))
    if foreign or entry.is_file():
        raise OSError(f"files that are not the cache's are in its place ({', '.join(foreign[:3]) or entry.name})")
    if not alone:
        remove(entry)
    with replacing(entry, exclusive=alone, keep=not alone) as folder:
        folder.mkdir()
        note = build(folder / "array.npy")
        digests = {"sha256": file_digest(folder / "array.npy"), "note_sha256": digest_of(note)}
        write_text(folder / "about.json", json.dumps({"key": key, "note": note, **digests}))
    return CacheEntry(np.load(entry / "array.npy", mmap_mode="c"), note, entry, built=True)
