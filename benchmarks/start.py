"""Start: the seconds before a run's first optimizer step, and what takes them.

    python benchmarks/start.py --data PATH --repeats 5 --json start.json

Each row is its own process, start-up included: Python alone, imports, `--help`, and a run of each method that ends when
its first step begins. The runs find decoded images and features on disk. "Imports of a run" are the modules that any
run loads; the rest of a run's time goes to what it builds, reads and checks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from benchmarks import child, images, measure
from benchmarks.throughput import one_more
from brain_tumor_tl.cli.train import main as run_train

IMPORTS = {
    "Python alone": "pass",
    "import torch": "import torch",
    "and torchvision, lightning": "import torch, torchvision, lightning",
    "imports of a run": "from brain_tumor_tl.cli.train import import_libraries; import_libraries()",
}
UNTIL_STEP = f"""{IMPORTS["imports of a run"]}
import sys
from benchmarks import start
start.until_first_step(sys.argv[1:])
"""


class EndAtFirstStep(L.Callback):
    """Ends the process when the first training step begins."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Exit at once; Lightning would catch an exception."""
        sys.stdout.flush()
        os._exit(0)


def until_first_step(arguments: list[str]) -> None:
    """Run `brain-tumor-tl train` up to its first training step, which ends the process.

    Raises:
        RuntimeError: The run ended without a training step.
    """
    with one_more(EndAtFirstStep()):
        run_train(arguments)
    raise RuntimeError("Expected a training step, but the run had none.")


def run_line(options: Any, root: Path, work: Path, method: str) -> list[str]:
    """Return the overrides of a run of one epoch."""
    return [
        f"method={method}", f"model.name={options.model}", "model.weights=null", "data=folder", f"data.root={root}",
        f"data.image_size={options.image_size}", f"data.cache_dir={work / 'cache'}", "trainer.max_epochs=1",
        f"hydra.run.dir={work / f'run-{method}'}", "force=true", *options.set,
    ]  # fmt: skip


def measurements_of(options: Any, root: Path, work: Path) -> dict[str, Callable[[], float]]:
    """Return a function for each row that measures it in seconds, after one run of each method to fill the caches."""

    def seconds(*arguments: str) -> float:
        return child.run([sys.executable, *arguments]).seconds

    measurements: dict[str, Callable[[], float]] = {
        name: partial(seconds, "-c", code) for name, code in IMPORTS.items()
    }
    measurements["train --help"] = partial(seconds, "-m", "brain_tumor_tl", "train", "--help")
    for method in options.methods:
        line = run_line(options, root, work, method)
        measurements[f"{method}, to its first step"] = partial(seconds, "-c", UNTIL_STEP, *line)
        measurements[f"{method}, to its first step"]()
    return measurements


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows in turn and print the table."""
    options = measure.options(
        __doc__, arguments,
        data=None, images=3264, image_size=224, repeats=5, model="mobilenet_v2", methods=["frozen", "finetune"],
    )  # fmt: skip
    environment = measure.environment()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        given = measure.taking_turns(measurements_of(options, root, work), options.repeats)
    rows = [{"what": name, "seconds": measure.spread(seconds)} for name, seconds in given.items()]
    measure.report(f"Start of a run of {options.model}, warm caches", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
