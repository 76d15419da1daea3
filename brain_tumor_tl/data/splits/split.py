"""Split: which images are for training, validation and testing, and the rows of split.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.splits.groups import Indices

LEFT_OUT, TRAIN, VAL, TEST = -1, 0, 1, 2
NAMES = ("train", "val", "test", "left_out")  # by code, the last one for -1


@dataclass(frozen=True)
class Split:
    """The split of each image.

    Attributes:
        codes: For each image `TRAIN`, `VAL`, `TEST` or `LEFT_OUT`, `(N,)`, in the order of the index.
    """

    codes: Indices

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def train(self) -> Indices:
        """Positions of the training images, ascending."""
        return np.flatnonzero(self.codes == TRAIN)

    @cached_property
    def val(self) -> Indices:
        """Positions of the validation images, ascending."""
        return np.flatnonzero(self.codes == VAL)

    @cached_property
    def test(self) -> Indices:
        """Positions of the test images, ascending."""
        return np.flatnonzero(self.codes == TEST)

    @cached_property
    def left_out(self) -> Indices:
        """Positions of the images in no split, ascending."""
        return np.flatnonzero(self.codes == LEFT_OUT)

    def names(self) -> list[str]:
        """Return "train", "val", "test" or "left_out" for each image."""
        return [NAMES[code] for code in self.codes.tolist()]


def split_rows(index: Index, split_names: Sequence[str], **groups: Indices | None) -> list[dict[str, str | int]]:
    """Return the rows of `split.csv`: path, label, class and split of each image, and its groups.

    Args:
        index: The images.
        split_names: The split of each, as `Split.names` returns them.
        **groups: Columns of group numbers, `(N,)` each; None for a column that is not known.
    """
    labels: list[int] = index.labels.tolist()
    columns = {
        "path": index.paths,
        "label": labels,
        "class": [index.classes[label] for label in labels],
        "split": split_names,
        **{name: numbers.tolist() for name, numbers in groups.items() if numbers is not None},
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves upward.

    >>> [round_half_up(x) for x in (652.8, 0.5, 1.5, 2.4)]
    [653, 1, 2, 2]
    """
    return int(np.floor(value + 0.5))
