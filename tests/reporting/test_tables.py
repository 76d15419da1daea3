"""Tables: what a run and a report print, narrow enough for a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brain_tumor_tl.reporting.aggregate import group_runs
from brain_tumor_tl.reporting.discover import Run, Unfinished
from brain_tumor_tl.reporting.leaderboard import between, percent
from brain_tumor_tl.reporting.study import table1
from brain_tumor_tl.reporting.table import Table
from brain_tumor_tl.reporting.tables import (
    run_table,
    summary_table,
    superclass_lines,
    unfinished_lines,
    unfinished_table,
)

MakeResults = Callable[..., dict[str, Any]]


def rows(table: Table) -> list[list[str]]:
    """Return a table's cells, row by row, its header first."""
    return [list(row) for row in (table.headers, *table.rows)]


def printed(table: Table, width: int = 80) -> str:
    """Return a table as a terminal of some width shows it."""
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


def test_run_table__percent(make_results: MakeResults) -> None:
    per_class = {
        "no_tumor": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 100},
        "glioma_tumor": {"precision": 1.0, "recall": 0.0, "f1": 0.0, "support": 7},
    }
    table = run_table(make_results(per_class=per_class))

    assert table.title == "resnet18-finetune-s0: test split, percent"
    assert rows(table) == [
        ["class", "precision", "recall", "F1", "images"],
        ["no_tumor", "50.00", "25.00", "33.33", "100"],
        ["glioma_tumor", "100.00", "0.00", "0.00", "7"],
    ]


def test_run_table__lowest_f1_of_many_classes(make_results: MakeResults) -> None:
    f1 = [None, None, *(number / 40 for number in range(38))]
    per_class = {f"c{n}": {"precision": 1.0, "recall": 1.0, "f1": value, "support": 9} for n, value in enumerate(f1)}

    table = run_table(make_results(per_class=per_class))

    assert table.title == "resnet18-finetune-s0: test split, percent, the 30 classes of 40 with the lowest F1"
    assert [row[0] for row in table.rows] == [f"c{number}" for number in range(2, 32)]


def test_run_table__synthetic_images_are_named(make_results: MakeResults) -> None:
    assert "SYNTHETIC" in str(run_table(make_results(synthetic=True)).title)


UNCERTAINTY: dict[str, Any] = {
    "accuracy": 0.9,
    "per_class": {
        "no_tumor": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 100},
        "glioma_tumor": {"precision": 1.0, "recall": 0.0, "f1": 0.0, "support": 7},
    },
    "intervals": {
        "unit": "image",
        "units": 107,
        "accuracy": [0.8785, 0.9239],
        "accuracy_bootstrap": [0.85, 0.95],
        "per_class": {"no_tumor": {"recall": [0.1755, 0.3430]}, "glioma_tumor": {"recall": None}},
    },
    "probabilities": {"auroc": 0.98, "calibration_error": 0.0412, "temperature": None, "calibrated": None},
}


def test_between__ends() -> None:
    assert between([0.5, 1.0]) == "50.00 to 100.00"
    assert between(None) == "-"


def test_run_table__intervals(make_results: MakeResults) -> None:
    table = run_table(make_results(**UNCERTAINTY))

    assert [row[2:5] for row in rows(table)] == [
        ["recall", "95 %", "F1"], ["25.00", "17.55 to 34.30", "33.33"], ["0.00", "-", "0.00"],
    ]  # fmt: skip
    text = printed(table)
    assert "accuracy 90.00, 95 % interval 87.85 to 92.39 (Wilson)" in text
    assert "AUROC 98.00" in text
    assert re.search(r"calibration error 4\.12 *$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("unit", "units"),
    [("group", "90 groups of copies"), ("patient", "90 patients and groups of copies")],
    ids=["group", "patient"],
)
def test_run_table__groups_temperature_and_absent_classes(unit: str, units: str, make_results: MakeResults) -> None:
    intervals = UNCERTAINTY["intervals"] | {"unit": unit, "units": 90}
    calibrated = {"temperature": 1.5, "no_temperature": None, "calibrated": {"calibration_error": 0.02}}
    used = [name for name in make_results()["classes"] if name != "glioma_tumor"]

    text = printed(
        run_table(
            make_results(
                **UNCERTAINTY | {"intervals": intervals, "probabilities": UNCERTAINTY["probabilities"] | calibrated},
                classes_in_means=used,
            )
        ),
        120,
    )

    means = "means over the 3 of 4 classes with test images, without glioma_tumor"
    for line in (units, "85.00 to 95.00 (bootstrap)", "4.12, 2.00 at temperature 1.50", means):
        assert line in " ".join(text.split())


def test_run_table__units_of_one_image_each(make_results: MakeResults) -> None:
    images = sum(row["support"] for row in make_results(**UNCERTAINTY)["per_class"].values())
    intervals = UNCERTAINTY["intervals"] | {"unit": "group", "units": images}

    text = " ".join(printed(run_table(make_results(**UNCERTAINTY | {"intervals": intervals})), 120).split())

    assert "85.00 to 95.00 (bootstrap of single images)" in text
    assert "groups of copies" not in text


def test_run_table__why_there_is_no_temperature(make_results: MakeResults) -> None:
    probabilities = UNCERTAINTY["probabilities"] | {"no_temperature": "all 9 are correct"}

    text = printed(run_table(make_results(**UNCERTAINTY | {"probabilities": probabilities})))

    assert "calibration error 4.12; no temperature: all 9 are correct" in " ".join(text.split())


def test_summary_table__grid_of_seeds_and_settings_fits_80_columns(make_results: MakeResults) -> None:
    results = [
        make_results(f"{model}-{method}-s{seed}", accuracy, config={"optimizer": {"lr": rate}})
        for model, method in table1()
        for seed, accuracy in enumerate((0.99, 1.0))
        for rate in (0.1, 0.001)
    ]
    runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
    groups, _ = group_runs(runs, lambda content: {"optimizer.lr": content["config"]["optimizer"]["lr"]})
    text = printed(summary_table(groups))

    assert len(groups) == 28
    assert max(map(len, text.splitlines())) <= 80
    for (model, method), row in table1().items():
        line = rf"^{model} +{method} +1 +2 +100 +99.50 +±0.71 +{percent(row['accuracy'])} .* 95.00 +1.50 *$"
        assert re.search(line, text, re.MULTILINE)


def test_summary_table__settings_by_number_have_their_legend(make_results: MakeResults) -> None:
    protocol = {"title": "random split", "test_images": 9, "copies_in_training": 3}
    results = [make_results(config={"optimizer": {"lr": rate}}, protocol=protocol) for rate in (0.1, 0.01)]
    runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
    groups, _ = group_runs(runs, lambda content: {"optimizer.lr": content["config"]["optimizer"]["lr"]})

    text = printed(summary_table(groups))

    for part in ("set 1: optimizer.lr=0.01", "set 2: optimizer.lr=0.1", "3 of 9 test images have a copy in training"):
        assert part in text


UNFINISHED = [
    Unfinished("c", "failed", Path("sweep/c"), "exit status -9", 3, Path("sweep/c/train.log")),
    Unfinished("a", "waiting", Path("sweep/a")),
    Unfinished("b", "waiting", Path("sweep/b")),
]


def test_unfinished_table__one_row_each() -> None:
    assert unfinished_table(UNFINISHED, str).rows == (
        ("c", "failed", "3", "exit status -9", "sweep/c/train.log"),
        ("a", "waiting", "0", "-", "sweep/a"),
        ("b", "waiting", "0", "-", "sweep/b"),
    )


def test_unfinished_lines__what_failed_has_its_reason_and_log() -> None:
    assert unfinished_lines(UNFINISHED, str) == [
        "failed: c: exit status -9", "  see sweep/c/train.log", "waiting: a, b",
    ]  # fmt: skip


def test_unfinished_lines__how_a_cut_run_goes_on() -> None:
    assert unfinished_lines([Unfinished("a", "cut", Path("a"), epochs=3)], str) == [
        "cut: a; interrupted, and the same command resumes after the last saved epoch"
    ]


def test_superclass_lines__accuracy_and_recalls_with_intervals(make_results: Callable[..., dict[str, Any]]) -> None:
    row = {"precision": 0.9, "recall": 0.95, "f1": 0.92, "support": 20}
    recalls = {"no_tumor": {"recall": [0.75, 0.99]}, "tumor": {"recall": [0.75, 0.99]}}
    found = {
        "accuracy": 0.9, "auroc": None, "per_class": {"no_tumor": row, "tumor": row},
        "intervals": {"accuracy": [0.8, 0.97], "per_class": recalls},
    }  # fmt: skip
    (line,) = superclass_lines(make_results("resnet18-frozen-s0", superclasses=found))
    assert line.startswith("no_tumor / tumor: accuracy 90.00 (80.00 to 97.00)")
    assert line.endswith("tumor 95.00 (75.00 to 99.00)")
    assert superclass_lines(make_results("resnet18-frozen-s0")) == []
