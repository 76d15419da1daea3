from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from brain_tumor_tl.evaluation import novelty
from brain_tumor_tl.evaluation.novelty import LEAST, NUMBERS, Reference, directions_of, make_reference, nearest, sample

Features = NDArray[np.float32]


def clustered(count: int, width: int = 40, seed: int = 0) -> Features:
    """Return features of images that are alike: a common vector and some noise."""
    centre = RandomState(1).normal(size=width)
    return (centre + 0.2 * RandomState(seed).normal(size=(count, width))).astype(np.float32)


def alone(count: int) -> NDArray[np.int64]:
    """Return a group of its own for each image."""
    return np.arange(count)


def fitted(features: Features, groups: NDArray[np.int64] | None = None) -> Reference:
    """Return a reference that must be there."""
    reference = reference_of(features, alone(len(features)) if groups is None else groups)
    assert reference is not None
    return reference


def reference_of(features: Features, groups: NDArray[np.int64]) -> Reference | None:
    """Return the reference of features, if there is one."""
    return make_reference(directions_of(features), features.shape[1], groups)


def test_distances__are_those_of_scikit_learn() -> None:
    known, other = clustered(300), RandomState(3).normal(size=(20, 40)).astype(np.float32)

    found = fitted(known).distances(other)

    expected, _ = NearestNeighbors(n_neighbors=1, metric="cosine").fit(known).kneighbors(other)
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-3)  # the known ones are kept in float16


def test_distances__of_a_known_image_is_zero_however_bright() -> None:
    known = clustered(50)

    np.testing.assert_allclose(fitted(known).distances(known[:5] * 7), 0, atol=1e-5)


def test_distances__of_features_that_are_all_zero_is_one() -> None:
    assert fitted(clustered(50)).distances(np.zeros((1, 40), np.float32)).tolist() == [1.0]


def test_distances__of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected features of shape \(images, 40\), got \(2, 8\)"):
        fitted(clustered(50)).distances(np.ones((2, 8), np.float32))


def test_threshold__is_exceeded_by_one_in_twenty_new_images_and_by_all_others() -> None:
    reference = fitted(clustered(2000))

    new = reference.distances(clustered(2000, seed=5))
    assert 0.03 < (new > reference.threshold).mean() < 0.07
    strange = reference.distances(RandomState(6).normal(size=(50, 40)).astype(np.float32))
    assert (strange > reference.threshold).all()


def test_threshold__compares_images_of_different_groups() -> None:
    patients = np.repeat(np.arange(20), 10)
    slices = clustered(20)[patients] + 0.001 * clustered(200, seed=2)

    assert fitted(slices).threshold == LEAST < fitted(slices, patients).threshold


@pytest.mark.parametrize(
    ("features", "groups"),
    [(clustered(5), np.zeros(5, np.int64)), (clustered(1), alone(1)), (clustered(3) * np.nan, alone(3))],
    ids=["one-patient", "one-image", "diverged"],
)
def test_make_reference__without_any_distance_there_is_none(features: Features, groups: NDArray[np.int64]) -> None:
    assert reference_of(features, groups) is None


def test_directions_of__keeps_angles_of_many_features() -> None:
    vectors = RandomState(0).normal(size=(40, 30 * NUMBERS + 7)).astype(np.float32)
    mixed = np.concatenate([vectors, vectors + 0.5 * vectors[::-1]])

    found = directions_of(mixed)

    assert found.shape == (80, NUMBERS)
    exact = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    errors = found @ found.T - exact @ exact.T
    assert np.abs(errors).max() < 5 / np.sqrt(NUMBERS)  # five standard deviations


def test_directions_of__few_features_are_only_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clustered(10)
    monkeypatch.setattr(novelty, "ROWS", 3)  # the rows of 10 images don't come out even

    found = directions_of(features)

    np.testing.assert_allclose(np.abs(found), np.abs(features) / np.linalg.norm(features, axis=1)[:, None], rtol=1e-5)


def test_nearest__in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, groups = directions_of(clustered(20)), np.arange(20) // 2
    whole = nearest(vectors, vectors, groups)

    monkeypatch.setattr(novelty, "ROWS", 3)

    np.testing.assert_allclose(nearest(vectors, vectors, groups), whole, atol=1e-6)


def test_sample__is_bounded_and_always_the_same() -> None:
    first = sample(5000)

    assert len(first) == novelty.IMAGES == len(set(first.tolist()))
    assert first.tolist() == sorted(first.tolist()) == sample(5000).tolist()
    assert first.max() > 4900 > 100 > first.min()
