"""Explain: Grad-CAM of a run for decoded images, and how faithful its maps are to what the network computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.data.reader import result_or_reason
from brain_tumor_tl.inference.pictures import Source, stacked
from brain_tumor_tl.model.faithfulness import removal_curves
from brain_tumor_tl.model.gradcam import class_maps, explained_layer, map_and_logits, over_image
from brain_tumor_tl.names import nearest

if TYPE_CHECKING:
    from brain_tumor_tl.inference.trained_run import TrainedRun

BATCH = 16  # images that are explained at a time


@dataclass(frozen=True, eq=False)
class Explanation:
    """Grad-CAM of one image for some classes, on one scale.

    Attributes:
        pixels: The image as the network gets it, uint8 `(C, S, S)`.
        predicted: The predicted class.
        classes: The T explained classes.
        probabilities: Their probabilities.
        maps: What each place adds to the logit of each class, float32 `(T, S, S)`, interpolated from the network's last
            feature map. Grad-CAM is the positive part.
        curves: Each class's probability without its most and its least important pixels, `(T, 2, shares)`; None if
            not asked for.
    """

    pixels: Pixels
    predicted: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    maps: NDArray[np.float32]
    curves: NDArray[np.float32] | None = None

    @property
    def scale(self) -> float:
        """The largest value of all maps; 0 if none is positive."""
        return max(0.0, float(self.maps.max()))

    @property
    def peaks(self) -> list[tuple[float, float]]:
        """Each map's largest value: its place from the left and from the top, as shares of width and height."""
        size = self.maps.shape[-1]
        places = [divmod(int(values.argmax()), size) for values in self.maps]
        return [((column + 0.5) / size, (row + 0.5) / size) for row, column in places]

    @property
    def scores(self) -> list[float] | None:
        """Each map's faithfulness, -1 to 1; 0 is a map without meaning. See `removal_curves`. None if not asked for."""
        return None if self.curves is None else (self.curves[:, 1] - self.curves[:, 0]).mean(1).tolist()


def explain_all(
    run: TrainedRun, sources: Sequence[Source], classes: Sequence[str] | None = None, faithfulness: bool = False
) -> list[Explanation]:
    """Explain images in files or in memory; see `explain`.

    Raises:
        ValueError: An image can't be used, the network computes with tokens, or the run has no class of that name.
    """
    found = []
    for start in range(0, len(sources), BATCH):
        batch = [result_or_reason(run.pixels, source) for source in sources[start : start + BATCH]]
        for place, result in enumerate(batch, start):
            if isinstance(result, str):
                name = f" ({sources[place]})" if isinstance(sources[place], str | Path) else ""
                raise ValueError(f"Image {place}{name} can't be used: {result}")
        found += explain(run, stacked(cast(list[Pixels], batch)), classes, faithfulness)
    return found


def explain(
    run: TrainedRun, pixels: Tensor, classes: Sequence[str] | None = None, faithfulness: bool = False
) -> list[Explanation]:
    """Explain a batch of images: probabilities as `predict` gives them, maps in float32 whatever the run's precision.

    Args:
        run: The run; its backbone must be convolutional.
        pixels: Decoded images, uint8 `(B, C, S, S)`.
        classes: The classes to explain; None for the one that is predicted for each image.
        faithfulness: Whether to measure how the probability of a class falls when pixels are removed, which takes eight
            more predictions for each map.

    Raises:
        ValueError: The network computes with tokens, or the run has no class of that name.
    """
    check_classes(run.classes, classes)
    inputs = run.inputs(pixels)
    place = explained_layer(run.backbone, run.head, inputs[:1])
    probabilities = run.probabilities(run.compute_fast(pixels)[1])
    feature_map, logits = map_and_logits(run.backbone, run.head, place.layer, inputs)
    predicted = torch.from_numpy(probabilities.argmax(1))
    labels = predicted[:, None] if classes is None else torch.tensor([list(map(run.classes.index, classes))])
    labels = labels.expand(len(pixels), -1)
    maps = over_image(maps_of(feature_map, logits, labels), place, pixels.shape[-1])
    curves = curves_of(run, pixels, maps, labels) if faithfulness else [None] * len(pixels)
    return [
        Explanation(
            pixels[image].cpu().numpy(),
            run.classes[predicted[image]],
            tuple(run.classes[label] for label in labels[image]),
            tuple(probabilities[image, labels[image].numpy()].tolist()),
            maps[image].cpu().numpy(),
            curves[image],
        )
        for image in range(len(pixels))
    ]


def check_run(run: TrainedRun, classes: Sequence[str] | None) -> None:
    """Raise a ValueError if a run can't be explained, or has no class of a name; see `explain`."""
    blank = torch.zeros(1, 1, run.preprocessing.image_size, run.preprocessing.image_size, dtype=torch.uint8)
    explained_layer(run.backbone, run.head, run.inputs(blank))
    check_classes(run.classes, classes)


def check_classes(known: Sequence[str], wanted: Sequence[str] | None) -> None:
    """Raise a ValueError if a class to explain is not one of a run's, or if there is none."""
    if isinstance(wanted, str):
        raise ValueError(f"Expected a list of classes, such as [{wanted!r}], got the text {wanted!r}.")
    if wanted is not None and not wanted:
        raise ValueError("Expected at least one class to explain, got none.")
    for name in wanted or ():
        if name not in known:
            raise ValueError(f"Expected a class of the run, {', '.join(known)}, got {name!r}.{nearest(name, known)}")


def maps_of(feature_map: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the maps `(B, T, h, w)` of each image's own classes.

    Args:
        feature_map: `(B, C, h, w)`, from `map_and_logits`.
        logits: `(B, K)`, from the same call.
        labels: The classes of each image, `(B, T)`.
    """
    distinct, position = np.unique(labels.numpy(), return_inverse=True)
    maps = class_maps(feature_map, logits, distinct.tolist())
    return maps[torch.arange(len(maps))[:, None], torch.from_numpy(position)]


def curves_of(run: TrainedRun, pixels: Tensor, maps: Tensor, labels: Tensor) -> list[NDArray[np.float32]]:
    """Return `removal_curves` for the maps of each image, `(T, 2, shares)`.

    Args:
        run: The run.
        pixels: Decoded images, uint8 `(B, C, S, S)`.
        maps: `(B, T, S, S)`.
        labels: The classes of the maps, `(B, T)`.
    """
    images = pixels.to(run.device, torch.float32)
    rows = torch.arange(len(pixels))
    found = []
    for values, label in zip(maps.unbind(1), labels.unbind(1), strict=True):

        def probability(changed: Tensor, label: Tensor = label) -> Tensor:
            with torch.inference_mode():
                logits = run.head(run.backbone(run.inputs(changed)))
            return torch.from_numpy(run.probabilities(logits))[rows, label]

        found.append(removal_curves(probability, images, values))
    return list(torch.stack(found, 1).numpy())
