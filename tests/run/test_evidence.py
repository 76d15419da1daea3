"""Evidence: what a finished run leaves for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from brain_tumor_tl.cli.config import choices_of, conf_dir
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.model.seeds import epoch_seed
from brain_tumor_tl.run import evidence
from brain_tumor_tl.run.evidence import hyperparameters, joined, spacing, training_sheet
from brain_tumor_tl.run.projector import CONFIG
from brain_tumor_tl.run.training_run import TrainingRun

EVERYTHING = {"images": 0, "tensors": 0, "scalars": 0}
PICTURES = {
    "roc", "precision_recall", "reliability", "training_batch", "highest_loss", "confusion_matrix_test",
}  # fmt: skip


def read(folder: Path) -> Any:
    """Return all that TensorBoard reads in a folder."""
    return EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()


@pytest.fixture(params=["frozen", "finetune"])
def finished(request: pytest.FixtureRequest, finished_runs: dict[str, Path]) -> Path:
    """The folder of a finished run with a validation split."""
    return finished_runs[request.param]


def test_add_evidence__every_tab_has_something(finished: Path) -> None:
    events, results = read(finished), read_json(finished / "results.json")
    tags = events.Tags()

    assert {f"pictures/{name}" for name in PICTURES} <= set(tags["images"])
    assert set(events.PluginTagToContent("pr_curves")) == set(results["classes"])
    assert {tag.partition("/")[0] for tag in tags["scalars"]} == {"metrics", "per_class", "training"}
    assert {f"about/{name}/text_summary" for name in ("config", "protocol", "environment")} <= set(tags["tensors"])
    assert "custom_scalars__config__" in tags["tensors"]
    assert set(events.PluginTagToContent("hparams")) == {
        "_hparams_/session_start_info", "_hparams_/session_end_info",
    }  # fmt: skip
    assert (finished / CONFIG).is_file()
    assert (
        len(read_csv(finished / "predictions.csv")) == len((finished / "projector/images.tsv").open().readlines()) - 1
    )


def test_add_evidence__the_last_values_are_the_results(finished: Path) -> None:
    events, results = read(finished), read_json(finished / "results.json")

    for name in ("accuracy", "loss", "balanced_accuracy", "macro_f1"):
        assert events.Scalars(f"metrics/{name}")[-1].value == pytest.approx(results[name], rel=1e-6)


def test_add_evidence__protocol_is_told_in_markdown(finished: Path) -> None:
    (event,) = read(finished).Tensors("about/protocol/text_summary")
    told = event.tensor_proto.string_val[0].decode()

    assert "test images rightly (95 % interval" in told
    assert "\n\n| | |\n|---|---|\n| split | random |\n" in told
    assert "null" not in told


def test_add_evidence__pictures_of_cases_have_colour(finished_runs: dict[str, Path]) -> None:
    (event,) = read(finished_runs["frozen"]).Images("pictures/highest_loss")  # whose maps have a positive part
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)

    assert (np.ptp(pixels, axis=2) > 60).mean() > 0.01  # Grad-CAM; the phantoms are grey


@pytest.fixture
def settings(finished_runs: dict[str, Path]) -> dict[str, Any]:
    """The settings of a finished frozen run, whose images and features are cached; a test may change them."""
    loaded: dict[str, Any] = yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text())
    return copy.deepcopy(loaded)


def test_add_evidence__none_leaves_the_curves_and_the_settings(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["evidence"] = yaml.safe_load((conf_dir() / "evidence" / "none.yaml").read_text())

    TrainingRun(settings, tmp_path).train()

    tags = read(tmp_path).Tags()
    assert tags["images"] == []
    assert tags["tensors"] == []
    assert "metrics/accuracy" in tags["scalars"]
    assert not (tmp_path / CONFIG).exists()
    assert read(tmp_path).PluginTagToContent("hparams")


def test_add_evidence__a_trial_has_what_its_search_goes_by(settings: dict[str, Any], tmp_path: Path) -> None:
    origin = {"trial": {"metric": "val/macro_f1"}}

    results = TrainingRun(settings, tmp_path, origin=origin).train()

    events = read(tmp_path)
    tags = {tag for tag in events.Tags()["scalars"] if not tag.startswith("training/")}
    assert tags == {"metrics/macro_f1"}  # nothing of the test split, which is for the chosen trial
    assert events.Scalars("metrics/macro_f1")[0].value == pytest.approx(results["trial"]["value"], rel=1e-6)
    assert events.Tags()["images"] == []
    assert not (tmp_path / CONFIG).exists()


@pytest.mark.parametrize("choice", ["none", "full"])
def test_conf_evidence__has_every_key(choice: str) -> None:
    assert choices_of("evidence") == ["default", "full", "none"]
    default, other = (
        yaml.safe_load((conf_dir() / f"evidence/{name}.yaml").read_text()) for name in ("default", choice)
    )

    assert set(other) - {"defaults"} <= set(default)
    assert "defaults" in other or set(other) == set(default)


def test_training_sheet__leaves_the_random_numbers_as_they_were(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["data"]["augment"]["degrees"] = 90.0
    data = TrainingRun(settings, tmp_path).data
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)

    augmented = training_sheet(data, 0, 8, augmented=True)

    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(augmented, training_sheet(data, 0, 8, augmented=True))
    data.augmentation = type(data.augmentation)()
    assert not np.array_equal(augmented, training_sheet(data, 0, 8, augmented=True))


def test_training_sheet__is_what_the_network_gets(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["method"] |= {"name": "finetune", "freeze": False}
    settings["data"]["augment"] |= {"degrees": 90.0, "flip": 0.5, "contrast": 0.5}
    run = TrainingRun(settings, tmp_path)
    tiles: list[Any] = []

    def caught(found: list[Any], *_: Any) -> Any:
        tiles.extend(found)
        return np.zeros((1, 1, 3))

    monkeypatch.setattr(evidence, "contact_sheet", caught)
    training_sheet(run.data, settings["seed"], 3, augmented=True)

    _, training, _, _ = run.sources(None)
    torch.manual_seed(epoch_seed(settings["seed"], 0))
    inputs, _, _ = next(iter(training))
    pictures = (255 * inputs[:3, 0]).round().to(torch.uint8).numpy()
    expected = [np.asarray(Image.fromarray(picture).convert("RGB").resize(tiles[0].size)) for picture in pictures]
    assert settings["data"]["normalize"] == "unit"
    assert len(tiles) == 3
    for tile, picture in zip(tiles, expected, strict=True):
        assert np.abs(np.asarray(tile).astype(int) - picture).max() <= 1


def test_hyperparameters__readable_and_only_what_differs() -> None:
    config = {
        "data": {"split": "grouped", "batch_size": 32, "root": "/a/b"}, "model": {"weights": "/x/w.pth"},
        "optimizer": {"lr": 0.01, "name": "SGD", "options": {}}, "scheduler": {"name": "StepLR"},
        "trainer": {"deterministic": True, "max_epochs": 5},
    }  # fmt: skip
    results = {
        "model": "resnet18", "method": "frozen", "seed": 3, "config": config, "choices": {"recipe": "onecycle"},
        "changed": ["recipe", "optimizer.name", "trainer.deterministic", "model.weights", "gone"],
        "given": ["optimizer.lr", "optimizer.name", "model"],
    }  # fmt: skip

    assert hyperparameters(results) == {
        "model": "resnet18", "method": "frozen", "seed": 3, "split": "grouped", "recipe": "onecycle",
        "optimizer": "SGD", "deterministic": "true", "weights": "w.pth", "learning rate": 0.01,
    }  # fmt: skip


@pytest.mark.parametrize(("images", "most", "every"), [(653, 1000, 1), (653, 653, 1), (653, 300, 3), (653, 0, 0)])
def test_spacing__at_most_as_many(images: int, most: int, every: int) -> None:
    assert spacing(images, most) == every
    assert not every or len(range(0, images, every)) <= most


def test_joined__of_batches() -> None:
    assert joined([]).shape == (0, 0)
    assert joined([torch.ones(2, 3), torch.zeros(1, 3)]).tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
