"""What several test modules share: drawn images, the study's real ones, real weights, a second process."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests run side by side, one on each core

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import hypothesis
import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

hypothesis.settings.register_profile("shared machine", deadline=None, database=None)  # no timing, no folder of its own
hypothesis.settings.load_profile("shared machine")

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED = CHECKOUT.parent / "shared"

Draw = Callable[..., Path]
StartPython = Callable[..., "subprocess.Popen[str]"]


def drawn(seed: int, mode: str = "L", size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Return a bright head on black with some texture; each seed gives other pixels."""
    noise = np.random.default_rng(seed).integers(0, 64, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    width, height = size
    box = (width // 8, height // 8, width - width // 8, height - height // 8)
    ImageDraw.Draw(image).ellipse(box, fill=(200, 40 + seed * 37 % 200, 90), outline=(255, 255, 255))
    image = image.convert("L").convert(mode) if mode in ("1", "L", "LA") else image.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    return image


@pytest.fixture
def draw() -> Draw:
    """Draw an image into a file: `draw(path, seed=0, mode="L", size=(40, 32), **options for save)`."""

    def save(path: Path, seed: int = 0, mode: str = "L", size: tuple[int, int] = (40, 32), **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(seed, mode, size).save(path, **options)
        return path

    return save


@pytest.fixture(scope="session")
def study_classes() -> list[list[str]]:
    """The classes of conf/train.yaml: each class's name and its aliases, in the order of the labels."""
    classes = OmegaConf.load(CHECKOUT / "conf" / "train.yaml").data.classes
    return cast("list[list[str]]", OmegaConf.to_container(classes))


@pytest.fixture
def image_folder(tmp_path: Path, draw: Draw, study_classes: Sequence[Sequence[str]]) -> Path:
    """A folder in the study's layout with 28 drawn grey images: 5 for training and 2 for testing a class."""
    root = tmp_path / "images"
    for label, (name, *_) in enumerate(study_classes):
        for number in range(5):
            draw(root / "Training" / name / f"{name} ({number}).png", seed=10 * label + number)
        for number in range(2):
            draw(root / "Testing" / name / f"image({number}).jpg", seed=100 + 10 * label + number)
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the study's 3264 images; BRAIN_TUMOR_TL_TEST_DATA names another place for it."""
    place = os.environ.get("BRAIN_TUMOR_TL_TEST_DATA")
    folder = Path(place) if place else SHARED / "data" / "brain-tumor-mri"
    if not (folder / "Training").is_dir():
        pytest.skip(f"the study's images are not at {folder}; BRAIN_TUMOR_TL_TEST_DATA=PATH says where they are")
    return folder


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder of real ImageNet weights in .pth files."""
    folder = SHARED / "weights"
    if not any(folder.glob("*.pth")):
        pytest.skip(f"no real ImageNet weights at {folder}")
    return folder


@pytest.fixture
def start_python() -> Iterator[StartPython]:
    """Start a script in a real second process, with pipes to talk to it: `start_python(script, *arguments)`.

    A process still alive after a minute or at the end of the test is killed, so that none can hang the tests.
    """
    started: list[tuple[subprocess.Popen[str], threading.Timer]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        timer = threading.Timer(60, process.kill)
        timer.start()
        started.append((process, timer))
        return process

    yield start
    for process, timer in started:
        timer.cancel()
        process.kill()
        process.communicate()
