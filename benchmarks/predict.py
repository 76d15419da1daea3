"""Predict: a finished run on a folder of pictures, compared with a plain script, ONNX Runtime and its own parts.

    python benchmarks/predict.py --run RUN --data PATH --repeats 3 --json predict.json

Without --run, a network with random weights is trained for an epoch. The plain script is `ImageFolder`, a `DataLoader`
with worker processes and the same torchvision network under `inference_mode`. "Parts alone" is the sum of decoding all
pictures and of computing the decoded ones, each with the threads of `predict` and nothing else. The time to import and
to open the run is in none of these; the last two rows are whole processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks import child, images, measure
from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.data.normalize import IMAGENET_MEAN, IMAGENET_STD
from brain_tumor_tl.inference.export import ONNX_PACKAGES, export
from brain_tumor_tl.inference.network import read_checkpoint, rebuild
from brain_tumor_tl.inference.pictures import stacked
from brain_tumor_tl.inference.predict import BATCH
from brain_tumor_tl.inference.run_folder import weights_path
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.run import hardware

Probabilities = NDArray[np.float32]
PLAIN_BATCH = 32
IMPORTS, FIRST = "import torch, torchvision", "first prediction"  # each a new process


@dataclass
class Measured:
    """Seconds and processor seconds of each repeat of a variant, and what it computed."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    probabilities: Probabilities | None = None

    def add(self, action: Callable[[], Probabilities | None]) -> None:
        """Measure one more repeat, worker processes included."""
        before = sum(os.times()[:4])
        found: list[Probabilities | None] = []
        self.seconds.append(measure.seconds_of(lambda: found.append(action())))
        self.processor.append(sum(os.times()[:4]) - before)
        self.probabilities = found[0]


def in_threads(work: Callable[[int], Any], count: int) -> list[Any]:
    """Return the results of a function of the first picture of each batch, by as many threads as PyTorch has."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = list(pool.map(work, range(0, count, BATCH)))
    torch.set_num_threads(threads)
    return results


def plain_script(run: TrainedRun, network: nn.Module, root: Path, workers: int) -> Probabilities:
    """Return the probabilities that a script without this package computes, in the run's precision."""
    size = run.preprocessing.image_size
    steps: list[Any] = [transforms.Resize((size, size)), transforms.ToTensor()]
    if run.preprocessing.normalize == "imagenet":
        steps.append(transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD))
    pictures = ImageFolder(str(root), transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(pictures, PLAIN_BATCH, num_workers=workers)
    with torch.inference_mode(), hardware.autocast(run.device, run.precision):
        found = [network(batch).float().softmax(1) for batch, _ in loader]
    return torch.cat(found).numpy()


def parts_alone(run: TrainedRun, paths: Sequence[Path]) -> None:
    """Decode all pictures, then compute them."""
    decoded: list[Pixels] = []

    def decode(start: int) -> list[Pixels]:
        return [run.decode(path) for path in paths[start : start + BATCH]]

    for pixels in in_threads(decode, len(paths)):
        decoded += pixels
    in_threads(lambda start: run.compute_fast(stacked(decoded[start : start + BATCH])), len(paths))


def onnx_runtime(run: TrainedRun, session: Any, paths: Sequence[Path]) -> Probabilities:
    """Return the probabilities of the exported graph, decoded and computed in threads as `predict` does."""

    def compute(start: int) -> NDArray[np.float32]:
        pixels = stacked([run.decode(path) for path in paths[start : start + BATCH]]).expand(-1, 3, -1, -1)
        logits: NDArray[np.float32] = session.run(["logits"], {session.get_inputs()[0].name: pixels.numpy()})[0]
        return logits

    return torch.from_numpy(np.concatenate(in_threads(compute, len(paths)))).softmax(1).numpy()


def open_session(folder: Path, work: Path) -> Any:
    """Export a run and open the file in ONNX Runtime, with one thread for each call."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = export(folder, "onnx", work / "run.onnx").path
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def variants_of(options: Any, folder: Path, root: Path, work: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the variants by name, the one that others are compared with first."""
    exact, rounding = (TrainedRun(folder, "cpu", precision) for precision in ("32-true", "bf16-mixed"))
    network = rebuild(read_checkpoint(weights_path(folder, exact.results)))
    plain = nn.Sequential(network.backbone, network.head).to(memory_format=torch.contiguous_format)
    paths = [Path(path) for path, _ in ImageFolder(str(root)).samples]
    for run in (exact, rounding):
        run.temperature = None  # as the plain script
        run.prepare_for_many()
        yield f"plain script, {run.precision}", partial(plain_script, run, plain, root, options.workers)
        yield f"predict, {run.precision}", partial(run.predict, paths)
        yield f"parts alone, {run.precision}", partial(parts_alone, run, paths)
    if all(map(find_spec, ONNX_PACKAGES)):
        yield "ONNX Runtime, 32-true", partial(onnx_runtime, exact, open_session(folder, work), paths)


def rows_of(given: dict[str, Measured], pictures: int) -> list[dict[str, Any]]:
    """Return a row for each variant: its speed by the plain script in float32, its values by that in its precision."""
    plain = {name.rpartition(" ")[2]: found for name, found in given.items() if name.startswith("plain")}
    return [
        {
            "variant": name,
            "seconds": measure.spread(found.seconds),
            "processor s": measure.spread(found.processor),
            "pictures/s": pictures / measure.spread(found.seconds).median,
            "times as fast": measure.ratios(plain["32-true"].seconds, found.seconds),
            "largest difference": largest_difference(plain[name.rpartition(" ")[2]].probabilities, found.probabilities),
        }
        for name, found in given.items()
    ]


def largest_difference(expected: Probabilities | None, found: Probabilities | None) -> float | None:
    """Return the largest difference of two variants' probabilities; None if one has none."""
    return None if expected is None or found is None else float(np.abs(expected - found).max())


def in_new_process(line: Sequence[str]) -> None:
    """Run Python on a line and wait for its end."""
    child.run([sys.executable, *line])


def cold_starts(folder: Path, picture: Path, repeats: int) -> list[dict[str, Any]]:
    """Return rows for a new process that imports, and for one that predicts a picture.

    Args:
        folder: The run's folder.
        picture: The picture.
        repeats: How often each is measured, after once that isn't counted.
    """
    lines = {IMPORTS: ["-c", IMPORTS], FIRST: ["-m", "brain_tumor_tl", "predict", str(folder), str(picture)]}
    given = {name: Measured() for name in lines}
    for number in range(repeats + 1):
        for name, line in lines.items():
            measured = given[name] if number else Measured()
            measured.add(partial(in_new_process, line))
    return [
        {
            "variant": name,
            "seconds": measure.spread(found.seconds),
            "processor s": measure.spread(found.processor),
            "pictures/s": None,
            "times as fast": measure.ratios(given[IMPORTS].seconds, found.seconds),
            "largest difference": None,
        }
        for name, found in given.items()
    ]


def trained(options: Any, root: Path, work: Path) -> Path:
    """Return the folder of the run to use; one with random weights is trained if the options name none."""
    if options.run:
        return Path(options.run)
    child.train(
        work / "run", "method=frozen", f"model.name={options.model}", "model.weights=null", "data=folder",
        f"data.root={root}", f"data.image_size={options.image_size}", "trainer=cpu", "trainer.max_epochs=1",
        f"data.cache_dir={work / 'cache'}", *options.set,
    )  # fmt: skip
    return work / "run"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the variants in turn and print the tables."""
    options = measure.options(
        __doc__, arguments, ("run", "", "folder of a finished run"), ("cold", 5, "repeats of the cold start, or 0"),
        data=None, images=3264, image_size=224, repeats=3, workers=2, model="mobilenet_v2",
    )  # fmt: skip
    environment = measure.environment()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        folder = trained(options, root, work)
        variants = dict(variants_of(options, folder, root, work))
        given = {name: Measured() for name in variants}
        for _ in range(options.repeats):
            for name, action in variants.items():
                given[name].add(action)
        paths = [Path(path) for path, _ in ImageFolder(str(root)).samples]
        rows = rows_of(given, len(paths))
        if options.cold:
            rows += cold_starts(folder, paths[0], options.cold)
    measure.report(f"Predicting {len(paths)} pictures, and one from a cold start", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
