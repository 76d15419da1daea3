"""Files: written atomically, and read with a clear error."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.files import (
    check_writable,
    finite,
    read_csv,
    read_json,
    remove_leftovers,
    replacing,
    write_csv,
    write_json,
    write_text,
)


class Unwritable:
    """A value without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


INTERRUPTED: dict[str, Callable[[Path], None]] = {
    "json": lambda path: write_json(path, {"a": 1, "b": Unwritable()}),
    "csv": lambda path: write_csv(path, [{"a": 1}, {"a": Unwritable()}]),
}


@pytest.mark.parametrize("write", INTERRUPTED.values(), ids=INTERRUPTED)
def test_write__content_that_fails_leaves_the_old_file(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    with pytest.raises((RuntimeError, TypeError)):
        write(path)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"file": "old"}


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=["full", "interrupt"])
@pytest.mark.parametrize("there", [True, False], ids=["old-file", "no-file"])
def test_write_text__cut_in_the_middle(
    error: BaseException, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, text: str, **_: Any) -> int:
        path.write_bytes(text[: len(text) // 2].encode())
        raise error

    path = tmp_path / "results.json"
    if there:
        path.write_bytes(b"old")
    monkeypatch.setattr(Path, "write_text", half)

    with pytest.raises(type(error)):
        write_text(path, "new content")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == ({path.name: b"old"} if there else {})


def test_write_text__replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text in ("first\n", "zweite Zeile\r\n", "name: \udcff\n"):
        write_text(path, text)
        expected = text.encode("utf-8", errors="backslashreplace")
        assert path.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [path]


def test_replacing__folder_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with replacing(path, exclusive=True) as temporary:
            temporary.mkdir()
            (temporary / name).touch()

    assert [entry.relative_to(tmp_path).as_posix() for entry in tmp_path.rglob("*")] == ["folder", "folder/second"]


def test_replacing__failure_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    (path / "old").mkdir(parents=True)

    def fail() -> None:
        with replacing(path) as temporary:
            (temporary / "new").mkdir(parents=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["folder", "old"]


def test_replacing__exclusive_removes_the_remains_of_a_killed_process(tmp_path: Path) -> None:
    (tmp_path / "a.tmp" / "half").mkdir(parents=True)

    with replacing(tmp_path / "a", exclusive=True) as temporary:
        temporary.write_text("new")

    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"a": "new"}


def test_replacing__others_that_write_the_same_file_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replacing(tmp_path / "a") as mine:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with replacing(tmp_path / "a") as other:
            other.write_text("other")
        mine.write_text("mine")

    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"a": "mine"}


def test_write_json__read_json_gives_it_back(tmp_path: Path) -> None:
    content = {"name": "Größe", "rows": [1, 2.5, None, True], "nested": {"a": {}}}

    write_json(tmp_path / "a.json", content)

    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_write_json__strict_json_of_a_diverged_run(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"loss": float("nan"), "rows": [float("inf"), 1.0], "pair": (1, -2)})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert content == {"loss": None, "rows": [None, 1.0], "pair": [1, -2]}


def test_finite__leaves_the_rest_alone() -> None:
    content = {"a": 1, "b": "nan", "c": [True, None, {"d": -0.5}], "e": {}}

    assert finite(content) == content


UNREADABLE = {
    "absent": (None, "it can't be read"),
    "empty": (b"", "it can't be read"),
    "half": (b'{"a": ', "it can't be read"),
    "not-text": (b"\xff\xfe", "it can't be read"),
    "list": (b"[1]", "Expected a JSON object in .*, got list"),
}


@pytest.mark.parametrize(("content", "match"), UNREADABLE.values(), ids=UNREADABLE)
def test_read_json__bad_file(content: bytes | None, match: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(ValueError, match=match):
        read_json(tmp_path / "a.json")


def test_write_csv__columns_in_the_order_the_rows_bring_them(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"epoch": 1, "loss": 0.5}, {"accuracy": 0.9, "epoch": 2, "loss": None}])

    assert (tmp_path / "a.csv").read_text() == "epoch,loss,accuracy\n1,0.5,\n2,,0.9\n"


def test_write_csv__read_csv_gives_it_back(tmp_path: Path) -> None:
    rows = [{"n": "0", "path": text} for text in ("a, b.jpg", 'with "quotes"', "two\nlines", "脳.png", "")]

    write_csv(tmp_path / "a.csv", rows)

    assert read_csv(tmp_path / "a.csv") == rows
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in rows]


@pytest.mark.parametrize(
    "content", [None, b"a\n\xff\xfe\n", b'a\n"\0' + b"x" * 200_000], ids=["absent", "no-text", "field"]
)
def test_read_csv__bad_file(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)

    with pytest.raises(ValueError, match=r"Expected CSV in .*a\.csv, it can't be read"):
        read_csv(tmp_path / "a.csv")


def test_check_writable__before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    check_writable(tmp_path / "absent" / "below")
    assert not (tmp_path / "absent").exists()
    with pytest.raises(NotADirectoryError, match="file"):
        check_writable(tmp_path / "file" / "below")

    monkeypatch.setattr(os, "access", lambda *_: False)  # since a superuser may write everywhere
    with pytest.raises(PermissionError, match=str(tmp_path)):
        check_writable(tmp_path / "absent")


def test_remove_leftovers__of_dead_processes_alone(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".results.json.{dead.pid}.tmp", f".metrics.csv.{os.getpid()}.tmp", ".mine.tmp", "notes.7.tmp"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".images.{dead.pid}.tmp").mkdir()
    remove_leftovers(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f".metrics.csv.{os.getpid()}.tmp", ".mine.tmp", "notes.7.tmp"}
