from __future__ import annotations

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

from brain_tumor_tl.evaluation import novelty
from brain_tumor_tl.evaluation.novelty import NUMBERS, SHRINK, Reference, directions_of, make_reference, sample

Features = NDArray[np.float32]
Numbers = NDArray[np.int64]


def clustered(count: int, width: int = 40, seed: int = 0) -> Features:
    """Return features of images that are alike: a common vector and some noise."""
    noise = RandomState(seed).normal(size=(count, width))
    return (RandomState(1).normal(size=width) + 0.2 * noise).astype(np.float32)


def reference_of(features: Features, groups: Numbers | None = None) -> Reference:
    """Return the reference of features, which must be there; without groups each image is its own."""
    groups = np.arange(len(features)) if groups is None else groups
    found = make_reference(directions_of(features), features.shape[1], groups)
    assert found is not None
    return found


def test_distances__are_those_of_scikit_learn() -> None:
    known, other = clustered(300), RandomState(3).normal(size=(20, 40)).astype(np.float32)

    found = reference_of(known).distances(other)

    units, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (known, other))
    spread = EmpiricalCovariance().fit(units)
    spread.precision_ = np.linalg.inv(spread.covariance_ + SHRINK * np.trace(spread.covariance_) / 40 * np.eye(40))
    np.testing.assert_allclose(found, np.sqrt(spread.mahalanobis(asked)), rtol=1e-3)


def test_distances__do_not_depend_on_the_length_of_features() -> None:
    known = clustered(100)
    reference = reference_of(known)

    np.testing.assert_allclose(reference.distances(known * 7), reference.distances(known), rtol=1e-3)


def test_distances__of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected features of shape \(images, 40\), got \(2, 8\)"):
        reference_of(clustered(50)).distances(np.ones((2, 8), np.float32))


def test_threshold__is_exceeded_by_one_in_twenty_new_images_and_by_all_others() -> None:
    reference = reference_of(clustered(2000))

    new = reference.distances(clustered(2000, seed=5))
    assert 0.03 < (new > reference.threshold).mean() < 0.07
    strange = [RandomState(6).normal(size=(50, 40)).astype(np.float32), np.zeros((1, 40), np.float32)]
    assert (reference.distances(np.concatenate(strange)) > reference.threshold).all()


def test_threshold__is_that_of_other_groups() -> None:
    patients = np.repeat(np.arange(20), 10)
    slices = clustered(20)[patients] + 0.001 * clustered(200, seed=2)

    assert reference_of(slices, patients).threshold > 1.3 * reference_of(slices).threshold


@pytest.mark.parametrize(
    ("images", "factor", "group"), [(5, 1.0, 0), (1, 1.0, 1), (3, np.nan, 1)], ids=["one-patient", "one", "diverged"]
)
def test_make_reference__without_any_distance_there_is_none(images: int, factor: float, group: int) -> None:
    features, groups = clustered(images), group * np.arange(images)

    assert make_reference(directions_of(features * np.float32(factor)), 40, groups) is None


def test_make_reference__of_features_that_are_all_the_same_is_finite() -> None:
    reference = reference_of(np.ones((20, 40), np.float32))

    assert np.isfinite(reference.axes).all()
    assert reference.distances(-np.ones((1, 40), np.float32))[0] > reference.threshold


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

    np.testing.assert_allclose(found, features / np.linalg.norm(features, axis=1)[:, None], rtol=1e-5)


def test_sample__is_bounded_and_always_the_same() -> None:
    first = sample(5000)

    assert len(first) == novelty.IMAGES == len(set(first.tolist()))
    assert first.tolist() == sorted(first.tolist()) == sample(5000).tolist()
    assert first.max() > 4900 > 100 > first.min()
