"""Checkpoints: lean during a frozen run, whole at its end, and written only as often as time allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from brain_tumor_tl.run.checkpoints import Checkpoints, complete


class Small(L.LightningModule):
    """A backbone and a head, whose accuracy is given for each epoch."""

    def __init__(self, accuracies: list[float]) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(3, 3), nn.Linear(3, 2)
        self.accuracies = accuracies

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return torch.as_tensor(self.head(self.backbone(batch)).square().mean())

    def on_train_epoch_end(self) -> None:
        self.log("val/accuracy", self.accuracies[self.current_epoch], logger=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, accuracies: list[float], frozen: bool = False, resume: Path | None = None) -> Checkpoints:
    kept = Checkpoints(folder, "val/accuracy", frozen)
    settings: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=len(accuracies), callbacks=[kept], accelerator="cpu", **settings)
    batches: DataLoader[Tensor] = DataLoader([torch.ones(3)] * 8, batch_size=4)  # type: ignore[arg-type]  # a list does
    trainer.fit(Small(accuracies), batches, ckpt_path=resume)
    return kept


def content(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True))


def test_checkpoints__best_is_the_first_of_the_best_epochs(tmp_path: Path) -> None:
    kept = fit(tmp_path, [0.2, 0.7, 0.7, 0.5])
    assert kept.best == pytest.approx(0.7)
    assert content(tmp_path / "best.ckpt")["epoch"] == 1
    assert "optimizer_states" not in content(tmp_path / "best.ckpt")
    assert content(tmp_path / "last.ckpt")["epoch"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_checkpoints__a_resumed_run_remembers_the_best(tmp_path: Path) -> None:
    fit(tmp_path, [0.9, 0.1])
    kept = fit(tmp_path, [0.9, 0.1, 0.5], resume=tmp_path / "last.ckpt")
    assert kept.best == pytest.approx(0.9)
    assert content(tmp_path / "best.ckpt")["epoch"] == 0
    assert content(tmp_path / "last.ckpt")["epoch"] == 2


def test_checkpoints__last_waits_where_writing_takes_long_but_is_there_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000))
    monkeypatch.setattr("brain_tumor_tl.run.checkpoints.time.perf_counter", lambda: float(next(clock)))
    epochs: list[int] = []
    original = L.Trainer.save_checkpoint

    def noted(self: L.Trainer, path: Path, weights_only: bool = False) -> None:
        if not weights_only:
            epochs.append(self.current_epoch)
        original(self, path, weights_only=weights_only)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", noted)
    fit(tmp_path, [0.5] * 25)
    assert 2 < len(epochs) < 8, "each save takes a second of this clock, and so does each reading of it"
    assert content(tmp_path / "last.ckpt")["epoch"] == 24


def test_checkpoints__frozen_backbone_stays_out_until_it_is_added(tmp_path: Path) -> None:
    fit(tmp_path, [0.5, 0.6], frozen=True)
    state = Small([]).state_dict()
    for name in ("best.ckpt", "last.ckpt"):
        before = content(tmp_path / name)
        assert sorted(before["state_dict"]) == ["head.bias", "head.weight"]
        complete(tmp_path / name, state)
        after = content(tmp_path / name)
        assert sorted(after["state_dict"]) == sorted(state)
        assert torch.equal(after["state_dict"]["backbone.weight"], state["backbone.weight"])
        assert torch.equal(after["state_dict"]["head.weight"], before["state_dict"]["head.weight"])
        assert after["epoch"] == before["epoch"]


def test_complete__leaves_whole_and_absent_checkpoints_alone(tmp_path: Path) -> None:
    fit(tmp_path, [0.5])
    stamp = (tmp_path / "last.ckpt").stat().st_mtime_ns
    complete(tmp_path / "last.ckpt", {"backbone.weight": torch.zeros(3, 3)})
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == stamp
    complete(tmp_path / "absent.ckpt", {})
    assert not (tmp_path / "absent.ckpt").exists()
