"""Aggregate: seeds and folds are grouped; any other difference separates runs and is named."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.reporting.aggregate import group_runs, short, spread
from brain_tumor_tl.reporting.discover import Run

MakeResults = Callable[..., dict[str, Any]]


def settings_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return some settings of a run, flat."""
    config = results["config"]
    flat = {"model.name": config["model"]["name"], "model.weights": config["model"]["weights"]}
    flat |= {"method.name": config["method"]["name"], "method.freeze": config["method"]["freeze"]}
    return flat | {"optimizer.lr": config["optimizer"]["lr"]}


def lr(rate: float) -> dict[str, Any]:
    """Return a configuration with another learning rate."""
    return {"optimizer": {"lr": rate}}


def grouped(*results: dict[str, Any]) -> tuple[list[Any], list[Run]]:
    """Return the groups of some runs in folders 0, 1, 2 and so on."""
    return group_runs([Run(Path(str(i)), content) for i, content in enumerate(results)], settings_of)


def test_group_runs__seeds_together(make_results: MakeResults) -> None:
    accuracies = [0.9, 0.8, 0.85]
    groups, repeated = grouped(*(make_results(f"resnet18-frozen-s{i}", a) for i, a in enumerate(accuracies)))

    assert (len(groups), repeated) == (1, [])
    found = groups[0].spread(lambda results: results["accuracy"])
    assert found.mean == pytest.approx(statistics.mean(accuracies))
    assert found.std == pytest.approx(statistics.stdev(accuracies))
    assert (found.count, groups[0].label, groups[0].number) == (3, "", 0)


def test_group_runs__other_settings_are_separate_and_named(make_results: MakeResults) -> None:
    groups, _ = grouped(
        make_results("resnet18-frozen-s0"), make_results("resnet18-frozen-s1"),
        make_results("resnet18-frozen-s0", config=lr(0.1)),
    )  # fmt: skip

    assert [(group.label, group.number, len(group.runs)) for group in groups] == [
        ("optimizer.lr=0.001", 1, 2), ("optimizer.lr=0.1", 2, 1),
    ]  # fmt: skip


def test_group_runs__model_and_method_are_not_named_twice(make_results: MakeResults) -> None:
    names = ("resnet18-frozen-s0", "resnet18-finetune-s0", "vgg16-frozen-s0")
    groups, _ = grouped(*map(make_results, names))

    assert [group.label for group in groups] == ["", "", ""]


def test_group_runs__weights_that_differ_for_one_model_are_named(make_results: MakeResults) -> None:
    other = {"model": {"name": "resnet18", "weights": "/data/of mine/weights.pth"}}
    groups, _ = grouped(make_results("resnet18-frozen-s0"), make_results("resnet18-frozen-s0", config=other))

    assert [group.label for group in groups] == ["model.weights=IMAGENET1K_V1", "model.weights=weights.pth"]


def test_short__of_a_digest_the_first() -> None:
    assert short("5ffbc22cea0af7e0" * 4) == "5ffbc22cea0a"


def test_group_runs__the_precision_of_a_method_is_not_named(make_results: MakeResults) -> None:
    frozen, finetune = make_results("resnet18-frozen-s0"), make_results("resnet18-finetune-s0")
    runs = [Run(Path(one["name"]), one) for one in (frozen, finetune)]

    def settings_of(results: Mapping[str, Any]) -> dict[str, Any]:
        return {"precision": "32-true" if results["method"] == "frozen" else "bf16-mixed"}

    assert [group.label for group in group_runs(runs, settings_of)[0]] == ["", ""]


def test_group_runs__a_methods_own_rate_is_named_but_is_no_variant(make_results: MakeResults) -> None:
    groups, _ = grouped(make_results("resnet18-frozen-s0"), make_results("resnet18-finetune-s0", config=lr(1e-4)))

    assert [(group.label, group.variant) for group in groups] == [
        ("optimizer.lr=0.001", {}), ("optimizer.lr=0.0001", {}),
    ]  # fmt: skip


def chosen(recipe: str, rate: float, *changed: str) -> dict[str, Any]:
    """Return what a run keeps of its recipe and its rate."""
    return {"choices": {"model": "resnet18", "recipe": recipe}, "changed": list(changed), "config": lr(rate)}


def test_group_runs__a_choice_stands_for_the_settings_that_it_makes(make_results: MakeResults) -> None:
    study, onecycle = (make_results(**chosen(recipe, rate)) for recipe, rate in (("study", 0.001), ("onecycle", 0.1)))
    groups, _ = grouped(study, onecycle)

    assert [group.label for group in groups] == ["recipe=onecycle", "recipe=study"]


def test_group_runs__what_the_user_changed_is_named_beside_the_choice(make_results: MakeResults) -> None:
    groups, _ = grouped(
        make_results(**chosen("study", 0.001)), make_results(**chosen("onecycle", 0.1)),
        make_results(**chosen("onecycle", 0.5, "optimizer.lr")),
    )  # fmt: skip

    assert [group.label for group in groups] == [
        "recipe=onecycle, optimizer.lr=0.1", "recipe=onecycle, optimizer.lr=0.5", "recipe=study, optimizer.lr=0.001",
    ]  # fmt: skip


def test_group_runs__older_runs_have_no_choices(make_results: MakeResults) -> None:
    groups, _ = grouped(make_results(**chosen("study", 0.001)), make_results(config=lr(0.1)))

    assert [group.label for group in groups] == ["recipe=absent, optimizer.lr=0.1", "recipe=study, optimizer.lr=0.001"]


def test_group_runs__same_seed_twice_counts_once(make_results: MakeResults) -> None:
    groups, repeated = grouped(make_results("resnet18-frozen-s0"), make_results("resnet18-frozen-s0"))

    assert [len(group.runs) for group in groups] == [1]
    assert [run.folder for run in repeated] == [Path("1")]


def test_group_runs__folds_together_in_their_order(make_results: MakeResults) -> None:
    folds = [
        make_results("resnet18-frozen-s0", 0.5 + fold / 10, protocol={"fold": fold, "folds": 4}) for fold in (2, 0, 1)
    ]
    (group,), repeated = grouped(*folds, folds[0])

    assert [run.results["protocol"]["fold"] for run in group.runs] == [0, 1, 2]
    assert [run.folder for run in repeated] == [Path("3")]
    assert group.repeats == "3/4 folds"
    assert group.accuracy.mean == pytest.approx(0.6)  # the mean over the finished folds
    assert group.interval == (None, "image")


def test_group__interval_of_a_single_run_alone(make_results: MakeResults) -> None:
    intervals = {"unit": "group", "accuracy": [0.8, 0.9], "accuracy_bootstrap": [0.7, 0.95]}
    one = make_results("resnet18-frozen-s0", intervals=intervals)

    (single,), _ = grouped(one)
    (double,), _ = grouped(one, make_results("resnet18-frozen-s1", intervals=intervals))

    assert single.interval == ([0.7, 0.95], "group")
    assert double.interval == (None, "image")


def test_group_runs__order_of_the_study(make_results: MakeResults) -> None:
    names = ["efficientnet_b0-frozen-s0", "vgg16-knn-s0", "vgg16-finetune-s0", "vgg16-frozen-s0", "resnet18-frozen-s0"]
    groups, _ = grouped(*map(make_results, names))

    assert [f"{group.model}-{group.method}-s0" for group in groups] == [*reversed(names[1:]), names[0]]


def test_spread__one_value_has_no_std() -> None:
    found = spread([0.5])

    assert (found.mean, found.std, found.count) == (0.5, None, 1)


def test_group__spread_of_the_runs_that_have_a_value(make_results: MakeResults) -> None:
    (group,), _ = grouped(make_results("resnet18-frozen-s0", best_accuracy=None), make_results("resnet18-frozen-s1"))

    assert group.spread(lambda results: results["best_accuracy"]) == spread([0.95])
    assert group.spread(lambda results: results.get("absent")) is None


@pytest.mark.parametrize(
    ("protocol", "other", "reason"),
    [
        ({}, {}, ""),
        ({"synthetic": True}, {}, "synthetic images"),
        ({"limited": True}, {}, "only some batches were used"),
        ({"split": "grouped"}, {}, "grouped split, not the study's random one"),
        ({"counts": {"train": 80, "test": 20}}, {}, "100 images, not the study's 3264"),
        ({"counts": {"train": 2605, "test": 650}}, {}, ""),
        ({"counts": {"train": 1632, "test": 1632}}, {}, "50% of the images in the test split, not the study's 20%"),
        ({"shuffled_labels": True}, {}, "trained on permuted labels"),
        ({"drop_conflicts": True}, {}, "images with conflicting labels were dropped"),
        ({}, {"config": {"data": {"labels": "/a.csv"}}}, "labels from another source than the folders"),
        ({}, {"classes": ["no_tumor", "tumor"]}, "other classes than the study's"),
    ],
)
def test_group__compared_with_the_study_only_under_its_protocol(
    protocol: dict[str, Any], other: dict[str, Any], reason: str, make_results: MakeResults
) -> None:
    (group,), _ = grouped(make_results("resnet18-frozen-s0", protocol=protocol, **other))

    assert group.incomparable == reason
    assert (group.study == {}) == bool(reason)
