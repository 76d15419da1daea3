"""Intervals: Wilson against statsmodels and by simulation, the bootstrap against drawing images one by one."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from brain_tumor_tl.evaluation.intervals import (
    accuracy_interval,
    bootstrap,
    count_metrics,
    percentile_interval,
    recommended,
    resampled_weights,
    run_intervals,
    run_statistic,
    unit_numbers,
    wilson_interval,
)
from brain_tumor_tl.evaluation.ranking import softmax

CLASSES = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]


def run(count: int, seed: int = 0, skill: float = 2.0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels and probabilities of a run that is better than chance."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    logits = generator.normal(size=(count, 4))
    logits[np.arange(count), labels] += skill
    return labels, softmax(logits)


@given(st.data())
def test_wilson_interval__statsmodels(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5000))
    hits, level = data.draw(st.integers(0, count)), data.draw(st.floats(0.5, 0.999))

    interval = wilson_interval(hits, count, level)

    assert interval == pytest.approx(proportion_confint(hits, count, alpha=1 - level, method="wilson"), abs=1e-9)
    assert interval is not None
    assert 0 <= interval[0] <= hits / count <= interval[1] <= 1


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(653, 653, 0.99415, 1.0), (0, 653, 0.0, 0.00585), (1, 1, 0.20654, 1.0), (0, 1, 0.0, 0.79346)],
    ids=["all-right", "none-right", "one-image-right", "one-image-wrong"],
)
def test_wilson_interval__at_the_ends(hits: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(hits, count) == pytest.approx([low, high], abs=1e-5)


def test_wilson_interval__no_images() -> None:
    assert wilson_interval(0, 0) is None


@pytest.mark.parametrize("hits", [-1, 11])
def test_wilson_interval__impossible_hits(hits: int) -> None:
    with pytest.raises(ValueError, match=f"between 0 and the 10 images, got {hits}"):
        wilson_interval(hits, 10)


@pytest.mark.parametrize(("count", "share"), [(20, 0.9), (100, 0.97), (653, 0.9), (653, 0.5)])
def test_wilson_interval__holds_the_truth_as_often_as_it_says(count: int, share: float) -> None:
    chances = [math.comb(count, hits) * share**hits * (1 - share) ** (count - hits) for hits in range(count + 1)]
    intervals = [wilson_interval(hits, count) or [0, 0] for hits in range(count + 1)]

    coverage = sum(chance for chance, (low, high) in zip(chances, intervals, strict=True) if low <= share <= high)

    assert sum(chances) == pytest.approx(1)
    assert 0.92 < coverage < 0.98


def test_unit_numbers__names_and_numbers() -> None:
    assert unit_numbers(3).tolist() == [0, 1, 2]
    assert unit_numbers(4, ["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]
    assert unit_numbers(3, np.array([70, -1, 70])).tolist() == [1, 0, 1]


def test_unit_numbers__one_group_for_each_image() -> None:
    with pytest.raises(ValueError, match=r"group of each of 3 images, got an array of shape \(2,\)"):
        unit_numbers(3, ["a", "b"])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 100))
def test_resampled_weights__whole_units_as_many_as_there_are(groups: list[int], seed: int) -> None:
    units = unit_numbers(len(groups), groups)

    (weights,) = resampled_weights(units, 7, seed)

    assert weights.shape == (7, len(groups))
    for row in weights:
        times = {unit: set(row[units == unit].tolist()) for unit in set(units.tolist())}
        assert all(len(values) == 1 for values in times.values())
        assert sum(values.pop() for values in times.values()) == units.max() + 1


def test_resampled_weights__chunks_hold_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    units = np.arange(10)
    (whole,) = resampled_weights(units, 23, 0)
    monkeypatch.setattr("brain_tumor_tl.evaluation.intervals.CHUNK", 50)

    chunks = list(resampled_weights(units, 23, 0))

    assert [len(chunk) for chunk in chunks] == [5, 5, 5, 5, 3]
    assert np.array_equal(np.concatenate(chunks), whole)


def test_bootstrap__accuracy_as_the_normal_distribution_has_it() -> None:
    hits = np.arange(2000) < 1600

    interval = bootstrap(lambda weights: {"accuracy": weights @ hits / 2000}, np.arange(2000))["accuracy"]

    half = 1.96 * math.sqrt(0.8 * 0.2 / 2000)
    assert interval == pytest.approx([0.8 - half, 0.8 + half], abs=0.002)


def test_bootstrap__copies_make_it_wider() -> None:
    labels, probabilities = run(200)
    images = run_intervals(labels, probabilities, CLASSES)
    copies = run_intervals(labels.repeat(4), probabilities.repeat(4, axis=0), CLASSES)
    groups = run_intervals(labels.repeat(4), probabilities.repeat(4, axis=0), CLASSES, groups=np.arange(200).repeat(4))

    assert (groups["unit"], groups["units"], copies["unit"], copies["units"]) == ("group", 200, "image", 800)
    for name in ("accuracy_bootstrap", "balanced_accuracy", "macro_f1", "auroc"):
        assert groups[name] == pytest.approx(images[name])
        assert np.ptp(copies[name]) == pytest.approx(np.ptp(groups[name]) / 2, rel=0.15)


def test_bootstrap__one_group_tells_nothing() -> None:
    labels, probabilities = run(40)

    result = run_intervals(labels, probabilities, CLASSES, groups=["same"] * 40)

    assert result["units"] == 1
    assert result["macro_f1"] is result["auroc"] is result["accuracy_bootstrap"] is None
    assert result["accuracy"] is not None


def test_percentile_interval__leaves_undefined_resamples_out() -> None:
    values = np.array([np.nan, *np.linspace(0, 1, 101), np.nan])

    assert percentile_interval(values) == pytest.approx([0.025, 0.975])
    assert percentile_interval(np.full(5, np.nan)) is None
    assert percentile_interval(np.ones(5)) is None


@pytest.mark.parametrize("seed", range(3))
def test_run_statistic__scikit_learn_on_every_resample(seed: int) -> None:
    labels, probabilities = run(60, seed)
    (weights,) = resampled_weights(np.arange(60), 20, seed)

    metrics = run_statistic(labels, probabilities, CLASSES)(weights)

    for row, times in enumerate(weights):
        drawn = np.repeat(np.arange(60), times.astype(int))
        truth, shares = labels[drawn], probabilities[drawn]
        guess = shares.argmax(axis=1)
        expected: dict[str, Any] = {
            "accuracy": sk.accuracy_score(truth, guess),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, guess),
            "macro_f1": sk.f1_score(truth, guess, average="macro"),
            "auroc": sk.roc_auc_score(truth, shares, multi_class="ovr"),
        }
        by_class = sk.precision_recall_fscore_support(truth, guess, labels=range(4))
        for values, metric in zip(by_class, ("precision", "recall", "f1"), strict=False):
            expected |= {f"{metric}/{name}": value for name, value in zip(CLASSES, values, strict=True)}
        for label, name in enumerate(CLASSES):
            expected[f"auroc/{name}"] = sk.roc_auc_score(truth == label, shares[:, label])
        assert {name: values[row] for name, values in metrics.items()} == pytest.approx(expected)


def test_count_metrics__undefined_is_nan() -> None:
    hits, truth, predicted = np.array([[3.0, 0, 0]]), np.array([[4.0, 0, 0]]), np.array([[3.0, 1, 0]])

    metrics = count_metrics(hits, truth, predicted, ["a", "b", "c"])

    assert metrics["balanced_accuracy"] == [0.75]
    assert metrics["macro_f1"] == metrics["f1/a"] == pytest.approx([2 * 3 / 7])
    assert metrics["precision/b"] == [0]
    undefined = {name for name, values in metrics.items() if np.isnan(values[0])}
    assert undefined == {"recall/b", "recall/c", "precision/c", "f1/b", "f1/c"}


def test_run_intervals__around_the_metrics() -> None:
    labels, probabilities = run(653)
    guess = probabilities.argmax(axis=1)

    result = run_intervals(labels, probabilities, CLASSES)

    metrics = run_statistic(labels, probabilities, CLASSES)(np.ones((1, 653)))
    assert result["accuracy"] == wilson_interval(int((guess == labels).sum()), 653)
    for name in ("balanced_accuracy", "macro_f1", "auroc"):
        low, high = result[name]
        assert low < metrics[name][0] < high
        assert high - low < 0.1
    for label, name in enumerate(CLASSES):
        of_class = result["per_class"][name]
        assert of_class["recall"] == wilson_interval(int((guess == label)[labels == label].sum()), sum(labels == label))
        for metric in ("precision", "f1", "auroc"):
            assert of_class[metric][0] < metrics[f"{metric}/{name}"][0] < of_class[metric][1]
    assert (result["level"], result["resamples"]) == (0.95, 2000)
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize("unit", ["patient", "group", "image"])
def test_accuracy_interval__the_one_that_a_run_notes(unit: str) -> None:
    labels, probabilities = run(200)
    groups, key = (None, "accuracy") if unit == "image" else (np.arange(200) // 3, "accuracy_bootstrap")
    noted = run_intervals(labels, probabilities, CLASSES, groups, unit)

    interval, told = accuracy_interval(probabilities.argmax(axis=1) == labels, groups, unit)

    assert interval == pytest.approx(noted[key])
    assert told == noted["unit"] == unit
    assert recommended(noted) == (noted[key], unit)


def test_accuracy_interval__wilson_where_resamples_tell_nothing() -> None:
    hits = np.array([True] * 40)

    assert accuracy_interval(hits, np.arange(40) // 2) == (wilson_interval(40, 40), "image")


def test_recommended__none_noted() -> None:
    assert recommended({}) == (None, "image")


def test_run_intervals__same_seed_same_bits() -> None:
    labels, probabilities = run(100)

    assert run_intervals(labels, probabilities, CLASSES) == run_intervals(labels, probabilities, CLASSES)
    other = run_intervals(labels, probabilities, CLASSES, seed=1)
    assert other["macro_f1"] != run_intervals(labels, probabilities, CLASSES)["macro_f1"]


def test_run_intervals__class_absent_from_the_test_split() -> None:
    labels, probabilities = run(100)
    kept = labels != 3

    result = run_intervals(labels[kept], probabilities[kept], CLASSES)

    assert result["per_class"]["glioma_tumor"] == {"recall": None, "precision": None, "f1": None, "auroc": None}
    assert result["auroc"] is not None


def test_run_intervals__all_right() -> None:
    labels = np.arange(40) % 4

    result = run_intervals(labels, np.eye(4)[labels], CLASSES)

    assert result["accuracy"] == pytest.approx([0.9124, 1], abs=1e-4)
    assert result["macro_f1"] is result["auroc"] is None, "resamples of a perfect run can't tell"


@pytest.mark.parametrize("count", [0, 1])
def test_run_intervals__hardly_any_image(count: int) -> None:
    labels, probabilities = run(count)

    result = run_intervals(labels, probabilities, CLASSES)

    assert (result["accuracy"] is None) == (count == 0)
    assert (result["units"], result["macro_f1"]) == (count, None)


def test_run_intervals__diverged_run() -> None:
    labels, probabilities = run(50)

    result = run_intervals(labels, np.full_like(probabilities, np.nan), CLASSES)

    assert result["auroc"] is None
    assert result["accuracy"] is not None


def test_run_intervals__takes_a_second_for_the_study() -> None:
    labels, probabilities = run(653)

    started = time.process_time()
    run_intervals(labels, probabilities, CLASSES)

    assert time.process_time() - started < 3
