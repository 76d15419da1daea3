"""Method comparison: the better method of each network, here and in the study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.reporting.aggregate import RunGroup, group_runs
from brain_tumor_tl.reporting.discover import Run, discover_runs
from brain_tumor_tl.reporting.method_comparison import best_method, conclusion, method_table
from brain_tumor_tl.reporting.significance import comparison_sets

MakeResults = Callable[..., dict[str, Any]]
PutRun = Callable[..., Path]
CHANCE = "Single runs can't show whether a small lead is more than chance; several seeds can."


def groups_of(*results: dict[str, Any]) -> list[RunGroup]:
    """Return the groups of some runs, their learning rate being all that their figures depend on."""
    runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
    return group_runs(runs, lambda content: {"optimizer.lr": content["config"]["optimizer"]["lr"]})[0]


def test_method_table__beside_the_study(make_results: MakeResults) -> None:
    table = method_table(
        groups_of(
            make_results("resnet18-frozen-s0", 0.875), make_results("resnet18-finetune-s0", 0.96875),
            make_results("vgg16-frozen-s0", 0.75), make_results("vgg16-finetune-s0", 0.875),
            make_results("resnet50-frozen-s0", 0.5),
        )
    )  # fmt: skip

    assert table.headers == ("network", "frozen", "finetune", "highest", "by", "highest in the study", "by")
    assert table.rows == (
        ("resnet18", "87.50", "96.88", "finetune", "9.38", "finetune", "8.73"),
        ("resnet50", "50.00", "-", "-", "-", "finetune", "6.74"),
        ("vgg16", "75.00", "87.50", "finetune", "12.50", "frozen", "2.45"),
    )


def test_conclusion__names_where_the_study_differs(make_results: MakeResults) -> None:
    first, chance, study = conclusion(
        groups_of(
            make_results("resnet18-frozen-s0", 0.8), make_results("resnet18-finetune-s0", 0.9),
            make_results("vgg16-frozen-s0", 0.7), make_results("vgg16-finetune-s0", 0.8),
        )
    )  # fmt: skip

    assert first == "Method with the highest accuracy, of 2 networks: finetune for 2."
    assert study == "The study agrees for 1 of 2; it differs for vgg16 (frozen there, finetune here)."
    assert chance == CHANCE


@pytest.mark.parametrize(
    ("model", "study"),
    [("resnet18", "The study agrees."), ("vgg16", "The study differs for vgg16 (frozen there, finetune here).")],
    ids=["agrees", "differs"],
)
def test_conclusion__of_one_network(model: str, study: str, make_results: MakeResults) -> None:
    pair = (make_results(f"{model}-{method}-s0", accuracy) for method, accuracy in (("frozen", 0.7), ("finetune", 0.8)))

    assert conclusion(groups_of(*pair)) == [f"Method with the highest accuracy for {model}: finetune.", CHANCE, study]


def test_conclusion__synthetic_images_say_nothing_of_the_study(make_results: MakeResults) -> None:
    pair = [make_results(f"resnet18-{method}-s0", synthetic=True) for method in ("frozen", "finetune")]

    assert not any("study" in sentence for sentence in conclusion(groups_of(*pair)))
    assert "highest in the study" not in method_table(groups_of(*pair)).headers


def test_conclusion__one_method_alone(make_results: MakeResults) -> None:
    assert conclusion(groups_of(make_results())) == []


def test_method_table__methods_are_compared_under_the_same_settings(make_results: MakeResults) -> None:
    other = {"optimizer": {"lr": 0.1}}
    table = method_table(
        groups_of(
            make_results("resnet18-frozen-s0", 0.9), make_results("resnet18-finetune-s0", 0.8),
            make_results("resnet18-frozen-s0", 0.6, config=other),
            make_results("resnet18-finetune-s0", 0.7, config=other),
        )
    )  # fmt: skip

    assert [row[:6] for row in table.rows] == [
        ("resnet18", "optimizer.lr=0.001", "90.00", "80.00", "frozen", "10.00"),
        ("resnet18", "optimizer.lr=0.1", "60.00", "70.00", "finetune", "10.00"),
    ]


def test_best_method__rounding_errors_are_a_tie() -> None:
    assert best_method({"frozen": 0.1 + 0.2, "finetune": 0.3}) == ("tie", 0.0)


@pytest.mark.parametrize(("right", "significant"), [(6, 1), (19, 0)], ids=["by-far", "by-one"])
def test_conclusion__a_lead_may_be_chance(right: int, significant: int, put_run: PutRun, tmp_path: Path) -> None:
    for method, count in (("frozen", right), ("finetune", 20)):
        put_run(tmp_path, f"resnet18-{method}-s0", hits=[True] * count + [False] * (20 - count))
    groups, _ = group_runs(discover_runs([tmp_path]).runs, lambda content: {})
    sets, _ = comparison_sets(groups)

    assert conclusion(groups, sets)[1] == (
        f"The lead is significant for {significant} of 1 (exact test on the same images, Holm, 5 %)."
    )
    table = method_table(groups, sets)
    assert table.headers[4:7] == ("by", "p, corrected", "highest in the study")
    assert table.rows[0][5] == ("< 0.001" if significant else "1.000")
