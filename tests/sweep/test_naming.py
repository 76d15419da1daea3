"""Naming: a job's folder follows from what the job is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from brain_tumor_tl.sweep.naming import NAME_LENGTH, as_file_name, label, run_name

BASE = "resnet18-frozen-s0"
NAMES: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "nothing-else": ({}, {}, BASE),
    "in-the-base-name": ({"model": "resnet18", "method": "frozen"}, {"seed": 0, "model.name": "x", "name": "y"}, BASE),
    "number": ({}, {"optimizer.lr": 0.001}, f"{BASE}-lr0.001"),
    "small-number": ({}, {"optimizer.lr": 1e-5}, f"{BASE}-lr1e-05"),
    "whole-number": ({}, {"data.batch_size": 16}, f"{BASE}-batch_size16"),
    "flag": ({}, {"data.stratify": False}, f"{BASE}-stratify_false"),
    "nothing": ({}, {"model.weights": None}, f"{BASE}-weights_null"),
    "a-name": ({}, {"optimizer.name": "SGD"}, f"{BASE}-optimizer_SGD"),
    "group": ({"recipe": "onecycle"}, {}, f"{BASE}-onecycle"),
    "same-last-word": (
        {},
        {"optimizer.options.eps": 1, "scheduler.options.eps": 2},
        f"{BASE}-optimizer.options.eps1-scheduler.options.eps2",
    ),
    "several": ({"recipe": "study"}, {"optimizer.lr": 1, "data.image_size": 64}, f"{BASE}-study-lr1-image_size64"),
}


@pytest.mark.parametrize(("choices", "values", "name"), NAMES.values(), ids=NAMES)
def test_run_name__kinds_of_values(choices: dict[str, str], values: dict[str, Any], name: str) -> None:
    assert run_name(BASE, choices, values) == name


def test_run_name__too_long_is_cut_and_still_unique() -> None:
    values = {f"model.options.option_{number}": "x" * 30 for number in range(20)}

    names = {run_name(BASE, {}, values | {"z": last}) for last in ("a", "b")}

    assert len(names) == 2
    assert all(len(name) <= NAME_LENGTH + 9 for name in names)


VALUES = [
    "plain",
    "/data/a b",
    "/other/a b",
    "a_b",
    "a b",
    "../..",
    ".",
    "ü",
    "a/b/",
    "[1,2]",
    "x" * 300,
    "${x}",
    "a\nb",
]


def test_as_file_name__letters_of_file_names_and_no_two_alike() -> None:
    names = [as_file_name(value) for value in VALUES]

    assert len(set(names)) == len(VALUES)
    assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9_.+-]{1,60}", name) or name[0] in ".-"] == []


@pytest.mark.parametrize(
    ("key", "word"), [("seed", "seed"), ("name", "name"), ("model.name", "model"), ("a.b.c", "c")], ids=str
)
def test_label__last_word(key: str, word: str) -> None:
    assert label(key) == word
