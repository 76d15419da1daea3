"""Hostile input: nothing in a file is executed, leaves its folder, fills memory or controls what shows it."""

from __future__ import annotations

import io
import re
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from brain_tumor_tl import files
from brain_tumor_tl.console import console, say
from brain_tumor_tl.data.sources import download
from brain_tumor_tl.data.sources.download import unpack
from brain_tumor_tl.model.weights import read_content
from brain_tumor_tl.reporting.plots import confusion_figure, png
from brain_tumor_tl.reporting.svg import svg_text
from brain_tumor_tl.reporting.table import make_table
from brain_tumor_tl.run.folder import read_settings
from tests.conftest import CHECKOUT

MODULES = sorted((CHECKOUT / "brain_tumor_tl").rglob("*.py"))
EXECUTES = {
    "pickle": r"\bpickle\.loads?\(|allow_pickle=True|weights_only=False",
    "unsafe yaml": r"yaml\.(load|full_load|unsafe_load)\(",
    "eval": r"(?<![\w.])(eval|exec)\(",
    "shell": r"shell=True|os\.system\(|os\.popen\(",
    "archives as they are": r"\.extractall\(",
    "configured code": r"hydra\.utils|instantiate\(",
}


@pytest.mark.parametrize("pattern", EXECUTES.values(), ids=EXECUTES)
def test_package__executes_nothing_from_files(pattern: str) -> None:
    assert len(MODULES) > 150

    assert [path.name for path in MODULES if re.search(pattern, path.read_text(encoding="utf-8"))] == []


def test_package__loads_weights_only() -> None:
    calls = [call for path in MODULES for call in re.findall(r"torch\.load\([^)]*\)", path.read_text(encoding="utf-8"))]

    assert len(calls) >= 5
    assert [call for call in calls if "weights_only=True" not in call] == []


class Touch:
    """An object whose unpickling would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_read_content__runs_no_code(tmp_path: Path) -> None:
    torch.save({"weight": Touch(tmp_path / "executed")}, tmp_path / "weights.pth")

    with pytest.raises(ValueError, match="it can't be read as one"):
        read_content(tmp_path / "weights.pth")

    assert not (tmp_path / "executed").exists()


def member(name: str, mode: int = 0) -> zipfile.ZipInfo:
    """Return a member of an archive, a link or device by its mode."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


MEMBERS = {
    "above": member("Training/../../outside.png"),
    "above-in-front": member("../Training/a.png"),
    "absolute": member("/tmp/Training/a.png"),
    "drive": member("C:\\Training\\a.png"),
    "backslashes": member("Training\\..\\..\\outside.png"),
    "link": member("Training/link.png", stat.S_IFLNK | 0o777),
    "device": member("Training/device.png", stat.S_IFBLK | 0o777),
    "pipe": member("Training/pipe.png", stat.S_IFIFO | 0o777),
}


@pytest.mark.parametrize("info", MEMBERS.values(), ids=MEMBERS)
def test_unpack__stays_in_its_folder(info: zipfile.ZipInfo, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(info, b"/etc/passwd")
        opened.writestr("Training/good.png", b"content")

    unpack(archive, tmp_path / "inside" / "set", "an archive")

    found = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert all(path.is_relative_to(tmp_path / "inside" / "set") for path in found)
    assert all(stat.S_ISREG(path.lstat().st_mode) for path in found)
    assert not Path("/tmp/Training/a.png").exists()


def test_unpack__of_zeros_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 50 * 2**20)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("Training/a.png", "w") as file:
        for _ in range(60):
            file.write(bytes(2**20))

    with pytest.raises(ValueError, match=r"at most \d+ bytes in an archive, got 62914560"):
        unpack(archive, tmp_path / "set", "an archive")

    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2**20


def test_read_settings__are_values_and_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "seen")
    path = tmp_path / "config.yaml"
    path.write_text("model:\n  _target_: os.system\n  name: ${oc.env:SECRET}\n")

    assert read_settings(path) == {"model": {"_target_": "os.system", "name": "${oc.env:SECRET}"}}
    for tag in ("!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!python/module:os"):
        path.write_text(f"a: {tag}\n")
        with pytest.raises(yaml.YAMLError):
            yaml.safe_load(path.read_text())
        assert read_settings(path) is None


NAMES = [
    "<script>alert(1)</script>", "$\\frac{$", "$x^2$", "[red]a[/red]", "[/]", "=HYPERLINK(1)", "\x1b]0;title\x07",
    "\x1b[31mred", "a|b", "a,b", '"', "{{ 7 * 7 }}", "%s%n",
]  # fmt: skip


def test_table__shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = make_table(NAMES[1], ["class"], [[name] for name in NAMES], [NAMES[6]])

    console.print(table)
    say(NAMES[6])

    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert all(name in shown for name in NAMES if name.isprintable())
    assert "<script" not in table.markdown()


@pytest.mark.parametrize("count", [2, len(NAMES)])
def test_plots__show_names_as_they_are(count: int) -> None:
    names = [NAMES[1], NAMES[2], *NAMES][:count]
    figure = confusion_figure(np.eye(count, dtype=int).tolist(), names, "run $\\frac{$")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        assert png(figure).startswith(b"\x89PNG")
        text = svg_text(figure, "a")

    assert "<script" not in text
    assert "run $\\frac{$" in text


CELLS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "'=1",
    "''=1",
    "it's",
    "'a'",
    "-",
    "=",
    "-0.5",
    "+3",
    "1e-5",
    "a,b\n",
]


def test_write_csv__holds_no_formula_and_reads_back(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "a.csv", [{"class": cell, "number": -1.5} for cell in CELLS])

    text = (tmp_path / "a.csv").read_text()
    assert re.findall(r'^"?[=+@\t-](?![\d.]*,)[^,]', text, re.MULTILINE) == []
    assert [row["class"] for row in files.read_csv(tmp_path / "a.csv")] == CELLS
    assert [row["number"] for row in files.read_csv(tmp_path / "a.csv")] == ["-1.5"] * len(CELLS)
