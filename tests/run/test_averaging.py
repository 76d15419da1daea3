"""Averaging: the averages are those of the weights after each step, and training doesn't notice them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from brain_tumor_tl.run.averaging import CURRENT, AveragedWeights, learning_values

DECAY = 0.3


class Tiny(L.LightningModule):
    """A layer with BatchNorm behind a frozen layer; notes its weights after each step and at each evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False).eval()
        self.layers = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
        self.on_saving: list[Any] = []
        self.steps: list[dict[str, Tensor]] = []
        self.evaluated: list[dict[str, Tensor]] = []

    def values(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.state_dict().items()}

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layers(self.frozen(batch[0])).square().mean()
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append(self.values())

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.evaluated.append(self.values())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for change in self.on_saving:
            change(checkpoint)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)


def fit(folder: Path, *callbacks: L.Callback) -> tuple[Tiny, L.Trainer]:
    torch.manual_seed(0)
    module, loader = Tiny(), DataLoader(TensorDataset(torch.randn(12, 2)), batch_size=4)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=list(callbacks), num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    return module, trainer


class Saves(L.Callback):
    """Writes a checkpoint after each epoch, the first one without what training needs."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        path = Path(trainer.default_root_dir) / f"{trainer.current_epoch}.ckpt"
        trainer.save_checkpoint(path, weights_only=trainer.current_epoch == 0)


def averages(module: Tiny, names: list[str], steps: int) -> dict[str, Tensor]:
    """Return what the formula gives after some steps."""
    torch.manual_seed(0)
    state = Tiny().state_dict()
    found = {name: state[name].clone() for name in names}
    for step, values in enumerate(module.steps[:steps], start=1):
        decay = min(DECAY, (1 + step) / (10 + step))
        found = {name: decay * found[name] + (1 - decay) * values[name] for name in names}
    return found


def test_averaged_weights__follow_the_formula_and_disturb_nothing(tmp_path: Path) -> None:
    plain, _ = fit(tmp_path)
    module, _ = fit(tmp_path, AveragedWeights(DECAY), Saves())
    names = list(learning_values(Tiny()))
    learned = ["0.bias", "0.running_mean", "0.running_var", "0.weight", "1.bias", "1.weight"]
    assert sorted(names) == [f"layers.{name}" for name in learned]
    for mine, theirs in zip(module.steps, plain.steps, strict=True):
        for name, value in mine.items():
            assert torch.equal(value, theirs[name]), f"{name} learns as without averages"

    for steps, evaluated in ((3, module.evaluated[0]), (6, module.evaluated[-1])):
        for name, value in averages(module, names, steps).items():
            torch.testing.assert_close(evaluated[name], value)
    for name, value in averages(module, names, 6).items():
        torch.testing.assert_close(module.state_dict()[name], value)
    assert torch.equal(module.frozen[1].running_mean, plain.frozen[1].running_mean)  # type: ignore[arg-type]

    first, last = (torch.load(tmp_path / f"{number}.ckpt", weights_only=True) for number in (0, 1))
    assert CURRENT not in first
    for name in names:
        torch.testing.assert_close(first["state_dict"][name], averages(module, names, 3)[name])
        assert torch.equal(last["state_dict"][name], module.state_dict()[name])
        assert torch.equal(last[CURRENT][name], module.steps[-1][name])
    assert first["state_dict"].keys() == last["state_dict"].keys() == module.state_dict().keys()


def test_averaged_weights__leave_nothing_behind(tmp_path: Path) -> None:
    module, trainer = fit(tmp_path, AveragedWeights(DECAY))
    assert module.on_saving == []
    before = module.values()
    trainer.validate(module, DataLoader(TensorDataset(torch.randn(4, 2))), verbose=False)
    assert all(torch.equal(value, before[name]) for name, value in module.evaluated[-1].items())
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    assert CURRENT not in torch.load(tmp_path / "after.ckpt", weights_only=True)


def test_learning_values__layers_that_will_learn_later() -> None:
    module = Tiny()
    module.layers.eval()  # until a later stage of its training
    assert "layers.0.running_mean" in learning_values(module)
    assert not any(name.startswith("frozen") for name in learning_values(module))


@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_update__soon_forgets_where_a_run_began(decay: float) -> None:
    """Without the rule for first steps 0.9999 would keep 98 % of the random weights after 200 steps."""
    average = AveragedWeights(decay)
    average._averages, average._learning = {"weight": torch.ones(1)}, {"weight": torch.zeros(1)}
    for _ in range(200):
        average.update()
    assert float(average._averages["weight"]) < 0.001
