"""Phantom: what is drawn, what depends on what, and that a set appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from numpy.random import PCG64, RandomState
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data.sources import phantom
from brain_tumor_tl.data.sources.phantom import CLASSES, draw_head, write_phantoms

Pixels = NDArray[np.uint8]


def drawn(kind: str, size: int = 48, seed: int = 0) -> Pixels:
    return draw_head(kind, size, RandomState(PCG64(seed)))


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def stop_after(count: int) -> Callable[[str, int, RandomState], Pixels]:
    """Return a draw_head that is interrupted, as by Ctrl-C, when it has drawn `count` heads."""
    calls = iter(range(count))

    def draw(kind: str, size: int, rng: RandomState) -> Pixels:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return draw_head(kind, size, rng)

    return draw


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("size", [32, 33, 96, 200], ids=lambda size: f"{size}px")
def test_draw_head__gives_bytes_of_that_size(kind: str, size: int) -> None:
    pixels = drawn(kind, size)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (size, size)
    assert pixels.min() < 20
    assert pixels.max() > 100


@pytest.mark.parametrize("kind", CLASSES)
def test_draw_head__is_a_function_of_its_random_source(kind: str) -> None:
    np.testing.assert_array_equal(drawn(kind, seed=3), drawn(kind, seed=3))
    assert (drawn(kind, seed=3) != drawn(kind, seed=4)).mean() > 0.5


def test_draw_head__stays_as_it_was() -> None:
    # One grey level of freedom: a power or a sine may differ in its last bit between processors.
    row = drawn("glioma_tumor", size=32, seed=5)[16, ::4].astype(int)
    np.testing.assert_allclose(row, [12, 11, 117, 113, 125, 99, 98, 54], atol=1)


@pytest.mark.parametrize("seed", range(6), ids=lambda seed: f"seed{seed}")
def test_draw_head__surrounds_the_head_with_air(seed: int) -> None:
    pixels = drawn("no_tumor", 96, seed)
    corners = np.concatenate([pixels[:6, :6], pixels[:6, -6:], pixels[-6:, :6], pixels[-6:, -6:]])
    assert corners.mean() < 15
    assert pixels[32:64, 32:64].mean() > 60


@pytest.mark.parametrize(
    ("kind", "more_than_none"),
    [("pituitary_tumor", 60), ("meningioma_tumor", 200), ("glioma_tumor", 60)],
    ids=["pituitary", "meningioma", "glioma"],
)
def test_draw_head__shows_a_bright_lesion(kind: str, more_than_none: int) -> None:
    def bright(kind: str) -> float:
        return float(np.median([(drawn(kind, 96, seed) > 150).sum() for seed in range(20)]))

    assert bright(kind) > bright("no_tumor") + more_than_none


@pytest.mark.parametrize("kind", ["meningioma_tumor", "glioma_tumor", "no_tumor"])
def test_draw_head__puts_the_pituitary_lesion_alone_at_the_centre(kind: str) -> None:
    def centre(kind: str) -> float:
        return float(np.mean([drawn(kind, 96, seed)[40:56, 44:52].mean() for seed in range(20)]))

    assert centre("pituitary_tumor") > centre(kind) + 40


def test_draw_head__hollows_the_glioma() -> None:
    def dark_brain(kind: str) -> float:
        return float(np.median([(drawn(kind, 96, seed)[24:72, 24:72] < 70).sum() for seed in range(20)]))

    assert dark_brain("glioma_tumor") > dark_brain("no_tumor") + 50


@pytest.mark.parametrize("size", [-1, 0, 31])
def test_draw_head__refuses_small_sizes(size: int) -> None:
    with pytest.raises(ValueError, match=rf"Expected `size` of at least 32 pixels, got {size}\."):
        drawn("no_tumor", size)


def test_draw_head__refuses_unknown_classes() -> None:
    with pytest.raises(ValueError, match=r"`kind` to be one of no_tumor, pituitary_tumor, .*, got 'cyst'\."):
        drawn("cyst")


def test_write_phantoms__writes_flat_class_folders(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "phantoms"
    write_phantoms(root, per_class=3, size=40, seed=0)
    images = [f"{kind}/synthetic-{kind}-{number}.png" for kind in CLASSES for number in ("0001", "0002", "0003")]
    assert sorted(contents(root)) == sorted([*images, "SYNTHETIC.txt"])
    for path in images:
        with Image.open(root / path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (40, 40))


def test_write_phantoms__says_that_they_are_drawn(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "phantoms", per_class=1, size=32, seed=7)
    notice = (tmp_path / "phantoms" / "SYNTHETIC.txt").read_text(encoding="utf-8")
    assert "seed 7" in notice
    assert "prove nothing about MRI" in notice


def test_write_phantoms__draws_the_same_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_phantoms(tmp_path / name, per_class=2, size=32, seed=0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_write_phantoms__begins_a_larger_set_with_the_smaller(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "small", per_class=2, size=32, seed=0)
    write_phantoms(tmp_path / "large", per_class=4, size=32, seed=0)
    small, large = contents(tmp_path / "small"), contents(tmp_path / "large")
    pictures = [path for path in small if path.endswith(".png")]
    assert len(pictures) == 8
    assert all(small[path] == large[path] for path in pictures)


def test_write_phantoms__gives_each_picture_a_head_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_draws = []

    def draw(kind: str, size: int, rng: RandomState) -> Pixels:
        first_draws.append(rng.uniform())
        return draw_head(kind, size, rng)

    monkeypatch.setattr(phantom, "draw_head", draw)
    for seed in (0, 1):
        write_phantoms(tmp_path / str(seed), per_class=3, size=32, seed=seed)
    assert len(set(first_draws)) == len(first_draws) == 24


def test_write_phantoms__leaves_an_existing_root_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "phantoms").mkdir()
    (tmp_path / "phantoms" / "mine.txt").write_text("mine", encoding="utf-8")
    write_phantoms(tmp_path / "phantoms", per_class=1, size=32, seed=0)
    assert contents(tmp_path) == {"phantoms/mine.txt": b"mine"}


@pytest.mark.parametrize("count", [0, 3, 7], ids=["at once", "midway", "at the last"])
def test_write_phantoms__leaves_nothing_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    root = tmp_path / "phantoms"
    monkeypatch.setattr(phantom, "draw_head", stop_after(count))
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(root, per_class=2, size=32, seed=0)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    monkeypatch.undo()
    write_phantoms(root, per_class=2, size=32, seed=0)
    assert len(contents(root)) == 9


def test_write_phantoms__replaces_what_a_killed_run_left(tmp_path: Path) -> None:
    left = tmp_path / "phantoms.tmp" / "no_tumor" / "synthetic-no_tumor-0009.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a picture")
    write_phantoms(tmp_path / "phantoms", per_class=1, size=32, seed=0)
    assert len(contents(tmp_path / "phantoms")) == 5
    assert not (tmp_path / "phantoms.tmp").exists()


def test_write_phantoms__draws_once_for_several_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "phantoms"
    monkeypatch.setattr(phantom, "draw_head", stop_after(8))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(write_phantoms, root, per_class=2, size=32, seed=0) for _ in range(4)]
    assert [run.result() for run in runs] == [None] * 4
    assert len(contents(root)) == 9


def test_write_phantoms__frees_its_lock(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "phantoms", per_class=1, size=32, seed=0)
    with FileLock(tmp_path / "phantoms.lock", timeout=0) as lock:
        assert lock.is_locked


@pytest.mark.parametrize(
    ("per_class", "size", "message"),
    [
        (0, 32, r"Expected `per_class` of at least 1, got 0\."),
        (-3, 32, r"Expected `per_class` of at least 1, got -3\."),
        (1, 31, r"Expected `size` of at least 32 pixels, got 31\."),
    ],
    ids=["no image", "negative", "too small"],
)
def test_write_phantoms__refuses_values_out_of_range(tmp_path: Path, per_class: int, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_phantoms(tmp_path / "phantoms", per_class, size, seed=0)
    assert not (tmp_path / "phantoms").exists()
