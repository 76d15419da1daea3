"""Tables: percent beside the study's, dashes where nothing compares, and narrow enough for a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from brain_tumor_tl.evidence.study import table1
from brain_tumor_tl.evidence.tables import beside, between, class_table, percent, summary_row, summary_table


def finished(name: str = "resnet18-finetune-s0", synthetic: bool = False, **other: Any) -> dict[str, Any]:
    """Return what the tables need of a run's results."""
    model, method, seed = name.split("-")
    return {
        "name": name,
        "model": model,
        "method": method,
        "seed": int(seed[1:]),
        "epochs": 100,
        "accuracy": 0.9,
        "best_accuracy": 0.95,
        "seconds_per_epoch": {"train": 1.234, "test": 0.5},
        "protocol": {"synthetic": synthetic, "best_chosen_on": "test", "text": "..."},
        "per_class": {
            "no_tumor": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 100},
            "glioma_tumor": {"precision": 1.0, "recall": 0.0, "f1": 0.0, "support": 7},
        },
        **other,
    }


def rows(table: Table) -> list[list[str]]:
    """Return a table's cells, row by row, its header first."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def printed(table: Table, width: int = 80) -> str:
    """Return a table as a terminal of some width shows it."""
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.8897, "88.97"), (639 / 653, "97.86"), (0.0, "0.00"), (1.0, "100.00"), (None, "-")],
)
def test_percent__two_digits(fraction: float | None, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("ours", "study", "text"),
    [
        (0.90, 0.8897, "+1.03"), (0.88, 0.8897, "-0.97"), (0.5, 0.5, "+0.00"), (0.0, 0.1, "-10.00"),
        (None, 0.5, "-"), (0.5, None, "-"),
    ],
)  # fmt: skip
def test_beside__percentage_points(ours: float | None, study: float | None, text: str) -> None:
    assert beside(ours, study) == text


def test_class_table__percent() -> None:
    table = class_table(finished())

    assert table.title == "resnet18-finetune-s0: test part, percent"
    assert rows(table) == [
        ["class", "precision", "recall", "F1", "images"],
        ["no_tumor", "50.00", "25.00", "33.33", "100"],
        ["glioma_tumor", "100.00", "0.00", "0.00", "7"],
    ]


def test_class_table__synthetic_images_are_named() -> None:
    assert "SYNTHETIC" in str(class_table(finished(synthetic=True)).title)


UNCERTAINTY: dict[str, Any] = {
    "intervals": {
        "unit": "image",
        "units": 107,
        "accuracy": [0.8785, 0.9239],
        "accuracy_bootstrap": [0.85, 0.95],
        "per_class": {"no_tumor": {"recall": [0.1755, 0.3430]}, "glioma_tumor": {"recall": None}},
        "absent": [],
    },
    "probabilities": {"auroc": 0.98, "calibration_error": 0.0412, "temperature": None, "calibrated": None},
}


def test_between__ends() -> None:
    assert between([0.5, 1.0]) == "50.00 to 100.00"
    assert between(None) == "-"


def test_class_table__intervals() -> None:
    table = class_table(finished(**UNCERTAINTY))

    assert [row[2:5] for row in rows(table)] == [
        ["recall", "95 %", "F1"], ["25.00", "17.55 to 34.30", "33.33"], ["0.00", "-", "0.00"],
    ]  # fmt: skip
    text = printed(table)
    assert "accuracy 90.00, 95 % interval 87.85 to 92.39 (Wilson)" in text
    assert "AUROC 98.00" in text
    assert re.search(r"calibration error 4\.12 *$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80


def test_class_table__groups_temperature_and_absent_classes() -> None:
    intervals = UNCERTAINTY["intervals"] | {"unit": "group", "units": 90, "absent": ["glioma_tumor"]}
    calibrated = {"temperature": 1.5, "calibrated": {"calibration_error": 0.02}}

    text = printed(
        class_table(finished(intervals=intervals, probabilities=UNCERTAINTY["probabilities"] | calibrated)), 120
    )

    for line in ("90 groups", "85.00 to 95.00 (bootstrap)", "4.12, 2.00 at temperature 1.50", "of glioma_tumor"):
        assert line in text


def test_summary_table__beside_the_study() -> None:
    table = summary_table([finished()])

    assert rows(table) == [
        ["run", "epochs", "accuracy", "best", "study", "diff.", "s/epoch"],
        ["resnet18-finetune-s0", "100", "90.00", "95.00", "97.86", "-7.86", "1.23"],
    ]
    assert "Kazemi 2023" in str(table.title)
    assert "SYNTHETIC" not in str(table.title)


def test_summary_table__dashes_for_synthetic_images() -> None:
    table = summary_table([finished(synthetic=True)])

    assert rows(table)[1] == ["resnet18-finetune-s0", "100", "90.00", "95.00", "-", "-", "1.23"]
    assert "SYNTHETIC images" in str(table.title)
    assert "not to be compared with the study" in str(table.title)


def test_summary_table__synthetic_beside_real_runs() -> None:
    table = summary_table([finished(), finished("vgg16-frozen-s0", synthetic=True)])

    assert "SYNTHETIC" in str(table.title)
    assert [row[4] for row in rows(table)[1:]] == ["97.86", "-"]


@pytest.mark.parametrize("name", ["efficientnet_b0-finetune-s0", "resnet18-knn-s0"], ids=["model", "method"])
def test_summary_row__not_in_the_study(name: str) -> None:
    assert summary_row(finished(name))[4:6] == ["-", "-"]


def test_summary_row__no_whole_epoch() -> None:
    row = summary_row(finished(best_accuracy=None, seconds_per_epoch={"train": None, "test": 0.5}))

    assert (row[3], row[6]) == ("-", "-")


def test_summary_table__sorted_by_model_method_seed() -> None:
    names = ["resnet50-frozen-s0", "resnet18-frozen-s10", "resnet18-frozen-s2", "resnet18-finetune-s3"]

    table = summary_table([finished(name) for name in names])

    assert [row[0] for row in rows(table)[1:]] == names[::-1]


def test_summary_table__fits_80_columns() -> None:
    names = [f"{model}-{method}-s0" for model, method in table1()]
    text = printed(summary_table([finished(name, accuracy=1.0, best_accuracy=1.0) for name in names]))

    assert len(names) == 14
    assert max(map(len, text.splitlines())) <= 80
    for model, method in table1():
        study = percent(table1()[model, method]["accuracy"])
        assert re.search(rf"^{model}-{method}-s0 +100 +100.00 +100.00 +{study} .* 1.23 *$", text, re.MULTILINE)


def test_summary_table__narrow_terminal_shows_every_number() -> None:
    text = printed(summary_table([finished("shufflenet_v2_x1_0-finetune-s0")]), width=60)

    assert "…" not in text
    for number in ("100", "90.00", "95.00", "97.86", "-7.86", "1.23"):
        assert number in text
