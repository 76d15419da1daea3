"""Whole runs: the folder they leave, how they repeat, resume and refuse other settings."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as sk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.evaluation.calibration import fit_temperature, run_probabilities
from brain_tumor_tl.evaluation.intervals import wilson_interval
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.reporting.predictions import compare_runs
from brain_tumor_tl.run.callbacks import EpochRecorder

Train = Callable[..., dict[str, Any]]
Trained = Callable[..., Path]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without what no two runs share: time, speed, memory."""
    changing = ("seconds/", "images_per_second/", "memory")
    table = [{k: v for k, v in row.items() if not k.startswith(changing)} for row in rows(folder / "metrics.csv")]
    assert table
    assert "train/loss" in table[0]
    return table


def results_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_text()))


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]
    assert len(state) > 100
    return state


def assert_same_weights(left: Path, right: Path) -> None:
    first, second = weights(left), weights(right)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_train__leaves_a_folder_that_explains_itself(method: str, run_train: Train, tmp_path: Path) -> None:
    results = run_train(tmp_path, f"method={method}", "trainer.max_epochs=1")
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    expected = {
        "config.yaml", "environment.json", "split.csv", "metrics.csv", "predictions.csv", "results.json",
        "confusion_matrix.png", "curves.png", "reliability.png", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    }  # fmt: skip
    assert expected <= names
    assert not [name for name in names if ".tmp" in name]
    assert results_of(tmp_path) == json.loads(json.dumps(results))
    for name in ("confusion_matrix.png", "curves.png", "reliability.png"):
        assert Image.open(tmp_path / name).size[0] > 400
    splits = [row["split"] for row in rows(tmp_path / "split.csv")]
    assert (splits.count("train"), splits.count("test"), len(splits)) == (38, 10, 48)
    assert results["features"]["cached"] == (method == "frozen")
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert {"config", "data", "split", "weights"} == set(environment["digests"])
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert (environment["accelerator"], environment["precision"]) == ("cpu", "32-true")


def test_train__results_say_what_the_predictions_say(trained: Trained) -> None:
    folder = trained("method=finetune")
    results, table = results_of(folder), rows(folder / "predictions.csv")
    assert len(table) == 10
    truth, guess = [row["class"] for row in table], [row["predicted"] for row in table]
    classes = results["classes"]
    assert results["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert results["confusion_matrix"] == sk.confusion_matrix(truth, guess, labels=classes).tolist()
    there = [name for name in classes if name in truth]
    recalls = sk.recall_score(truth, guess, labels=there, average=None)
    assert results["balanced_accuracy"] == pytest.approx(recalls.mean())
    oracle = sk.precision_recall_fscore_support(truth, guess, labels=there, zero_division=0)
    for values, metric in zip(oracle, ("precision", "recall", "f1", "support"), strict=True):
        assert [results["per_class"][name][metric] for name in there] == pytest.approx(values.tolist())
    absent = set(classes) - set(there)
    assert results["classes_in_means"] == there
    for name in absent:
        assert results["per_class"][name] == {"precision": None, "recall": None, "f1": None, "support": 0}
    for row in table:
        probabilities = [float(row[f"probability/{name}"]) for name in classes]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert classes[int(np.argmax(probabilities))] == row["predicted"]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the runs of this test gave to `run_probabilities`: logits, labels, classes, validation."""
    given: list[tuple[Any, ...]] = []

    def noted(*arguments: Any) -> dict[str, Any]:
        given.append(arguments)
        return run_probabilities(*arguments)

    monkeypatch.setattr("brain_tumor_tl.run.training_run.run_probabilities", noted)
    return given


def test_train__uncertainty_agrees_with_the_predictions(
    run_train: Train, tmp_path: Path, judged: list[tuple[Any, ...]]
) -> None:
    results = run_train(tmp_path, "method=finetune")
    ((logits, labels, classes, validation),) = judged
    hits = [int(row["correct"]) for row in rows(tmp_path / "predictions.csv")]
    found, shares = results["probabilities"], softmax(logits)
    assert len(labels) == 10
    assert results["intervals"]["accuracy"] == wilson_interval(sum(hits), 10)
    assert (results["intervals"]["unit"], results["intervals"]["units"]) == ("image", 10)
    oracle = sk.brier_score_loss(labels, shares, labels=range(4), scale_by_half=False)
    assert found["brier"] == pytest.approx(oracle)
    assert found["log_loss"] == pytest.approx(results["loss"], abs=1e-5)
    for label in set(labels.tolist()):
        area = sk.roc_auc_score(labels == label, shares[:, label])
        assert found["per_class"][classes[label]]["auroc"] == pytest.approx(area)
    assert validation is found["temperature"] is found["calibrated"] is None


def test_train__temperature_comes_from_the_weights_that_were_tested(
    run_train: Train, tmp_path: Path, judged: list[tuple[Any, ...]]
) -> None:
    results = run_train(
        tmp_path, "method=finetune", "data.val_fraction=0.25", "trainer.max_epochs=4", "optimizer.lr=0.01"
    )
    ((*_, (logits, labels)),) = judged
    assert len(labels) == 12
    assert (logits.argmax(axis=1) == labels).mean() == pytest.approx(results["best_accuracy"])
    assert results["probabilities"]["temperature"] == fit_temperature(logits, labels)
    assert results["probabilities"]["calibrated"]["calibration_error"] is not None


def test_train__runs_on_other_test_images_are_not_compared(run_train: Train, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_train(tmp_path / name, "method=frozen", f"seed={seed}", f"optimizer.lr=0.0{name == 'b':d}1")
    assert compare_runs(tmp_path / "a", tmp_path / "b")["images"] == 10
    with pytest.raises(ValueError, match="same test images"):
        compare_runs(tmp_path / "a", tmp_path / "c")


def test_train__groups_of_the_split_are_drawn_whole(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_groups(folder: Path, paths: list[str]) -> tuple[list[str], str]:
        numbers = {row["path"]: number for number, row in enumerate(rows(folder / "split.csv"))}
        return [str(numbers[path] % 2) for path in paths], "patient"

    monkeypatch.setattr("brain_tumor_tl.run.training_run.read_units", two_groups)
    results = run_train(tmp_path, "method=frozen", "trainer.max_epochs=1")
    assert (results["intervals"]["unit"], results["intervals"]["units"]) == ("patient", 2)


def test_train__study_recipe_monitors_the_test_split_and_says_so(trained: Trained) -> None:
    folder = trained("method=frozen")
    results = results_of(folder)
    monitored = [float(row["test/accuracy"]) for row in rows(folder / "metrics.csv")]
    assert len(monitored) == 3
    assert results["accuracy"] == pytest.approx(monitored[-1])
    assert results["best_accuracy"] == pytest.approx(max(monitored))
    assert results["best_epoch"] == monitored.index(max(monitored)) + 1
    assert results["protocol"]["best_chosen_on"] == "test"
    assert "ON THE TEST SPLIT" in results["protocol"]["text"]
    assert "SYNTHETIC" in results["protocol"]["text"]
    assert set(results["seconds_per_epoch"]) == {"train", "test"}


def test_train__validation_split_chooses_and_the_test_split_is_evaluated_once(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[int] = []
    real = TumorClassifier.test_step

    def counted(self: TumorClassifier, batch: Any, batch_idx: int) -> None:
        tested.append(len(batch[0]))
        real(self, batch, batch_idx)

    monkeypatch.setattr(TumorClassifier, "test_step", counted)
    started = time.time()
    results = run_train(
        tmp_path, "method=finetune", "data.val_fraction=0.25", "trainer.max_epochs=4", "optimizer.lr=0.01"
    )
    assert sum(tested) == 10
    assert results["protocol"]["best_chosen_on"] == "val"
    assert results["protocol"]["counts"] == {"train": 26, "val": 12, "test": 10}
    table = rows(tmp_path / "metrics.csv")
    assert not [column for column in table[0] if column.startswith("test/")]
    best = max(float(row["val/accuracy"]) for row in table)
    assert results["best_accuracy"] == pytest.approx(best)
    chosen = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert chosen["epoch"] + 1 == results["best_epoch"]
    assert [float(row["epoch"]) for row in table] == [1, 2, 3, 4]  # the best weights bring no older rows back
    assert results["epochs"] == 4
    assert results["seconds_total"] <= time.time() - started


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_train__same_seed_same_bits(method: str, run_train: Train, trained: Trained, tmp_path: Path) -> None:
    first = trained(f"method={method}")
    run_train(tmp_path / "again", f"method={method}")
    assert_same_weights(first, tmp_path / "again")
    assert figures(first) == figures(tmp_path / "again")
    run_train(tmp_path / "other", f"method={method}", "seed=1")
    assert figures(first) != figures(tmp_path / "other")


EPOCHS = "trainer.max_epochs={}"
PLATEAU = (  # no epoch is better by ten times, so the rate is cut after the third, when it is counted across the resume
    "scheduler.name=ReduceLROnPlateau", "+scheduler.options.patience=2", "+scheduler.options.threshold=10",
)  # fmt: skip


@pytest.mark.parametrize(
    ("rates", "overrides"),
    [
        (1, ("method=frozen",)),
        (3, ("method=finetune", "model.name=mnasnet0_5", "recipe=onecycle", "data.batch_size=8", EPOCHS.format(3))),
        (2, ("method=frozen", "data.val_fraction=0.2", *PLATEAU, EPOCHS.format(4))),
    ],
    ids=["frozen", "finetune-with-dropout-and-schedule", "plateau"],
)
def test_train__resumed_run_ends_as_an_uninterrupted_one(
    rates: int, overrides: tuple[str, ...], run_train: Train, trained: Trained, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = trained(*overrides)
    assert len({row["learning_rate"] for row in figures(whole)}) == rates
    real = EpochRecorder.on_train_epoch_start

    def cut(self: EpochRecorder, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("the power went")
        real(self, trainer, pl_module)

    monkeypatch.setattr(EpochRecorder, "on_train_epoch_start", cut)
    with pytest.raises(RuntimeError, match="the power went"):
        run_train(tmp_path / "cut", *overrides)
    assert not (tmp_path / "cut" / "results.json").exists()
    assert len(rows(tmp_path / "cut" / "metrics.csv")) == 2
    monkeypatch.setattr(EpochRecorder, "on_train_epoch_start", real)
    run_train(tmp_path / "cut", *overrides)
    assert figures(tmp_path / "cut") == figures(whole)
    assert_same_weights(tmp_path / "cut", whole)
    assert rows(tmp_path / "cut" / "predictions.csv") == rows(whole / "predictions.csv")


def test_train__cached_features_give_the_same_head_and_figures(
    run_train: Train, trained: Trained, tmp_path: Path
) -> None:
    cached = trained("method=frozen")
    plain = run_train(tmp_path, "method=frozen", "method.cache_features=false")
    assert (results_of(cached)["features"]["cached"], plain["features"]["cached"]) == (True, False)
    left, right = weights(cached), weights(tmp_path)
    for key in left:
        torch.testing.assert_close(left[key], right[key], rtol=0, atol=1e-5)
    assert results_of(cached)["confusion_matrix"] == plain["confusion_matrix"]
    for a, b in zip(figures(cached), figures(tmp_path), strict=True):
        assert [float(x) for x in a.values()] == pytest.approx([float(x) for x in b.values()], abs=1e-5)


def test_train__augmented_images_are_not_cached_as_features(run_train: Train, trained: Trained, tmp_path: Path) -> None:
    flags = ("method=frozen", "data.augment.flip=0.5", "data.augment.degrees=10")
    first = run_train(tmp_path / "first", *flags)
    assert first["features"] == {"cached": False}
    assert figures(tmp_path / "first") != figures(trained("method=frozen"))
    run_train(tmp_path / "second", *flags)
    assert figures(tmp_path / "second") == figures(tmp_path / "first")


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_train__cuda_graphs_teach_what_single_steps_teach(method: str, run_train: Train, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    flags = (f"method={method}", "trainer=gpu", "trainer.devices=1", "trainer.deterministic=true")
    graphed = run_train(tmp_path / "graphed", *flags, "trainer.cuda_graphs=true")
    plain = run_train(tmp_path / "plain", *flags, "trainer.cuda_graphs=false")
    assert graphed["loss"] == pytest.approx(plain["loss"], rel=1e-3)
    for key, value in weights(tmp_path / "plain").items():
        torch.testing.assert_close(weights(tmp_path / "graphed")[key], value, rtol=1e-2, atol=1e-3)


def test_train__second_start_is_done_and_reads_no_data(
    run_train: Train, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained("method=frozen")
    stamp = (folder / "results.json").stat().st_mtime_ns
    monkeypatch.setattr(TumorData, "setup", lambda *_: pytest.fail("data were read"))
    assert run_train(folder, "method=frozen") == results_of(folder)
    assert (folder / "results.json").stat().st_mtime_ns == stamp


def test_train__other_settings_are_refused_and_force_trains_anew(
    run_train: Train, trained: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained("method=frozen"), folder)
    before = (folder / "results.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"optimizer.lr: 0.001 -> 0.01.*name=NAME.*force=true"):
        run_train(folder, "method=frozen", "optimizer.lr=0.01")
    assert (folder / "results.json").read_bytes() == before
    again = run_train(folder, "method=frozen", "optimizer.lr=0.01", "force=true")
    assert again["config"]["optimizer"]["lr"] == 0.01
    assert len(rows(folder / "metrics.csv")) == 3


def test_train__tensorboard_holds_curves_matrix_and_config(trained: Trained) -> None:
    folder = trained("method=finetune")
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    scalars = {
        "metrics/accuracy", "metrics/loss", "metrics/balanced_accuracy", "metrics/macro_f1",
        "per_class/f1/glioma_tumor",
        "training/learning_rate", "training/seconds", "training/images_per_second", "training/memory_megabytes",
    }  # fmt: skip
    assert scalars <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("metrics/accuracy")] == [1, 2, 3]
    logged = [event.value for event in events.Scalars("metrics/accuracy")]
    assert logged == pytest.approx([float(row["test/accuracy"]) for row in rows(folder / "metrics.csv")], abs=1e-6)
    train = EventAccumulator(str(folder / "train")).Reload()
    logged = [event.value for event in train.Scalars("metrics/accuracy")]
    assert logged == pytest.approx([float(row["train/accuracy"]) for row in rows(folder / "metrics.csv")], abs=1e-6)
    assert "pictures/confusion_matrix_test" in tags["images"]
    assert [tag for tag in tags["tensors"] if tag.startswith("about/config")]


def test_train__bad_files_are_skipped_and_listed(
    run_train: Train, tmp_path: Path, phantoms: Path, study_classes: list[list[str]]
) -> None:
    root = tmp_path / "some bad"
    shutil.copytree(phantoms, root)
    (root / "glioma_tumor" / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty.png: empty, 0 bytes"):
        run_train(tmp_path / "run", f"data.root={root}")
    run_train(tmp_path / "run", f"data.root={root}", "data.on_bad_file=skip", "trainer.max_epochs=1")
    assert rows(tmp_path / "run" / "bad_files.csv") == [{"path": "glioma_tumor/empty.png", "reason": "empty, 0 bytes"}]


def test_train__balanced_weights_follow_the_training_split(run_train: Train, tmp_path: Path) -> None:
    run_train(tmp_path, "loss.class_weights=balanced", "trainer.max_epochs=1")
    labels = np.array([int(row["label"]) for row in rows(tmp_path / "split.csv") if row["split"] == "train"])
    expected = len(labels) / (4 * np.bincount(labels, minlength=4))
    np.testing.assert_allclose(weights(tmp_path)["class_weights"].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "flags",
    [
        ("trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
        ("trainer.gradient_clip_val=0.5", "trainer.accumulate_grad_batches=2"),
        ("trainer.precision=bf16-mixed", "optimizer.name=SGD", "+optimizer.options.momentum=0.9"),
        ("trainer.check_val_every_n_epoch=2", "trainer.deterministic=true"),
        ("data.stratify=true", "data.normalize=imagenet", "loss.label_smoothing=0.1"),
    ],
    ids=["limits", "gradients", "bf16-sgd", "every-second-epoch", "stratified"],
)
def test_train__trainer_flags(flags: tuple[str, ...], run_train: Train, tmp_path: Path) -> None:
    results = run_train(tmp_path, "method=finetune", "trainer.max_epochs=2", *flags)
    assert results["epochs"] == 2
    assert results["protocol"]["limited"] == ("trainer.limit_train_batches=2" in flags)


def test_train__cut_run_refuses_other_images(
    run_train: Train, tmp_path: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "images"
    shutil.copytree(phantoms, root)
    run_train(tmp_path / "run", "method=frozen", f"data.root={root}", "trainer.max_epochs=1")
    (tmp_path / "run" / "results.json").unlink()
    changed = next(root.rglob("*.png"))
    Image.open(changed).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(changed)
    with pytest.raises(ValueError, match=r"can't be resumed, since its data changed.*force=true"):
        run_train(tmp_path / "run", "method=frozen", f"data.root={root}", "trainer.max_epochs=1")


def test_train__stops_before_the_validation_split_is_evaluated(run_train: Train, tmp_path: Path) -> None:
    results = run_train(tmp_path, "method=frozen", "data.val_fraction=0.2", "trainer.max_steps=2")
    assert sum(map(sum, results["confusion_matrix"])) == 10
    assert results["protocol"]["accuracy_of"] == "last epoch"
    assert results["best_accuracy"] is None
    assert "no best_accuracy" in results["protocol"]["text"]


def test_train__cut_after_the_last_epoch_only_tests(run_train: Train, trained: Trained, tmp_path: Path) -> None:
    whole, folder = trained("method=finetune"), tmp_path / "copy"
    shutil.copytree(whole, folder)
    (folder / "results.json").unlink()
    again, before = run_train(folder, "method=finetune"), results_of(whole)
    for key in ("accuracy", "loss", "confusion_matrix", "best_accuracy", "best_epoch", "epochs"):
        assert again[key] == before[key]


def test_train__interrupted_by_an_older_version_it_resumes(run_train: Train, trained: Trained, tmp_path: Path) -> None:
    """Its config.yaml has the split by its older name, and its frozen checkpoint leaves the backbone out."""
    flags = ("method=frozen", "data.split=series", "data.find_copies=auto")
    folder = tmp_path / "copy"
    shutil.copytree(trained(*flags), folder)
    (folder / "results.json").unlink()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("split: series", "split: runs"))
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(folder / "checkpoints" / name, weights_only=True)
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith("backbone.")}
        torch.save(checkpoint, folder / "checkpoints" / name)
    again, before = run_train(folder, *flags), results_of(trained(*flags))
    assert (again["accuracy"], again["epochs"]) == (before["accuracy"], 3)
    assert_same_weights(folder, trained(*flags))
