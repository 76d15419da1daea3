"""Console: messages and warnings reach terminal and file while a run lasts, and nothing stays behind."""

from __future__ import annotations

import io
import logging
import re
import warnings
from pathlib import Path

import pytest
from rich.console import Console
from rich.tree import Tree

from brain_tumor_tl.console import config_tree, log, run_log

LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "


def test_run_log__terminal_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_log(tmp_path / "train.log"):
        log.info("Data      3264 images from [a]/b")
        log.warning("2 file(s) left out")

    assert capsys.readouterr().out == "Data      3264 images from [a]/b\nWARNING: 2 file(s) left out\n"
    first, second = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(LINE + r"INFO Data      3264 images from \[a\]/b", first)
    assert re.fullmatch(LINE + r"WARNING 2 file\(s\) left out", second)


def test_run_log__long_lines_stay_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_log(None):
        log.info("word " * 60)

    assert capsys.readouterr().out == "word " * 60 + "\n"


def test_run_log__appends(tmp_path: Path) -> None:
    for text in ("cut", "resumed"):
        with run_log(tmp_path / "train.log", quiet=True):
            log.info(text)

    assert [line.split()[-1] for line in (tmp_path / "train.log").read_text().splitlines()] == ["cut", "resumed"]


def test_run_log__quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_log(tmp_path / "train.log", quiet=True):
        log.info("for the file")
    with run_log(None, quiet=True):
        log.info("for nobody")

    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "train.log").read_text().endswith("INFO for the file\n")


def test_run_log__warnings_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_log(tmp_path / "train.log"):
        warnings.simplefilter("always")
        warnings.warn("the cache entry is damaged", UserWarning, stacklevel=1)

    assert capsys.readouterr().out == "WARNING: the cache entry is damaged\n"
    assert re.fullmatch(LINE + "WARNING the cache entry is damaged\n", (tmp_path / "train.log").read_text())


@pytest.mark.parametrize("fails", [False, True], ids=["plain", "error"])
def test_run_log__leaves_nothing_behind(fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [log, logging.getLogger("py.warnings")]
    for target in targets:
        monkeypatch.setattr(target, "level", logging.ERROR)

    def state() -> list[object]:
        loggers = [(target.handlers[:], target.level, target.propagate) for target in targets]
        return [loggers, warnings.showwarning, warnings.formatwarning, warnings.filters[:]]

    before = state()
    try:
        with run_log(tmp_path / "train.log"):
            warnings.simplefilter("ignore")
            assert state() != before
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert state() == before


def test_run_log__warnings_show_again_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print("shown:", message)
        with run_log(None):
            pass
        warnings.simplefilter("always")
        warnings.warn("later", stacklevel=1)

    assert capsys.readouterr().out == "shown: later\n"


def printed(tree: Tree) -> str:
    """Return a tree as a terminal shows it, without what draws its branches."""
    file = io.StringIO()
    Console(file=file, width=100).print(tree)
    return "\n".join(re.sub("[│├└─]", " ", line).rstrip() for line in file.getvalue().splitlines())


def test_config_tree__every_value() -> None:
    config = {"seed": 0, "data": {"root": "a/b", "classes": [["no", "x"], ["yes"]]}, "options": {}, "none": None}

    assert printed(config_tree(config, "resnet18-finetune-s0")) == (
        "resnet18-finetune-s0\n"
        "    seed: 0\n"
        "    data\n"
        "        root: a/b\n"
        "        classes: [['no', 'x'], ['yes']]\n"
        "    options: {}\n"
        "    none: None"
    )


def test_config_tree__brackets_are_no_markup() -> None:
    assert printed(config_tree({"devices": ["red", "[bold]"]}, "run")) == "run\n    devices: ['red', '[bold]']"
