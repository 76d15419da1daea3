"""Shortcuts: the accuracy of a model on what has nothing to do with tumours: file size, border, brightness.

The model is scikit-learn's random forest with default settings but for the number of trees. It finds rules of any
shape, such as "512 x 512 is a glioma", so a signal that the forest misses is negligible.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.leakage.file_info import FileInfo
from brain_tumor_tl.data.splits.groups import Indices
from brain_tumor_tl.data.splits.split import Split

TREES = 50
BORDER = 6  # pixels of 128 that count as an image's border
DARK = 12  # grey value up to which a pixel counts as black; JPEG leaves some noise in black
CHUNK = 1024  # images at a time, which bounds the memory

Values = NDArray[np.float64]
Features = Mapping[str, Values]


def has_scikit_learn() -> bool:
    """Tell whether scikit-learn, which provides the forest, is installed."""
    return find_spec("sklearn") is not None


def shortcut_features(info: FileInfo) -> dict[str, Values]:
    """Return the features of each kind of shortcut, `(N, K)` by its name, and all of them together."""
    width, height, size = (np.array(info.column(name), dtype=np.float64) for name in ("width", "height", "size"))
    chunks = [np.asarray(info.thumbnails[start : start + CHUNK]) for start in range(0, len(info.thumbnails), CHUNK)]
    features = {
        "width and height": np.stack([width, height], axis=1),
        "aspect": (width / height)[:, None],
        "file size": size[:, None],
        "border": np.concatenate([border_statistics(chunk) for chunk in chunks]),
        "brightness": np.concatenate([grey_statistics(chunk) for chunk in chunks]),
    }
    return features | {"all of these": np.concatenate(list(features.values()), axis=1)}


def border_statistics(images: NDArray[np.uint8]) -> Values:
    """Return mean, standard deviation, share of black and four black margins of borders, `(B, 7)`.

    Nothing depends on where a pixel is inside the image.

    Args:
        images: uint8 `(B, S, S)`.
    """
    inner = np.ones(images.shape[1:], dtype=bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = False
    edge = images[:, inner].astype(np.float64)
    bright, margins = images > DARK, []
    for axis in (1, 2):
        content = bright.mean(axis=axis) > 0.02
        content[~content.any(axis=1)] = True
        margins += [content.argmax(axis=1), content[:, ::-1].argmax(axis=1)]
    return np.stack([edge.mean(axis=1), edge.std(axis=1), (edge <= DARK).mean(axis=1), *margins], axis=1)


def grey_statistics(images: NDArray[np.uint8]) -> Values:
    """Return mean, standard deviation, share of black and percentiles 5, 25, 50, 75 and 95 of images, `(B, 8)`."""
    rows = images.reshape(len(images), -1)
    percentiles = np.percentile(rows, [5, 25, 50, 75, 95], axis=1)
    return np.stack([rows.mean(axis=1), rows.std(axis=1), (rows <= DARK).mean(axis=1), *percentiles], axis=1)


def forest_accuracy(features: Values, labels: Indices, split: Split, seed: int) -> float:
    """Return the accuracy on a split's test images of a random forest fitted to its training images.

    Args:
        features: `(N, K)`.
        labels: Label of each image, `(N,)`.
        split: The split of the images.
        seed: Seed of the forest.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(n_estimators=TREES, random_state=seed)
    forest.fit(features[split.train], labels[split.train])
    return float(forest.score(features[split.test], labels[split.test]))


def shortcut_accuracies(features: Features, labels: Indices, split: Split, seed: int) -> dict[str, Any]:
    """Return the accuracies on a split of the constant guess and of a forest on each kind of shortcut.

    The constant guess is the most frequent class of the training images.
    """
    constant = np.bincount(labels[split.train]).argmax()
    forests = {name: forest_accuracy(values, labels, split, seed) for name, values in features.items()}
    return {"constant guess": float((labels[split.test] == constant).mean()), **forests}
