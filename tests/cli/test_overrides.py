"""Overrides: quoted texts stand for themselves, flags are told from overrides, and old names of values are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.command import checked_line
from brain_tumor_tl.cli.help import composed
from brain_tumor_tl.cli.overrides import (
    note_old_name,
    overrides_in,
    parsed,
    quoted,
    quoted_text,
    replace_old_names,
    upgraded,
)

TEXTS = ["plain", "it's", "back\\slash", "\\'", "end\\", "a,b=[c]", "ü ", "a\\\\'"]


@pytest.mark.parametrize("text", TEXTS)
def test_quoted__stands_for_itself(text: str) -> None:
    assert parsed(f"key={quoted(text)}").value() == text


@pytest.mark.parametrize("path", ["~/archive (1)", "/it's/(2)", "C:\\data (3)\\"])
def test_quoted_text__is_parsed_as_the_path(path: str) -> None:
    assert parsed(quoted_text(f"data.root={path}")).value() == path


def test_overrides_in__neither_flags_nor_their_values() -> None:
    line = ["-m", "seed=1", "--config-name", "grid", "-cd", "mine", "--cfg=job", "name=a", "--info", "all"]

    assert overrides_in(line) == ["seed=1", "name=a"]


OLD = {
    "split": ("data.split=runs", "data.split=series"),
    "folds": ("++data.fold_by=runs,grouped", "++data.fold_by=series,grouped"),
    "choice": ("data.split=choice(random,runs)", "data.split=choice(random,series)"),
    "quoted": ("data.split='runs'", "data.split='series'"),
    "other-key": ("name=runs", "name=runs"),
    "other-value": ("data.split=grouped", "data.split=grouped"),
}


@pytest.mark.parametrize(("old", "new"), OLD.values(), ids=OLD)
def test_upgraded__old_name_becomes_the_new_one(old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    note_old_name.cache_clear()

    assert upgraded(old) == new
    assert ("`runs` is called `series` now" in capsys.readouterr().err) == (old != new)


def test_replace_old_names__values_of_a_yaml_file() -> None:
    config = composed([])
    config.data.split, config.data.fold_by = "runs", "grouped"

    replace_old_names(config)

    assert (config.data.split, config.data.fold_by) == ("series", "grouped")


def test_checked_settings__classes_as_lists_X03(tmp_path: Path) -> None:
    for name in ("dog", "Cat"):
        (tmp_path / name).mkdir()
    given = {
        "data.classes=[glioma,meningioma]": [["glioma"], ["meningioma"]],
        "data.classes=[[no_tumor,no],tumor]": [["no_tumor", "no"], ["tumor"]],
        f"data=folder data.root={tmp_path}": [["Cat"], ["dog"]],
        f"data=folder data.root={tmp_path} data.classes=[dog,Cat]": [["dog"], ["Cat"]],
    }
    for line, expected in given.items():
        config = composed(line.split())
        before = OmegaConf.to_container(config.data)

        assert checked_settings(config)["data"]["classes"] == expected
        assert OmegaConf.to_container(config.data) == before


def test_checked_settings__classes_refused(tmp_path: Path) -> None:
    config = composed(["data=folder", f"data.root={tmp_path / 'absent'}"])
    with pytest.raises(FileNotFoundError, match=r"Expected a folder of images at .*absent, found nothing"):
        checked_settings(config)
    config = composed([])
    config.data.classes = yaml.safe_load("[no, yes]")
    with pytest.raises(ValueError, match=r"got False: YAML takes an unquoted no"):
        checked_settings(config)


def test_checked_line__flags_first_paths_quoted_and_names_current() -> None:
    line = ["data.root=/a (1)", "-m", "data.split=runs,random", "--config-name", "grid", "seed=1"]

    assert checked_line(line) == [
        "-m",
        "--config-name",
        "grid",
        "data.root='/a (1)'",
        "data.split=series,random",
        "seed=1",
    ]
