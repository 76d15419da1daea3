"""Plots: the numbers stand in the figures, and nothing needs a display."""

from __future__ import annotations

import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.plots import (
    confusion_figure,
    curves_figure,
    pixels,
    png,
    save_run_figures,
)

COUNTS = [[8, 2, 0], [1, 0, 3], [0, 0, 0]]
CLASSES = ["no_tumor", "glioma_tumor", "other"]
ROWS = [
    {"epoch": epoch, "train/loss": 1 / epoch, "train/accuracy": 0.5, "test/loss": 2 / epoch, "test/accuracy": 0.4}
    for epoch in range(1, 6)
]  # fmt: skip


def texts(axes: Axes) -> dict[tuple[float, float], str]:
    """Return the texts inside the axes by place, `(x, y)`."""
    return {text.get_position(): text.get_text() for text in axes.texts}


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Return the curves by their name in the legend."""
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.lines
    }


def test_confusion_figure__counts_and_shares_row_by_row() -> None:
    axes = confusion_figure(COUNTS, CLASSES, "a run, test split").axes[0]

    assert axes.get_title() == "a run, test split"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert texts(axes) == {
        (0, 0): "8\n80.0%", (1, 0): "2\n20.0%", (2, 0): "0\n0.0%",
        (0, 1): "1\n25.0%", (1, 1): "0\n0.0%", (2, 1): "3\n75.0%",
        (0, 2): "0\n0.0%", (1, 2): "0\n0.0%", (2, 2): "0\n0.0%",
    }  # fmt: skip
    shades = axes.images[0].get_array()
    assert np.asarray(shades).tolist() == [[0.8, 0.2, 0], [0.25, 0, 0.75], [0, 0, 0]]


def test_confusion_figure__names_of_the_classes() -> None:
    axes = confusion_figure(COUNTS, CLASSES, "").axes[0]

    expected = ["no\ntumor", "glioma\ntumor", "other"]
    assert [label.get_text() for label in axes.get_xticklabels()] == expected
    assert [label.get_text() for label in axes.get_yticklabels()] == expected


def test_confusion_figure__dark_cells_have_white_numbers() -> None:
    axes = confusion_figure(COUNTS, CLASSES, "").axes[0]

    white = {text.get_position() for text in axes.texts if text.get_color() == "white"}
    assert white == {(0, 0), (2, 1)}


def many(size: int) -> tuple[NDArray[np.int64], list[str]]:
    """Return a confusion matrix and long names; class 1 is predicted as class 3 more often than any other error."""
    counts = 9 * np.eye(size, dtype=np.int64) + np.roll(np.eye(size, dtype=np.int64), 1, axis=1)
    counts[1, 3] = 7
    return counts, [f"glioma_of_the_grade_{number}" for number in range(size)]


def covered(figure: Figure, axes: Axes) -> list[tuple[str, str]]:
    """Return neighbouring ticks and neighbouring cells whose texts overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rows: dict[float, list[Text]] = {}
    for text in axes.texts:
        rows.setdefault(text.get_position()[1], []).append(text)
    lines = [axes.get_xticklabels(), axes.get_yticklabels(), *rows.values()]
    pairs = [(a, b) for line in lines for a, b in pairwise(line)]
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for pair in pairs for text in pair}  # type: ignore[no-untyped-call]
    return [(a.get_text(), b.get_text()) for a, b in pairs if boxes[a].padded(-1).overlaps(boxes[b].padded(-1))]


@pytest.mark.parametrize("size", [2, 4, 8, 17, 44, 100, 300])
def test_confusion_figure__readable_E02(size: int) -> None:
    counts, classes = (np.eye(size, dtype=np.int64), ["yes", "no"]) if size == 2 else many(size)
    if size == 4:
        classes = ["glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"]

    figure = confusion_figure(counts.tolist(), classes, "")
    axes = figure.axes[0]

    assert covered(figure, axes) == []
    assert min(float(label.get_fontsize()) for label in axes.get_xticklabels()) > 5
    assert max(figure.get_size_inches()) < 20
    if size > 7:
        assert len(axes.texts) == (0 if size > 56 else np.count_nonzero(counts))
        (beside,) = figure.texts
        assert beside.get_text().splitlines()[1].split() == [
            "glioma_of_…grade_1",
            "glioma_of_…grade_3",
            "7",
            "41.2",
            "%",
        ]


def test_confusion_figure__every_class_has_its_name_or_every_nth() -> None:
    axes = confusion_figure(*(many(250)), "").axes[0]  # type: ignore[arg-type]

    assert [label.get_text()[-6:] for label in axes.get_yticklabels()[:3]] == ["rade_0", "rade_3", "rade_6"]
    assert axes.get_yticks()[:3].tolist() == [0, 3, 6]


def test_curves_figure__train_beside_the_monitored_split() -> None:
    figure = curves_figure(ROWS, "test", "a run")
    loss, accuracy = figure.axes

    assert figure.get_suptitle() == "a run"
    epochs = [1, 2, 3, 4, 5]
    assert lines(loss) == {
        "train": (epochs, [row["train/loss"] for row in ROWS]),
        "test": (epochs, [row["test/loss"] for row in ROWS]),
    }
    assert lines(accuracy) == {"train": (epochs, [0.5] * 5), "test": (epochs, [0.4] * 5)}
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["train", "test"]


def test_curves_figure__epochs_that_did_not_look() -> None:
    rows = [row if row["epoch"] % 2 == 0 else {k: v for k, v in row.items() if "test" not in k} for row in ROWS]

    loss = curves_figure(rows, "test", "").axes[0]

    assert lines(loss)["train"][0] == [1, 2, 3, 4, 5]
    assert lines(loss)["test"][0] == [2, 4]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 100, 2000])
def test_curves_figure__ticks_are_whole_epochs(count: int) -> None:
    figure = curves_figure([{"epoch": epoch, "train/loss": 1.0} for epoch in range(1, count + 1)], "val", "")
    pixels(figure)

    ticks = figure.axes[0].get_xticks()
    assert len(ticks) >= 1
    assert np.array_equal(ticks, np.round(ticks))


@pytest.mark.parametrize("rows", [ROWS, []], ids=["never-monitored", "no-epoch"])
def test_curves_figure__nothing_to_draw(rows: list[dict[str, Any]]) -> None:
    loss = curves_figure(rows, "val", "").axes[0]

    assert lines(loss)["val"] == ([], [])


def test_curves_figure__one_epoch_is_a_mark() -> None:
    loss = curves_figure(ROWS[:1], "test", "").axes[0]
    many = curves_figure(ROWS, "test", "").axes[0]

    assert [line.get_marker() for line in loss.lines] == ["o", "o"]
    assert [line.get_marker() for line in many.lines] == ["None", "None"]


FIGURES = {
    "confusion": (lambda: confusion_figure(COUNTS, CLASSES, "a"), (560, 640, 3)),
    "curves": (lambda: curves_figure(ROWS, "test", "a"), (400, 960, 3)),
}


@pytest.mark.parametrize(("draw", "shape"), FIGURES.values(), ids=FIGURES)
def test_pixels__of_a_figure(draw: Any, shape: tuple[int, int, int]) -> None:
    array = pixels(draw())

    assert array.shape == shape
    assert array.dtype == np.uint8
    assert array.flags.owndata
    assert array.max() == 255
    assert array.min() < 60


def test_png__same_pixels_and_same_bytes() -> None:
    content = png(confusion_figure(COUNTS, CLASSES, "a"))

    assert content == png(confusion_figure(COUNTS, CLASSES, "a"))
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels(confusion_figure(COUNTS, CLASSES, "a")))


def test_png__resolution() -> None:
    content = png(Figure(figsize=(2, 1)), dots_per_inch=50)

    assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == (100, 50)


def test_save_run_figures__of_a_finished_run(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    folder = finished_runs["frozen"]
    results = read_json(folder / "results.json")

    save_run_figures(tmp_path, results, ROWS, "test")

    names = {"confusion_matrix.png", "curves.png", "reliability.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names - {"curves.png"}:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_save_run_figures__an_error_leaves_the_old_file(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(figure: Figure, *_: Any, **__: Any) -> None:
        raise OSError("no space left")

    results = read_json(finished_runs["frozen"] / "results.json")
    (tmp_path / "confusion_matrix.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", fail)

    with pytest.raises(OSError, match="no space left"):
        save_run_figures(tmp_path, results, ROWS, "test")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"confusion_matrix.png": b"old"}


def test_plots__without_pyplot() -> None:
    script = """
import sys
from brain_tumor_tl.reporting.plots import confusion_figure, curves_figure, pixels
pixels(confusion_figure([[1, 0], [0, 1]], ["a", "b"], ""))
pixels(curves_figure([{"epoch": 1, "train/loss": 1.0, "train/accuracy": 1.0}], "val", ""))
print([name for name in ("matplotlib.pyplot", "tkinter", "torch") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert result.stdout == "[]\n"
