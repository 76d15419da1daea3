"""Download: the study's data set, downloaded, unpacked and compared with the pinned one."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from brain_tumor_tl.cache import create_once
from brain_tumor_tl.data.layout import is_clutter, printable
from brain_tumor_tl.files import file_digest, read_csv

TIMEOUT_S = 30.0  # without a byte from the server
MAX_BYTES = 2 * 1024**3  # of the archive, and of all that it holds; the data set has 0.1 GiB
CHUNK_BYTES = 64 * 1024
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
# Of each folder: number of files, and SHA-256 of their lines in a manifest of sha256sum.
FOLDERS = {
    row["folder"]: (int(row["files"]), row["sha256"]) for row in read_csv(Path(__file__).with_name("study_folders.csv"))
}
# Of a member's path, with or without one folder above: the author's Kaggle archive has none, GitHub's has one.
IMAGE_PATH = re.compile(r"(?:[^/]+/)??((?:Training|Testing)/.*[^/])", re.DOTALL)
BY_HAND = (
    "Download the files yourself from https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri "
    "or https://github.com/SartajBhuvaji/Brain-Tumor-Classification-DataSet and pass their folder, "
    "data.root=PATH, or use data=phantom for synthetic images."
)


def fetch(root: Path, url: str) -> None:
    """Download the data set, verify it and put it at `root`, unless `root` exists; other processes wait.

    Args:
        root: The folder to create.
        url: Address of a zip archive that holds Training/ and Testing/, below one folder or none.

    Raises:
        ConnectionError: The archive can't be downloaded completely.
        ValueError: The download is not a zip archive, or not of the pinned data set.
        OSError: `root` can't be written to.
    """

    def write(folder: Path) -> None:
        with tempfile.TemporaryFile(dir=folder.parent) as archive:
            download(url, archive)
            unpack(archive, folder, url)
            check_files(folder, url)

    create_once(root, "the data set", write)


def download(url: str, file: IO[bytes]) -> None:
    """Write the contents of `url` to a file, under a progress bar.

    Raises:
        ConnectionError: There is no answer, or it is incomplete.
        ValueError: `url` is not an address, or the answer is larger than any archive of the data set.
    """
    if not re.match(r"\w+://.", url):
        raise ValueError(f"Expected the address of a zip archive in data.url, got {url!r}.")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns) as progress, urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            announced = response.headers.get("Content-Length") or ""
            total = int(announced) if announced.isdecimal() else None
            task = progress.add_task("Downloading the data set", total=total)
            while chunk := response.read(CHUNK_BYTES):
                progress.update(task, advance=file.write(chunk))
                if file.tell() > MAX_BYTES:
                    raise ValueError(f"Expected at most {MAX_BYTES} bytes from {url}, got more. {BY_HAND}")
        if total is not None and file.tell() < total:
            raise http.client.HTTPException(f"the connection broke off after {file.tell()} of {total} bytes")
    except NETWORK_ERRORS as error:
        raise ConnectionError(f"Can't download the data set from {url}: {error}. {BY_HAND}") from error


def unpack(archive: IO[bytes], folder: Path, source: str) -> None:
    """Write the files below Training/ and Testing/ of a zip archive to `folder`; `source` names it in messages.

    `ZipFile.extract` keeps every path inside `folder`, creates no links, and stops at a member's declared size.

    Raises:
        ValueError: The file is not a zip archive, is damaged, or is too large when unpacked.
    """
    size = archive.tell()
    try:
        with zipfile.ZipFile(archive) as opened:
            unpacked = sum(member.file_size for member in opened.infolist())
            if unpacked > MAX_BYTES:
                raise ValueError(f"Expected at most {MAX_BYTES} bytes in {source}, got {unpacked}. {BY_HAND}")
            for member in opened.infolist():
                if found := IMAGE_PATH.fullmatch(member.filename):
                    member.filename = found[1]
                    opened.extract(member, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise ValueError(
            f"Expected a zip archive at {source}, got {size} bytes that are none or a damaged one ({error}). {BY_HAND}"
        ) from error


def check_files(root: Path, source: str) -> None:
    """Raise a ValueError that names each folder below `root` whose files are not the pinned ones, if any."""
    if found := differences(manifest_of(root)):
        lines = "\n  ".join(found)
        raise ValueError(
            f"Expected the study's data set in the archive at {source}, got another:\n  {lines}\n{BY_HAND}"
        )


def manifest_of(root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below `root` by its path, in the bytewise order of paths, without clutter."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    kept = [name for name in files if not any(map(is_clutter, [Path(name), *Path(name).parents]))]
    return {name: file_digest(files[name]) for name in sorted(kept, key=os.fsencode)}


def differences(files: Mapping[str, str]) -> list[str]:
    """Return one line for each folder whose files are not the pinned ones.

    Args:
        files: SHA-256 of each file by its path, as `manifest_of` returns them.
    """
    found: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
    for path in files:
        found.setdefault(path.rpartition("/")[0], []).append(path)
    lines = []
    for folder, paths in found.items():
        text = "".join(f"{files[path]}  {path}\n" for path in paths).encode("utf-8", "surrogateescape")
        count, digest = FOLDERS.get(folder, (0, ""))
        if (len(paths), hashlib.sha256(text).hexdigest()) != (count, digest):
            examples = ", ".join(map(printable, paths[:3])) if not count else "other names or contents"
            lines.append(f"{printable(folder or '.')}: expected {count} files, found {len(paths)} ({examples})")
    return lines
