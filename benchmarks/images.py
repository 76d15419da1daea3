"""Images: the data of a benchmark, the user's folder or temporary phantoms."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image

from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.data.sources.phantom import CLASSES, NOTICE, NOTICE_FILE, draw_head, write_phantoms


@contextmanager
def work_folder() -> Iterator[Path]:
    """Yield a temporary folder for caches and runs."""
    with tempfile.TemporaryDirectory(prefix="brain-tumor-tl-benchmark-") as folder:
        yield Path(folder)


def provided(data: Path | None, images: int, size: int, work: Path) -> Path:
    """Return `data`, or if it is None, a folder of phantoms drawn below `work`.

    Args:
        data: The user's folder.
        images: Number of phantoms, rounded up to a multiple of the number of classes.
        size: Height and width of a phantom in pixels.
        work: Folder for the phantoms.
    """
    if data is not None:
        return data
    write_phantoms(work / "phantoms", per_class=-(-images // len(CLASSES)), size=max(size, 32), seed=0)
    return work / "phantoms"


def known_classes() -> list[list[str]]:
    """Return the class names and aliases of `brain-tumor-tl train` without overrides."""
    return OmegaConf.to_container(OmegaConf.load(conf_dir() / "train.yaml").data.classes)  # type: ignore[return-value]


def write_many(root: Path, images: int, size: int, drawings: int = 16) -> None:
    """Write many distinct files quickly: a few phantoms of each class, with the file's number encoded in a corner.

    Args:
        root: New folder for the class folders.
        images: Total number of files.
        size: Height and width in pixels.
        drawings: Different phantoms of each class.
    """
    for label, kind in enumerate(CLASSES):
        (root / kind).mkdir(parents=True)
        heads = [draw_head(kind, size, np.random.RandomState(100 * label + i)) for i in range(drawings)]
        for number in range(label, images, len(CLASSES)):
            picture = numbered(heads[number // len(CLASSES) % drawings], number)
            Image.fromarray(picture).save(root / kind / f"{number:07d}.png", compress_level=1)
    (root / NOTICE_FILE).write_text(NOTICE.format(images // len(CLASSES), size, 0), encoding="utf-8")


def numbered(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return a copy of an image `(H, W)` with a number below 2**32 in its first four pixels, so that all differ."""
    copy = picture.copy()
    copy[0, :4] = np.frombuffer(number.to_bytes(4, "big"), dtype=np.uint8)
    return copy
