"""Peers: the same network, batches, epochs and images by the package and as other people write it.

    python benchmarks/peers.py --data PATH --epochs 3 --json peers.json

Each contender is a whole process. Images/s are those after the first epoch; seconds to an accuracy count from the start
of the process to the end of the first epoch that reaches it. The scripts in `peer_scripts/` compute in float32 as they
do when nothing is said; `--bf16 yes` lets them compute as the package does on processors that have bfloat16.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import child, images, measure

SCRIPTS = {
    "plain Lightning": "lightning_script.py",
    "torchvision's loop": "torchvision_loop.py",
    "timm's loop": "timm_loop.py",
}
ENTRANTS = {"finetune": list(SCRIPTS), "frozen": ["plain Lightning"]}  # who runs beside the package


@dataclass(frozen=True)
class Outcome:
    """What a contender's process left.

    Attributes:
        rows: Its epochs.
        at: Seconds from the start of the process at which each row was there.
        seconds: Wall time of the process.
        images: Number of images by part.
    """

    rows: list[dict[str, float]]
    at: list[float]
    seconds: float
    images: dict[str, int]

    def speed(self, part: str) -> float:
        """Return images/s of a part in a usual epoch."""
        return self.images[part] / self.usual(f"seconds/{part}")

    def usual(self, column: str) -> float:
        """Return a column's median over the epochs, the first left out."""
        return measure.spread(row[column] for row in child.steady(self.rows)).median

    def best(self) -> float:
        """Return the best accuracy on the test part."""
        return max(row["test/accuracy"] for row in self.rows)

    def seconds_to(self, accuracy: float) -> float | None:
        """Return the seconds to the first epoch with at least that accuracy, None where none has it."""
        reached = (at for row, at in zip(self.rows, self.at, strict=True) if row["test/accuracy"] >= accuracy)
        return next(reached, None)

    def projected(self, epochs: int) -> float:
        """Return the seconds of a process of so many epochs: those measured, and further usual ones."""
        epoch = self.usual("seconds/train") + self.usual("seconds/test")
        return self.seconds + (epochs - len(self.rows)) * epoch


class Arrivals:
    """Notes when each row of a growing `metrics.csv` is first seen."""

    def __init__(self, folder: Path) -> None:
        self.file, self.at = folder / "metrics.csv", list[float]()
        self._size = 0

    def __call__(self, seconds: float) -> None:
        """Look, `seconds` after the start."""
        size = self.file.stat().st_size if self.file.is_file() else 0
        if size != self._size:
            self._size = size
            rows = self.file.read_text(encoding="utf-8").count("\n") - 1
            self.at += [seconds] * (rows - len(self.at))


class Contest:
    """Runs each contender on the same images in the same parts.

    Args:
        options: The program's options.
        root: Folder of the images.
        work: Folder for runs, caches and the parts as folders.
    """

    def __init__(self, options: Any, root: Path, work: Path) -> None:
        self.options, self.root, self.work = options, root, work
        self.parts = work / "parts"
        self.images: dict[str, int] = {}
        self._numbers = count()

    def package(self, method: str) -> Outcome:
        """Run `brain-tumor-tl train` from a cold cache; its first run gives the parts that the others get."""
        folder, options = self._folder(), self.options
        epochs = options.frozen_epochs if method == "frozen" else options.epochs
        arrivals = Arrivals(folder)
        finished = child.train(
            folder, f"method={method}", f"model.name={options.model}", "model.weights=null", "data=folder",
            f"data.root={self.root}", f"data.image_size={options.image_size}", f"data.batch_size={options.batch_size}",
            f"data.cache_dir={folder}-cache", f"trainer.max_epochs={epochs}", *options.set, each_tick=arrivals,
        )  # fmt: skip
        if not self.images:
            self.images = child.read(folder, "results.json")["protocol"]["counts"]
            link_parts(folder / "split.csv", self.root, self.parts)
        return self._outcome(folder, arrivals, finished.seconds)

    def peer(self, script: str, method: str) -> Outcome:
        """Run a peer's script on the parts of the package's split."""
        folder, options = self._folder(), self.options
        arrivals = Arrivals(folder)
        line = [
            sys.executable, str(Path(__file__).parent / "peer_scripts" / script), "--data", str(self.parts),
            "--out", str(folder), "--model", options.model, "--image-size", str(options.image_size),
            "--batch-size", str(options.batch_size), "--workers", str(options.workers),
            "--epochs", str(options.measured_epochs if method == "frozen" else options.epochs),
        ]  # fmt: skip
        line += ["--frozen"] * (method == "frozen") + ["--bf16"] * (options.bf16 == "yes")
        return self._outcome(folder, arrivals, child.run(line, arrivals).seconds)

    def _folder(self) -> Path:
        return self.work / f"run{next(self._numbers)}"

    def _outcome(self, folder: Path, arrivals: Arrivals, seconds: float) -> Outcome:
        return Outcome(child.epochs(folder), arrivals.at, seconds, self.images)


def link_parts(split: Path, root: Path, parts: Path) -> None:
    """Make a folder of links PART/CLASS/NUMBER.EXTENSION to the images of a run's `split.csv`."""
    base = next(folder for folder in (root, *sorted(root.iterdir())) if (folder / first_path(split)).is_file())
    with split.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            # Class folders in the order of the labels, for ImageFolder numbers them by name.
            folder = parts / row["part"] / f"{row['label']}-{row['class']}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:07d}{Path(row['path']).suffix}").symlink_to((base / row["path"]).resolve())


def first_path(split: Path) -> str:
    """Return the first path of a `split.csv`."""
    with split.open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))["path"]


def row_of(method: str, name: str, outcomes: Sequence[Outcome], ours: Sequence[Outcome], target: float) -> Any:
    """Return a contender's row; "package" columns say how many times as fast the package is in the same turn."""
    epochs = max(len(outcome.rows) for outcome in ours)
    whole = [outcome.projected(epochs) for outcome in outcomes]
    reached = [seconds for outcome in outcomes if (seconds := outcome.seconds_to(target)) is not None]
    speeds = {part: [outcome.speed(part) for outcome in outcomes] for part in ("train", "test")}
    return {
        "method": method,
        "contender": name,
        "train images/s": measure.spread(speeds["train"]),
        "test images/s": measure.spread(speeds["test"]),
        "package, train": measure.ratios((mine.speed("train") for mine in ours), speeds["train"]),
        "accuracy": target,
        "s to it": measure.spread(reached) if len(reached) == len(outcomes) else None,
        "epochs": f"{epochs}" if len(outcomes[0].rows) == epochs else f"{epochs}, PROJECTED",
        "s in all": measure.spread(whole),
        "package, in all": measure.ratios(whole, (mine.seconds for mine in ours)),
    }


def compare(contest: Contest, method: str, options: Any) -> list[dict[str, Any]]:
    """Return the rows of a method."""
    ways: dict[str, Callable[[], Outcome]] = {"brain-tumor-tl": partial(contest.package, method)}
    ways |= {name: partial(contest.peer, SCRIPTS[name], method) for name in ENTRANTS[method]}
    given = measure.taking_turns(ways, options.repeats)
    lowest = min(outcome.best() for outcomes in given.values() for outcome in outcomes)
    target = options.target or lowest
    return [row_of(method, name, outcomes, given["brain-tumor-tl"], target) for name, outcomes in given.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every contender in turns, print the table."""
    options = measure.options(
        __doc__, arguments,
        ("target", 0.0, "accuracy to be reached, as a fraction; 0 takes the best that all of them reach"),
        ("bf16", "no", "`yes` lets the peers compute in bf16 with channels last, `no` leaves them at float32"),
        ("frozen_epochs", 100, "epochs of the frozen method"),
        ("measured_epochs", 2, "how many of those the peer runs; the rest is projected"),
        data=None, images=800, image_size=224, batch_size=32, epochs=3, repeats=3, model="mobilenet_v2",
        methods=["finetune", "frozen"], workers=os.cpu_count() or 1,
    )  # fmt: skip
    facts = measure.surroundings()
    with images.work_folder() as work:
        contest = Contest(options, images.provided(options.data, options.images, options.image_size, work), work)
        rows = [row for method in options.methods for row in compare(contest, method, options)]
    measure.report(f"{options.model} by the package and by its peers", rows, options, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
