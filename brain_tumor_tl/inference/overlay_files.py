"""Overlay files: pictures explained one batch after the other, a PNG file and rows of a table for each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from brain_tumor_tl.data.decode import Pixels, read_picture
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.reader import result_or_reason
from brain_tumor_tl.files import write_bytes
from brain_tumor_tl.inference.explain import BATCH, Explanation, explain
from brain_tumor_tl.inference.overlay import as_png, overlay_sheet, sized
from brain_tumor_tl.inference.pictures import stacked

if TYPE_CHECKING:
    from brain_tumor_tl.inference.trained_run import TrainedRun

Row = dict[str, Any]
PLACES = ("peak_x", "peak_y")
COLUMNS = ("path", "predicted", "class", "probability", *PLACES, "largest", "faithfulness", "overlay", "problem")


class Decoded(NamedTuple):
    """A picture for the eye and for the network."""

    shown: Image.Image
    pixels: Pixels


def write_overlays(
    run: TrainedRun,
    pictures: Sequence[Path],
    out: Path,
    classes: Sequence[str] | None = None,
    faithfulness: bool = False,
) -> Iterator[Row]:
    """Explain pictures, write an overlay of each below a folder, and yield a row for each picture and class.

    Overlays lie in folders as the pictures do below the folder that has them all. A picture that can't be read has one
    row, with its problem.

    Args:
        run: The run; its backbone must be convolutional.
        pictures: Their paths.
        out: Folder of the overlays.
        classes: The classes to explain; None for the one that is predicted for each picture.
        faithfulness: Whether to measure the faithfulness of each map.

    Raises:
        ValueError: The network computes with tokens, or the run has no class of that name.
    """
    names = overlay_names(pictures)
    for start in range(0, len(pictures), BATCH):
        paths = pictures[start : start + BATCH]
        decoded = [result_or_reason(lambda path: decode(run, path), path) for path in paths]
        usable = [one.pixels for one in decoded if isinstance(one, Decoded)]
        found = iter(explain(run, stacked(usable), classes, faithfulness) if usable else ())
        for path, name, one in zip(paths, names[start:], decoded, strict=False):
            if isinstance(one, str):
                yield {"path": printable(str(path)), "problem": one}
                continue
            explanation = next(found)
            file = out / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, as_png(overlay_sheet(explanation, one.shown, path.name)))
            yield from rows(explanation, path, file)


def overlay_names(pictures: Sequence[Path]) -> list[str]:
    """Return the name of each picture's overlay, with its folders below the one that has all pictures.

    >>> overlay_names([Path("a/b/x.jpg"), Path("a/x.jpg"), Path("a/b/x.png")])
    ['b/x.jpg.png', 'x.jpg.png', 'b/x.png.png']
    """
    whole = [os.path.abspath(path) for path in pictures]  # noqa: PTH100 - `resolve` would follow links out of the folder
    base = os.path.commonpath([str(Path(path).parent) for path in whole]) if whole else ""
    return [f"{os.path.relpath(path, base)}.png" for path in whole]


def decode(run: TrainedRun, path: Path) -> Decoded:
    """Read a picture once, as it is shown and as the network gets it."""
    _, window, own_window = run.decoding
    picture = read_picture(path, window, own_window).image
    return Decoded(sized(picture), run.pixels(np.asarray(picture)))  # an array: a turned image may keep its tag


def rows(explanation: Explanation, path: Path, file: Path) -> Iterator[Row]:
    """Yield a row for each explained class of a picture.

    Args:
        explanation: Its maps.
        path: The picture.
        file: Its overlay.
    """
    scores: Sequence[float | None] = explanation.scores or [None] * len(explanation.classes)
    values = (explanation.classes, explanation.probabilities, explanation.maps, explanation.peaks, scores)
    for name, probability, found, peak, score in zip(*values, strict=True):
        yield {
            "path": printable(str(path)),
            "predicted": explanation.predicted,
            "class": name,
            "probability": round(probability, 6),
            **dict(zip(PLACES, (round(place, 4) for place in peak), strict=True)),
            "largest": round(float(found.max()), 6),
            "faithfulness": None if score is None else round(score, 4),
            "overlay": printable(str(file)),
            "problem": "",
        }
