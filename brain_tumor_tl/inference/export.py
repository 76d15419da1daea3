"""Export: a finished run as one file that is used without this package: ONNX, or an exported program of PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from brain_tumor_tl import __version__
from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.files import read_csv, replacing
from brain_tumor_tl.inference.graph import FORMATS, Compute, Format, traced
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.notice import NOTICE

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
ONNX_LIMIT = 2**31  # bytes of one file, which is a message of Protocol Buffers
TOLERANCE = 1e-4  # of float32: how much a probability may differ, and a logit as a share of the largest
CHECKED = 100  # images, at most
BATCH = 16
NORMALIZATIONS = {"unit": "to 0..1", "imagenet": "to 0..1, less ImageNet's mean, divided by its standard deviation"}


class Exported(NamedTuple):
    """A file that was written, and how its outputs compare with those of the run.

    Attributes:
        path: The file.
        metadata: What it says of itself.
        images: Number of images that were compared.
        same_class: For how many of them float32 gives the class that the run predicted in its own test, in its own
            precision; None if they are random images, since those of the run are no longer where they were.
        probability_difference: The largest difference of a probability.
        logit_difference: The largest difference of a logit, as a share of the largest logit.
    """

    path: Path
    metadata: Mapping[str, str]
    images: int
    same_class: int | None
    probability_difference: float
    logit_difference: float


def export(folder: Path, file_format: str, path: Path | None = None) -> Exported:
    """Write a run as one file, load it again, and compare its outputs with those of the run.

    Args:
        folder: The run's folder.
        file_format: "onnx" or "torch_export".
        path: The file; None for `model.onnx` or `model.pt2` in the run's folder.

    Raises:
        ValueError: The folder has no finished run, the file can't be written in this format, or its outputs differ;
            nothing is written then.
        ImportError: A package that ONNX needs is not installed.
    """
    form = FORMATS[file_format]
    path = path or folder / form.file
    check_path(path, form)
    run = TrainedRun(folder, "cpu", "32-true")
    if file_format == "onnx":
        check_onnx(run)
    program = traced(run)
    reference = reference_of(run)
    known = metadata(run) | {"precision": precision_line(run, reference)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        form.write(program, known, temporary)
        differences = compare(form.open(temporary), reference, run.name)
    return Exported(path, known, len(reference.images), reference.same_class, *differences)


def check_path(path: Path, form: Format) -> None:
    """Raise a ValueError if a file's name doesn't end as files of its format do, or there is a folder of this name."""
    suffix = Path(form.file).suffix
    if path.suffix != suffix:
        raise ValueError(f"Expected a file that ends in {suffix}, as {form.title} does, got {path}.")
    if path.is_dir():
        raise ValueError(f"Expected a file to write, {path} is a folder.")


def check_onnx(run: TrainedRun) -> None:
    """Raise an error if a run can't be written as ONNX here: a package is missing, or the network is too large."""
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise ImportError(f"ONNX files need {' and '.join(missing)}: pip install 'brain_tumor_tl[onnx]'.")
    size = sum(v.nbytes for part in (run.backbone, run.head) for v in part.state_dict().values())
    if size >= ONNX_LIMIT:
        raise ValueError(
            f"Expected weights of less than 2 GiB, as an ONNX file can hold, {run.results['model']} has "
            f"{size / 2**30:.1f} GiB. Give --format torch_export."
        )


def metadata(run: TrainedRun) -> dict[str, str]:
    """Return what a file says of itself: who made it, what goes in and what comes out."""
    how, results = run.preprocessing, run.results
    size, window = how.image_size, how.intensity["window"]
    known = {
        "notice": NOTICE,
        "made_by": f"brain_tumor_tl {__version__}, PyTorch {torch.__version__}",
        "run": run.name,
        "network": f"{results['model']}, {results['method']}, weights of the {results['protocol']['accuracy_of']}",
        "classes": json.dumps(run.classes),
        "image_size": str(size),
        "input": f"images: uint8 (N, 3, {size}, {size}), RGB, 0 to 255; a grey image has three equal channels",
        "resizing": f"before: the whole image, upright, to {size} x {size} whatever its aspect ratio, antialiased, as "
        f"Pillow's Image.resize(({size}, {size}), Image.Resampling.BILINEAR)",
        "normalization": f"inside: {NORMALIZATIONS[how.normalize]}",
        "outputs": f"logits and probabilities: float32 (N, {len(run.classes)}), in the order of classes",
        "temperature": "none: the probabilities are not calibrated"
        if run.temperature is None
        else str(run.temperature),
    }
    if window is not None:
        known["intensity_window"] = json.dumps(window)  # what became 0 and 255 in images of more than 8 bits
    if results["protocol"]["synthetic"]:
        known["synthetic"] = "trained on synthetic images: its outputs say nothing about MRI"
    return known


class Reference(NamedTuple):
    """Images, and what a run makes of them in float32.

    Attributes:
        images: As the exported network takes them, `(N, 3, size, size)`.
        logits: `(N, K)`.
        probabilities: `(N, K)`.
        same_class: As `Exported.same_class`.
    """

    images: Pixels
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    same_class: int | None


def reference_of(run: TrainedRun) -> Reference:
    """Return test images of a run, or else random ones, and what the run makes of them.

    Args:
        run: In float32 on the CPU.
    """
    rows, size = own_test(run), run.preprocessing.image_size
    if rows:
        images = np.stack([np.broadcast_to(run.decode(path), (3, size, size)) for path in rows])
    else:
        images = np.random.default_rng(0).integers(0, 256, (CHECKED, 3, size, size), np.uint8)
    logits = torch.cat([run.compute(torch.from_numpy(part))[1] for part in batches_of(images)])
    classes = [run.classes[place] for place in logits.argmax(1)]
    same = sum(name == own for name, own in zip(classes, rows.values(), strict=True)) if rows else None
    return Reference(images, logits.numpy(), run.probabilities(logits), same)


def own_test(run: TrainedRun) -> dict[Path, str]:
    """Return some files of a run's test split and the class that the run predicted for each.

    Empty if one of them is no longer where it was in training.
    """
    if not (run.folder / "predictions.csv").is_file():
        return {}
    root, rows = Path(run.results["config"]["data"]["root"]).expanduser(), read_csv(run.folder / "predictions.csv")
    chosen = rows[:: -(-len(rows) // CHECKED) or 1]
    found = {root / row["path"]: row["predicted"] for row in chosen}
    return found if all(path.is_file() for path in found) else {}


def precision_line(run: TrainedRun, reference: Reference) -> str:
    """Return what a file computes in, and how far that gives the run's own predictions."""
    own = (run.results.get("environment") or {}).get("precision", "an unknown precision")
    if reference.same_class is None or own == "32-true":
        return f"float32; the run's figures are of {own}"
    count = len(reference.images)
    return f"float32; the run's figures are of {own}, which gives the same class for {reference.same_class} of {count}"


def compare(compute: Compute, reference: Reference, name: str) -> tuple[float, float]:
    """Return the largest difference between a file's probabilities and a run's, and of logits as a share.

    Args:
        compute: What the file computes.
        reference: What the run computes.
        name: The run's name.

    Raises:
        ValueError: They differ by more than `TOLERANCE`.
    """
    parts = [compute(part) for part in batches_of(reference.images)]
    logits, probabilities = (np.concatenate(values) for values in zip(*parts, strict=True))
    off = float(np.abs(probabilities - reference.probabilities).max())
    logits_off = float(np.abs(logits - reference.logits).max() / np.abs(reference.logits).max())
    if not (off <= TOLERANCE and logits_off <= TOLERANCE):  # NaN isn't
        raise ValueError(
            f"Expected outputs equal to those of {name} up to {TOLERANCE:g}; for {len(reference.images)} images those "
            f"of the exported network differ by {off:.1e} in probabilities and {logits_off:.1e} of the largest logit. "
            "Nothing was written. Try the other --format."
        )
    return off, logits_off


def batches_of(images: Pixels) -> list[Pixels]:
    """Return images in batches of several sizes: the first alone, the others by `BATCH`."""
    return [images[:1], *(images[start : start + BATCH] for start in range(1, len(images), BATCH))]
