"""Depth: the time, the memory and the accuracy of runs that freeze a network up to a place, beside fine-tuning.

    python benchmarks/depth.py --data PATH --model resnet18 --epochs 3 --json depth.json
    python benchmarks/depth.py --data PATH --cuts fast 0 --epochs 14 --set model.weights=PATH recipe=onecycle

Runs are whole processes of `brain-tumor-tl train`, start-up included, with decoded images in the cache and nothing kept
of the frozen part, so that its pass over all images counts. A cut is a place as `method.train_from` takes it; `fast`
stands for recipe=fast with its own epochs. With --again 1 each run but the last is repeated with another seed and what
was kept.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import child, images, measure
from brain_tumor_tl.files import read_json

FAST = "fast"


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        finished: Time and memory of its process.
        epoch: Median seconds of an epoch but the first, evaluation included.
        results: Its results.json.
    """

    finished: child.Finished
    epoch: float
    results: Mapping[str, Any]

    @property
    def kept(self) -> float:
        """Seconds in which the output of the frozen part was computed or opened; 0 if nothing is frozen."""
        return float(self.results["features"].get("seconds", 0.0))


class Runs:
    """Runs of one network, cut at several places.

    Args:
        options: The program's options.
        root: Folder of the images.
        work: Folder for runs and the cache.
    """

    def __init__(self, options: Any, root: Path, work: Path) -> None:
        self.options, self.root, self.work = options, root, work
        self.count = 0
        self.train("warm", "method=frozen", "trainer.max_epochs=1")  # decodes the images

    def cut(self, place: str) -> Measured:
        """Train with what lies before a place frozen, when nothing is kept of an earlier run."""
        for folder in (self.work / "cache").glob("features-*[!k]"):
            shutil.rmtree(folder)
        return self.seed(place, 0)

    def again(self, place: str) -> list[Measured]:
        """Train twice, with two seeds; return the second run as often as the cuts are measured."""
        self.cut(place)
        return [self.seed(place, 1)] * self.options.repeats

    def seed(self, place: str, seed: int) -> Measured:
        """Train from a place, or by the fast recipe, with a seed."""
        chosen = [f"recipe={FAST}"] if place == FAST else ["method=partial", f"method.train_from={place}"]
        epochs = [] if place == FAST else [f"trainer.max_epochs={self.options.epochs}"]
        return self.train(place, *chosen, *epochs, f"seed={seed}")

    def train(self, name: str, *overrides: str) -> Measured:
        """Train once; a recipe among the overrides comes after those of --set."""
        self.count += 1
        folder, options = self.work / f"{self.count}-{name}", self.options
        given = [] if any(o.startswith("recipe=") for o in overrides) else [*options.set]
        given = given or [o for o in options.set if not o.startswith("recipe=")]
        finished = child.train(
            folder, f"data.root={self.root}", f"data.cache_dir={self.work / 'cache'}", f"model={options.model}",
            "trainer.enable_progress_bar=false", *given, *overrides,
        )  # fmt: skip
        seconds = [child.epoch_seconds(row) for row in child.steady(child.epochs(folder))]
        return Measured(finished, measure.spread(seconds).median, read_json(folder / "results.json"))


def rows_of(found: Mapping[str, Sequence[Measured]], reference: str) -> list[dict[str, Any]]:
    """Return a row for each place: times and memory, as such and of the reference's."""
    whole = found[reference]
    return [
        {
            "from": place,
            "layers that learn": f"{runs[0].results['learning']['layers']:.0%}",
            "keeping, s": measure.spread(run.kept for run in runs),
            "epoch, s": measure.spread(run.epoch for run in runs),
            "of its epoch": measure.ratios([r.epoch for r in runs], [r.epoch for r in whole]),
            "whole run, s": measure.spread(run.finished.seconds for run in runs),
            "of its run": measure.ratios([r.finished.seconds for r in runs], [r.finished.seconds for r in whole]),
            "own memory, MB": measure.spread(run.finished.own_megabytes or 0.0 for run in runs),
            "epochs": runs[0].results["epochs"],
            "accuracy, %": measure.spread(100 * run.results["accuracy"] for run in runs),
        }
        for place, runs in found.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all cuts in turn and print the table."""
    options = measure.options(
        __doc__,
        arguments,
        ("cuts", ["1", "0.85", "0.7", "0.5", "0.35", "0.2", "0"], "places; the last one is compared with"),
        ("again", 0, "1 to repeat each cut but the last with seed 1 and what is kept of the frozen part"),
        data=None,
        images=400,
        image_size=224,
        model="mobilenet_v2",
        epochs=3,
        repeats=1,
    )
    before = measure.environment()
    with images.work_folder() as work:
        runs = Runs(options, images.provided(options.data, options.images, options.image_size, work), work)
        cuts = {cut: partial(runs.cut, cut) for cut in options.cuts}
        found = measure.taking_turns(cuts, options.repeats)
        if options.again:
            found |= {f"{cut}, again": runs.again(cut) for cut in options.cuts[:-1]}
    title = f"{options.model}: cuts beside {options.cuts[-1]}"
    measure.report(title, rows_of(found, options.cuts[-1]), options, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
