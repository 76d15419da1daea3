"""Copies: time, processor time and memory of the search for near copies, alone and beside busy processes.

    python benchmarks/copies.py --data DIR --sizes 3264 7000 100000 --busy 0 1

The thumbnails are those of the images of `--data`, then phantoms up to the wanted number. Of the phantoms 30 % are near
copies of earlier ones: turned or mirrored, cropped by up to 4 % and with another gamma. Each search is a process.
`--compared 2333` searches 7000 images as 100,000 are: each is compared with a third of them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import PCG64, RandomState
from numpy.typing import NDArray
from PIL import Image

from benchmarks import child, images, measure
from benchmarks.altered import curved
from benchmarks.decode import forked_processes
from brain_tumor_tl.cache import new_array
from brain_tumor_tl.data.index import read_index
from brain_tumor_tl.data.leakage import search as neighbours
from brain_tumor_tl.data.leakage.copies import near_pairs
from brain_tumor_tl.data.leakage.file_info import THUMBNAIL, load_file_info
from brain_tumor_tl.data.sources.phantom import CLASSES, draw_head
from brain_tumor_tl.files import read_json, write_json

COPIES = 0.3  # share of the phantoms that are near copies of others
SPIN = "while True: pass"  # keeps one processor busy

Thumbnails = NDArray[np.uint8]


def drawn(number: int) -> Thumbnails:
    """Return the thumbnail of one phantom."""
    return draw_head(CLASSES[number % len(CLASSES)], THUMBNAIL, RandomState(PCG64([11, number])))


def altered(image: Thumbnails, number: int) -> Thumbnails:
    """Return a near copy of a thumbnail: turned, cropped and with another gamma."""
    rng = RandomState(PCG64([12, number]))
    left, upper, right, lower = rng.uniform(0, 0.04 * THUMBNAIL, 4)
    gamma = rng.uniform(0.7, 1.4)
    picture = Image.fromarray(np.rot90(image[:, :: rng.choice([-1, 1])], rng.randint(4)))
    picture = picture.resize(
        (THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC, (left, upper, THUMBNAIL - right, THUMBNAIL - lower)
    )
    return np.asarray(curved(picture, gamma))


def write_thumbnails(path: Path, count: int, data: Path | None, work: Path) -> int:
    """Write `count` thumbnails to a .npy file; return how many of them are constructed copies."""
    array = new_array(path, np.uint8, (count, THUMBNAIL, THUMBNAIL))
    real = 0
    if data is not None:
        info = load_file_info(read_index(data, images.known_classes()), work / "cache")
        real = min(count, len(info.thumbnails))
        array[:real] = info.thumbnails[:real]
    originals = real + round((1 - COPIES) * (count - real))
    with forked_processes() as pool:
        for position, image in enumerate(pool.map(drawn, range(originals - real), chunksize=64), real):
            array[position] = image
    for position in range(originals, count):
        array[position] = altered(array[real + (position - originals)], position)
    array.flush()
    return count - originals


def search(source: str, result: str, compared: int) -> None:
    """Search thumbnails in this process; write seconds, processor seconds and the pairs that are copies.

    Args:
        source: File of the thumbnails.
        result: File for what was found.
        compared: Images that each image is compared with at least.
    """
    neighbours.COMPARED = compared
    thumbnails = np.load(source, mmap_mode="r")
    started, processor = time.perf_counter(), time.process_time()
    pairs = near_pairs(thumbnails, [str(number) for number in range(len(thumbnails))])
    found = {"seconds": time.perf_counter() - started, "processor": time.process_time() - processor}
    write_json(Path(result), found | {"copies": [pair[:2] for pair in pairs if pair.is_copy()]})


def row_of(count: int, constructed: int, busy: int, compared: int, work: Path) -> dict[str, Any]:
    """Search `count` thumbnails beside some busy processes; return a row of the table."""
    arguments = (str(work / "images.npy"), str(work / "found.json"), compared)
    call = f"from benchmarks.copies import search; search{arguments!r}"
    with ExitStack() as beside:
        for _ in range(busy):
            beside.callback(subprocess.Popen([sys.executable, "-c", SPIN]).kill)
        finished = child.run([sys.executable, "-c", call])
    found = read_json(work / "found.json")
    first_copy = count - constructed
    return {
        "images": count,
        "compared with": min(compared, count),
        "busy processes beside": busy,
        "seconds": found["seconds"],
        "processor seconds": found["processor"],
        "own peak MB": finished.own_megabytes,
        "pairs of copies": len(found["copies"]),
        "constructed copies": constructed,
        "of these found": len({second for _, second in found["copies"] if second >= first_copy}),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each size and print the table."""
    options = measure.options(
        __doc__, arguments, ("sizes", [3264, 7000, 100_000], "numbers of images"),
        ("busy", [0, 1], "processes that keep a processor busy beside the search"),
        ("compared", neighbours.COMPARED, "images that each image is compared with at least"), data=None, repeats=1,
    )  # fmt: skip
    environment, rows = measure.environment(), []
    with images.work_folder() as work:
        for count in options.sizes:
            constructed = write_thumbnails(work / "images.npy", count, options.data, work)
            turns = [busy for _ in range(options.repeats) for busy in options.busy]
            rows += [row_of(count, constructed, busy, options.compared, work) for busy in turns]
    measure.report("Search for near copies", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
