"""Callbacks: one row an epoch in metrics.csv, TensorBoard and the checkpoint, and the progress on the terminal."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.data import DataLoader, TensorDataset

from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.reporting.plots import confusion_figure, pixels
from brain_tumor_tl.run import callbacks
from brain_tumor_tl.run.callbacks import FINAL, EpochRecorder, ProgressBar, log_final, memory_megabytes, now
from brain_tumor_tl.run.checkpoints import Checkpoints

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:The number of training batches", "ignore:`isinstance"
)

Fit = Callable[..., L.Trainer]

TRAIN = ["epoch", "train/loss", "train/accuracy"]
MONITORED = ["test/loss", "test/accuracy", "seconds/test"]
REST = ["learning_rate", "seconds/train", "images_per_second/train", "memory_megabytes"]


def recorder(folder: Path, confusion_every: int = 0) -> EpochRecorder:
    """Return a recorder of `TinyModule`."""
    return EpochRecorder(folder, "test", ["a", "b"], confusion_every)


def read_metrics(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_epoch_recorder__one_row_an_epoch(fit: Fit, tmp_path: Path) -> None:
    callback = recorder(tmp_path)

    fit(callback, epochs=3)

    assert [list(row) for row in callback.rows] == [[*TRAIN, *MONITORED, *REST]] * 3
    for epoch, row in enumerate(callback.rows, start=1):
        assert row["epoch"] == epoch
        assert row["train/accuracy"] == 0.5 + epoch / 100
        assert row["test/accuracy"] == 0.25 + epoch / 100
        assert row["test/loss"] == 1 / (0.25 + epoch / 100)
        assert row["learning_rate"] == 0.1
        assert row["images_per_second/train"] == pytest.approx(6 / row["seconds/train"])
        assert 0 < row["seconds/test"] < 10
        assert 0 < row["seconds/train"] < 10


def test_epoch_recorder__metrics_csv_has_the_rows(fit: Fit, tmp_path: Path) -> None:
    callback = recorder(tmp_path)

    fit(callback, epochs=2)

    rows = read_metrics(tmp_path)
    assert [{name: float(text) for name, text in row.items()} for row in rows] == callback.rows
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_epoch_recorder__epochs_without_evaluation(fit: Fit, tmp_path: Path) -> None:
    callback = recorder(tmp_path)

    fit(callback, epochs=3, check_val_every_n_epoch=2)

    evaluated = [[name for name in MONITORED if name in row] for row in callback.rows]
    assert evaluated == [[], MONITORED, []]
    assert all(row["seconds/train"] > 0 for row in callback.rows)
    assert [row["test/accuracy"] for row in read_metrics(tmp_path)] == ["", "0.27", ""]


def test_epoch_recorder__learning_rate_of_the_epoch_itself(fit: Fit, tmp_path: Path) -> None:
    callback = recorder(tmp_path)

    fit(callback, epochs=3, scheduler=True)

    assert [row["learning_rate"] for row in callback.rows] == [0.1, 0.05, 0.025]


def test_epoch_recorder__a_resume_goes_on(fit: Fit, tmp_path: Path) -> None:
    first = recorder(tmp_path)
    fit(first, epochs=2, scheduler=True).save_checkpoint(tmp_path / "last.ckpt")
    second = recorder(tmp_path)

    fit(second, epochs=4, scheduler=True, resume=tmp_path / "last.ckpt")

    assert [row["epoch"] for row in second.rows] == [1, 2, 3, 4]
    assert second.rows[:2] == first.rows
    assert [row["learning_rate"] for row in second.rows] == [0.1, 0.05, 0.025, 0.0125]
    assert [row["epoch"] for row in read_metrics(tmp_path)] == ["1", "2", "3", "4"]


@pytest.fixture
def events(fit: Fit, tmp_path: Path) -> Any:
    """What TensorBoard reads after four epochs, the confusion matrix drawn every second one."""
    logger = TensorBoardLogger(tmp_path, name="", version="tensorboard")
    callback = recorder(tmp_path, confusion_every=2)
    trainer = fit(callback, epochs=4, logger=logger, log_every_n_steps=1)
    callback.draw_confusion(trainer, trainer.lightning_module, "val", 4)  # a split that was not evaluated
    callback.draw_confusion(trainer, trainer.lightning_module, "test", 4)  # what TensorBoard has already
    logger.finalize("success")
    found = event_accumulator.EventAccumulator(
        str(tmp_path / "tensorboard"), size_guidance={event_accumulator.IMAGES: 0}
    )
    found.Reload()
    return found


def test_epoch_recorder__tensorboard_has_the_rows(events: Any) -> None:
    expected = {*TRAIN, *MONITORED, *REST}
    assert expected - {"epoch"} <= set(events.Tags()["scalars"])
    for stage, accuracy in (("train", 0.5), ("test", 0.25)):
        points = [(event.step, event.value) for event in events.Scalars(f"{stage}/accuracy")]
        assert points == [(epoch, pytest.approx(accuracy + epoch / 100)) for epoch in range(1, 5)]


def test_epoch_recorder__tensorboard_has_the_confusion_matrix(events: Any) -> None:
    assert events.Tags()["images"] == ["confusion_matrix/test"]
    found = events.Images("confusion_matrix/test")
    assert [event.step for event in found] == [2, 4]
    with Image.open(io.BytesIO(found[1].encoded_image_string)) as image:
        drawn = np.asarray(image.convert("RGB"))
    assert np.array_equal(drawn, pixels(confusion_figure([[2, 1], [0, 3]], ["a", "b"], "test split, epoch 4")))


def test_epoch_recorder__no_figure_of_an_epoch_without_evaluation(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(EpochRecorder, "draw_confusion", lambda *arguments: drawn.append(arguments[-1]))

    fit(recorder(tmp_path, confusion_every=2), epochs=6, check_val_every_n_epoch=3)

    assert drawn == [6]


def test_epoch_recorder__no_figure_without_a_matrix(fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("brain_tumor_tl.run.callbacks.confusion_figure", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr("brain_tumor_tl.run.callbacks.pixels", lambda figure: np.zeros((1, 1, 3), np.uint8))
    loggers = {"logger": TensorBoardLogger(tmp_path, name="", version="tensorboard"), "log_every_n_steps": 1}

    fit(recorder(tmp_path, confusion_every=0), epochs=2, **loggers)
    fit(recorder(tmp_path, confusion_every=2), epochs=3, limit_val_batches=0, **loggers)
    assert drawn == []
    fit(recorder(tmp_path, confusion_every=2), epochs=3, **loggers)
    assert len(drawn) == 1


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_now__waits_for_a_gpu_to_finish(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(time, "perf_counter", lambda: 12.5)

    assert now(torch.device(kind)) == 12.5
    assert waited == ([torch.device("cuda")] if kind == "cuda" else [])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc on this system")
def test_memory_megabytes__the_systems_own_count() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")]

    assert memory_megabytes(torch.device("cpu")) == pytest.approx(peak, rel=0.05)


@pytest.mark.gpu
def test_memory_megabytes__gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats()
    block = torch.empty(10_000_000, dtype=torch.uint8, device=device)

    assert memory_megabytes(device) >= block.numel() / 1e6


def test_state_dict__a_resumed_run_remembers_the_time_and_rows_of_its_first_leg(tmp_path: Path) -> None:
    first = EpochRecorder(tmp_path, "test", ["a", "b"], 0)
    first.rows = [{"epoch": 1, "train/loss": float("nan"), "train/accuracy": 0.1}]
    time.sleep(0.05)
    second = EpochRecorder(tmp_path, "test", ["a", "b"], 0)
    second.load_state_dict(first.state_dict())
    assert second.seconds_before >= 0.05
    assert str(second.rows) == str(first.rows)
    third = EpochRecorder(tmp_path, "test", ["a", "b"], 0)
    third.load_state_dict(second.state_dict())
    assert third.seconds_before > second.seconds_before


def test_log_final__hparams_tab_has_the_final_metrics_in_the_runs_own_file(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="tensorboard", default_hp_metric=False)
    results = {
        "accuracy": 0.9, "best_accuracy": None, "balanced_accuracy": 0.8, "macro_f1": 0.7, "loss": 0.3, "epochs": 12,
        "seconds_per_epoch": {"train": 1.5, "test": 0.5},
    }  # fmt: skip
    settings = {"model.name": "resnet18", "model.weights": None, "optimizer.lr": 0.001, "data.classes": [["a", "b"]]}

    log_final(logger, settings, results)
    logger.finalize("success")

    assert not [path for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()]
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    content = {
        key.rpartition("/")[2]: HParamsPluginData.FromString(value)
        for key, value in events.PluginTagToContent("hparams").items()
    }
    assert set(content) == {"session_start_info", "session_end_info"}  # no message that names columns for all runs
    told = content["session_start_info"].session_start_info.hparams
    assert {key: value.string_value or value.number_value for key, value in told.items()} == {
        "model.name": "resnet18", "model.weights": "null", "optimizer.lr": 0.001, "data.classes": "[[a,b]]",
    }  # fmt: skip
    assert {tag for tag in events.Tags()["scalars"] if tag.startswith("final/")} == {
        "final/accuracy", "final/balanced_accuracy", "final/macro_f1", "final/loss", "final/seconds_per_epoch",
    }  # fmt: skip
    assert [(scalar.step, scalar.value) for scalar in events.Scalars("final/accuracy")] == [(12, pytest.approx(0.9))]


def tensorboards_hparams(folder: Path) -> Any:
    """Return what TensorBoard's own HParams tab shows of all runs below a folder: its columns."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    context = Context(TBContext(data_provider=provider, logdir=str(folder)))
    request = RequestContext()
    found = (context.hparams_metadata(request, ""), context.hparams_from_data_provider(request, "", 100))
    return context.experiment_from_metadata(request, "", True, *found)


@pytest.mark.parametrize("first", ["with", "without"])
def test_log_final__tensorboard_has_the_columns_of_all_runs_P5(first: str, tmp_path: Path) -> None:
    own: dict[str, dict[str, Any]] = {
        "with": {"optimizer.options.weight_decay": 0.01}, "without": {"optimizer.options": {}},
    }  # fmt: skip
    results = dict.fromkeys(FINAL, 0.9) | {"epochs": 2, "seconds_per_epoch": {"train": 1.5}}
    order = [first, *(name for name in own if name != first)]
    for number, name in enumerate(order):  # whichever TensorBoard comes upon first
        logger = TensorBoardLogger(tmp_path / f"{number}-{name}", name="", version="tensorboard")
        log_final(logger, {"optimizer.lr": 0.001, "trainer.deterministic": True} | own[name], results)
        logger.finalize("success")

    shown = tensorboards_hparams(tmp_path)

    assert {info.name for info in shown.hparam_infos} == {
        "optimizer.lr", "trainer.deterministic", "optimizer.options.weight_decay", "optimizer.options",
    }  # fmt: skip
    assert {f"final/{name}" for name in FINAL} <= {info.name.tag for info in shown.metric_infos}


class Bad(L.Callback):
    """Raises the learning rate beyond all bounds before a batch of an epoch, both counted from 1."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.when = epoch - 1, batch - 1

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == self.when:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = float("inf")


DIVERGES = {  # epoch and batch with the bad learning rate, and what is told
    "within-an-epoch": (
        3,
        1,
        r"epoch 3, step 2, at a learning rate of 0\.01\. checkpoints/last\.ckpt is that of epoch 2\.",
    ),
    "after-the-last-loss": (
        3,
        3,
        r"epoch 3, at a learning rate of 0\.01\. checkpoints/last\.ckpt is that of epoch 2\.",
    ),
    "at-once": (1, 1, r"epoch 1, step 2, .*No checkpoint was written before\. Train anew with a lower optimizer\.lr"),
}


@pytest.mark.parametrize(("epoch", "batch", "match"), DIVERGES.values(), ids=DIVERGES)
def test_epoch_recorder__a_loss_that_is_not_finite_stops_the_run(
    epoch: int, batch: int, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brain_tumor_tl.run.checkpoints.SHARE", 1e9)  # after every epoch, however long it takes
    model = TumorClassifier(
        "shufflenet_v2_x0_5", ["a", "b"], weights=None, freeze=True, optimizer="SGD", lr=0.01, monitored="test"
    )
    images = torch.rand(12, 1024, generator=torch.Generator().manual_seed(0))  # features in the place of images
    batches = DataLoader(TensorDataset(images, torch.arange(12) % 2, torch.arange(12)), batch_size=4)
    kept = Checkpoints(tmp_path / "checkpoints", "test/accuracy", frozen=True)
    rows = EpochRecorder(tmp_path, "test", ["a", "b"], 0)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=5, logger=False, callbacks=[rows, kept, Bad(epoch, batch)],
        check_val_every_n_epoch=5, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip

    with pytest.raises(ValueError, match=match):
        trainer.fit(model, batches, batches)

    assert [row["epoch"] for row in rows.rows] == list(range(1, epoch))
    if epoch > 1:
        saved = torch.load(kept.last_path, weights_only=True)
        assert saved["epoch"] == epoch - 2
        assert all(value.isfinite().all() for value in saved["state_dict"].values())


def progress(folder: Path) -> list[L.Callback]:
    """Return a recorder of `TinyModule` and the progress bar that shows its rows."""
    rows = recorder(folder)
    return [rows, ProgressBar(rows)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 120 columns is sent."""
    sent = io.StringIO()
    monkeypatch.setattr(callbacks, "console", Console(file=sent, force_terminal=True, width=120))
    monkeypatch.setattr(callbacks, "SAMPLE_SECONDS", 0.0)
    return sent


def test_progress_bar__a_line_an_epoch_without_a_terminal(messages: list[str], fit: Fit, tmp_path: Path) -> None:
    fit(*progress(tmp_path), epochs=2)

    assert [re.sub(r"[\d,]+ images", "N images", message) for message in messages] == [
        "Epoch 1/2  N images/s  train loss 1.961 accuracy 51.00%  test loss 3.846 accuracy 26.00%",
        "Epoch 2/2  N images/s  train loss 1.923 accuracy 52.00%  test loss 3.704 accuracy 27.00%",
    ]


def test_progress_bar__monitored_split_only_of_epochs_that_evaluate_it(
    messages: list[str], fit: Fit, tmp_path: Path
) -> None:
    fit(*progress(tmp_path), epochs=3, check_val_every_n_epoch=2)

    assert ["test" in message for message in messages] == [False, True, False]


def test_progress_bar__on_a_terminal(terminal: io.StringIO, messages: list[str], fit: Fit, tmp_path: Path) -> None:
    fit(*progress(tmp_path), epochs=2)

    shown = terminal.getvalue()
    assert messages == []
    assert "Epoch 2/2" in shown
    assert "6/6" in shown  # three batches in each of two epochs
    assert re.search(r"[\d,]+ images/s  loss \d\.\d{3}", shown)
    assert "test accuracy 26.00%" in shown
    assert shown.endswith("\x1b[?25h")  # the cursor is visible again


def test_progress_bar__a_resume_goes_on(terminal: io.StringIO, fit: Fit, tmp_path: Path) -> None:
    first = fit(*progress(tmp_path), epochs=1)
    first.save_checkpoint(tmp_path / "last.ckpt")
    terminal.truncate(0)

    fit(*progress(tmp_path), epochs=2, resume=tmp_path / "last.ckpt")

    assert "Epoch 2/2" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()


def test_progress_bar__an_error_closes_it(terminal: io.StringIO, fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bad batch"):
        fit(*progress(tmp_path), epochs=3, fails_in=2)
    assert terminal.getvalue().endswith("\x1b[?25h")
