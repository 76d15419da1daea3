"""Groups: numbered by first members, joined as a graph's components are, and which have members of several kinds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_tumor_tl.data.splits.groups import (
    Indices,
    groups_with_several,
    joined,
    named_groups,
    numbered,
    singletons,
)

some_groups = st.lists(st.integers(-3, 12), min_size=1, max_size=40)


def together(groups: Indices) -> set[tuple[int, int]]:
    """Return the pairs of positions in one group."""
    same = groups[:, None] == groups[None, :]
    return {(int(a), int(b)) for a, b in zip(*np.nonzero(same), strict=True)}


@given(some_groups)
def test_numbered__same_groups_in_order_of_first_members(values: list[int]) -> None:
    groups = np.array(values)

    result = numbered(groups)

    assert together(result) == together(groups)
    _, first = np.unique(result, return_index=True)
    assert (np.diff(first) > 0).all()
    assert result[0] == 0


@given(st.data(), st.integers(1, 40))
def test_joined__components_as_scipy(data: st.DataObject, count: int) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = (np.array(data.draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))) for _ in range(2))
    edges = np.array(sorted(together(one) | together(other))).T
    _, expected = connected_components(coo_array((np.ones(edges.shape[1]), edges), shape=(count, count)))

    assert together(joined(count, one, other)) == together(expected)


def test_joined__chain_across_relations() -> None:
    one, other = np.arange(1000) // 2, (np.arange(1000) + 1) // 2

    assert joined(1000, one, other).tolist() == [0] * 1000


def test_joined__no_relation_is_everyone_alone() -> None:
    assert joined(3).tolist() == singletons(3).tolist() == [0, 1, 2]


def test_joined__one_number_for_each_image() -> None:
    with pytest.raises(ValueError, match="Expected a group for each of 3 images, got 2"):
        joined(3, np.array([0, 0]))


def test_named_groups__empty_names_stand_alone() -> None:
    assert named_groups(["b", "a", "", "b", ""]).tolist() == [0, 1, 2, 0, 3]


@pytest.mark.parametrize(
    ("values", "found"),
    [([0, 0, 1, 1, 2], []), ([0, 1, 1, 1, 2], [4]), ([0, -1, 1, 2, 2], [7]), ([-1] * 5, [])],
    ids=["none", "first", "negative does not count", "only negative"],
)
def test_groups_with_several__case(values: list[int], found: list[int]) -> None:
    groups = np.array([4, 4, 7, 7, 9])

    assert groups_with_several(groups, np.array(values)).tolist() == found
