"""Significance: sets of runs on the same test images, and which runs are not significantly different from the best."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.evaluation.comparison import holm, mcnemar_exact
from brain_tumor_tl.reporting.aggregate import RunGroup, group_runs
from brain_tumor_tl.reporting.discover import discover_runs
from brain_tumor_tl.reporting.significance import ComparisonSet, comparison_line, comparison_sets, comparison_table

PutRun = Callable[..., Path]
BEST = [True] * 95 + [False] * 5
NEAR = [True] * 93 + [False] * 7
FAR = [True] * 50 + [False] * 50


def groups_in(place: Path) -> list[RunGroup]:
    """Return the groups of the runs below a folder."""
    return group_runs(discover_runs([place]).runs, lambda _: {})[0]


@pytest.fixture
def compared(tmp_path: Path, put_run: PutRun) -> ComparisonSet:
    """Three networks on the same 100 images."""
    for name, hits in (("vgg16-frozen-s0", FAR), ("resnet18-frozen-s0", NEAR), ("resnet18-finetune-s0", BEST)):
        put_run(tmp_path, name, hits=hits, protocol={"title": "random split of single images"})
    (found,), problems = comparison_sets(groups_in(tmp_path))
    assert problems == []
    return found


def test_comparison_sets__corrected_for_all_pairs(compared: ComparisonSet) -> None:
    best, near, far = (np.array(hits) for hits in (BEST, NEAR, FAR))
    pairs = holm([mcnemar_exact(best, near), mcnemar_exact(best, far), mcnemar_exact(near, far)])

    assert [one.name for one in compared.runs] == ["resnet18 finetune", "resnet18 frozen", "vgg16 frozen"]
    assert [one.accuracy for one in compared.runs] == [0.95, 0.93, 0.5]
    assert [one.p_value for one in compared.runs] == [None, pytest.approx(pairs[0]), pytest.approx(pairs[1])]
    assert [one.tied_with_best for one in compared.runs] == [True, True, False]


def test_comparison_table__verdicts(compared: ComparisonSet) -> None:
    table = comparison_table(compared)

    assert table.title == "random split of single images, seed 0: 3 runs on the same 100 test images"
    assert table.rows == (
        ("resnet18", "finetune", "95.00", "-", "the highest"),
        ("resnet18", "frozen", "93.00", "0.500", "not significantly different"),
        ("vgg16", "frozen", "50.00", "< 0.001", "significantly lower"),
    )


def test_comparison_line__one_line(compared: ComparisonSet) -> None:
    assert comparison_line(compared) == (
        "random split, seed 0, 100 images: highest resnet18 finetune (95.00 %), "
        "not significantly different from 1 of 2 others (Holm, 5 %): resnet18 frozen"
    )


def test_comparison_line__the_best_alone(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "vgg16-frozen-s0", hits=FAR)
    put_run(tmp_path, "vgg16-finetune-s0", hits=BEST)
    (compared,), _ = comparison_sets(groups_in(tmp_path))

    assert comparison_line(compared).endswith(
        "highest vgg16 finetune (95.00 %), significantly better than vgg16 frozen (5 %)"
    )


def test_comparison_line__one_other_run_is_named(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "vgg16-frozen-s0", hits=NEAR)
    put_run(tmp_path, "vgg16-finetune-s0", hits=BEST)
    (compared,), _ = comparison_sets(groups_in(tmp_path))

    assert comparison_line(compared).endswith("(95.00 %), not significantly different from vgg16 frozen (5 %)")


def test_comparison_sets__another_seed_has_other_images(tmp_path: Path, put_run: PutRun) -> None:
    for method in ("frozen", "finetune"):
        for seed in (0, 1):
            put_run(tmp_path, f"resnet18-{method}-s{seed}", hits=NEAR, start=10 * seed)

    found, _ = comparison_sets(groups_in(tmp_path))

    assert [(compared.seeds, len(compared.runs)) for compared in found] == [(["0"], 2), (["1"], 2)]


def test_comparison_sets__seeds_of_one_group_do_not_compete(tmp_path: Path, put_run: PutRun) -> None:
    for seed in (0, 1):
        put_run(tmp_path, f"resnet18-frozen-s{seed}", hits=NEAR)

    assert comparison_sets(groups_in(tmp_path)) == ([], [])


def test_comparison_sets__seed_is_a_column_where_several_share_the_images(tmp_path: Path, put_run: PutRun) -> None:
    for name in ("resnet18-frozen-s0", "resnet18-frozen-s1", "vgg16-frozen-s0"):
        put_run(tmp_path, name, hits=NEAR)
    (compared,), _ = comparison_sets(groups_in(tmp_path))

    assert comparison_table(compared).headers[:3] == ("network", "method", "seed")
    assert compared.seeds == ["0", "1"]


def test_comparison_sets__whole_groups_of_copies(tmp_path: Path, put_run: PutRun) -> None:
    for name, hits in (("resnet18-frozen-s0", [True] * 10), ("vgg16-frozen-s0", [False] * 10)):
        put_run(tmp_path, name, hits=hits, groups=[0] * 10)
    (compared,), _ = comparison_sets(groups_in(tmp_path))

    assert [one.p_value for one in compared.runs] == [None, 1.0]  # a single group can prove nothing


def test_comparison_sets__folds_compare_by_their_joined_predictions(tmp_path: Path, put_run: PutRun) -> None:
    for method, hits in (("frozen", FAR), ("finetune", BEST)):
        for fold in (0, 1):
            put_run(
                tmp_path, f"resnet18-{method}-s0", f"{method}{fold}", hits[50 * fold : 50 * fold + 50], 50 * fold,
                protocol={"split": "kfold", "fold": fold, "folds": 2}, config={"data": {"fold": fold}},
            )  # fmt: skip
    (compared,), _ = comparison_sets(groups_in(tmp_path))

    assert (compared.images, [one.accuracy for one in compared.runs]) == (100, [0.95, 0.5])


def test_comparison_sets__unreadable_predictions_are_reported(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "vgg16-frozen-s0", hits=FAR)
    (put_run(tmp_path, "vgg16-finetune-s0", hits=FAR) / "predictions.csv").write_text("half")
    put_run(tmp_path, "resnet18-finetune-s0")

    found, problems = comparison_sets(groups_in(tmp_path))

    assert found == []
    assert len(problems) == 1
    assert re.match(r"Not compared: vgg16-finetune-s0: Expected path, label and correct", problems[0])
