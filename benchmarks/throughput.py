"""Throughput: images/s of `brain-tumor-tl train` and of a raw PyTorch loop, alternating batch by batch.

    python benchmarks/throughput.py --images 400 --epochs 4 --json throughput.json

The run is that of the command, with metrics, logging, checkpoints and progress bar, plus one callback. After each of
Lightning's batches, the raw loop processes as many images in batches of the same sizes while the package's clock is
stopped. On a GPU, one of Lightning's batches is a block of many batches. A ratio is the raw loop's seconds divided by
the package's, for one epoch.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
from torch import Tensor

from benchmarks import child, images, measure
from benchmarks.raw import RawLoop, network
from brain_tumor_tl.cli.train import main as run_train
from brain_tumor_tl.files import read_json

STAGES = ("train", "test")


class Turns(L.Callback):
    """Runs the raw loop after each batch from the second epoch on; the first epoch gives the batch sizes.

    Args:
        model: Name of the network.
        folder: The run folder, whose `environment.json` has precision and layout.
        shape: Shape of an image, `(3, H, W)`.
        batch_size: Images in a full batch.
        graphed: Whether the raw loop replays CUDA graphs.
    """

    def __init__(self, model: str, folder: Path, shape: tuple[int, ...], batch_size: int, graphed: bool) -> None:
        self.model, self.folder, self.shape, self.graphed = model, folder, (batch_size, *shape), graphed
        self.sizes: dict[str, list[int]] = {stage: [] for stage in STAGES}
        self.raw: list[dict[str, float]] = []  # seconds of each stage, one entry per epoch
        self.whole: list[float] = []  # the package's seconds, without the raw loop's
        self._loop: RawLoop | None = None
        self._started = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the previous epoch and start that of this one."""
        if trainer.current_epoch > 0:
            self._stop_clock()
            self._loop = self._loop or self._build_loop(trainer, pl_module)
            self.raw.append(dict.fromkeys(STAGES, 0.0))
        self._started = measure.now()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the last epoch."""
        self._stop_clock()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Run the raw loop."""
        self._take_turn("train", batch)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Run the raw loop."""
        self._take_turn("test", batch)

    def _take_turn(self, stage: str, batch: Sequence[Tensor]) -> None:
        """Run the raw loop over the images of `(inputs, labels, ...)`; in the first epoch only record the sizes."""
        sizes = split_sizes(len(batch[1]), self.shape[0])
        if self._loop is None:
            self.sizes[stage] += sizes
        else:
            self.raw[-1][stage] += self._loop.seconds(stage, sizes)

    def _stop_clock(self) -> None:
        turns = sum(self.raw[-1].values()) if self.raw else 0.0
        self.whole.append(measure.now() - self._started - turns)

    def _build_loop(self, trainer: L.Trainer, module: L.LightningModule) -> RawLoop:
        """Build the raw loop and warm it up with one batch of each size."""
        environment = read_json(self.folder / "environment.json")
        loop = RawLoop(
            network(self.model, module.device, environment["channels_last"]),
            trainer.optimizers[0],
            precision=environment["precision"],
            shape=self.shape,
            channels_last=environment["channels_last"],
            graphed=self.graphed and module.device.type == "cuda",
        )
        for stage in STAGES:
            loop.seconds(stage, sorted(set(self.sizes[stage])))
        return loop


def split_sizes(count: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of `count` images; the last may be smaller.

    >>> split_sizes(70, 32)
    [32, 32, 6]
    """
    return [min(batch_size, count - start) for start in range(0, count, batch_size)]


@contextmanager
def one_more(callback: L.Callback) -> Iterator[None]:
    """Add a callback to every Trainer that fits within this context; it is called before the others."""
    fit = L.Trainer.fit

    def fit_with(self: L.Trainer, *arguments: Any, **options: Any) -> None:
        self.callbacks.insert(0, callback)  # type: ignore[attr-defined]  # a list, set by a connector
        fit(self, *arguments, **options)

    with patch.object(L.Trainer, "fit", fit_with):
        yield


def row_of(model: str, turns: Turns, rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return a network's row: images/s of both, and the ratios of the turns.

    Args:
        model: Name of the network.
        turns: The raw loop's seconds, and the package's for whole epochs, checkpoints and `metrics.csv` included.
        rows: The epochs of `metrics.csv` without the first; their seconds include the raw loop's.
    """
    row: dict[str, Any] = {"model": model}
    for stage in STAGES:
        count = sum(turns.sizes[stage])
        raw = [turn[stage] for turn in turns.raw]
        ours = [row[f"seconds/{stage}"] - turn for row, turn in zip(rows, raw, strict=True)]
        row[f"{stage} images/s"] = count / measure.spread(ours).median
        row[f"{stage} raw images/s"] = count / measure.spread(raw).median
        row[f"{stage} ratio"] = measure.ratios(raw, ours)
    row["whole epoch ratio"] = measure.ratios((sum(turn.values()) for turn in turns.raw), turns.whole[1:])
    return row


def compare(model: str, root: Path, work: Path, options: Any) -> dict[str, Any]:
    """Train one network, alternating with the raw loop; return its row."""
    folder, size = work / model, options.image_size
    turns = Turns(model, folder, (3, size, size), options.batch_size, options.raw != "eager")
    with one_more(turns):
        run_train(
            [
                f"model.name={model}", "model.weights=null", "method=finetune", "data=folder", f"data.root={root}",
                f"data.image_size={size}", f"data.batch_size={options.batch_size}", f"data.cache_dir={work / 'cache'}",
                f"trainer.max_epochs={options.epochs}", "trainer.cuda_graphs=auto", f"hydra.run.dir={folder}",
                *options.set,
            ]
        )  # fmt: skip
    gc.collect()  # two networks with their optimizers, which for VGG-16 is much memory
    return row_of(model, turns, child.epochs(folder)[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each network and print the table."""
    options = measure.options(
        __doc__, arguments, ("raw", "graph", "raw loop on a GPU: `graph` replays CUDA graphs, `eager` doesn't"),
        data=None, images=400, image_size=224, batch_size=32, epochs=4, models=measure.SEVEN,
    )  # fmt: skip
    if options.epochs < 2:
        raise SystemExit(f"Expected at least 2 --epochs, since the first is dropped; got {options.epochs}.")
    environment = measure.environment()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        rows = [compare(model, root, work, options) for model in options.models]
    measure.report("Fine-tuning: the package and the raw loop (a ratio of 1 is the limit)", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
