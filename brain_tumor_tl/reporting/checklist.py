"""Checklist: the questions of CLAIM 2024 and TRIPOD+AI, with a run's answers; checklist.toml has both."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, UndefinedError

from brain_tumor_tl.evaluation.intervals import recommended
from brain_tumor_tl.reporting.protocol_text import (
    describe_baseline,
    describe_copies,
    describe_groups,
    describe_means,
)
from brain_tumor_tl.reporting.table import Table, make_table

AUTHOR = "left to the author"
HOW = {"patient": "bootstrap by patient", "group": "bootstrap by group of copies", "image": "Wilson"}


@cache
def items() -> list[dict[str, str]]:
    """Return the items of checklist.toml: each has `topic`, `question` and, if a run knows it, `answer`."""
    text = files("brain_tumor_tl.reporting").joinpath("checklist.toml").read_text(encoding="utf-8")
    found: list[dict[str, str]] = tomllib.loads(text)["item"]
    return found


def checklist_table(results: Mapping[str, Any], runs: int = 1) -> Table:
    """Return the checklist of a run.

    Args:
        results: Content of its `results.json`.
        runs: Number of runs in its group.

    Raises:
        ValueError: `results.json` lacks a key that an answer needs.
    """
    templates = Environment(undefined=StrictUndefined)
    templates.filters["metric"] = lambda value: "undefined" if value is None else f"{float(value):.4f}"
    try:
        values = {**results, **derived(results)}
        answers = [templates.from_string(item.get("answer", "")).render(values).strip() or AUTHOR for item in items()]
    except (KeyError, UndefinedError) as error:
        raise ValueError(
            f"Expected in results.json of {results['name']} all that the checklist needs: {error}."
        ) from error
    others = f", the first of {runs} runs that differ in seed or fold" if runs > 1 else ""
    title = f"CLAIM 2024 and TRIPOD+AI: {results['name']}{others}"
    rows = [(item["topic"], item["question"], answer) for item, answer in zip(items(), answers, strict=True)]
    answered = sum(answer != AUTHOR for answer in answers)
    note = f"The run answers {answered} of {len(rows)} questions, some in part; the others are {AUTHOR}."
    return make_table(title, ("topic", "question", "answer"), rows, (note,))


def derived(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what answers need in addition to the keys of `results.json`."""
    matrix, protocol = results["confusion_matrix"], results["protocol"]
    total = sum(map(sum, matrix))
    interval, unit = recommended(results.get("intervals") or {})
    return {
        "author": AUTHOR,
        "copies": describe_copies(protocol),
        "groups": describe_groups(protocol),
        "baseline": describe_baseline(protocol),
        "interval": f"95 % interval {interval[0]:.4f} to {interval[1]:.4f}, {HOW[unit]}" if interval else "no interval",
        "means": describe_means(results),
        "total": total,
        "wrong": total - sum(row[i] for i, row in enumerate(matrix)),
    }
