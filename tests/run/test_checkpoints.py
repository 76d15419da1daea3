"""Checkpoints: lean during a frozen run, whole at its end, and written only as often as time allows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from brain_tumor_tl.model.backbone import build_network
from brain_tumor_tl.run.checkpoints import Checkpoints, complete, epochs_in


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


def fit(folder: Path, accuracies: list[float], frozen: Collection[str] = (), resume: Path | None = None) -> Checkpoints:
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
    fit(tmp_path, [0.5, 0.6], frozen=("weight", "bias"))
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


@pytest.fixture
def resumed(finished_runs: dict[str, Path], tmp_path: Path) -> Checkpoints:
    """The checkpoints of a finished run with a validation split, in a folder that the test may change."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(finished_runs["frozen"] / "checkpoints", folder)
    return Checkpoints(folder, "val/accuracy", frozen=network()["backbone"].state_dict())


def network(name: str = "shufflenet_v2_x0_5") -> dict[str, nn.Module]:
    cut = build_network(name, ["no", "pituitary", "meningioma", "glioma"], None)
    return {"backbone": cut.backbone, "head": cut.head}


def test_epochs_saved__of_a_good_checkpoint(resumed: Checkpoints) -> None:
    assert resumed.epochs_saved(network(), needs_best=True) == epochs_in(resumed.last_path) == 2
    resumed.best_path.unlink()
    assert resumed.epochs_saved(network(), needs_best=False) == 2  # without a validation split the last is tested
    assert epochs_in(resumed.best_path) == 0


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {  # T10
    "truncated": (truncate, "it is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "text": (lambda path: path.write_text("no checkpoint"), "it is damaged"),
    "foreign": (lambda path: torch.save({"weights": torch.zeros(3)}, path), "it is no checkpoint of a run"),
    "tensor": (lambda path: torch.save(torch.zeros(3), path), "it is no checkpoint of a run"),
}


@pytest.mark.parametrize(("damage", "why"), DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_epochs_saved__a_damaged_file_is_named_and_what_is_safe(
    name: str, damage: Callable[[Path], Any], why: str, resumed: Checkpoints
) -> None:
    path = resumed.last_path.with_name(name)
    other = "best.ckpt" if name == "last.ckpt" else "last.ckpt"
    damage(path)
    with pytest.raises(
        ValueError, match=rf"can't be resumed from .*{name}: {why}\. metrics\.csv and {other} .*force=true"
    ):
        resumed.epochs_saved(network(), needs_best=True)


def test_epochs_saved__of_another_network(resumed: Checkpoints) -> None:
    with pytest.raises(ValueError, match=r"last\.ckpt: it holds another network"):
        resumed.epochs_saved(network("mnasnet0_5"), needs_best=True)


def test_epochs_saved__without_the_best_weights_T12(resumed: Checkpoints) -> None:
    resumed.best_path.unlink()
    with pytest.raises(ValueError, match=r"best\.ckpt: it is gone, .* metrics\.csv and last\.ckpt of the run are as"):
        resumed.epochs_saved(network(), needs_best=True)


def test_complete__leaves_whole_and_absent_checkpoints_alone(tmp_path: Path) -> None:
    fit(tmp_path, [0.5])
    stamp = (tmp_path / "last.ckpt").stat().st_mtime_ns
    complete(tmp_path / "last.ckpt", {"backbone.weight": torch.zeros(3, 3)})
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == stamp
    complete(tmp_path / "absent.ckpt", {})
    assert not (tmp_path / "absent.ckpt").exists()
