"""Export: a finished run as one file that is used without this package: ONNX, or an exported program of PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from brain_tumor_tl import __version__
from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.files import read_csv, replacing
from brain_tumor_tl.inference.graph import FORMATS, NOTICE, Compute, Format, traced
from brain_tumor_tl.inference.trained_run import TrainedRun

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
ONNX_LIMIT = 2**31  # bytes of one file, which is a message of Protocol Buffers
TOLERANCE = 1e-4  # of float32: how much a probability may differ, and a logit as a share of the largest
CHECKED = 32  # images, at most


class Exported(NamedTuple):
    """A file that was written, and how its outputs compare with those of the run.

    Attributes:
        path: The file.
        metadata: What it says of itself.
        images: Number of images that were compared.
        are_real: Whether they are test images of the run, or else random ones.
        probability_difference: The largest difference of a probability.
        logit_difference: The largest difference of a logit, as a share of the largest logit.
    """

    path: Path
    metadata: Mapping[str, str]
    images: int
    are_real: bool
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
    known = metadata(run)
    program = traced(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        form.write(program, known, temporary)
        return compare(run, form.open(temporary), path, known)


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
        "normalization": f"inside: {how.normalize}",
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


def compare(run: TrainedRun, compute: Compute, path: Path, known: Mapping[str, str]) -> Exported:
    """Compare a file's outputs with the run's.

    Args:
        run: The run.
        compute: What the file computes.
        path: Where it will be.
        known: Its metadata.

    Raises:
        ValueError: They differ by more than `TOLERANCE`.
    """
    real = own_images(run)
    size = run.preprocessing.image_size
    images = np.random.default_rng(0).integers(0, 256, (CHECKED, 3, size, size), np.uint8) if real is None else real
    logits = run.compute(torch.from_numpy(images))[1]
    parts = [compute(images[:1]), *([compute(images[1:])] if len(images) > 1 else [])]  # two sizes of batches
    found_logits, found = (np.concatenate(values) for values in zip(*parts, strict=True))
    off = float(np.abs(found - run.probabilities(logits)).max())
    logits_off = float(np.abs(found_logits - logits.numpy()).max() / logits.abs().max())
    if not max(off, logits_off) <= TOLERANCE:  # NaN is not
        raise ValueError(
            f"Expected outputs equal to those of {run.name} up to {TOLERANCE:g}; for {len(images)} images those of "
            f"the exported network differ by {off:.1e} in probabilities and {logits_off:.1e} of the largest logit. "
            "Nothing was written. Try the other --format."
        )
    return Exported(path, known, len(images), real is not None, off, logits_off)


def own_images(run: TrainedRun) -> Pixels | None:
    """Return some of a run's test images as the exported network takes them, `(N, 3, size, size)`.

    None if the files are no longer where they were in training.
    """
    if not (run.folder / "predictions.csv").is_file():
        return None
    root = Path(run.results["config"]["data"]["root"]).expanduser()
    paths = [root / row["path"] for row in read_csv(run.folder / "predictions.csv")]
    paths = paths[:: max(len(paths) // CHECKED, 1)][:CHECKED]
    if not paths or not all(path.is_file() for path in paths):
        return None
    size = run.preprocessing.image_size
    return np.stack([np.broadcast_to(run.decode(path), (3, size, size)) for path in paths])
