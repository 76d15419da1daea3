"""DICOM: the pictures in a file, as intensities or as its own window shows them; its patient and place in a series."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data.formats import Source, UnreadableError, opened
from brain_tumor_tl.data.rows import by_rows

if TYPE_CHECKING:
    from pydicom import Dataset  # pydicom is an optional dependency

GREY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
DIGITS = 12  # of a patient's pseudonym

Values = NDArray[Any]


class Header(NamedTuple):
    """What an index needs to know of a file: number of pictures, patient's pseudonym, series, and place in it."""

    pictures: int
    patient: str
    series: str
    place: float


def pseudonym(patient: str) -> str:
    """Return what stands for a patient's id in files: decimal digits of its SHA-256, and the letter that may end it.

    The letter stays, since a letter after the last digit may number a patient's scans (`data.merge_scans`). The same
    id has the same pseudonym everywhere, so whoever has a list of ids can tell which of them it stands for.

    >>> pseudonym("MR017260B"), pseudonym(" MR017260")
    ('P769563935691B', 'P769563935691')
    """
    name = patient.strip()
    scan = name[-1] if name[-1:].isalpha() and name[-2:-1].isdigit() else ""
    stem = name.removesuffix(scan) if scan else name
    number = int(hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest(), 16)
    return f"P{number % 10**DIGITS:0{DIGITS}d}{scan}" if name else ""


def read_header(source: Source) -> Header:
    """Read what an index needs to know of a file.

    Raises:
        UnreadableError: The file holds no image.
        OSError: It can't be read.
    """
    data = dataset_of(source)
    count = int(data.get("NumberOfFrames") or 1)
    with opened(source) as file:
        size = file.seek(0, os.SEEK_END)
    if count > size:
        raise UnreadableError(f"damaged: its header tells of {count} pictures, and it has {size} bytes")
    return Header(
        count,
        pseudonym(str(data.get("PatientID") or "")),
        str(data.get("SeriesInstanceUID") or ""),
        place_in_series(data),
    )


def place_in_series(data: Dataset) -> float:
    """Return a number that ascends through the slices of a series: millimetres along their normal, else their number.

    The normal points from the feet to the head for axial slices of the usual orientation (PS3.3 C.7.6.2.1.1).
    """
    position, axes = data.get("ImagePositionPatient"), data.get("ImageOrientationPatient")
    if position and axes and len(position) == 3 and len(axes) == 6:
        return float(np.dot(np.array(position, float), np.cross(np.array(axes[:3], float), np.array(axes[3:], float))))
    return float(data.get("InstanceNumber") or 0)


def dataset_of(source: Source) -> Dataset:
    """Return all elements of a file before its pixels; of the last few files they are kept.

    Raises:
        UnreadableError: The file holds no image.
        OSError: It can't be read.
    """
    if not isinstance(source, Path):
        return parsed(source)
    status = source.stat()
    return parsed_once(source, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)  # an enhanced file of 500 frames has as many headers, which would be read 500 times
def parsed_once(path: Path, changed: int, size: int) -> Dataset:
    """Return what `parsed` does; `changed` and `size` tell a changed file."""
    return parsed(path)


def parsed(source: Source) -> Dataset:
    """Return all elements of a file before its pixels.

    Raises:
        UnreadableError: The file holds no image.
        OSError: It can't be read.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    with opened(source) as file:
        try:
            data = dcmread(file, stop_before_pixels=True)
        except InvalidDicomError as error:
            raise UnreadableError("not DICOM by its content, which lacks DICM at byte 128") from error
    if not (data.get("Rows") and data.get("Columns")):
        kind = getattr(getattr(data.file_meta, "MediaStorageSOPClassUID", None), "name", "unknown")
        raise UnreadableError(f"a DICOM file without an image, of the kind {kind}")
    return data


def read_frame(source: Source, number: int, own_window: bool) -> Values:
    """Read one picture of a file.

    Args:
        source: The file.
        number: Of the picture, from 0.
        own_window: Whether a picture with its own window or VOI LUT is to be seen through it.

    Returns:
        uint8 `(H, W)` or `(H, W, 3)` for a picture of 8 bits or one seen through its own window, else intensities
        `(H, W)` of other types. Large values are bright, whatever the file has them mean.

    Raises:
        UnreadableError: The file holds no such picture, or one that is not read.
        OSError: It can't be read.
        DecompressionBombError: It has more pixels than Pillow's limit.
    """
    from pydicom.pixels import apply_color_lut, pixel_array

    data = dataset_of(source)
    check(data)
    with opened(source) as file:
        try:
            stored: Values = pixel_array(cast("BinaryIO", file), index=number)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # how pylibjpeg-rle ends on damaged data: no Exception
                raise
            raise UnreadableError("can't be decoded, truncated or damaged") from error
    kind = data.PhotometricInterpretation
    if kind == PALETTE:
        colours: Values = apply_color_lut(stored, data)
        return (colours >> 8 * (colours.itemsize - 1)).astype(np.uint8)
    return stored if kind in COLOUR else by_rows(lambda rows: intensities(rows, data, number, own_window), stored)


def check(data: Dataset) -> None:
    """Raise an UnreadableError or DecompressionBombError for a file whose pictures are not read."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import ImplicitVRLittleEndian

    kind, bits = data.get("PhotometricInterpretation"), data.get("BitsAllocated")
    if kind not in (*GREY, *COLOUR, PALETTE) or bits == 1:
        raise UnreadableError(f"a DICOM image in {kind} of {bits} bits, which is not read; save it as PNG")
    if (limit := Image.MAX_IMAGE_PIXELS) and data.Rows * data.Columns > limit:
        raise Image.DecompressionBombError
    syntax = data.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    try:
        decodes = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise UnreadableError(f"compressed as {syntax.name}, which pydicom can't read; save it as PNG") from error
    if not decodes:
        raise UnreadableError(
            f"compressed as {syntax.name}, for which no decoder is installed: pip install 'brain_tumor_tl[dicom]'"
        )


def intensities(stored: Values, data: Dataset, number: int, own_window: bool) -> Values:
    """Return stored values of a grey picture as `read_frame` does.

    Args:
        stored: The values, `(H, W)`.
        data: The file's other elements.
        number: Of the picture, from 0.
        own_window: Whether it is to be seen through its own window or VOI LUT.
    """
    inverted = data.PhotometricInterpretation == "MONOCHROME1"
    view = element_of(data, "FrameVOILUTSequence", number)
    if own_window and has_view(view):
        seen = through_window(rescaled(stored, data, number), view)
        return 255 - seen if inverted else seen
    if inverted:
        least = -(2 ** (data.BitsStored - 1)) if data.PixelRepresentation else 0
        stored = (2 * least + 2**data.BitsStored - 1 - stored.astype(np.int64)).astype(stored.dtype)
    return rescaled(stored, data, number)


def element_of(data: Dataset, name: str, number: int) -> Dataset:
    """Return the elements of one picture in a functional group, or those of the whole file if it has no such group.

    Args:
        data: The file's elements.
        name: Keyword of the group's sequence.
        number: Of the picture, from 0.
    """
    each, shared = data.get("PerFrameFunctionalGroupsSequence"), data.get("SharedFunctionalGroupsSequence")
    for groups in (each[number] if each and number < len(each) else None, shared[0] if shared else None):
        if groups is not None and groups.get(name):
            found: Dataset = groups[name].value[0]
            return found
    return data


def has_window(source: Source, number: int) -> bool:
    """Tell whether a grey picture of a file has a window or a VOI LUT.

    Raises:
        UnreadableError: The file holds no image.
        OSError: It can't be read.
    """
    data = dataset_of(source)
    return data.get("PhotometricInterpretation") in GREY and has_view(element_of(data, "FrameVOILUTSequence", number))


def has_view(view: Dataset) -> bool:
    """Tell whether elements have a window or a VOI LUT."""
    return bool(view.get("VOILUTSequence")) or None not in (view.get("WindowCenter"), view.get("WindowWidth"))


def rescaled(stored: Values, data: Dataset, number: int) -> Values:
    """Return stored values in the unit of the modality (PS3.3 C.11.1), unchanged if that is the same."""
    from pydicom.pixels import apply_modality_lut

    if data.get("ModalityLUTSequence"):
        looked_up: Values = apply_modality_lut(stored, data)
        return looked_up
    scale = element_of(data, "PixelValueTransformationSequence", number)
    slope, intercept = scale.get("RescaleSlope"), float(scale.get("RescaleIntercept") or 0)
    if slope in (None, 1) and intercept == 0:
        return stored
    return stored.astype(np.float64) * (1.0 if slope is None else float(slope)) + intercept


def through_window(values: Values, view: Dataset) -> NDArray[np.uint8]:
    """Return values as bytes, as a VOI LUT or the first window of a file shows them (PS3.3 C.11.2).

    Raises:
        UnreadableError: The window is none.
    """
    from pydicom.pixels import apply_voi

    if view.get("VOILUTSequence"):
        bits = view.VOILUTSequence[0].LUTDescriptor[2]
        part: Values = apply_voi(values, view) / (2**bits - 1)
        return np.round(255 * part).astype(np.uint8)
    centre, width = first_of(view.WindowCenter), first_of(view.WindowWidth)
    function = str(view.get("VOILUTFunction") or "LINEAR").upper()
    if width < 1 if function == "LINEAR" else width <= 0:
        raise UnreadableError(f"a window {width:g} wide, which shows nothing; give data.intensity=range")
    scaled = values.astype(np.float64)
    if function == "SIGMOID":
        part = 1 / (1 + np.exp(-4 * (scaled - centre) / width))
    elif function == "LINEAR_EXACT":
        part = (scaled - centre) / width + 0.5
    else:  # a width of 1 is a threshold
        part = (scaled - centre + 0.5) / max(width - 1, 1e-9) + 0.5
    return np.round(255 * part.clip(0, 1)).astype(np.uint8)


def first_of(value: Any) -> float:
    """Return the first of several values, or the only one."""
    return float(value[0] if hasattr(value, "__len__") else value)
