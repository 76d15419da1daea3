"""Formats: which files are images and what reads them, and what the others are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from PIL import Image, TiffImagePlugin

Source = Path | IO[bytes]  # a file, or its content in memory or in an open file

PILLOW = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
DICOM, NIFTI = (".dcm", ".dicom", ".ima"), (".nii", ".nii.gz")
EXTENSIONS = (*PILLOW, *DICOM, *NIFTI)
READERS = {"DICOM": ("pydicom", "dicom"), "NIfTI": ("nibabel", "nifti")}  # the package that reads it, and its extra
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")  # no others: Pillow passes PostScript to Ghostscript
DICOM_MARK = (128, b"DICM")
SIGNATURES = (  # offset, bytes and name of formats
    (*DICOM_MARK, "DICOM"),
    (344, b"n+1\0", "NIfTI"),
    (344, b"ni1\0", "NIfTI in two files"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"MATLAB", "MATLAB"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
)
KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating point", 5: "complex integers", 6: "complex numbers"}


class UnreadableError(ValueError):
    """A file that is not damaged, but not read either; its message says why, and what to save instead."""


@contextlib.contextmanager
def opened(source: Source) -> Iterator[IO[bytes]]:
    """Open a file, or begin an open one anew and leave it open."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        source.seek(0)
        yield source


def reason_of(error: Exception) -> str:
    """Return in one line why a file can't be read, for an exception that its reading raised."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"a decompression bomb, more than {Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    text = " ".join(str(error).split())
    return text if isinstance(error, UnreadableError) else f"can't be decoded, truncated or damaged: {text}"


def has_image_name(path: str | Path) -> bool:
    """Tell whether a file is an image by its name.

    >>> has_image_name("a/scan.NII.gz"), has_image_name("notes.txt")
    (True, False)
    """
    return str(path).lower().endswith(EXTENSIONS)


def format_of(source: Source) -> str:
    """Return "DICOM" or "NIfTI" for what Pillow doesn't read, else an empty string.

    A file's content counts only if its name says nothing: DICOM files often have no suffix.

    Raises:
        OSError: The file can't be read.
    """
    name = source.name.lower() if isinstance(source, Path) else ""
    for suffixes, kind in ((PILLOW, ""), (DICOM, "DICOM"), (NIFTI, "NIfTI")):
        if name.endswith(suffixes):
            return kind
    return "DICOM" if head_of(source)[DICOM_MARK[0] :].startswith(DICOM_MARK[1]) else ""


def missing_reader(kind: str) -> str:
    """Return why files of a format can't be read on this machine, an empty string if they can.

    Args:
        kind: As `format_of` returns it.
    """
    package, extra = READERS.get(kind, ("", ""))
    if not package or find_spec(package):
        return ""
    return f"{kind}, which {package} reads: pip install 'brain_tumor_tl[{extra}]'"


def foreign_format(source: Source) -> str | None:
    """Return the reason against a file whose content is of a format that is not read; None if that is not known.

    Raises:
        OSError: The file can't be read.
    """
    head = head_of(source)
    name = next((name for offset, signature, name in SIGNATURES if head[offset:].startswith(signature)), None)
    if name in READERS:
        return f"{name} by its content; name it {DICOM[0] if name == 'DICOM' else NIFTI[0]}"
    return name and f"{name}, a format that is not read; save each slice as PNG, of 16 bits if it has more than 8"


def head_of(source: Source) -> bytes:
    """Return the first 512 bytes of a file."""
    with opened(source) as file:
        return file.read(512)


def reason_against(source: Source) -> str:
    """Return why Pillow doesn't recognise a file."""
    return foreign_format(source) or unread_tiff(source) or "not an image by its content"


def unread_tiff(source: Source) -> str | None:
    """Return why Pillow can't read a TIFF file whose first directory is intact; None for any other file."""
    with opened(source) as file, contextlib.suppress(Exception):  # what remains of a damaged file raises anything
        head = file.read(8)
        head += file.read(8) if head[2:3] == b"+" else b""  # BigTIFF
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        bits, kind = tags[TiffImagePlugin.BITSPERSAMPLE], tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
        return (
            f"a TIFF of {len(bits)} x {bits[0]} bits a pixel, {KINDS.get(kind[0], 'of an unknown kind')}, which Pillow "
            "can't read; save it as TIFF with floating point of 32 bits, or as PNG of 16 bits"
        )
    return None
