"""Start: the seconds that pass before a run's first optimizer step, and where they go.

    python benchmarks/start.py --data PATH --repeats 5 --json start.json

Each way is a process of its own, its start included: Python alone, imports, `--help`, and runs of each method that end
as their first step begins. Warm runs find decoded images, and features where the method has them, on disk. "Imports of
a run" are the modules that any run loads, the rest of a run is what it builds, reads and checks.
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
from brain_tumor_tl.cli.command import run_train

IMPORTS = {
    "Python alone": "pass",
    "import torch": "import torch",
    "and torchvision, lightning": "import torch, torchvision, lightning",
    "imports of a run": "from brain_tumor_tl.cli.command import imported_run; imported_run()",
}
UNTIL_STEP = f"""{IMPORTS["imports of a run"]}
import sys
from benchmarks import start
start.until_first_step(sys.argv[1:])
"""


class EndAtFirstStep(L.Callback):
    """Ends the process as the first training step begins."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End; Lightning would turn an exception into a message."""
        sys.stdout.flush()
        os._exit(0)


def until_first_step(arguments: list[str]) -> None:
    """Run `brain-tumor-tl train` up to its first training step, in a process that ends there.

    Raises:
        RuntimeError: The run ended without a step.
    """
    with one_more(EndAtFirstStep()):
        run_train(arguments)
    raise RuntimeError("Expected a training step, the run had none.")


def run_line(options: Any, root: Path, work: Path, method: str) -> list[str]:
    """Return the overrides of a run of one epoch."""
    return [
        f"method={method}", f"model.name={options.model}", "model.weights=null", "data=folder", f"data.root={root}",
        f"data.image_size={options.image_size}", f"data.cache_dir={work / 'cache'}", "trainer.max_epochs=1",
        f"hydra.run.dir={work / f'run-{method}'}", "force=true", *options.set,
    ]  # fmt: skip


def ways_of(options: Any, root: Path, work: Path) -> dict[str, Callable[[], float]]:
    """Return what measures each way, in seconds; a run of each method before that fills the caches."""

    def seconds(*arguments: str) -> float:
        return child.run([sys.executable, *arguments]).seconds

    ways: dict[str, Callable[[], float]] = {name: partial(seconds, "-c", code) for name, code in IMPORTS.items()}
    ways["train --help"] = partial(seconds, "-m", "brain_tumor_tl", "train", "--help")
    for method in options.methods:
        line = run_line(options, root, work, method)
        ways[f"{method}, to its first step"] = partial(seconds, "-c", UNTIL_STEP, *line)
        ways[f"{method}, to its first step"]()
    return ways


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each way in turns, print the table."""
    options = measure.options(
        __doc__, arguments,
        data=None, images=3264, image_size=224, repeats=5, model="mobilenet_v2", methods=["frozen", "finetune"],
    )  # fmt: skip
    facts = measure.surroundings()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        given = measure.taking_turns(ways_of(options, root, work), options.repeats)
    rows = [{"what": name, "seconds": measure.spread(seconds)} for name, seconds in given.items()]
    measure.report(f"Start of a run of {options.model}, warm caches", rows, options, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
