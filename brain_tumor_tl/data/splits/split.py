"""Split: which images are for training, validation and testing, and the rows of split.csv."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.splits.groups import Indices

LEFT_OUT, TRAIN, VAL, TEST = -1, 0, 1, 2
NAMES = ("train", "val", "test", "left_out")  # by code, the last one for -1


class Split:
    """The split of each image.

    Attributes:
        codes: For each image `TRAIN`, `VAL`, `TEST` or `LEFT_OUT`, `(N,)`, in the order of the index.
        train: Positions of the training images, ascending.
        val: Positions of the validation images, ascending.
        test: Positions of the test images, ascending.
        left_out: Positions of the images in no split, ascending.
    """

    def __init__(self, codes: Indices) -> None:
        self.codes = codes
        self.train, self.val, self.test, self.left_out = (
            np.flatnonzero(codes == code) for code in (TRAIN, VAL, TEST, LEFT_OUT)
        )

    def __len__(self) -> int:
        return len(self.codes)

    def names(self) -> list[str]:
        """Return "train", "val", "test" or "left_out" for each image."""
        return [NAMES[code] for code in self.codes.tolist()]


def check_not_empty(split: Split, val_fraction: float, groups: int) -> None:
    """Raise a ValueError if a split that was asked for has no images; `groups` is the number of groups of images."""
    wanted = ("train", "test") if val_fraction == 0 else ("train", "val", "test")
    empty = [name for name in wanted if not len(getattr(split, name))]
    if empty:
        raise ValueError(
            f"Expected images in every split, got none for {' and '.join(empty)} from {groups} group(s) of images that "
            "must stay together. Change data.test_fraction, data.val_fraction or data.folds, or add images."
        )


def split_rows(index: Index, split_names: Sequence[str], **groups: Indices | None) -> list[dict[str, str | int]]:
    """Return the rows of `split.csv`: path, label, class and split of each image, and its groups.

    Args:
        index: The images.
        split_names: The split of each, as `Split.names` returns them.
        **groups: Columns of group numbers, `(N,)` each; None for a column that is not known. A negative number stands
            for no group and leaves the cell empty.
    """
    labels: list[int] = index.labels.tolist()
    columns = {
        "path": index.paths,
        "label": labels,
        "class": [index.classes[label] for label in labels],
        "split": split_names,
        **{
            name: ["" if number < 0 else number for number in numbers.tolist()]
            for name, numbers in groups.items()
            if numbers is not None
        },
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves upward.

    >>> [round_half_up(x) for x in (652.8, 0.5, 1.5, 2.4)]
    [653, 1, 2, 2]
    """
    return int(np.floor(value + 0.5))
