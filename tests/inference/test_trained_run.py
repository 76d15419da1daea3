"""TrainedRun: opened from its folder alone; the run's own predictions again; what is missing from a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import brain_tumor_tl
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.inference.trained_run import TrainedRun, precision_of

METHODS = ("frozen", "finetune")
Edit = Callable[[dict[str, Any]], object]


def images_of_test(folder: Path) -> tuple[list[Path], np.ndarray[Any, Any]]:
    """Return the run's test images and their probabilities in predictions.csv."""
    root = Path(read_json(folder / "results.json")["config"]["data"]["root"])
    rows = read_csv(folder / "predictions.csv")
    columns = [name for name in rows[0] if name.startswith("probability/")]
    return [root / row["path"] for row in rows], np.array([[float(row[name]) for name in columns] for row in rows])


def edited_copy(folder: Path, to: Path, edit: Edit) -> Path:
    """Copy a run's folder with another results.json."""
    shutil.copytree(folder, to)
    results = read_json(to / "results.json")
    edit(results)
    (to / "results.json").write_text(json.dumps(results))
    return to


@pytest.mark.parametrize("method", METHODS)
def test_predict__the_runs_own_predictions_calibrated(finished_runs: Mapping[str, Path], method: str) -> None:
    folder = finished_runs[method]
    paths, written = images_of_test(folder)

    run = brain_tumor_tl.load(folder)
    plain = brain_tumor_tl.load(folder)
    plain.temperature = None

    assert len(paths) > 8
    assert np.allclose(plain.predict(paths), written, atol=1e-5)
    expected = softmax(np.log(written), run.temperature or 1.0)
    assert np.allclose(run.predict(paths), expected, atol=1e-4)
    assert run.classes == tuple(run.results["classes"])
    assert (run.device.type, run.precision) == ("cpu", "32-true")


def test_predict__takes_what_pictures_come_in(finished_runs: Mapping[str, Path]) -> None:
    run = TrainedRun(finished_runs["finetune"])
    (path, other, *_), _ = images_of_test(run.folder)
    with Image.open(path) as image:
        array = np.array(image.convert("L"))
        kinds: list[Any] = [str(path), path, image.copy(), array, torch.tensor(array), torch.tensor(array)[None]]
    expected = run.predict([path])

    assert expected.shape == (1, 4)
    assert expected.dtype == np.float32
    assert all(np.array_equal(run.predict(kind), expected) for kind in kinds)
    both = np.stack([array, array])[..., None]
    assert np.allclose(run.predict(both), np.concatenate([expected, expected]), atol=1e-6)
    assert np.allclose(run.predict([path, other])[0], expected[0], atol=1e-6)


def test_features__are_the_backbones(finished_runs: Mapping[str, Path]) -> None:
    run = TrainedRun(finished_runs["frozen"])
    paths, _ = images_of_test(run.folder)

    features = run.features(paths[:3])

    expected, logits = run.compute(torch.from_numpy(np.stack([run.decode(path) for path in paths[:3]])))
    assert np.allclose(features, expected.numpy(), atol=1e-4)
    assert np.allclose(run.head(expected).detach().numpy(), logits.numpy(), atol=1e-6)


def test_predict__says_which_image_cannot_be_used(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    run = TrainedRun(finished_runs["frozen"])
    (path, *_), _ = images_of_test(run.folder)
    (tmp_path / "bad.png").write_bytes(b"no image")

    with pytest.raises(ValueError, match=r"Image 1 \(.*bad\.png\) can't be used: not an image"):
        run.predict([path, tmp_path / "bad.png"])
    with pytest.raises(ValueError, match=r"Image 0 can't be used: .*got \(2, 2, 2\)"):
        run.predict(np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="at least one image"):
        run.predict([])


def test_trained_run__names_what_is_missing(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent is no folder"):
        TrainedRun(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"has no results\.json\. Give the run's own folder"):
        TrainedRun(tmp_path)
    cut = Path(shutil.copytree(finished_runs["frozen"], tmp_path / "cut"))
    (cut / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ValueError, match=r"best\.ckpt, there is no such file"):
        TrainedRun(cut)
    (cut / "results.json").unlink()
    with pytest.raises(ValueError, match=r"is unfinished, since it has no results\.json\. Resume it first"):
        TrainedRun(cut)


def without_preprocessing(results: dict[str, Any]) -> None:
    """Make results as the first version wrote them: schema 1, without the settings and words of later ones."""
    results["schema"] = 1
    results["protocol"]["watched"] = results["protocol"].pop("monitored")
    results["protocol"].pop("intensity")
    results["config"]["data"].pop("intensity")


def test_trained_run__of_the_first_version(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    folder = edited_copy(finished_runs["frozen"], tmp_path / "old", without_preprocessing)
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["hyper_parameters"]["preprocessing"]
    torch.save(checkpoint, path)
    paths, _ = images_of_test(folder)

    old, new = TrainedRun(folder), TrainedRun(finished_runs["frozen"])

    assert np.array_equal(old.predict(paths[:4]), new.predict(paths[:4]))
    assert old.preprocessing.intensity["rule"] == "file"


def test_trained_run__of_an_unknown_version(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    folder = edited_copy(finished_runs["frozen"], tmp_path / "later", lambda results: results.update(schema=99))

    with pytest.raises(ValueError, match="expected schema 2 or 1, got 99"):
        TrainedRun(folder)


def test_trained_run__wrong_device_and_precision(finished_runs: Mapping[str, Path]) -> None:
    with pytest.raises(ValueError, match="Expected `device` to be auto, cpu, cuda or mps, got 'gpu'"):
        TrainedRun(finished_runs["frozen"], device="gpu")
    with pytest.raises(ValueError, match="one of auto, 32-true, bf16-mixed, 16-mixed, got 'bf16'"):
        TrainedRun(finished_runs["frozen"], precision="bf16")
    with pytest.raises(ValueError, match="Expected a GPU for precision 16-mixed"):
        TrainedRun(finished_runs["frozen"], device="cpu", precision="16-mixed")


@pytest.mark.parametrize(
    ("asked", "of_run", "found"),
    [
        ("32-true", "bf16-mixed", "32-true"),
        ("auto", "32-true", "32-true"),
        ("auto", "bf16-mixed", "bf16-mixed"),  # also where that is slow: it was tested so
        ("auto", "16-mixed", "32-true"),  # a processor has no float16
    ],
)
def test_precision_of__asked_for_or_that_of_the_runs_test(asked: str, of_run: str, found: str) -> None:
    assert precision_of(asked, {"environment": {"precision": of_run}}, "cpu") == found


def test_precision_of__a_run_that_says_nothing() -> None:
    assert precision_of("auto", {}, "cpu") in ("32-true", "bf16-mixed")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compute_fast__as_compute(finished_runs: Mapping[str, Path], precision: str) -> None:
    run = TrainedRun(finished_runs["frozen"], precision=precision)
    paths, _ = images_of_test(run.folder)
    pixels = torch.from_numpy(np.stack([run.decode(path) for path in paths[:4]]))
    features, logits = run.compute(pixels)

    run.prepare_for_many()
    fast_features, fast_logits = run.compute_fast(pixels)

    tolerance = 1e-5 if precision == "32-true" else 0
    assert torch.allclose(fast_features, features, rtol=tolerance, atol=tolerance)
    assert torch.allclose(fast_logits, logits, rtol=tolerance, atol=tolerance)
