"""Formats: which files are images, and what the others are."""

from __future__ import annotations

import contextlib
from pathlib import Path

from PIL import TiffImagePlugin

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")  # no others: Pillow passes PostScript to Ghostscript
SIGNATURES = (  # of the formats that are not read: offset, bytes and the format's name
    (128, b"DICM", "DICOM"),
    (344, b"n+1\0", "NIfTI"),
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


def foreign_format(path: Path) -> str | None:
    """Return the reason against a file in a known format that is not read; None if the format is not known.

    Raises:
        OSError: The file can't be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    known = (name for offset, signature, name in SIGNATURES if head[offset:].startswith(signature))
    name = "DICOM" if path.suffix.lower() in (".dcm", ".dicom") else next(known, None)
    return name and f"{name}, a format that is not read; save each slice as PNG, of 16 bits if it has more than 8"


def reason_against(path: Path) -> str:
    """Return why Pillow doesn't recognise a file."""
    return foreign_format(path) or unread_tiff(path) or "not an image by its content"


def unread_tiff(path: Path) -> str | None:
    """Return why Pillow can't read a TIFF file whose first directory is intact; None for any other file."""
    with path.open("rb") as file, contextlib.suppress(Exception):  # what remains of a damaged file raises anything
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
