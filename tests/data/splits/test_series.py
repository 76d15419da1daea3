"""Series: neighbouring numbers in one folder, and only if the images look alike."""

from __future__ import annotations

import numpy as np
import pytest

from brain_tumor_tl.data.splits.series import correlations, find_series, neighbours, stem_and_number

NAMES = {
    "Training/glioma_tumor/gg (12).jpg": ("Training/glioma_tumor/gg ()", 12),
    "a/m1(192).jpg": ("a/m1()", 192),
    "image(2).jpg": ("image()", 2),
    "a/image.jpg": ("a/image", -1),
    "a/007.png": ("a/", 7),
    "a.2/x.png": ("a.2/x", -1),
    "a/no suffix 3": ("a/no suffix ", 3),
    "a/1.5.png": ("a/1.", 5),
    "a/1.nii.gz#012": ("a/1.nii.gz", 12),
    "a/p#1.png": ("a/p#", 1),
}


@pytest.mark.parametrize(("path", "expected"), NAMES.items(), ids=list(NAMES))
def test_stem_and_number__case(path: str, expected: tuple[str, int]) -> None:
    assert stem_and_number(path) == expected


def test_neighbours__numbers_not_text_decide() -> None:
    paths = ["a/p (10).jpg", "a/p (9).jpg", "a/q (11).jpg", "b/p (8).jpg", "a/p (12).jpg", "a/p (11).png"]

    assert neighbours(paths).tolist() == [[1, 0], [0, 5], [5, 4]]


def test_neighbours__none() -> None:
    assert neighbours(["a.jpg", "b.jpg"]).shape == (0, 2)


def test_correlations__as_numpy() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    pairs = np.array([[0, 1], [4, 2], [3, 3]])

    expected = np.asarray(np.corrcoef(pictures.reshape(6, -1)))[pairs[:, 0], pairs[:, 1]]
    assert correlations(pictures, pairs) == pytest.approx(expected, abs=1e-12)


def test_correlations__flat_pictures_are_like_nothing() -> None:
    assert correlations(np.full((2, 4, 4), 7, dtype=np.uint8), np.array([[0, 1]])).tolist() == [0.0]


def test_find_series__breaks_where_the_picture_changes() -> None:
    random = np.random.default_rng(1)
    heads = random.integers(0, 200, (2, 16, 16))
    pictures = np.stack([heads[i // 3] + random.integers(0, 20, (16, 16)) for i in range(6)])
    paths = [f"a/p ({i + 8}).jpg" for i in range(6)]

    assert find_series(paths, pictures).tolist() == [0, 0, 0, 1, 1, 1]
    assert find_series(paths, pictures, least=1.0).tolist() == [0, 1, 2, 3, 4, 5]
    assert find_series([f"a/p ({3 * i}).jpg" for i in range(6)], pictures).tolist() == [0, 1, 2, 3, 4, 5]
