"""Peers: the same training by the package and by scripts as other people write them.

    python benchmarks/peers.py --data PATH --epochs 3 --json peers.json

All train the same network on the same images, with the same batches and epochs, each in its own process. Images/s leave
out the first epoch; the time to an accuracy is from the start of the process to the end of the first epoch that reaches
it. The scripts in `peer_scripts/` compute in float32, their default; with `--bf16 yes` they compute as the package does
on CPUs with bfloat16.
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
from brain_tumor_tl.files import read_json

SCRIPTS = {
    "plain Lightning": "lightning_script.py",
    "torchvision's loop": "torchvision_loop.py",
    "timm's loop": "timm_loop.py",
}
COMPARED = {"finetune": list(SCRIPTS), "frozen": ["plain Lightning"]}  # scripts compared with the package, by method


@dataclass(frozen=True)
class Outcome:
    """Results of one process.

    Attributes:
        rows: Its epochs.
        at: Seconds from the start of the process to the appearance of each row.
        seconds: Wall time of the process.
        images: Number of images by split.
    """

    rows: list[dict[str, float]]
    at: list[float]
    seconds: float
    images: dict[str, int]

    def speed(self, split_name: str) -> float:
        """Return the median images/s of a split."""
        return self.images[split_name] / self.usual(f"seconds/{split_name}")

    def usual(self, column: str) -> float:
        """Return a column's median over the epochs without the first."""
        return measure.spread(row[column] for row in child.steady(self.rows)).median

    def best(self) -> float:
        """Return the best accuracy on the test split."""
        return max(row["test/accuracy"] for row in self.rows)

    def seconds_to(self, accuracy: float) -> float | None:
        """Return the seconds to the first epoch with at least this accuracy, or None."""
        reached = (at for row, at in zip(self.rows, self.at, strict=True) if row["test/accuracy"] >= accuracy)
        return next(reached, None)

    def projected(self, epochs: int) -> float:
        """Return the seconds of a process with more epochs: those measured plus further median ones."""
        epoch = self.usual("seconds/train") + self.usual("seconds/test")
        return self.seconds + (epochs - len(self.rows)) * epoch


class Arrivals:
    """Records when each row of a growing `metrics.csv` appears."""

    def __init__(self, folder: Path) -> None:
        self.file, self.at = folder / "metrics.csv", list[float]()
        self._size = 0

    def __call__(self, seconds: float) -> None:
        """Check the file, `seconds` after the start."""
        size = self.file.stat().st_size if self.file.is_file() else 0
        if size != self._size:
            self._size = size
            rows = self.file.read_text(encoding="utf-8").count("\n") - 1
            self.at += [seconds] * (rows - len(self.at))


class Contest:
    """Runs every contender on the same images and splits.

    Args:
        options: The program's options.
        root: Folder of the images.
        work: Folder for runs, caches and the splits as image folders.
    """

    def __init__(self, options: Any, root: Path, work: Path) -> None:
        self.options, self.root, self.work = options, root, work
        self.splits = work / "splits"
        self.images: dict[str, int] = {}
        self._numbers = count()

    def package(self, method: str) -> Outcome:
        """Run `brain-tumor-tl train` with a cold cache; its first run determines the splits for the scripts."""
        folder, options = self._folder(), self.options
        epochs = options.frozen_epochs if method == "frozen" else options.epochs
        arrivals = Arrivals(folder)
        finished = child.train(
            folder, f"method={method}", f"model.name={options.model}", "model.weights=null", "data=folder",
            f"data.root={self.root}", f"data.image_size={options.image_size}", f"data.batch_size={options.batch_size}",
            f"data.cache_dir={folder}-cache", f"trainer.max_epochs={epochs}", *options.set, each_tick=arrivals,
        )  # fmt: skip
        if not self.images:
            self.images = read_json(folder / "results.json")["protocol"]["counts"]
            link_splits(folder / "split.csv", self.root, self.splits)
        return self._outcome(folder, arrivals, finished.seconds)

    def peer(self, script: str, method: str) -> Outcome:
        """Run a script on the package's splits."""
        folder, options = self._folder(), self.options
        arrivals = Arrivals(folder)
        line = [
            sys.executable, str(Path(__file__).parent / "peer_scripts" / script), "--data", str(self.splits),
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


def link_splits(table: Path, root: Path, splits: Path) -> None:
    """Create links SPLIT/CLASS/NUMBER.EXTENSION to the images of a run's `split.csv`."""
    base = next(folder for folder in (root, *sorted(root.iterdir())) if (folder / first_path(table)).is_file())
    with table.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            # ImageFolder numbers the class folders by name, so the names start with the label.
            folder = splits / row["split"] / f"{row['label']}-{row['class']}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:07d}{Path(row['path']).suffix}").symlink_to((base / row["path"]).resolve())


def first_path(table: Path) -> str:
    """Return the first path of a `split.csv`."""
    with table.open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))["path"]


def row_of(method: str, name: str, outcomes: Sequence[Outcome], ours: Sequence[Outcome], target: float) -> Any:
    """Return a contender's row; the "package" columns give the package's speed-up in the same turn."""
    epochs = max(len(outcome.rows) for outcome in ours)
    whole = [outcome.projected(epochs) for outcome in outcomes]
    reached = [seconds for outcome in outcomes if (seconds := outcome.seconds_to(target)) is not None]
    speeds = {name: [outcome.speed(name) for outcome in outcomes] for name in ("train", "test")}
    return {
        "method": method,
        "contender": name,
        "train images/s": measure.spread(speeds["train"]),
        "test images/s": measure.spread(speeds["test"]),
        "package, train": measure.ratios((mine.speed("train") for mine in ours), speeds["train"]),
        "accuracy": target,
        "s to it": measure.spread(reached) if len(reached) == len(outcomes) else None,
        "epochs": f"{epochs}" if len(outcomes[0].rows) == epochs else f"{epochs}, PROJECTED",
        "s in total": measure.spread(whole),
        "package, in total": measure.ratios(whole, (mine.seconds for mine in ours)),
    }


def compare(contest: Contest, method: str, options: Any) -> list[dict[str, Any]]:
    """Return a method's rows."""
    measurements: dict[str, Callable[[], Outcome]] = {"brain-tumor-tl": partial(contest.package, method)}
    measurements |= {name: partial(contest.peer, SCRIPTS[name], method) for name in COMPARED[method]}
    given = measure.taking_turns(measurements, options.repeats)
    lowest = min(outcome.best() for outcomes in given.values() for outcome in outcomes)
    target = options.target or lowest
    return [row_of(method, name, outcomes, given["brain-tumor-tl"], target) for name, outcomes in given.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the contenders in turn and print the table."""
    options = measure.options(
        __doc__, arguments,
        ("target", 0.0, "accuracy to reach, as a fraction; 0 means the best that all of them reach"),
        ("bf16", "no", "`yes` runs the scripts in bf16 with channels last, `no` in float32"),
        ("frozen_epochs", 100, "epochs of the frozen method"),
        ("measured_epochs", 2, "how many of those epochs the script runs; the rest is projected"),
        data=None, images=800, image_size=224, batch_size=32, epochs=3, repeats=3, model="mobilenet_v2",
        methods=["finetune", "frozen"], workers=os.cpu_count() or 1,
    )  # fmt: skip
    environment = measure.environment()
    with images.work_folder() as work:
        contest = Contest(options, images.provided(options.data, options.images, options.image_size, work), work)
        rows = [row for method in options.methods for row in compare(contest, method, options)]
    measure.report(f"{options.model}: the package and its peers", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
