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
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing import event_accumulator
from torch.utils.data import DataLoader, TensorDataset

from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.reporting.plots import confusion_figure, pixels
from brain_tumor_tl.run import callbacks
from brain_tumor_tl.run.callbacks import EpochRecorder, ProgressBar, memory_megabytes, now
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
    names = {path.name.partition(".tfevents")[0] for path in tmp_path.iterdir()}
    assert names == {"metrics.csv", "events.out", "train"}


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


def accumulated(folder: Path) -> Any:
    """Return what TensorBoard reads in a folder."""
    return event_accumulator.EventAccumulator(str(folder), size_guidance={event_accumulator.IMAGES: 0}).Reload()


@pytest.fixture
def pictured(fit: Fit, tmp_path: Path) -> Any:
    """What TensorBoard reads after four epochs, the confusion matrix drawn every second one."""
    callback = recorder(tmp_path, confusion_every=2)
    fit(callback, epochs=4)
    callback.draw_confusion(4, [[2, 1], [0, 3]])  # what TensorBoard has already
    callback.events.close()
    return accumulated(tmp_path)


def test_epoch_recorder__tensorboard_has_the_rows_of_both_splits_under_one_tag(pictured: Any, tmp_path: Path) -> None:
    for run, accuracy in ((pictured, 0.25), (accumulated(tmp_path / "train"), 0.5)):
        points = [(event.step, event.value) for event in run.Scalars("metrics/accuracy")]
        assert points == [(epoch, pytest.approx(accuracy + epoch / 100)) for epoch in range(1, 5)]
    rates = [event.value for event in pictured.Scalars("training/learning_rate")]
    assert rates == pytest.approx([0.1] * 4)


def test_epoch_recorder__tensorboard_has_the_confusion_matrix(pictured: Any) -> None:
    assert pictured.Tags()["images"] == ["pictures/confusion_matrix_test"]
    found = pictured.Images("pictures/confusion_matrix_test")
    assert [event.step for event in found] == [2, 4]
    with Image.open(io.BytesIO(found[1].encoded_image_string)) as image:
        drawn = np.asarray(image.convert("RGB"))
    assert np.array_equal(drawn, pixels(confusion_figure([[2, 1], [0, 3]], ["a", "b"], "test split, epoch 4")))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of the confusion matrices that are drawn, which take no time."""
    titles: list[str] = []
    monkeypatch.setattr(callbacks, "confusion_figure", lambda *arguments: titles.append(arguments[-1]))
    monkeypatch.setattr(callbacks, "pixels", lambda figure: np.zeros((1, 1, 3), np.uint8))
    return titles


def test_epoch_recorder__no_picture_of_an_epoch_without_evaluation(fit: Fit, tmp_path: Path, drawn: list[str]) -> None:
    fit(recorder(tmp_path, confusion_every=2), epochs=6, check_val_every_n_epoch=3)
    assert drawn == ["test split, epoch 6"]
    fit(recorder(tmp_path, confusion_every=2), epochs=3, limit_val_batches=0)
    fit(recorder(tmp_path, confusion_every=0), epochs=2)
    assert drawn == ["test split, epoch 6"]


def test_epoch_recorder__of_many_epochs_few_pictures(fit: Fit, tmp_path: Path, drawn: list[str]) -> None:
    fit(recorder(tmp_path, confusion_every=3), epochs=130)

    assert drawn == [f"test split, epoch {epoch}" for epoch in range(9, 131, 9)]


def test_epoch_recorder__slow_pictures_wait_for_the_end(
    fit: Fit, tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a picture that takes longer than an epoch, only the first is drawn at once, and none is lost by a resume."""
    seen: list[int] = []

    class Watch(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            seen.append(len(drawn))

    first = recorder(tmp_path, confusion_every=1)
    monkeypatch.setattr(callbacks, "DRAWING_SHARE", 0)
    monkeypatch.setattr(EpochRecorder, "on_train_end", lambda *_: None)  # as if it were interrupted
    fit(first, Watch(), epochs=4).save_checkpoint(tmp_path / "last.ckpt")
    monkeypatch.undo()
    assert seen == [0, 1, 1, 1]

    monkeypatch.setattr(EpochRecorder, "draw_confusion", lambda self, epoch, matrix: drawn.append(f"epoch {epoch}"))
    fit(recorder(tmp_path, confusion_every=1), epochs=5, resume=tmp_path / "last.ckpt")
    assert drawn[1:] == [f"epoch {epoch}" for epoch in (2, 3, 4, 5)]


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
    kept = Checkpoints(tmp_path / "checkpoints", "test/accuracy", frozen=())
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
