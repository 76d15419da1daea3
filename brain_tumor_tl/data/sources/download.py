"""Download: the study's data set fetched, unpacked and compared with the pinned one, whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from brain_tumor_tl.cache import file_digest, locked
from brain_tumor_tl.data.index import NOT_OURS, plain, printable
from brain_tumor_tl.files import replacing

TIMEOUT_S = 30.0  # seconds without a byte after which the server counts as gone
MAX_BYTES = 2 * 1024**3  # of the archive, and of all that it holds; the data set has 0.1 GiB
CHUNK_BYTES = 64 * 1024
MANIFEST = "MANIFEST.sha256"
MANIFEST_SHA256 = "c5c92df9510003a53455d2c487070e7c76764c2772a4811ff5da4e42c145636b"
FOLDERS = {  # number of files, and SHA-256 of the folder's lines in the manifest
    "Testing/glioma_tumor": (100, "14a620cb55a4f649d3b7b79fabe5225d1361f1f3ed983305432e604757cc5cf0"),
    "Testing/meningioma_tumor": (115, "d88775c22baf678ddf7f5f4940adc9f3039a051701b7e2020c02699f30cfdb57"),
    "Testing/no_tumor": (105, "b31dcf35dbaa7958996dc248822dcd70405f63d8b598c6aa65c90e80931838b3"),
    "Testing/pituitary_tumor": (74, "cf23f1e9b9e0cfc11f7f922fab8f9eee42bf98b1979f4010e4b1530266af6037"),
    "Training/glioma_tumor": (826, "f26248183706c9c23d77f22d6a5f25edf18fe83f7fbcbc839f6d7dce6ea69b05"),
    "Training/meningioma_tumor": (822, "b43ad93b2a7664995d3da640bf15824ac4c85576402102299bce31c887029804"),
    "Training/no_tumor": (395, "09b91d5e4e161639f382cfd33eb3590b2cee9b8ee18f315181f35b44f97e1e55"),
    "Training/pituitary_tumor": (827, "3c9dfb23c35f8ecec04e6cb6d553efaeda88a46e3e026bf04f6e52188e764032"),
}
BY_HAND = (
    "Get the files by hand from https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri "
    "or https://github.com/SartajBhuvaji/Brain-Tumor-Classification-DataSet and pass their folder, "
    "data.root=PATH, or use data=phantom for synthetic images."
)


def fetch(root: Path, url: str) -> None:
    """Download the data set, verify it and put it at `root`; wait for another process that does so.

    Args:
        root: The folder to make. One that is there is left as it is.
        url: Address of a zip archive that holds Training/ and Testing/, below one folder or none.

    Raises:
        ConnectionError: The archive can't be downloaded, or not all of it.
        ValueError: What came is no zip archive, is unsafe to unpack, or is not the pinned data set.
        OSError: `root` can't be written to.
    """
    root = root.expanduser()
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with locked(root.with_name(root.name + ".lock")):
            if not root.exists():
                build_root(root, url)
    except ConnectionError:
        raise
    except OSError as error:
        raise OSError(
            f"Can't keep the data set in {root.parent}: {error.strerror or error}. "
            "Give a folder with space that you may write to, data.cache_dir=PATH."
        ) from error


def build_root(root: Path, url: str) -> None:
    """Download, unpack and verify in a temporary folder, then rename; the caller holds the lock."""
    with replacing(root, exclusive=True) as folder:
        folder.mkdir()
        archive = folder / "archive.zip"
        download(url, archive)
        unpack(archive, folder, url)
        archive.unlink()
        refuse_differences(folder, f"in the archive at {url}")


def download(url: str, path: Path) -> None:
    """Write what `url` answers with to `path`, under a progress bar.

    Raises:
        ConnectionError: There is no answer, or it breaks off.
        ValueError: `url` is no address, or the answer is longer than any archive of the data set.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, path.open("wb") as file:
        task = progress.add_task("Downloading the data set", total=None)
        for chunk, total in received(url):
            file.write(chunk)
            progress.update(task, advance=len(chunk), total=total)
            if file.tell() > MAX_BYTES:
                raise ValueError(f"Expected at most {MAX_BYTES} bytes from {url}, got more. {BY_HAND}")


def received(url: str) -> Iterator[tuple[bytes, int | None]]:
    """Yield the answer of `url` in pieces, each with the bytes announced in all, None if none were."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            announced = response.headers.get("Content-Length") or ""
            total = int(announced) if announced.isdecimal() else None
            count = 0
            while chunk := response.read(CHUNK_BYTES):
                count += len(chunk)
                yield chunk, total
        if total is not None and count < total:
            raise http.client.HTTPException(f"it broke off after {count} of {total} bytes")
    except ValueError as error:
        raise ValueError(f"Expected the address of a zip archive in data.url, got {url!r}: {error}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"Can't download the data set from {url}: {reason_of(error)}. {BY_HAND}") from error


def reason_of(error: Exception) -> str:
    """Return in a few words why a download failed."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def unpack(archive: Path, folder: Path, source: str) -> None:
    """Write what a zip archive holds of Training/ and Testing/ below `folder`; `source` names it in messages.

    Raises:
        ValueError: The file is no zip archive, is damaged, or holds what is unsafe to unpack.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            refuse_unsafe(opened.infolist(), source)
            for member in opened.infolist():
                if (place := place_of(member)) and not member.is_dir():
                    extract(opened, member, folder / place)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        came = f"{archive.stat().st_size} bytes that are none or a damaged one ({error})"
        raise ValueError(f"Expected a zip archive at {source}, got {came}. {BY_HAND}") from error


def refuse_unsafe(members: list[zipfile.ZipInfo], source: str) -> None:
    """Raise a ValueError where a member could be written outside its folder, or all are absurdly large."""
    unsafe = [f"{member.filename!r} ({fault})" for member in members if (fault := fault_of(member))]
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES:
        unsafe.append(f"{size} bytes in all (more than {MAX_BYTES})")
    if unsafe:
        came = ", ".join(unsafe[:5]) + ", ..." * (len(unsafe) > 5)
        raise ValueError(f"Refused to unpack {source}: expected plain image files, got {came}. {BY_HAND}")


def fault_of(member: zipfile.ZipInfo) -> str:
    """Return why a member is unsafe to unpack on some operating system, or an empty string."""
    name = member.filename
    if name.startswith(("/", "\\")):
        return "an absolute path"
    if ":" in name:
        return "a drive letter"
    if ".." in [part.strip() for part in re.split(r"[/\\]", name)]:
        return "leads out of the folder"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a symbolic link or special file"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "compressed by another method than deflate"
    return ""


def place_of(member: zipfile.ZipInfo) -> str:
    """Return a member's path from Training or Testing on, or an empty string where it is below neither."""
    parts = PurePosixPath(member.filename).parts
    for start in (0, 1):  # the author's Kaggle archive has no top folder, GitHub's has one
        if parts[start : start + 1] in (("Training",), ("Testing",)):
            return "/".join(parts[start:])
    return ""


def extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write one member's bytes to `target`; zipfile stops at the size that the member declares."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def verify(root: Path) -> None:
    """Compare a folder, file for file, with the pinned data set.

    Raises:
        ValueError: It differs; the message names each folder that does.
    """
    refuse_differences(root, f"in {root}")


def refuse_differences(root: Path, where: str) -> None:
    """Raise a ValueError that says `where` the data set was expected and what differs, if anything does."""
    files = manifest_of(root)
    came = digest_of_lines(files)
    if came != MANIFEST_SHA256:
        raise ValueError(
            f"Expected the study's data set {where} (manifest {MANIFEST_SHA256[:12]}), got another "
            f"(manifest {came[:12]}):\n  " + "\n  ".join(differences(files)) + f"\n{BY_HAND}"
        )


def manifest_of(root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below `root` by its path, in the bytewise order of paths."""
    relatives = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    names = [relative.as_posix() for relative in relatives if is_ours(relative)]
    return {name: file_digest(root / name) for name in sorted(names, key=os.fsencode)}


def is_ours(relative: Path) -> bool:
    """Tell whether a file is data, rather than the manifest or what operating systems leave in folders."""
    left = any(part.startswith(".") or plain(part) in NOT_OURS for part in relative.parts)
    return not left and relative != Path(MANIFEST)


def digest_of_lines(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of a manifest's text, in the format of sha256sum."""
    text = "".join(f"{digest}  {path}\n" for path, digest in files.items())
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def differences(files: Mapping[str, str]) -> list[str]:
    """Return one line for each folder whose files are not the pinned ones."""
    found: dict[str, dict[str, str]] = {folder: {} for folder in FOLDERS}
    for path, digest in files.items():
        found.setdefault(path.rpartition("/")[0], {})[path] = digest
    return [
        difference(folder, came)
        for folder, came in found.items()
        if (len(came), digest_of_lines(came)) != FOLDERS.get(folder)
    ]


def difference(folder: str, files: Mapping[str, str]) -> str:
    """Return in words how a folder's files differ from the pinned ones."""
    if folder not in FOLDERS:
        names = ", ".join(printable(path) for path in list(files)[:3]) + ", ..." * (len(files) > 3)
        return f"{printable(folder or '.')}: expected no files, found {len(files)} ({names})"
    count = FOLDERS[folder][0]
    same = " of other names or contents" if len(files) == count else ""
    return f"{folder}: expected {count} files, found {len(files)}{same}"
