from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import RandomState

from benchmarks import other_pictures, unlike
from brain_tumor_tl.evaluation.novelty import SHRINK
from brain_tumor_tl.reporting.discover import REFERENCE

Figures = Callable[..., list[dict[str, Any]]]


@pytest.mark.benchmark
def test_main__a_row_for_each_kind(
    figures: Figures, finished_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ("blank", "stripes, checks")
    monkeypatch.setattr(other_pictures, "KINDS", {kind: other_pictures.KINDS[kind] for kind in kept})

    found = figures(unlike.main, f"--run {finished_runs['frozen']} --tests 5")

    assert [row["pictures"] for row in found] == ["test images", *kept, *other_pictures.CHANGES]
    assert [row["of"] for row in found][:2] == [5, 52]
    assert found[0][unlike.OWN] is None
    assert all(0 <= float(row[unlike.OWN]) <= 100 for row in found[1:])


def test_main__needs_a_run_that_kept_features(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Expected --run FOLDER"):
        unlike.main([])
    older = shutil.copytree(finished_runs["frozen"], tmp_path / "run", ignore=shutil.ignore_patterns(REFERENCE))
    with pytest.raises(SystemExit, match="Expected a run that kept features of its training images"):
        unlike.main(["--run", str(older)])


def test_distances_to__all_tell_other_directions_apart() -> None:
    random = RandomState(0)
    labels = np.arange(200) % 2
    centres = random.normal(size=(2, 80))
    known = (centres[labels] + 0.1 * random.normal(size=(200, 80))).astype(np.float32)
    alike, other = known[:100] + 0.05, 2 * random.normal(size=(30, 80)).astype(np.float32)

    for name, distance in unlike.distances_to(known[100:], labels[100:]).items():
        (area,) = unlike.areas([distance(alike)], [distance(other)])
        assert area > 99, name


def test_mahalanobis__by_hand() -> None:
    known = np.array([[0, 0], [2, 0], [0, 4], [2, 4]], np.float32)  # variances 4/3 and 16/3, one class

    found = unlike.mahalanobis(known, np.zeros(4, np.int64))(np.array([[1, 2], [3, 2], [1, 6]], np.float32))

    small = SHRINK * (4 / 3 + 16 / 3) / 2
    expected = [0, 2 / np.sqrt(4 / 3 + small), 4 / np.sqrt(16 / 3 + small)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pictures__drawn_kinds_have_contents() -> None:
    for kind in ("noise", "blank", "stripes, checks"):
        drawn = list(other_pictures.KINDS[kind]())
        assert len(drawn) > 30
        assert {picture.dtype for picture in drawn} == {np.dtype(np.uint8)}
        assert len({picture.tobytes() for picture in drawn}) > 0.9 * len(drawn)


def test_scrambled__moves_tiles_and_keeps_pixels() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)

    mixed = other_pictures.scrambled(picture)

    assert mixed.shape == picture.shape
    assert (mixed != picture).any()
    assert sorted(mixed.ravel().tolist()) == sorted(picture.ravel().tolist())
