"""Files: bytes, text, JSON and CSV, read with clear errors and written atomically."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r].")  # or what `shielded` makes of one
NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?", re.IGNORECASE)


@contextmanager
def replacing(path: Path, exclusive: bool = False, keep: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, for a file or folder that takes its place when the context ends.

    If the context raises an error, `path` stays as it was and the temporary file or folder is removed.

    Args:
        path: What is to be written.
        exclusive: Whether this process alone writes `path`, by a lock. The temporary name is then the same each time,
            so that the remains of a killed process are removed.
        keep: Whether a folder that another process has put at `path` meanwhile stays there.
    """
    number = f"{os.getpid()}{secrets.randbelow(10**6):06}" if keep else os.getpid()  # processes of other machines too
    temporary = path.with_name(f"{path.name}.tmp" if exclusive else f".{path.name}.{number}.tmp")
    remove(temporary)
    try:
        yield temporary
        if keep and path.is_dir():
            return
        if temporary.is_dir():
            remove(path)
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # as on a full disk
            error.filename = str(path)
        raise
    finally:
        remove(temporary)


def check_writable(folder: Path) -> None:
    """Raise an OSError if no file can be written to a folder, which may be absent yet; to know it before the work."""
    place = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder; those of living ones stay."""
    for path in folder.glob(".*.tmp"):
        process = path.name.split(".")[-2]
        if process.isdigit() and not is_alive(int(process)):
            remove(path)


def is_alive(process: int) -> bool:
    """Tell whether this machine has a process with this id, whoever's it is."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; NaN and infinity become null, since JSON has neither."""
    write_text(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Return nested dicts and lists of JSON with None in place of NaN and infinity.

    >>> finite({"loss": float("nan"), "rows": [1.5]})
    {'loss': None, 'rows': [1.5]}
    """
    return json.loads(json.dumps(content), parse_constant=lambda _: None)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file.

    Raises:
        ValueError: It can't be read, or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON in {path}, it can't be read: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected a JSON object in {path}, got {type(content).__name__}.")
    return content


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV atomically.

    Args:
        path: The file.
        rows: Rows by column; with `columns` they are taken one by one and needn't be in memory together.
        columns: The columns in their order; None for those of the rows, in the order in which they first appear.
    """
    if columns is None:
        rows = list(rows)
        columns = list(dict.fromkeys(column for row in rows for column in row))
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: shielded(value) for name, value in row.items()} for row in rows)


def shielded(value: Any) -> Any:
    """Return a text that a spreadsheet would take for a formula with an apostrophe before it, any other value as it is.

    >>> shielded("=HYPERLINK(1)"), shielded("-0.5"), shielded("glioma"), shielded(-1)
    ("'=HYPERLINK(1)", '-0.5', 'glioma', -1)
    """
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value) else value


def unshielded(text: str) -> str:
    """Return the text that `shielded` was given.

    >>> unshielded("'=1"), unshielded("it's"), unshielded("'a'")
    ('=1', "it's", "'a'")
    """
    return text[1:] if text[:1] == "'" and FORMULA.match(text) else text


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header.

    Raises:
        ValueError: It can't be read, or a line has another number of values than the header.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected CSV in {path}, it can't be read: {error}.") from error
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise ValueError(f"Expected in {path} as many values in each row as in its header, row {number} has not.")
    return [{name: unshielded(value) for name, value in row.items()} for row in rows]
