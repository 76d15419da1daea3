"""Classes: precision, recall and F1 of each class beside the study's; confusion matrices added up."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.reporting.aggregate import RunGroup, group_runs
from brain_tumor_tl.reporting.classes import class_tables, summed
from brain_tumor_tl.reporting.discover import Discovered, Run
from brain_tumor_tl.reporting.document import Report, as_html

MakeResults = Callable[..., dict[str, Any]]


def groups_of(*results: dict[str, Any]) -> list[RunGroup]:
    """Return the groups of some runs that differ in model, method and seed alone."""
    runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
    return group_runs(runs, lambda content: {})[0]


def test_class_tables__one_for_each_network_beside_the_study(make_results: MakeResults) -> None:
    names = ("resnet18-frozen-s0", "resnet18-finetune-s0", "vgg16-frozen-s0")
    tables = class_tables(groups_of(*map(make_results, names)))

    assert list(tables) == ["resnet18", "vgg16"]
    assert tables["resnet18"].headers == (
        "method", "class", "precision", "study", "recall", "study", "F1", "study",
    )  # fmt: skip
    assert len(tables["resnet18"].rows) == 8
    assert tables["resnet18"].rows[2] == (
        "frozen", "meningioma_tumor", "100.00", "82", "90.00", "80", "95.00", "81",
    )  # fmt: skip
    assert tables["vgg16"].headers == ("method", "class", "precision", "recall", "F1")


def test_class_tables__synthetic_images_are_not_compared(make_results: MakeResults) -> None:
    (table,) = class_tables(groups_of(make_results(synthetic=True))).values()

    assert "study" not in table.headers


def test_class_tables__mean_over_seeds(make_results: MakeResults) -> None:
    other = {name: {"precision": 0.5, "recall": None, "f1": 0.95} for name in ("no_tumor", "glioma_tumor")}
    results = [make_results("resnet18-frozen-s0"), make_results("resnet18-frozen-s1", per_class=other)]
    (table,) = class_tables(groups_of(*results)).values()

    assert table.rows[0][2:] == ("75.00 ± 35.36", "93", "90.00", "94", "95.00 ± 0.00", "94")


def test_summed__over_seeds(make_results: MakeResults) -> None:
    (group,) = groups_of(make_results("resnet18-frozen-s0"), make_results("resnet18-frozen-s1"))

    assert summed(group) == [[36, 4, 0, 0], [0, 40, 0, 0], [0, 0, 40, 0], [0, 0, 0, 40]]


@pytest.mark.parametrize(("size", "cells"), [(4, 16), (50, 2500), (60, 0)])
def test_as_html__large_matrix_is_a_list_E02(size: int, cells: int, make_results: MakeResults) -> None:
    classes, counts = [f"class_{number}" for number in range(size)], 9 * np.eye(size, dtype=int)
    counts[1, 3] = 7
    per_class = {name: {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 9} for name in classes}
    groups = groups_of(make_results(classes=classes, confusion_matrix=counts.tolist(), per_class=per_class))

    page = as_html(Report("many", Discovered(list(groups[0].runs)), groups, [], Path()))

    assert page.count("--share: ") == cells
    assert bool(re.search(r"class 1 +class 3 +7 +43.8 %", page)) == (cells == 0)


def test_summed__matrices_that_dont_fit_are_left_out(make_results: MakeResults) -> None:
    odd = [make_results(f"resnet18-frozen-s{i}", confusion_matrix=m) for i, m in enumerate(([[1]], None))]

    assert [summed(group) for group in groups_of(*odd)] == [None]
