"""NIfTI: the axial slices of a volume, the patient's right on the left and the face up, however they are stored."""

from __future__ import annotations

import gzip
import math
import re
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data.formats import UnreadableError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image  # nibabel is an optional dependency

RIGHT, FRONT, HEAD = 0, 1, 2  # nibabel's directions, in which its orientations ascend
MOST_BYTES = 2**30  # of a packed volume, which has to be unpacked into memory; others are read slice by slice
DENSEST = 1032  # bytes that gzip can pack into one, at most
MASKS = ("seg", "dseg", "mask", "label", "labels", "labelmap")  # last words of the names of masks, as in BraTS and BIDS
READING = Lock()  # or several threads would unpack the same volume

Values = NDArray[Any]


class Volume:
    """An open volume, whose slices are numbered from the feet to the head.

    Args:
        path: The file.

    Raises:
        UnreadableError: It holds no volume, several, or one that is not read.
        OSError: It can't be read.
        DecompressionBombError: Its slices have more pixels than Pillow's limit.
    """

    def __init__(self, path: Path) -> None:
        image = open_volume(path)
        shape, self.axes, self.ascends = checked_shape(image), *placement_of(image)
        check_slices(shape, self.axes)
        size, packed = math.prod(shape) * image.get_data_dtype().itemsize, is_packed(path)
        if size > path.stat().st_size * (DENSEST if packed else 1):
            raise UnreadableError(f"truncated or damaged: its header tells of {size} bytes of values, and it has fewer")
        if packed and size > MOST_BYTES:
            raise UnreadableError(f"{size / 2**30:.1f} GiB once unpacked; unpack it, then slices are read one by one")
        proxy: Any = image.dataobj
        self.slope, self.intercept = proxy.slope, proxy.inter
        self.shape = shape
        self.proxy = proxy

    def __len__(self) -> int:
        return self.shape[self.axes[HEAD]]

    @cached_property
    def stored(self) -> Values:
        """The values as they are stored, mapped from the file unless it is packed."""
        values: Values = self.proxy.get_unscaled().reshape(self.shape, order="F")
        return values

    def slice(self, number: int) -> Values:
        """Return the values of a slice as it is shown, `(H, W)`."""
        from nibabel.volumeutils import apply_read_scaling

        with READING:
            stored = self.stored
        index = number if self.ascends[HEAD] else len(self) - 1 - number
        values = stored[(slice(None),) * self.axes[HEAD] + (index,)]  # np.take would copy the volume
        values = values if self.axes[FRONT] < self.axes[RIGHT] else values.T
        values = values[:: -1 if self.ascends[FRONT] else 1, :: -1 if self.ascends[RIGHT] else 1]
        scaled: Values = np.ascontiguousarray(apply_read_scaling(values, self.slope, self.intercept))
        return scaled

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest value of all slices."""
        extremes = [(float(one.min()), float(one.max())) for one in map(self.slice, range(len(self)))]
        return min(low for low, _ in extremes), max(high for _, high in extremes)


def open_volume(path: Path) -> Nifti1Image:
    """Open a file without reading its values.

    Raises:
        UnreadableError: Its values are not single numbers, or it is not NIfTI.
        OSError: It can't be read.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Image

    try:
        with gzip.open(path) if is_packed(path) else path.open("rb") as file:
            head = file.read(348)
    except (EOFError, gzip.BadGzipFile) as error:
        raise UnreadableError("not NIfTI by its content, which is not packed by gzip") from error
    first, second = head[344:].startswith(b"n+1\0"), head[4:].startswith(b"n+2\0")
    if not (first or second):
        raise UnreadableError("not NIfTI by its content, or NIfTI in two files; save it as one")
    image: Nifti1Image = (Nifti1Image if first else Nifti2Image).from_filename(path)
    if image.get_data_dtype().kind not in "iuf":
        raise UnreadableError("a NIfTI file of colours or complex numbers, which is not read; save it in grey")
    return image


def is_packed(path: Path) -> bool:
    """Tell whether a file is packed by gzip, by its name."""
    return path.suffix.lower() == ".gz"


def checked_shape(image: Nifti1Image) -> tuple[int, int, int]:
    """Return the three dimensions of a volume.

    Raises:
        UnreadableError: The file holds no volume or several.
    """
    shape = [int(length) for length in image.shape]
    first, several = [*shape, 1, 1, 1][:3], math.prod(shape[3:])
    if several != 1 or not all(first):
        raise UnreadableError(f"{several} volumes in one file; save each volume as its own file")
    return first[0], first[1], first[2]


def placement_of(image: Nifti1Image) -> tuple[list[int], list[bool]]:
    """Return the stored axis that runs along right, front and head, and whether it ascends that way.

    The axes of an oblique volume are those nearest to these directions.

    Raises:
        UnreadableError: The file doesn't say.
    """
    from nibabel.orientations import io_orientation

    header: Any = image.header
    if header["qform_code"] == 0 and header["sform_code"] == 0:
        raise UnreadableError(
            "a NIfTI file that doesn't say how it is oriented (its qform_code and sform_code are 0), so that its axial "
            "slices are not known; set its affine"
        )
    orientation = io_orientation(image.affine)
    if not np.isfinite(orientation).all():
        raise UnreadableError("a NIfTI file whose affine is singular; set its affine")
    stored = [int(np.flatnonzero(orientation[:, 0] == direction)[0]) for direction in (RIGHT, FRONT, HEAD)]
    return stored, [bool(orientation[axis, 1] > 0) for axis in stored]


def check_slices(shape: tuple[int, int, int], axes: list[int]) -> None:
    """Raise an UnreadableError or DecompressionBombError for axial slices that are none or too large."""
    height, width = shape[axes[FRONT]], shape[axes[RIGHT]]
    if min(height, width) == 1 < max(shape):
        raise UnreadableError(
            f"axial slices of {width} x {height} pixels: a single slice of another plane; save it as PNG"
        )
    if (limit := Image.MAX_IMAGE_PIXELS) and height * width > limit:
        raise Image.DecompressionBombError


def volume_of(path: Path) -> Volume:
    """Open a volume. The last two are kept open, since threads read the slices of one and the next.

    Raises:
        UnreadableError: It is a mask by its name, it holds no volume, several, or one that is not read.
        OSError: It can't be read.
    """
    words = re.split(r"[_.\s-]+", path.name.lower().partition(".nii")[0])
    if words[-1] in MASKS:
        raise UnreadableError(f"ends in {words[-1]}, so it is a mask and no image")
    status = path.stat()
    with READING:
        return kept_volume(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def kept_volume(path: Path, changed: int, size: int) -> Volume:
    """Open a volume; `changed` and `size` tell a changed file."""
    return Volume(path)
