"""Case sheet: test images beside their Grad-CAM, with truth, prediction and probability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.model.gradcam import class_maps, explained_layer, map_and_logits, over_image
from brain_tumor_tl.reporting.overlay import contact_sheet, overlay, to_image

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun

SIDE, COLUMNS = 176, 4  # pixels of an image, and pairs of image and map in a row
BATCH = 16  # images that are explained at a time


def case_sheet(
    run: TrainingRun, positions: NDArray[np.int64], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return a picture of some test images, uint8 `(H, W, 3)`.

    Args:
        run: It has been tested; its settings say whether Grad-CAM is drawn.
        positions: Of the images in the data set, `(B,)`.
        labels: Their true classes, `(B,)`.
        probabilities: `(B, K)`.
    """
    pixels, predicted = run.data.pixels[positions].cpu(), probabilities.argmax(axis=1)
    maps = predicted_maps(run, pixels, predicted) if run.settings["evidence"]["gradcam"] else None
    images = [to_image(image).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in pixels.numpy()]
    tiles = images if maps is None else [beside(image, values) for image, values in zip(images, maps, strict=True)]
    names, captions = run.model.classes, []
    for row, (position, label, guess) in enumerate(zip(positions, labels, predicted, strict=True)):
        of_truth, of_guess = probabilities[row, label], probabilities[row, guess]
        verdict = f"predicted {names[guess]} {of_guess:.1%}"
        path = PurePath(printable(run.data.index.paths[position]))
        captions.append([f"is {names[label]} {of_truth:.1%}", verdict, path.name])
    return np.asarray(contact_sheet(tiles, captions, COLUMNS if maps is not None else 2 * COLUMNS))


def beside(image: Image.Image, values: NDArray[np.float32]) -> Image.Image:
    """Return an image, and right of it the image under a map, on the map's own scale."""
    pair = Image.new("RGB", (2 * image.width, image.height))
    pair.paste(image, (0, 0))
    pair.paste(overlay(image, values, max(0.0, float(values.max()))), (image.width, 0))
    return pair


def predicted_maps(run: TrainingRun, pixels: Tensor, predicted: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return Grad-CAM of each image's predicted class, `(B, S, S)`; None if the network has no feature map.

    Args:
        run: Its network is in eval mode afterwards.
        pixels: uint8 `(B, C, S, S)`.
        predicted: `(B,)`.
    """
    model, device, found = run.model.eval(), run.model.device, []
    with without_gradients(model.backbone):
        try:
            place = explained_layer(model.backbone, model.head, run.data.normalize(pixels[:1].to(device)))
        except ValueError:  # a network that computes with tokens, several backbones, or a head without gradient
            return None
        for start in range(0, len(pixels), BATCH):
            inputs, some = run.data.normalize(pixels[start : start + BATCH].to(device)), predicted[start:]
            distinct, which = np.unique(some[: len(inputs)], return_inverse=True)
            maps = class_maps(*map_and_logits(model.backbone, model.head, place.layer, inputs), distinct.tolist())
            chosen = maps[torch.arange(len(maps)), torch.from_numpy(which)][:, None]
            found.append(over_image(chosen, place, pixels.shape[-1])[:, 0].cpu())
    return torch.cat(found).numpy()


@contextmanager
def without_gradients(network: nn.Module) -> Iterator[None]:
    """Let no parameter of a network learn while the context lasts."""
    learning: Sequence[nn.Parameter] = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
