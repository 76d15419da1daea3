"""Shortcuts: what a model reaches from what has nothing to do with a tumour: a file's size, its border, its brightness.

The model is scikit-learn's random forest, with its defaults but for the number of trees. A forest of trees finds rules
of any shape, such as "512 x 512 is a glioma", so that what it doesn't reach is hardly there.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.leakage.file_info import FileInfo
from brain_tumor_tl.data.splits.random import Indices, Split

TREES = 50
BORDER = 6  # pixels of 128 that count as a picture's border
DARK = 12  # grey value up to which a pixel counts as black; JPEG leaves some noise in black
CHUNK = 1024  # pictures at a time, which bounds the memory

Features = Mapping[str, NDArray[np.float64]]


def has_scikit_learn() -> bool:
    """Tell whether scikit-learn, which the forest comes from, is installed."""
    return find_spec("sklearn") is not None


def shortcut_features(facts: FileInfo) -> dict[str, NDArray[np.float64]]:
    """Return what each kind of shortcut is made of, `(N, K)` by its name, and all of it together."""
    width, height, size = (np.array(facts.column(name), dtype=np.float64) for name in ("width", "height", "size"))
    border, brightness = picture_statistics(facts.thumbnails)
    features = {
        "width and height": np.stack([width, height], axis=1),
        "aspect": (width / height)[:, None],
        "file size": size[:, None],
        "border": border,
        "brightness": brightness,
    }
    return features | {"all of these": np.concatenate(list(features.values()), axis=1)}


def picture_statistics(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return statistics of each picture's border, `(N, 7)`, and of its grey values, `(N, 8)`.

    The border's are mean, std and share of black of its outermost pixels, and the width of the black margin on
    each side. The grey values' are mean, std, share of black and five percentiles. Where a pixel lies inside the
    picture counts for neither.

    Args:
        thumbnails: uint8 `(N, S, S)`.
    """
    borders, greys = [], []
    for start in range(0, len(thumbnails), CHUNK):
        pictures = np.asarray(thumbnails[start : start + CHUNK])
        borders.append(border_statistics(pictures))
        greys.append(grey_statistics(pictures.reshape(len(pictures), -1)))
    return np.concatenate(borders), np.concatenate(greys)


def border_statistics(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return mean, std, share of black and four black margins of pictures' borders, `(B, 7)`."""
    inner = np.ones(pictures.shape[1:], dtype=bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = False
    edge = pictures[:, inner].astype(np.float64)
    bright = pictures > DARK
    margins = []
    for axis in (1, 2):
        content = bright.mean(axis=axis) > 0.02
        content[~content.any(axis=1)] = True
        margins += [content.argmax(axis=1), content[:, ::-1].argmax(axis=1)]
    return np.stack([edge.mean(axis=1), edge.std(axis=1), (edge <= DARK).mean(axis=1), *margins], axis=1)


def grey_statistics(rows: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return mean, std, share of black and percentiles 5, 25, 50, 75 and 95 of rows, `(B, 8)`."""
    percentiles = np.percentile(rows, [5, 25, 50, 75, 95], axis=1)
    return np.stack([rows.mean(axis=1), rows.std(axis=1), (rows <= DARK).mean(axis=1), *percentiles], axis=1)


def forest_accuracy(features: NDArray[np.float64], labels: Indices, split: Split, seed: int) -> float:
    """Return the share of a split's test images that a random forest fitted to the training part gets right.

    Args:
        features: `(N, K)`.
        labels: Label of each image, `(N,)`.
        split: Whose parts to use.
        seed: Seed of the forest.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError as error:
        raise ImportError(
            "Shortcuts are measured with scikit-learn, which is not installed: pip install 'brain_tumor_tl[audit]'."
        ) from error
    forest = RandomForestClassifier(n_estimators=TREES, random_state=seed)
    forest.fit(features[split.train], labels[split.train])
    return float(forest.score(features[split.test], labels[split.test]))


def majority_accuracy(labels: Indices, split: Split) -> float:
    """Return the share of test images that are of the training part's most frequent class: what a constant reaches."""
    most = np.bincount(labels[split.train]).argmax()
    return float((labels[split.test] == most).mean())


def shortcut_accuracies(features: Features, labels: Indices, split: Split, seed: int) -> dict[str, Any]:
    """Return what the constant guess and a forest on each kind of shortcut reach on a split."""
    reached = {name: forest_accuracy(values, labels, split, seed) for name, values in features.items()}
    return {"constant guess": majority_accuracy(labels, split)} | reached
