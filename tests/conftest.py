"""Fixtures for several test modules: drawn and real images, real weights, finished runs, a second process."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests run in parallel, one on each core

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import filelock
import hydra
import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

# Both are ignored in a background script or under nohup, and the programs that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

hypothesis.settings.register_profile("shared machine", deadline=None, database=None)  # no time limit, no files
hypothesis.settings.load_profile("shared machine")

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED = CHECKOUT.parent / "shared"

Draw = Callable[..., Path]
StartPython = Callable[..., "subprocess.Popen[str]"]


def drawn(seed: int, mode: str = "L", size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Return a bright, textured head on black; each seed gives different pixels."""
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
    """Draw an image and save it: `draw(path, seed=0, mode="L", size=(40, 32), **options of Image.save)`."""

    def save(path: Path, seed: int = 0, mode: str = "L", size: tuple[int, int] = (40, 32), **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(seed, mode, size).save(path, **options)
        return path

    return save


@pytest.fixture(scope="session")
def study_classes() -> list[list[str]]:
    """The classes of conf/train.yaml: name and aliases of each class, in the order of the labels."""
    classes = OmegaConf.load(CHECKOUT / "conf" / "train.yaml").data.classes
    return cast("list[list[str]]", OmegaConf.to_container(classes))


@pytest.fixture
def image_folder(tmp_path: Path, draw: Draw, study_classes: Sequence[Sequence[str]]) -> Path:
    """A folder in the study's layout with 28 drawn grey images: 5 for training and 2 for testing per class."""
    root = tmp_path / "images"
    for label, (name, *_) in enumerate(study_classes):
        for number in range(5):
            draw(root / "Training" / name / f"{name} ({number}).png", seed=10 * label + number)
        for number in range(2):
            draw(root / "Testing" / name / f"image({number}).jpg", seed=100 + 10 * label + number)
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the study's 3264 images, or the one that BRAIN_TUMOR_TL_TEST_DATA names."""
    place = os.environ.get("BRAIN_TUMOR_TL_TEST_DATA")
    folder = Path(place) if place else SHARED / "data" / "brain-tumor-mri"
    if not (folder / "Training").is_dir():
        pytest.skip(f"the study's images are not in {folder}; set BRAIN_TUMOR_TL_TEST_DATA=PATH")
    return folder


@pytest.fixture(scope="session")
def study_cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A cache folder for the study's images that all tests of a session share, so that they are searched once."""
    base = tmp_path_factory.getbasetemp()
    return (base if worker_id == "master" else base.parent) / "study_cache"


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder of ImageNet weights in .pth files."""
    folder = SHARED / "weights"
    if not any(folder.glob("*.pth")):
        pytest.skip(f"no ImageNet weights in {folder}")
    return folder


@pytest.fixture
def start_python() -> Iterator[StartPython]:
    """Start a script in a second process with pipes to it: `start_python(script, *arguments)`.

    A process that is alive after a minute or at the end of the test is killed, so that it can't block the tests.
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


FINISHED = (
    "data=phantom",
    "data.phantoms_per_class=16",
    "data.phantom_size=64",
    "data.image_size=64",
    "data.val_fraction=0.25",
    "data.stratify=true",  # so that every class stands in every split
    "data.batch_size=8",
    "model.name=shufflenet_v2_x0_5",
    "model.weights=null",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
    "sweep=finished",
)


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Path]:
    """The folders of two finished runs on phantoms, by method: `finished_runs["frozen"]`, `finished_runs["finetune"]`.

    They are trained once for all workers of a test session, so a test must not change them: copy what it changes.
    Both have training, validation and test splits of the same images; their folders lie side by side.
    """
    from brain_tumor_tl.cli.checks import checked_settings
    from brain_tumor_tl.cli.config import conf_dir
    from brain_tumor_tl.cli.run_names import origin_of
    from brain_tumor_tl.cli.train import train

    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "finished_runs"
    folders = {method: shared / f"shufflenet_v2_x0_5-{method}-s0" for method in ("frozen", "finetune")}
    with filelock.FileLock(f"{shared}.lock"):
        for method, folder in folders.items():
            if (folder / "results.json").is_file():
                continue
            with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
                line = [*FINISHED, f"method={method}", f"data.cache_dir={shared / 'cache'}"]
                config = hydra.compose("train", line)
            folder.mkdir(parents=True, exist_ok=True)
            train(checked_settings(config), folder, origin_of(config))
    return folders


WriteDicom = Callable[..., Path]


@pytest.fixture
def write_dicom() -> WriteDicom:
    """Write a DICOM file: `write_dicom(path, values, compressed="", **elements by keyword)`; return its path.

    Values are `(H, W)`, `(H, W, 3)` for colours or `(frames, H, W)`.
    """
    from pydicom import Dataset, dataset, uid

    def write(path: Path, values: NDArray[Any], compressed: str = "", **elements: Any) -> Path:
        data, frames = Dataset(), values if values.ndim == 3 and values.shape[-1] != 3 else values[None]
        data.file_meta = dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID, data.SOPInstanceUID = uid.ExplicitVRLittleEndian, uid.generate_uid()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid.MRImageStorage
        bits, colour = 8 * values.itemsize, frames.ndim == 4
        elements = {
            "NumberOfFrames": len(frames), "Rows": frames.shape[1], "Columns": frames.shape[2], "BitsAllocated": bits,
            "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(values.dtype.kind == "i"),
            "SamplesPerPixel": 3 if colour else 1, "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
            "PlanarConfiguration": 0, "PixelData": frames.tobytes() + bytes(frames.nbytes % 2),
        } | elements  # fmt: skip
        for name, value in elements.items():
            setattr(data, name, value)
        if compressed:
            data.compress(compressed)
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
        return path

    return write


MakeResults = Callable[..., dict[str, Any]]


@pytest.fixture
def make_results() -> MakeResults:
    """Make the contents of a results.json: `make_results("resnet18-frozen-s0", accuracy=0.9, synthetic=False, ...)`.

    Further keywords replace top-level keys; `config` and `protocol` are merged into the defaults. The confusion matrix
    has 20 images of each class, two of class 0 predicted as class 1, whatever the accuracy. tests/test_fixtures.py
    checks its keys against those of a real run.
    """
    classes = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]
    matrix = [[20 if row == column else 0 for column in range(4)] for row in range(4)]
    matrix[0] = [18, 2, 0, 0]

    def make(
        name: str = "resnet18-finetune-s0",
        accuracy: float = 0.9,
        synthetic: bool = False,
        config: dict[str, Any] | None = None,
        protocol: dict[str, Any] | None = None,
        **other: Any,
    ) -> dict[str, Any]:
        model, method, seed = name.split("-")
        settings = {
            "seed": int(seed[1:]), "name": name, "model": {"name": model, "weights": "IMAGENET1K_V1"},
            "method": {"name": method, "freeze": method == "frozen"}, "optimizer": {"lr": 0.001},
        }  # fmt: skip
        how = {
            "synthetic": synthetic, "split": "random", "limited": False, "best_chosen_on": "test",
            "counts": {"train": 2611, "val": 0, "test": 653}, "text": "random split of single images.",
        }  # fmt: skip
        return {
            "schema": 2, "name": name, "model": model, "method": method, "seed": int(seed[1:]), "epochs": 100,
            "accuracy": accuracy, "best_accuracy": 0.95, "best_epoch": 1, "balanced_accuracy": accuracy,
            "macro_f1": 0.5, "loss": 0.3, "classes": classes, "confusion_matrix": matrix,
            "per_class": {c: {"precision": 1.0, "recall": 0.9, "f1": 0.95, "support": 20} for c in classes},
            "seconds_per_epoch": {"train": 1.5, "test": 0.25}, "features": {"cached": method == "frozen"},
            "protocol": how | (protocol or {}), "config": settings | (config or {}),
            "environment": {
                "device": "a processor", "precision": "32-true", "digests": {"data": "one", "weights": "two"},
            },
            **other,
        }  # fmt: skip

    return make


PutRun = Callable[..., Path]


@pytest.fixture
def put_run(make_results: MakeResults) -> PutRun:
    """Write the folder of a finished run: `put_run(parent, name, **keywords of make_results)`; return the folder.

    `hits`, whether each test image is predicted correctly, adds predictions, for images numbered from `start`, and
    `groups` gives the images' groups.
    """

    def put(
        parent: Path,
        name: str,
        folder: str = "",
        hits: Sequence[bool] | None = None,
        start: int = 0,
        groups: Sequence[int] | None = None,
        **keywords: Any,
    ) -> Path:
        place = parent / (folder or name)
        place.mkdir(parents=True)
        (place / "config.yaml").write_text("seed: 0\n")
        if hits is not None:
            keywords = {"accuracy": sum(hits) / len(hits), **keywords}
            numbers = range(start, start + len(hits))
            predicted = [f"{n}.png,{n % 4},{int(hit)}" for n, hit in zip(numbers, hits, strict=True)]
            (place / "predictions.csv").write_text("\n".join(["path,label,correct", *predicted]) + "\n")
            whole = [f"{n}.png,{group}" for n, group in enumerate(groups or ())]
            (place / "split.csv").write_text("\n".join(["path,group", *whole]) + "\n")
        (place / "results.json").write_text(json.dumps(make_results(name, **keywords)))
        return place

    return put
