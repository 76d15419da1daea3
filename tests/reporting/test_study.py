"""Study: the published figures are the paper's, and consistent in themselves."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest

from brain_tumor_tl.reporting.study import per_class, row_for, table1

PAPER = Path(__file__).resolve().parents[3] / "shared" / "paper" / "table1.csv"
TEST_IMAGES = 653
LAST_DIGIT = 1e-4  # the paper rounds most percentages and truncates some: 595 / 653 is printed as 91.11


def test_table1__the_papers() -> None:
    if not PAPER.is_file():
        pytest.skip(f"the paper's own table is not at {PAPER}")

    with PAPER.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert {(row["model"], row["method"]) for row in rows} == set(table1())
    for row in rows:
        ours = table1()[row["model"], row["method"]]
        assert ours["accuracy"] == pytest.approx(float(row["accuracy"]) / 100)
        assert ours["best_accuracy"] == pytest.approx(float(row["best_accuracy"]) / 100)
        assert ours["seconds_per_epoch"] == float(row["seconds_per_epoch"])


def test_table1__seven_networks_by_two_methods() -> None:
    models, methods = zip(*table1(), strict=True)

    assert (len(table1()), len(set(models)), set(methods)) == (14, 7, {"frozen", "finetune"})


@pytest.mark.parametrize(("key", "row"), table1().items(), ids=["-".join(key) for key in table1()])
def test_table1__whole_numbers_of_test_images(key: tuple[str, str], row: dict[str, float]) -> None:
    for accuracy in (row["accuracy"], row["best_accuracy"]):
        assert accuracy == pytest.approx(round(accuracy * TEST_IMAGES) / TEST_IMAGES, abs=LAST_DIGIT)
    assert row["accuracy"] <= row["best_accuracy"] < 1
    assert row["seconds_per_epoch"] > 4


def test_row_for__fractions() -> None:
    assert row_for("resnet18", "finetune") == pytest.approx(
        {"accuracy": 0.9786, "best_accuracy": 0.9862, "seconds_per_epoch": 11.59}
    )


@pytest.mark.parametrize(("model", "method"), [("resnet18", "knn"), ("efficientnet_b0", "frozen")])
def test_row_for__not_in_the_study(model: str, method: str) -> None:
    assert row_for(model, method) is None


CLASSES = {"no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"}
AS_PRINTED = ("resnet50", "finetune", "glioma_tumor")  # the one row that contradicts itself, see study.py


def test_per_class__the_papers() -> None:
    path = PAPER.with_name("per_class.csv")
    if not path.is_file():
        pytest.skip(f"the paper's own tables are not at {path}")

    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert {(row["model"], row["method"], row["class"]) for row in rows} == set(per_class())
    for row in rows:
        ours = per_class()[row["model"], row["method"], row["class"]]
        assert ours == pytest.approx({metric: float(row[metric]) / 100 for metric in ("precision", "recall", "f1")})


def test_per_class__six_networks_by_two_methods_by_four_classes() -> None:
    models = {model for model, _, _ in per_class()}

    assert models == {model for model, _ in table1()} - {"vgg16"}
    assert set(per_class()) == set(itertools.product(models, ("frozen", "finetune"), CLASSES))


def test_per_class__f1_follows_from_precision_and_recall() -> None:
    def off(row: dict[str, float]) -> float:
        return abs(row["f1"] - 2 * row["precision"] * row["recall"] / (row["precision"] + row["recall"]))

    assert [key for key, row in per_class().items() if off(row) > 0.0151] == [AS_PRINTED]
