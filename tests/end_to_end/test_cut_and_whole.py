"""Cut and whole: an interrupted run ends as a whole one, with every scheduler of torch and every way to stop."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from torch.optim import lr_scheduler

from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.files import read_csv
from brain_tumor_tl.run import checkpoints
from brain_tumor_tl.run.averaging import CURRENT, UPDATES
from brain_tumor_tl.run.callbacks import EpochRecorder
from brain_tumor_tl.run.training_run import TrainingRun

Settings = dict[str, Any]
Run = Callable[..., dict[str, Any]]

EPOCHS, STEPS = 5, 5  # steps in an epoch
# Arguments with which the learning rate changes within these epochs, and before and after each cut.
SCHEDULERS: dict[str, dict[str, Any]] = {
    "ConstantLR": {"factor": 0.5, "total_iters": 3},
    "CosineAnnealingLR": {"T_max": "auto"},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 2, "cycle_momentum": False},
    "ExponentialLR": {"gamma": 0.5},
    "LinearLR": {"total_iters": 4},
    "MultiStepLR": {"milestones": [1, 3]},
    "OneCycleLR": {"max_lr": 0.01, "total_steps": "auto"},
    "PolynomialLR": {"total_iters": 4},
    "ReduceLROnPlateau": {"patience": 0, "threshold": 10},
    "StepLR": {"step_size": 2},
}
OF_OBJECTS = {  # take functions or other schedulers, which no setting can hold
    "ChainedScheduler", "LambdaLR", "LRScheduler", "MultiplicativeLR", "SequentialLR",
}  # fmt: skip


def test_schedulers__all_of_torch() -> None:
    found = {
        name
        for name, thing in vars(lr_scheduler).items()
        if inspect.isclass(thing) and issubclass(thing, lr_scheduler.LRScheduler) and not name.startswith("_")
    }
    assert found == SCHEDULERS.keys() | OF_OBJECTS


@pytest.fixture(scope="module")
def base(phantoms: Path, cache: Path) -> Settings:
    """Settings of a tiny frozen run."""
    line = [
        "data=phantom", f"data.root={phantoms}", f"data.cache_dir={cache}", "data.image_size=32", "data.batch_size=8",
        "data.phantoms_per_class=12", "data.phantom_size=32", "model.name=squeezenet1_1", "model.weights=null",
        "method=frozen", "trainer=cpu", "trainer.precision=32-true", f"trainer.max_epochs={EPOCHS}",
        "trainer.enable_progress_bar=false", "name=run",
    ]  # fmt: skip
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return checked_settings(hydra.compose("train", line))


@pytest.fixture
def run(base: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Train a whole run and one that is cut before an epoch: `run(name, cut, changes)`; without figures, for speed."""
    monkeypatch.setattr(checkpoints, "SHARE", math.inf)  # last.ckpt after every epoch
    monkeypatch.setattr("brain_tumor_tl.run.training_run.write_reference", lambda *_: None)
    monkeypatch.setattr("brain_tumor_tl.reporting.plots.save_run_figures", lambda *_: None)
    monkeypatch.setattr(EpochRecorder, "draw_confusion", lambda *_: None)

    def train(name: str, changes: Settings, cut: int | None = None, resume: bool = False) -> dict[str, Any]:
        settings, start = copy.deepcopy(base), EpochRecorder.on_train_epoch_start
        (tmp_path / name).mkdir(exist_ok=True)
        for key, value in changes.items():
            table, _, leaf = key.rpartition(".")
            settings[table][leaf] = value

        def interrupted(self: EpochRecorder, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == cut:
                raise KeyboardInterrupt
            start(self, trainer, module)

        with monkeypatch.context() as patched:
            patched.setattr(EpochRecorder, "on_train_epoch_start", interrupted)
            return TrainingRun(settings, tmp_path / name, resume).train()

    return train


def saved(folder: Path) -> dict[str, Any]:
    """Return what of a run's last checkpoint must be the same in the same run."""
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    always = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    return {key: content[key] for key in (*always, *({CURRENT, UPDATES} & content.keys()))}


def assert_equal(first: Any, second: Any, where: str = "") -> None:
    """Compare nested values, tensors to the bit."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            assert_equal(*pair, f"{where}.{number}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where


def figures(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without time, speed and memory."""
    changing = ("seconds/", "images_per_second/", "memory")
    rows = read_csv(folder / "metrics.csv")
    return [{key: value for key, value in row.items() if not key.startswith(changing)} for row in rows]


def assert_cut_is_whole(run: Run, folder: Path, cuts: tuple[int, ...], changes: Settings) -> list[dict[str, str]]:
    """Train a whole run, and one that is cut before some epochs and resumed; return the rows of its metrics."""
    whole = run("whole", changes)
    for number, cut in enumerate(cuts):
        with pytest.raises(KeyboardInterrupt):
            run("cut", changes, cut, resume=number > 0)
    ended = run("cut", changes, resume=True)
    rows = figures(folder / "whole")
    assert figures(folder / "cut") == rows
    assert_equal(saved(folder / "cut"), saved(folder / "whole"))
    assert (folder / "cut" / "predictions.csv").read_bytes() == (folder / "whole" / "predictions.csv").read_bytes()
    same = ("accuracy", "best_accuracy", "best_epoch", "epochs", "loss", "confusion_matrix")
    assert {key: ended[key] for key in same} == {key: whole[key] for key in same}
    return rows


FROZEN: Settings = {}
FINETUNE = {"method.freeze": False, "method.name": "finetune"}
AUGMENTED = {**FINETUNE, "data.augment": {"flip": 0.5, "degrees": 10.0, "translate": 0.0, "scale": 0.0,
             "brightness": 0.2, "contrast": 0.0}}  # fmt: skip
VALIDATED = {"data.val_fraction": 0.2}
# In blocks and in single steps, after steps and after epochs: four places in the code, shown with two schedulers. All
# others once after epochs; none but ReduceLROnPlateau, which goes by epochs alone, knows where it is called.
EVERYWHERE = ("StepLR", "OneCycleLR")
CASES: dict[str, tuple[str, str, Settings]] = {
    f"{name}-{interval}-{method}": (name, interval, changes)
    for name in SCHEDULERS
    for interval in ("epoch", "step")
    for method, changes in {"frozen": FROZEN, "finetune": FINETUNE}.items()
    if name in EVERYWHERE or (interval, method) == ("epoch", "frozen")
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "interval", "changes"), CASES.values(), ids=CASES)
def test_scheduler__cut_and_whole(name: str, interval: str, changes: Settings, run: Run, tmp_path: Path) -> None:
    scheduler = {"scheduler.name": name, "scheduler.interval": interval, "scheduler.options": SCHEDULERS[name]}
    monitored = VALIDATED if name == "ReduceLROnPlateau" else {}
    rows = assert_cut_is_whole(run, tmp_path, (2,), {**changes, **scheduler, **monitored})
    assert len(rows) == EPOCHS
    assert len({row["learning_rate"] for row in rows}) > 1


PLATEAU = {"scheduler.name": "ReduceLROnPlateau", "scheduler.options": SCHEDULERS["ReduceLROnPlateau"]}
SECOND = {"trainer.check_val_every_n_epoch": 2}
WAYS: dict[str, tuple[tuple[int, ...], int, Settings]] = {  # where it is cut, epochs that it has
    "plateau-every-second-epoch": ((1, 2, 4), 5, {**PLATEAU, **VALIDATED, **SECOND}),
    "plateau-train-loss": ((2,), 5, {**PLATEAU, "scheduler.monitor": "train/loss"}),
    "averaged": ((1, 3), 5, {"trainer.ema": 0.9, **VALIDATED}),
    "patience": ((1,), 3, {"trainer.patience": 2, "optimizer.lr": 1e-9, **VALIDATED}),
    "max-steps-within-an-epoch": ((1,), 3, {"trainer.max_steps": 12}),
    "max-steps-at-its-end": ((1,), 2, {"trainer.max_steps": 10}),
}
SLOW_WAYS: dict[str, tuple[tuple[int, ...], int, Settings]] = {
    "plateau-augmented": ((1, 3), 5, {**PLATEAU, **VALIDATED, **AUGMENTED}),
    "plateau-augmented-every-second-epoch": ((2, 3), 5, {**PLATEAU, **VALIDATED, **AUGMENTED, **SECOND}),
    "max-steps-finetune": ((1, 2), 3, {**AUGMENTED, "trainer.max_steps": 12}),
    "max-steps-validated": ((2,), 4, {**VALIDATED, "trainer.max_steps": 13}),
    "max-steps-plateau": ((1, 2), 3, {**PLATEAU, **VALIDATED, **FINETUNE, "trainer.max_steps": 12}),
    "accumulated": ((1, 3), 5, {**FINETUNE, "trainer.accumulate_grad_batches": 2}),
    "max-steps-accumulated": ((1, 2), 4, {**FINETUNE, "trainer.accumulate_grad_batches": 2, "trainer.max_steps": 10}),
    "clipped": ((2,), 5, {**FINETUNE, "trainer.gradient_clip_val": 0.1}),
    "some-batches": ((2,), 5, {**FINETUNE, "trainer.limit_train_batches": 3}),
    "averaged-finetune": ((1, 3), 5, {"trainer.ema": 0.9, **FINETUNE}),
    "patience-averaged": (
        (1,),
        3,
        {"trainer.patience": 2, "optimizer.lr": 1e-9, **FINETUNE, **VALIDATED, "trainer.ema": 0.5},
    ),
    "mixed": ((1, 3), 5, {**FINETUNE, "data.augment": {"mixup": 0.4, "cutmix": 1.0, "gamma": 0.2, "noise": 0.1}}),
    "mixed-frozen": ((2,), 5, {"data.augment": {"mixup": 0.4}}),
    "rates": (
        (1, 3),
        5,
        {
            **FINETUNE,
            "optimizer.backbone_lr_factor": {"features.0": 0.1, "features.7": 0.5},
            "scheduler.name": "OneCycleLR",
            "scheduler.interval": "step",
            "scheduler.options": SCHEDULERS["OneCycleLR"],
        },
    ),
    "momentum": ((2,), 5, {"optimizer.name": "SGD", "optimizer.options": {"momentum": 0.9, "nesterov": True}}),
}


@pytest.mark.parametrize(("cuts", "epochs", "changes"), WAYS.values(), ids=WAYS)
def test_stop__cut_and_whole(cuts: tuple[int, ...], epochs: int, changes: Settings, run: Run, tmp_path: Path) -> None:
    assert len(assert_cut_is_whole(run, tmp_path, cuts, changes)) == epochs


@pytest.mark.slow
@pytest.mark.parametrize(("cuts", "epochs", "changes"), SLOW_WAYS.values(), ids=SLOW_WAYS)
def test_stop__cut_and_whole_slow(
    cuts: tuple[int, ...], epochs: int, changes: Settings, run: Run, tmp_path: Path
) -> None:
    assert len(assert_cut_is_whole(run, tmp_path, cuts, changes)) == epochs


ENDS: dict[str, Settings] = {
    "steps": {"trainer.max_steps": 12},
    "time": {"trainer.max_time": "00:00:00:01"},
    "patience": {"trainer.patience": 2, "optimizer.lr": 1e-9, "trainer.ema": 0.9, **VALIDATED},
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_stop__killed_after_its_last_step_it_only_tests(
    end: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By steps or time it ended within an epoch, from which no longer run can go on, but this one has no more to do."""
    changes = {**FINETUNE, **end, "trainer.max_epochs": 10_000}
    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "load_best_weights", lambda _: exit(137))
        with pytest.raises(KeyboardInterrupt):  # how a SystemExit passes
            run("cut", changes)
    before, rows = saved(tmp_path / "cut"), figures(tmp_path / "cut")
    results = run("cut", changes, resume=True)
    assert_equal(saved(tmp_path / "cut"), before)
    assert figures(tmp_path / "cut") == rows
    assert results["epochs"] == len(rows)
    assert sum(map(sum, results["confusion_matrix"])) == 10
