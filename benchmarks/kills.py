"""Kills: runs killed at random moments, started again, and compared to the bit with runs that nothing interrupted.

    python benchmarks/kills.py --kills 20 --json kills.json

For each method, recipe and monitored split: one whole run, then as many runs as `--kills` says, each killed by SIGKILL
and started again with the same command. Every second one is killed shortly after a random epoch, since the epochs of a
head take no time beside the rest, the others at a random moment between their first file and their end. A run counts as
equal if all is the same that must not depend on the interruption: metrics.csv without times and memory,
predictions.csv, the results, and every tensor and number in both checkpoints. Each run is a forked process with its own
command line; they share the imports.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import images, measure
from brain_tumor_tl.__main__ import main as command
from brain_tumor_tl.cli.train import import_libraries
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.run.checkpoints import epochs_in

METHODS = ("frozen", "partial", "finetune")
PLATEAU = (  # no epoch is better by ten times, so the rate falls after each
    "scheduler.name=ReduceLROnPlateau", "+scheduler.options.patience=0", "+scheduler.options.threshold=10",
)  # fmt: skip
RECIPES: dict[str, tuple[str, ...]] = {
    "study": ("recipe=study",),
    "onecycle": ("recipe=onecycle", "data.augment.flip=0.5", "data.augment.degrees=10"),
    "plateau": PLATEAU,
    "strong": ("recipe=strong",),
}
VALIDATION = {"val": ("data.val_fraction=0.2",), "none": ("data.val_fraction=0",)}
ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT  # to ask whether a process has ended, leaving its status to waitpid
CHANGING = ("seconds", "images_per_second", "memory", "started", "finished")  # names that begin with these may differ


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if a killed run differs from the whole one."""
    options = measure.options(
        __doc__, arguments, ("kills", 20, "kills of each configuration"), ("seed", 0, "of the moments"),
        ("recipes", list(RECIPES), "recipes: study, onecycle with augmentation, plateau, strong"),
        images=48, image_size=32, batch_size=8, epochs=5, model="shufflenet_v2_x0_5", methods=list(METHODS),
    )  # fmt: skip
    environment = measure.environment()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)  # a fork inherits no other thread
    import_libraries()
    with tempfile.TemporaryDirectory() as work:
        root = images.provided(None, options.images, options.image_size, Path(work))
        rows = [
            row_of(options, root, Path(work), method, recipe, validation)
            for method in options.methods
            for recipe in options.recipes
            for validation in VALIDATION
            if not (recipe == "strong" and validation == "none")  # which stops by the validation split
        ]
    measure.report("Killed runs, compared with whole ones", rows, options, environment)
    return int(any(row["equal"] < row["kills"] for row in rows))


def row_of(options: Any, root: Path, work: Path, method: str, recipe: str, validation: str) -> dict[str, Any]:
    """Kill the runs of one configuration; return the row of the table."""
    line = line_of(options, root, work, method, recipe, validation)
    moments, folder = random.Random(f"{options.seed} {method} {recipe} {validation}"), work / "killed"
    run(line, work / "whole")
    seconds = run(line, work / "again")  # with everything cached, as the killed ones
    if found := difference(work / "whole", work / "again"):
        raise RuntimeError(f"Two whole runs of {method}, {recipe}, {validation} differ in {found}.")
    saved, differences = [], []
    for number in range(options.kills):
        shutil.rmtree(folder, ignore_errors=True)
        in_training = number % 2 == 0
        epochs = moments.randrange(options.epochs) if in_training else None
        run(line, folder, epochs, moments.uniform(0, 0.05 if in_training else seconds))
        saved.append(epochs_in(folder / "checkpoints" / "last.ckpt"))
        run(line, folder)
        if found := difference(work / "whole", folder):
            differences.append(found)
    shutil.rmtree(work / "whole")
    shutil.rmtree(work / "again")
    known = {"method": method, "recipe": recipe, "validation": validation, "kills": options.kills}
    between = f"{min(saved)} to {max(saved)} of {options.epochs}" if saved else "-"
    equal = options.kills - len(differences)
    return known | {"epochs saved": between, "equal": equal, "differ in": "; ".join(sorted(set(differences)))}


def line_of(options: Any, root: Path, work: Path, method: str, recipe: str, validation: str) -> list[str]:
    """Return the command line of a configuration, without its folder."""
    monitor = ["scheduler.monitor=train/loss"] if recipe == "plateau" and validation == "none" else []
    return [
        "train", "trainer=cpu", "trainer.precision=32-true", "trainer.enable_progress_bar=false", "model.weights=null",
        f"model.name={options.model}", f"method={method}", *RECIPES[recipe], *VALIDATION[validation], *monitor,
        "evidence=none",  # whose pictures cost more than these runs
        f"data.root={root}", f"data.cache_dir={work / 'cache'}", f"data.image_size={options.image_size}",
        f"data.batch_size={options.batch_size}", f"trainer.max_epochs={options.epochs}", "name=run", *options.set,
    ]  # fmt: skip


def run(line: Sequence[str], folder: Path, epochs: int | None = None, kill_after: float | None = None) -> float:
    """Run a command line in a forked process; return the seconds from the run's first file to its end.

    Args:
        line: After the command's name.
        folder: The run's.
        epochs: Epochs to wait for before the time to the kill begins; None for none.
        kill_after: Seconds from the first file, or these epochs, to SIGKILL; None to let it end.

    Raises:
        RuntimeError: It ended by itself with an error; the message has the end of its output.
    """
    log = folder.with_suffix(".log")
    if (process := os.fork()) == 0:
        in_child([*line, f"hydra.run.dir={folder}"], log)
    while not (folder / "config.yaml").is_file() and os.waitid(os.P_PID, process, ENDED) is None:
        time.sleep(0.001)
    started = time.perf_counter()
    while epochs and rows_in(folder) < epochs and os.waitid(os.P_PID, process, ENDED) is None:
        time.sleep(0.001)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"A run ended with status {status}:\n{log.read_text(encoding='utf-8')[-3000:]}")
    return time.perf_counter() - started


def rows_in(folder: Path) -> int:
    """Return how many epochs metrics.csv has."""
    try:
        return len((folder / "metrics.csv").read_text(encoding="utf-8").splitlines()) - 1
    except FileNotFoundError:
        return 0


def in_child(line: list[str], log: Path) -> None:
    """Run a command line with its output in a file, and end this process."""
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.argv = ["brain-tumor-tl", *line]
        status = command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def difference(whole: Path, other: Path) -> str:
    """Return what differs between two runs that should be equal; empty if nothing does."""
    if rows_of(whole) != rows_of(other):
        return "metrics.csv"
    if (whole / "predictions.csv").read_bytes() != (other / "predictions.csv").read_bytes():
        return "predictions.csv"
    results = [lasting(read_json(folder / "results.json")) for folder in (whole, other)]
    if results[0] != results[1]:
        return f"results.json ({', '.join(key for key in results[0] if results[0][key] != results[1].get(key))})"
    for name in ("last.ckpt", "best.ckpt"):
        contents = [checkpoint(folder / "checkpoints" / name) for folder in (whole, other)]
        if not same(*contents):
            return name
    return ""


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without time, speed and memory."""
    return [lasting(row) for row in read_csv(folder / "metrics.csv")]


def lasting(content: Any) -> Any:
    """Return nested values without those of keys that tell time, speed, memory or where the run is."""
    if isinstance(content, dict):
        left_out = (*CHANGING, "environment", "features", "config")
        return {key: lasting(value) for key, value in content.items() if not key.startswith(left_out)}
    return [lasting(each) for each in content] if isinstance(content, list) else content


def checkpoint(path: Path) -> Any:
    """Return what of a checkpoint must be the same in equal runs."""
    content = torch.load(path, weights_only=True)
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    return {part: content[part] for part in parts if part in content}


def same(first: Any, second: Any) -> bool:
    """Tell whether nested values are equal, tensors to the bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


if __name__ == "__main__":
    raise SystemExit(main())
