"""Frozen: the time of 100 epochs of a head, compared with one bare forward pass and with an uncached run.

    python benchmarks/frozen.py --data PATH --repeats 3 --json frozen.json

Runs are whole processes of `brain-tumor-tl train method=frozen`, start-up included. Cold: neither decoded images nor
features on disk. Uncached: decoded images on disk and `method.cache_features=false`; a few epochs are measured and the
rest is projected.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import child, images, measure
from benchmarks.raw import CLASSES, RawLoop, autocast, layout_of, network
from brain_tumor_tl import TumorClassifier
from brain_tumor_tl.files import read_json
from brain_tumor_tl.run.hardware import keep_freed_memory

NAMES = [f"class {number}" for number in range(CLASSES)]
ALLOWED_COLD, ALLOWED_START = 1.3, 15  # target of a cold run: at most this many forward passes, plus these seconds


class Runs:
    """Runs of the frozen method, each in its own folder, and the baselines that they are compared with.

    Args:
        options: The program's options.
        root: Folder of the images.
        work: Folder for runs and caches.
    """

    def __init__(self, options: Any, root: Path, work: Path) -> None:
        self.options, self.root, self.work = options, root, work
        self.folder = self.cache = work
        self._numbers = count()

    def cold(self) -> float:
        """Return the seconds of a run without a cache; later runs use the cache that it leaves."""
        self.cache = self.work / f"cache{next(self._numbers)}"
        return self._run(self.options.epochs)

    def warm(self) -> float:
        """Return the seconds of a run with decoded images and features in the cache."""
        return self._run(self.options.epochs)

    def counted_epoch(self) -> float:
        """Return the median seconds of an epoch of the last run, from its `metrics.csv`."""
        return measure.spread(child.epoch_seconds(row) for row in child.steady(child.epochs(self.folder))).median

    def short(self) -> float:
        """Return the seconds of a warm run of few epochs, which separates start-up from epochs."""
        return self._run(self.options.short_epochs)

    def uncached(self) -> float:
        """Return the seconds of a run without cached features, projected from its first epochs."""
        seconds = self._run(self.options.uncached_epochs, "method.cache_features=false")
        return projected(seconds, [child.epoch_seconds(row) for row in child.epochs(self.folder)], self.options.epochs)

    def forward(self) -> float:
        """Return the seconds of one bare forward pass over the same number of images, with the last run's settings."""
        environment, counts = read_json(self.folder / "environment.json"), self._counts()
        chunk = self.options.chunk or (16 if environment["accelerator"] == "cpu" else 256)
        return forward_seconds(self.options.model, sum(counts.values()), chunk, self.options.image_size, environment)

    def plain_epoch(self) -> float:
        """Return the median seconds of an epoch of a plain loop over features of the same size, without the first."""
        environment, counts = read_json(self.folder / "environment.json"), self._counts()
        loop = PlainHead(self.options, counts["train"], counts["test"], torch.device(environment["accelerator"]))
        return measure.spread([loop.epoch() for _ in range(self.options.short_epochs + 1)][1:]).median

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = read_json(self.folder / "results.json")["protocol"]["counts"]
        return counts

    def _run(self, epochs: int, *more: str) -> float:
        self.folder = self.work / f"run{next(self._numbers)}"
        options = self.options
        return child.train(
            self.folder, "method=frozen", f"model.name={options.model}", "model.weights=null", "data=folder",
            f"data.root={self.root}", f"data.image_size={options.image_size}", f"data.batch_size={options.batch_size}",
            f"data.cache_dir={self.cache}", f"trainer.max_epochs={epochs}", "trainer.cuda_graphs=auto", *more,
            *options.set,
        ).seconds  # fmt: skip


def projected(seconds: float, epochs: Sequence[float], wanted: int) -> float:
    """Return the projected seconds of a run with more epochs.

    Args:
        seconds: Wall time of the run.
        epochs: Seconds of each of its epochs; of several, the first is not taken as typical.
        wanted: Number of epochs to project to.

    >>> projected(12.0, [3.0, 2.0], 100)
    207.0
    """
    typical = measure.spread(epochs[1:] or epochs).median
    return seconds - sum(epochs) + wanted * typical


def forward_seconds(model: str, count: int, chunk: int, size: int, environment: Mapping[str, Any]) -> float:
    """Return the seconds of one forward pass of a network over `count` images.

    Args:
        model: torchvision network.
        count: Number of images.
        chunk: Images in a batch.
        size: Their height and width in pixels.
        environment: A run's `environment.json`: device, precision, layout, threads, and whether it keeps freed memory.
    """
    device = torch.device(environment["accelerator"])
    if environment["keeps_memory"]:
        keep_freed_memory()  # process-wide, so it affects the plain loop too
    torch.set_num_threads(environment["threads"])
    net = network(model, device, environment["channels_last"]).eval()
    inputs = torch.rand((chunk, 3, size, size), device=device).to(memory_format=layout_of(environment["channels_last"]))

    def forward_pass() -> None:
        for start in range(0, count, chunk):
            net(inputs[: count - start])

    with torch.inference_mode(), autocast(device, environment["precision"]):
        net(inputs)
        return measure.seconds_of(forward_pass)


class PlainHead:
    """A plain loop over features in memory, with the package's head, batch size and optimizer.

    Args:
        options: The program's options.
        train: Images of the training split.
        test: Images of the test split.
        device: Device to compute on.
    """

    def __init__(self, options: Any, train: int, test: int, device: torch.device) -> None:
        self.train, self.batch_size = train, options.batch_size
        model = TumorClassifier(options.model, NAMES, weights=None, freeze=True)
        size = options.image_size
        with torch.inference_mode():
            width = model.backbone(torch.zeros(1, 3, size, size)).shape[1]
        head = model.head.to(device)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.001)
        shape = (options.batch_size, width)
        self.loop = RawLoop(head, optimizer, precision="32-true", shape=shape, channels_last=False)
        self.features = torch.rand((train + test, width), device=device)
        self.labels = torch.arange(train + test, device=device) % CLASSES

    def epoch(self) -> float:
        """Return the seconds of an epoch over both splits."""

        def both_splits() -> None:
            for batch in torch.randperm(self.train, device=self.labels.device).split(self.batch_size):
                self.loop.train_step(*self._gathered(batch))
            for batch in torch.arange(self.train, len(self.labels), device=self.labels.device).split(self.batch_size):
                self.loop.test_step(*self._gathered(batch))

        return measure.seconds_of(both_splits)

    def _gathered(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return self.features[batch], self.labels[batch]


def rows_of(given: Mapping[str, Sequence[float]], options: Any) -> list[dict[str, Any]]:
    """Return the table's rows: seconds, and comparisons."""
    cold, warm, plain, epochs = given["cold"], given["warm"], given["plain epoch"], options.epochs
    allowed = [ALLOWED_COLD * seconds + ALLOWED_START for seconds in given["forward"]]
    more = epochs - options.short_epochs
    sloped = [(long - short) / more for long, short in zip(warm, given["short"], strict=True)]
    times = {name: f"{measure.ratios(given[name], cold)} times the cold run" for name in ("warm", "uncached")}
    return [
        row(f"{epochs} epochs, cold", cold, f"{measure.ratios(cold, allowed)} of 1.3 forward passes + 15 s"),
        row(f"{epochs} epochs, warm", warm, times["warm"]),
        row(f"{epochs} epochs, uncached, PROJECTION", given["uncached"], times["uncached"]),
        row(f"{options.short_epochs} epochs, warm", given["short"], ""),
        row("one bare forward pass", given["forward"], ""),
        row("a warm epoch, all of it", sloped, f"{measure.ratios(sloped, plain)} times the plain loop"),
        row("a warm epoch, by metrics.csv", given["counted epoch"],
            f"{measure.ratios(given['counted epoch'], plain)} times the plain loop"),
        row("an epoch of the plain loop", plain, ""),
    ]  # fmt: skip


def row(what: str, seconds: Sequence[float], compared: str) -> dict[str, Any]:
    """Return a row of the table."""
    return {"what": what, "seconds": measure.spread(seconds), "compared": compared}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything in turn and print the table."""
    options = measure.options(
        __doc__, arguments,
        ("chunk", 0, "batch size of the bare forward pass; 0 means 16 on a CPU and 256 on a GPU"),
        ("short_epochs", 10, "epochs of the short run, which gives the start-up time, and of the plain loop"),
        ("uncached_epochs", 1, "epochs measured without the feature cache; the rest is projected"),
        data=None, images=3264, image_size=224, batch_size=32, epochs=100, repeats=3, model="mobilenet_v2",
    )  # fmt: skip
    if options.short_epochs >= options.epochs:
        raise SystemExit(f"Expected fewer --short-epochs than --epochs, got {options.short_epochs}.")
    environment = measure.environment()
    with images.work_folder() as work:
        runs = Runs(options, images.provided(options.data, options.images, options.image_size, work), work)
        measurements: dict[str, Callable[[], float]] = {
            "cold": runs.cold, "forward": runs.forward, "warm": runs.warm, "counted epoch": runs.counted_epoch,
            "short": runs.short, "plain epoch": runs.plain_epoch, "uncached": runs.uncached,
        }  # fmt: skip
        given = measure.taking_turns(measurements, options.repeats)
    measure.report(f"Frozen {options.model}", rows_of(given, options), options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
