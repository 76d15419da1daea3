"""Comparison against statsmodels and scipy, and against trying every exchange."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from brain_tumor_tl.evaluation.comparison import (
    compare_with_best,
    difference_interval,
    discordant,
    exchange_test,
    holm,
    mcnemar_exact,
)

Hits = NDArray[np.bool_]


def pair(both: int, first: int, second: int, neither: int) -> tuple[Hits, Hits]:
    """Return two runs, given how many images both, only one or neither of them predict correctly."""
    counts = (both, first, second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def hits(count: int, share: float, seed: int) -> Hits:
    """Return a run that predicts about this share of the images correctly."""
    right: Hits = np.random.default_rng(seed).random(count) < share
    return right


@given(*[st.integers(0, 80)] * 4)
def test_mcnemar_exact__statsmodels_and_scipy(both: int, first: int, second: int, neither: int) -> None:
    p_value = mcnemar_exact(*pair(both, first, second, neither))

    assert p_value == pytest.approx(mcnemar([[both, first], [second, neither]], exact=True).pvalue)
    if first + second:
        assert p_value == pytest.approx(stats.binomtest(first, first + second).pvalue)


def test_mcnemar_exact__same_answers() -> None:
    run = hits(50, 0.8, 0)

    assert mcnemar_exact(run, run) == 1
    assert mcnemar_exact(run[:0], run[:0]) == 1


def test_mcnemar_exact__many_discordant_images() -> None:
    assert mcnemar_exact(*pair(0, 3000, 2000, 0)) == pytest.approx(stats.binomtest(3000, 5000).pvalue)


def test_discordant__counts() -> None:
    assert discordant(*pair(5, 4, 3, 2)) == (4, 3)


@pytest.mark.parametrize("compare", [mcnemar_exact, exchange_test, difference_interval, discordant])
def test_comparison__other_images(compare: object) -> None:
    assert callable(compare)
    with pytest.raises(ValueError, match=r"same test images, got shapes \(3,\) and \(4,\)"):
        compare(np.ones(3, dtype=bool), np.ones(4, dtype=bool))


@given(*[st.integers(0, 60)] * 3)
def test_exchange_test__every_image_a_group_is_mcnemar(both: int, first: int, second: int) -> None:
    runs = pair(both, first, second, 1)

    assert exchange_test(*runs, groups=np.arange(len(runs[0]))) == pytest.approx(mcnemar_exact(*runs))
    assert exchange_test(*runs) == mcnemar_exact(*runs)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_exchange_test__trying_every_exchange(rows: list[tuple[int, bool, bool]]) -> None:
    groups, first, second = (np.array(column) for column in zip(*rows, strict=True))
    lead = first.astype(int) - second
    leads = [int(lead[groups == group].sum()) for group in np.unique(groups)]

    differences = [
        sum(s * v for s, v in zip(signs, leads, strict=True)) for signs in product((1, -1), repeat=len(leads))
    ]
    expected = np.mean([abs(value) >= abs(sum(leads)) for value in differences])
    assert exchange_test(first, second, groups) == pytest.approx(expected)


def test_exchange_test__copies_are_no_evidence() -> None:
    first, second = pair(20, 6, 1, 0)
    copies, others = first.repeat(5), second.repeat(5)

    assert exchange_test(copies, others, np.arange(27).repeat(5)) == pytest.approx(mcnemar_exact(first, second))
    assert mcnemar_exact(copies, others) < mcnemar_exact(first, second) / 100


def test_difference_interval__as_the_normal_distribution_has_it() -> None:
    first, second = pair(1500, 200, 100, 200)

    interval = difference_interval(first, second)

    lead = first.astype(float) - second
    half = 1.96 * lead.std() / np.sqrt(2000)
    assert interval == pytest.approx([0.05 - half, 0.05 + half], abs=0.0015)
    swapped = difference_interval(second, first)
    assert swapped is not None
    assert interval == pytest.approx([-swapped[1], -swapped[0]], abs=0.0015)


def test_difference_interval__groups_are_drawn_whole() -> None:
    first, second = pair(100, 20, 10, 5)

    interval = difference_interval(first.repeat(3), second.repeat(3), np.arange(135).repeat(3))

    assert interval == pytest.approx(difference_interval(first, second))


def test_difference_interval__same_answers() -> None:
    run = hits(50, 0.8, 0)

    assert difference_interval(run, run) is None


@pytest.mark.parametrize("p_values", [[0.3], [0.2, 0.001, 0.2, 0.0, 1.0], np.random.default_rng(0).random(12).tolist()])
def test_holm__statsmodels(p_values: list[float]) -> None:  # few lists: statsmodels takes 0.1 s for each
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_holm__nothing() -> None:
    assert holm([]) == []


def test_compare_with_best__the_close_and_the_far() -> None:
    best, close = pair(560, 33, 28, 32)
    far = best.copy()
    far[:90] = False

    table = compare_with_best({"far": far, "best": best, "close": close})

    assert list(table) == ["far", "best", "close"]
    assert {name: row["tied_with_best"] for name, row in table.items()} == {"far": False, "best": True, "close": True}
    assert table["best"]["p_value"] is None
    pairs = [(best, close), (best, far), (close, far)]
    oracle = multipletests([mcnemar_exact(*runs) for runs in pairs], method="holm")[1]
    assert [table[name]["p_value"] for name in ("close", "far")] == pytest.approx(oracle[:2])
    assert table["far"]["accuracy"] == far.mean()


def test_compare_with_best__two_of_the_highest_accuracy() -> None:
    first, second = pair(10, 2, 2, 0)

    table = compare_with_best({"first": first, "second": second})

    assert [row["tied_with_best"] for row in table.values()] == [True, True]
    assert [row["p_value"] for row in table.values()] == [None, 1]


@pytest.mark.parametrize("count", [0, 1])
def test_compare_with_best__nothing_to_compare(count: int) -> None:
    table = compare_with_best({"only": hits(20, 0.5, 0)} if count else {})

    assert [row["tied_with_best"] for row in table.values()] == [True] * count


def test_compare_with_best__groups() -> None:
    first, second = (run.repeat(10) for run in pair(20, 5, 0, 2))
    groups = np.arange(27).repeat(10)

    assert not compare_with_best({"a": first, "b": second})["b"]["tied_with_best"]
    assert compare_with_best({"a": first, "b": second}, groups)["b"]["tied_with_best"]


def test_compare_with_best__equal_runs_seldom_differ_significantly() -> None:
    tables = [compare_with_best({f"r{n}": hits(200, 0.8, 100 * t + n) for n in range(6)}) for t in range(60)]

    wrong = sum(not all(row["tied_with_best"] for row in table.values()) for table in tables)
    assert wrong / 60 <= 0.1, "at most 5 % of tables, and chance"
