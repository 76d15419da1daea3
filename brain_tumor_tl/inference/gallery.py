"""Gallery: the test images of a page, each beside Grad-CAM of what was predicted and of its class."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.inference.explain import BATCH, Explanation, check_run, explain
from brain_tumor_tl.inference.run_images import RunImages, open_run_images
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.cases import Case, Gallery
from brain_tumor_tl.reporting.overlay import overlay, to_image
from brain_tumor_tl.reporting.page import Picture

SIDE = 224  # pixels of a picture on the page
QUALITY = 85  # of its JPEG


def with_pictures(gallery: Gallery, run: TrainedRun, root: Path | None = None) -> Gallery:
    """Return a gallery with the pictures of its cases, or with the reason why it has none.

    The images are found again and proved to be those of the run. A network that computes with tokens has no map.

    Args:
        gallery: The cases.
        run: The run.
        root: Where its images are now; None for where they were.
    """
    cache = Path(run.results["config"]["data"]["cache_dir"]).expanduser()
    try:
        images = open_run_images(run, root, None, cache)
    except (ValueError, OSError) as error:
        return gallery._replace(missing=f"Without pictures: {error}")
    try:
        check_run(run, None)
    except ValueError as error:
        return gallery._replace(pictures=plain_pictures(gallery, images), missing=f"Without maps: {error}")
    return gallery._replace(pictures=explained_pictures(gallery, run, images))


def plain_pictures(gallery: Gallery, images: RunImages) -> dict[str, list[Picture]]:
    """Return the image of each case, as the network gets it."""
    pixels = decoded([*gallery.wrong, *gallery.right], images)
    return {path: [image_of(one)] for path, one in pixels.items()}


def explained_pictures(gallery: Gallery, run: TrainedRun, images: RunImages) -> dict[str, list[Picture]]:
    """Return the pictures of each case: the image, and maps of the predicted class and of its own on one scale."""
    cases = [*gallery.wrong, *gallery.right]
    pixels = decoded(cases, images)
    shown: dict[str, list[Picture]] = {}
    for start in range(0, len(cases), BATCH):
        some = cases[start : start + BATCH]
        stack = torch.from_numpy(np.stack([pixels[case.path] for case in some]))
        classes = list(dict.fromkeys(name for case in some for name in (case.predicted, case.truth)))
        for case, explanation in zip(some, explain(run, stack, classes), strict=True):
            shown[case.path] = pictures_of(case, explanation)
    return shown


def decoded(cases: Sequence[Case], images: RunImages) -> dict[str, NDArray[np.uint8]]:
    """Return the pixels of each case by its path, uint8 `(C, S, S)`."""
    place: Mapping[str, int] = {printable(path): number for number, path in enumerate(images.index.paths)}
    return {case.path: np.array(images.decoded.array[place[case.path]]) for case in cases}


def pictures_of(case: Case, explanation: Explanation) -> list[Picture]:
    """Return the image of a case, and the image under the map of the predicted class and of its own.

    Args:
        case: The case.
        explanation: Maps of both classes, and perhaps of others.
    """
    names = list(dict.fromkeys((case.predicted, case.truth)))
    maps = [explanation.maps[explanation.classes.index(name)] for name in names]
    scale = max(0.0, *(float(values.max()) for values in maps))
    image = to_image(explanation.pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    layers = [overlay(image, values, scale) for values in maps]
    marked = [
        Picture(jpeg(layer), f"Grad-CAM of {name} for {case.path}", f"for {name}")
        for name, layer in zip(names, layers, strict=True)
    ]
    return [image_of(explanation.pixels), *marked]


def image_of(pixels: NDArray[np.uint8]) -> Picture:
    """Return a decoded image, uint8 `(C, S, S)`, for a page."""
    image = to_image(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return Picture(jpeg(image), "the image as the network gets it", "the image")


def jpeg(image: Image.Image) -> bytes:
    """Return an image as the content of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
