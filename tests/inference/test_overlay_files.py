"""Overlay files: a file for each picture that can be read, in folders as theirs, and rows for each map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import brain_tumor_tl
from brain_tumor_tl.inference.overlay_files import COLUMNS, decode, overlay_names, write_overlays
from brain_tumor_tl.inference.trained_run import TrainedRun

Draw = Callable[..., Path]


@pytest.fixture
def run(finished_runs: Mapping[str, Path]) -> TrainedRun:
    opened = brain_tumor_tl.load(finished_runs["finetune"], device="cpu")
    assert isinstance(opened, TrainedRun)
    return opened


def test_write_overlays__rows_and_files(run: TrainedRun, tmp_path: Path, draw: Draw) -> None:
    places = [draw(tmp_path / "in" / f"{number % 2}" / f"{number}.png", seed=number) for number in range(18)]
    broken = tmp_path / "in" / "0" / "broken.png"
    broken.write_bytes(b"no image")
    pictures = [*places[:3], broken, *places[3:]]

    rows = list(write_overlays(run, pictures, tmp_path / "out", ["no_tumor", "glioma_tumor"]))

    assert [row["path"] for row in rows if row["problem"]] == [str(broken)]
    found = [row for row in rows if not row["problem"]]
    assert [row["path"] for row in found] == [str(path) for path in places for _ in range(2)]
    assert [row["class"] for row in found] == ["no_tumor", "glioma_tumor"] * 18
    assert all(set(row) <= set(COLUMNS) for row in rows)
    assert np.allclose([row["probability"] for row in found], run.predict(places)[:, [0, 3]].ravel(), atol=1e-5)
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert files == sorted(f"{number % 2}/{number}.png.png" for number in range(18))
    with Image.open(found[0]["overlay"]) as image:
        assert image.width > 3 * 400


def test_write_overlays__a_batch_of_broken_files(run: TrainedRun, tmp_path: Path) -> None:
    broken = tmp_path / "a.png"
    broken.write_bytes(b"")

    (row,) = write_overlays(run, [broken], tmp_path / "out")

    assert row["problem"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("orientation", [1, 6])
def test_decode__as_the_run_does(run: TrainedRun, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "turned.jpg"
    Image.linear_gradient("L").resize((60, 40)).save(path, exif=exif)

    shown, pixels = decode(run, path)

    assert np.array_equal(pixels, run.decode(path))
    assert (shown.width > shown.height) == (orientation == 1)


def test_overlay_names__of_pictures_in_a_file_and_of_one() -> None:
    assert overlay_names([Path("a/scan.nii.gz#001"), Path("a/scan.nii.gz#002")]) == [
        "scan.nii.gz#001.png",
        "scan.nii.gz#002.png",
    ]
    assert overlay_names([Path("/x/y.png")]) == ["y.png.png"]
    assert overlay_names([]) == []
