"""Scale: time per image and peak memory from 3,000 to 100,000 images.

    python benchmarks/scale.py --sizes 3000 10000 30000 100000 --json scale.json

Files are small phantoms that differ in a few pixels. Each row is its own process: one only decodes, one decodes and
fine-tunes, one finds the images decoded and trains a head. Own memory leaves out mapped files, which the system can
evict; it is what must stay bounded.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import child, images, measure
from brain_tumor_tl.files import read_json


def decode(root: Path, work: Path, size: int) -> tuple[float, child.Finished]:
    """Decode a folder in its own process; return the seconds of decoding, and the process's time and memory."""
    output = work / "decode.json"
    line = [sys.executable, str(Path(__file__).parent / "decode.py"), "--data", str(root), "--variants", "cold"]
    finished = child.run([*line, "--image-size", str(size), "--repeats", "1", "--json", str(output)])
    seconds: float = read_json(output)["rows"][0]["seconds"]["median"]
    return seconds, finished


def train(root: Path, work: Path, options: Any, method: str) -> tuple[Path, child.Finished]:
    """Train on a folder in its own process; return the run folder, and the process's time and memory."""
    folder = work / f"run-{method}"
    finished = child.train(
        folder, f"method={method}", f"model.name={options.model}", "model.weights=null", "data=folder",
        f"data.root={root}", f"data.image_size={options.image_size}", f"data.batch_size={options.batch_size}",
        f"data.cache_dir={work / 'cache'}", f"trainer.max_epochs={options.epochs}", *options.set,
    )  # fmt: skip
    return folder, finished


def row_of(count: int, what: str, seconds: float, finished: child.Finished) -> dict[str, Any]:
    """Return a row of the table."""
    return {
        "images": count,
        "what": what,
        "µs per image": 1e6 * seconds / count,
        "s in total": finished.seconds,
        "peak MB": finished.peak_megabytes,
        "own peak MB": finished.own_megabytes,
    }


def measured(count: int, work: Path, options: Any) -> list[dict[str, Any]]:
    """Write `count` images, measure and remove them; return the rows."""
    root = work / "images"
    images.write_many(root, count, max(options.image_size, 32))
    seconds, finished = decode(root, work, options.image_size)
    rows = [row_of(count, "decode", seconds, finished)]
    for method in options.methods:
        folder, finished = train(root, work, options, method)
        epochs = child.steady(child.epochs(folder))
        seconds = measure.spread(map(child.epoch_seconds, epochs)).median
        rows.append(row_of(count, f"{method} epoch", seconds, finished))
        features = read_json(folder / "results.json")["features"]
        if features.get("computed_now"):
            rows.append(row_of(count, f"{method} features", features["seconds"], finished))
    shutil.rmtree(work)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size and print the table."""
    options = measure.options(
        __doc__, arguments, ("sizes", [3_000, 10_000, 30_000, 100_000], "numbers of images"),
        image_size=64, batch_size=256, epochs=2, model="shufflenet_v2_x0_5", methods=["finetune", "frozen"],
    )  # fmt: skip
    environment = measure.environment()
    rows = []
    with images.work_folder() as work:
        for count in options.sizes:
            rows += measured(count, work / str(count), options)
    measure.report(f"Scale, {options.image_size} pixels, {options.model}", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
