"""TrainedRun: one finished run, opened from its folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.data.formats import Source as File
from brain_tumor_tl.data.hierarchy import superclasses
from brain_tumor_tl.data.intensity import Intensity, uses_own_window
from brain_tumor_tl.data.normalize import Normalization
from brain_tumor_tl.data.volumes import ALL
from brain_tumor_tl.evaluation.novelty import Reference
from brain_tumor_tl.inference.explain import Explanation, explain_all
from brain_tumor_tl.inference.network import fast_backbone, read_checkpoint, rebuild
from brain_tumor_tl.inference.pictures import Source, as_list, pixels_of
from brain_tumor_tl.inference.predict import predict_all
from brain_tumor_tl.inference.reference import load_reference
from brain_tumor_tl.inference.run_folder import finished_results, weights_path
from brain_tumor_tl.model.backbone import state_digest
from brain_tumor_tl.run import hardware


@dataclass(frozen=True)
class Preprocessing:
    """How files become a network's input, as a checkpoint keeps it.

    Attributes:
        image_size: Height and width in pixels.
        normalize: "unit" or "imagenet"; see `Normalization`.
        intensity: The rule for images of more than 8 bits, and the window that it found in the data set.
        channels: 1 if all images of the data set are grey, else 3.
        channels_last: Whether images were laid out with channels last.
    """

    image_size: int
    normalize: str
    intensity: Intensity
    channels: int
    channels_last: bool


class TrainedRun:
    """One finished run, ready to predict.

    Args:
        folder: The run's folder.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto" for what the run was trained and tested in; "32-true", "bf16-mixed" or, on a GPU, "16-mixed".
        channels_last: Whether images are laid out with channels last; None for what is faster.

    Attributes:
        folder: The run's folder.
        name: Its name.
        classes: Name of each class.
        results: The content of results.json; `results["config"]` has the run's settings.
        preprocessing: How files become the network's input.
        temperature: What logits are divided by for calibrated probabilities; None if the run has none.
        device: Where the network is.
        precision: What the backbone computes in.
        backbone: Images `(B, 3, H, W)` to features `(B, D)`, in eval mode, without gradients.
        head: Features `(B, D)` to logits `(B, K)`, in float32.

    Raises:
        ValueError: The folder has no finished run, or its weights are absent, damaged or incomplete.
    """

    backbone: nn.Module
    head: nn.Module

    def __init__(
        self, folder: str | Path, device: str = "auto", precision: str = "auto", channels_last: bool | None = None
    ) -> None:
        self.folder = Path(folder)
        self.results: Mapping[str, Any] = finished_results(self.folder)
        path = weights_path(self.folder, self.results)
        checkpoint = read_checkpoint(path)
        self.name, self.classes = str(self.results["name"]), tuple(checkpoint["hyper_parameters"]["classes"])
        self.preprocessing = preprocessing_of(checkpoint["hyper_parameters"], self.results)
        self.temperature: float | None = (self.results.get("probabilities") or {}).get("temperature")
        self.device = device_of(device)
        self.precision = precision_of(precision, self.results, self.device.type)
        setting = "auto" if channels_last is None else channels_last
        layout = hardware.resolve_channels_last(setting, self.precision, self.device.type)
        self.normalize = Normalization(self.preprocessing.normalize, layout)
        network = rebuild(checkpoint)
        check_tested(path, self.classes, network.head, self.results)
        self.backbone, self.head = (
            part.to(self.device).to(memory_format=self.normalize.layout) for part in (network.backbone, network.head)
        )
        self._fast: nn.Module | None = None

    @property
    def decoding(self) -> tuple[int, tuple[float, ...] | None, bool]:
        """All that decoded pictures depend on: size, window, and whether a DICOM file's own window comes first."""
        rule, window = self.preprocessing.intensity["rule"], self.preprocessing.intensity["window"]
        return self.preprocessing.image_size, tuple(window) if window else None, uses_own_window(rule)

    @property
    def superclasses(self) -> dict[str, list[str]] | None:
        """The classes of each superclass; None if the run has no hierarchy."""
        hierarchy = self.results["config"]["data"].get("hierarchy")
        return superclasses(self.classes, hierarchy) if hierarchy else None

    @property
    def slices(self) -> str:
        """Which slices of volumes the run was trained on; all in a run of an earlier version."""
        return str(self.results["config"]["data"].get("slices", ALL))

    @cached_property
    def reference(self) -> Reference | None:
        """What the run kept of its training images, to tell whether a picture is unlike them; None if nothing."""
        return load_reference(self.folder)

    def prepare_for_many(self) -> None:
        """Make `compute_fast` faster than `compute`, which takes as long as some batches."""
        if self._fast is None and self.device.type == "cpu":
            self._fast = fast_backbone(self.backbone, self.precision)

    def predict(self, images: Source | Iterable[Source], tta: bool = False) -> NDArray[np.float32]:
        """Return the probability of each class for images, `(N, K)`, calibrated if the run has a temperature.

        Args:
            images: One or several, each a path, a PIL image, an array `(H, W)` or `(H, W, 3)`, or a tensor `(H, W)`,
                `(1, H, W)` or `(3, H, W)`; of any size. Values of other types than uint8 are intensities.
            tta: Whether to predict each image's mirror image too, and take the mean (test-time augmentation).

        Raises:
            ValueError: There is no image, or one can't be used.
        """
        return predict_all([self], as_list(images), tta).probabilities

    def features(self, images: Source | Iterable[Source]) -> NDArray[np.float32]:
        """Return what the backbone makes of images, `(N, D)`; see `predict`."""
        return predict_all([self], as_list(images)).features

    def explain(
        self, images: Source | Iterable[Source], classes: Sequence[str] | None = None, faithfulness: bool = False
    ) -> list[Explanation]:
        """Return Grad-CAM of images; `overlay_sheet` of inference/overlay.py draws one.

        Args:
            images: As for `predict`.
            classes: The classes to explain; None for the one that is predicted for each image.
            faithfulness: Whether to measure how faithful each map is to the network; see `removal_curves`.

        Raises:
            ValueError: An image can't be used, the network has no convolutional map, or a class is not the run's.
        """
        return explain_all(self, as_list(images), classes, faithfulness)

    def decode(self, source: File) -> Pixels:
        """Decode one image as in training; uint8 `(C, size, size)`, with one channel only if it is grey."""
        return self.pixels(source)

    def pixels(self, source: Source) -> Pixels:
        """Return an image, in a file or in memory, as in training; see `decode`."""
        return pixels_of(source, *self.decoding)

    def inputs(self, pixels: Tensor) -> Tensor:
        """Return decoded images, uint8 `(B, C, H, W)`, as the network's input, float32 `(B, 3, H, W)` on its device."""
        return self.normalize(pixels.to(self.device))

    def compute(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features `(B, D)` and logits `(B, K)`, float32, of decoded images, uint8 `(B, C, H, W)`."""
        with torch.inference_mode():
            with hardware.autocast(self.device, self.precision):
                features = self.backbone(self.inputs(pixels)).float()
            return features, self.head(features)

    def compute_fast(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `compute` does up to float32's rounding, in less time after `prepare_for_many`."""
        with torch.inference_mode():
            with hardware.autocast(self.device, self.precision):
                features = (self.backbone if self._fast is None else self._fast)(self.inputs(pixels)).float()
            return features, self.head(features)

    def probabilities(self, logits: Tensor) -> NDArray[np.float32]:
        """Return probabilities `(B, K)` of logits, calibrated if the run has a temperature."""
        values: NDArray[np.float32] = (logits / (self.temperature or 1.0)).softmax(1).cpu().numpy()
        return values


def check_tested(path: Path, classes: Sequence[str], head: nn.Module, results: Mapping[str, Any]) -> None:
    """Raise a ValueError if a checkpoint is not the one whose accuracy results.json has.

    Args:
        path: The checkpoint.
        classes: Those that it names.
        head: Its head.
        results: The content of results.json; that of an earlier version has no digest of the head.
    """
    expected = results["environment"]["digests"].get("head")
    if list(classes) != results["classes"] or (expected and state_digest(head) != expected):
        raise ValueError(
            f"The weights in {path} are not those that the run's results.json is of: the file was replaced or changed. "
            "Put the run's own file back if you have a copy, or train the run anew with force=true."
        )


def device_of(device: str) -> torch.device:
    """Return a device by "auto" or its name.

    Raises:
        ValueError: There is no such device.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise ValueError(f"Expected `device` to be auto, cpu, cuda or mps, got {device!r}.")
    try:
        return torch.device(hardware.resolve_accelerator(device))
    except ValueError as error:
        raise ValueError(f"Expected a device {device}, PyTorch sees none on this machine. Give auto or cpu.") from error


def precision_of(precision: str, results: Mapping[str, Any], device: str) -> str:
    """Return what to compute in: as asked for, or as the run was trained and tested.

    A network's features in bfloat16 can differ so much from those in float32 that a head trained on the ones is worse
    on the others (docs/inference.md), so this doesn't depend on what is fast here.

    Raises:
        ValueError: The device has no such precision.
    """
    if precision not in (known := ("auto", "32-true", "bf16-mixed", "16-mixed")):
        raise ValueError(f"Expected `precision` to be one of {', '.join(known)}, got {precision!r}.")
    if precision == "16-mixed" and device == "cpu":
        raise ValueError("Expected a GPU for precision 16-mixed, a processor has none. Give bf16-mixed or 32-true.")
    of_run = str((results.get("environment") or {}).get("precision", "auto"))
    if precision == "auto" and of_run in known:
        precision = of_run
    if precision == "16-mixed" and device == "cpu":
        return "32-true"  # which float16 is closer to than bfloat16
    return hardware.resolve_precision(precision, device)


def preprocessing_of(settings: Mapping[str, Any], results: Mapping[str, Any]) -> Preprocessing:
    """Return how a run's files became the network's input.

    Args:
        settings: The checkpoint's hyperparameters; those of older versions have no `preprocessing`.
        results: The content of results.json.
    """
    if found := settings.get("preprocessing"):
        return Preprocessing(**found)
    data = results["config"]["data"]
    unknown: Intensity = {"rule": "file", "window": None, "deep": None, "percentiles": None}
    return Preprocessing(data["image_size"], data["normalize"], unknown, 3, True)
