"""TumorClassifier: what is frozen stays frozen to the byte, and what it logs is what its logits say."""

from __future__ import annotations

import copy
import multiprocessing
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from brain_tumor_tl.model.classifier import TumorClassifier, build_network, of_all_processes
from brain_tumor_tl.model.steps import Blocks, make_capturable

CLASSES = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]
Batch = tuple[Tensor, Tensor, Tensor]


class Noise(Dataset[Batch]):
    """Images of noise, of which class 1 is brighter and class 2 darker."""

    def __init__(self, count: int = 24, size: int = 32) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(count) % 4
        shift = torch.tensor([0.0, 0.5, -0.5, 0.2])[self.labels]
        self.images = torch.rand(count, 3, size, size, generator=generator) + shift[:, None, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], self.labels[index], torch.tensor(index)


def loader() -> DataLoader[Batch]:
    return DataLoader(Noise(), batch_size=8)


def classifier(name: str = "shufflenet_v2_x0_5", freeze: bool = True, **options: Any) -> TumorClassifier:
    torch.manual_seed(3)
    return TumorClassifier(name, CLASSES, weights=None, freeze=freeze, **options)


def trainer(folder: Path, epochs: int = 2, **options: Any) -> L.Trainer:
    settings: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", max_epochs=epochs, default_root_dir=folder, **(settings | options))


def snapshot(module: nn.Module) -> dict[str, bytes]:
    return {key: value.numpy().tobytes() for key, value in copy.deepcopy(module.state_dict()).items()}


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "densenet121", "squeezenet1_1", "efficientnet_b0"])
def test_freeze__not_a_byte_of_the_backbone_moves(name: str, tmp_path: Path) -> None:
    model = classifier(name)
    before, head = snapshot(model.backbone), snapshot(model.head)
    assert len(before) > 20
    run = trainer(tmp_path, enable_checkpointing=True)
    run.fit(model, loader(), loader())
    run.validate(model, loader(), verbose=False)
    run.test(model, loader(), verbose=False)
    assert snapshot(model.backbone) == before
    assert snapshot(model.head) != head
    run.save_checkpoint(tmp_path / "cut.ckpt")
    further = trainer(tmp_path, epochs=4)
    further.fit(model, loader(), loader(), ckpt_path=tmp_path / "cut.ckpt")
    assert further.current_epoch == 4
    assert snapshot(model.backbone) == before


def test_freeze__backbone_is_in_eval_mode_in_every_step(tmp_path: Path) -> None:
    model = classifier("efficientnet_b0")
    modes: list[bool] = []
    for module in model.backbone.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            module.register_forward_hook(lambda m, *_: modes.append(m.training))
    trainer(tmp_path, epochs=1, enable_checkpointing=False).fit(model, loader(), loader())
    assert len(modes) > 50
    assert not any(modes)
    assert model.train().head.training


def test_freeze__optimizer_holds_only_the_head(tmp_path: Path) -> None:
    model = classifier()
    run = trainer(tmp_path, epochs=1, enable_checkpointing=False)
    run.fit(model, loader(), loader())
    held = {id(p) for group in run.optimizers[0].param_groups for p in group["params"]}
    assert held == {id(p) for p in model.head.parameters()}


def test_finetune__every_layer_learns(tmp_path: Path) -> None:
    model = classifier(freeze=False)
    before = {key: value.clone() for key, value in model.named_parameters()}
    trainer(tmp_path, epochs=1, enable_checkpointing=False).fit(model, loader(), loader())
    still = [key for key, value in model.named_parameters() if torch.equal(value, before[key])]
    assert still == []


def test_forward__features_and_images_give_the_same_logits() -> None:
    model = classifier().eval()
    images = Noise().images[:4]
    with torch.inference_mode():
        assert torch.equal(model(model.backbone(images)), model(images))


@pytest.mark.parametrize("monitored", ["val", "test"])
def test_summarize__agrees_with_scikit_learn(monitored: str, tmp_path: Path) -> None:
    model = classifier(monitored=monitored)
    run = trainer(tmp_path, epochs=1, enable_checkpointing=False)
    run.fit(model, loader(), loader())
    logits, labels, positions = model.outputs(monitored)
    assert positions.tolist() == list(range(24))
    guess = logits.argmax(1).numpy()
    summary = model.summarize(monitored)
    assert summary["accuracy"] == pytest.approx(sk.accuracy_score(labels.numpy(), guess))
    assert summary["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), abs=1e-6)
    assert model.confusion[monitored] == sk.confusion_matrix(labels.numpy(), guess, labels=range(4)).tolist()
    assert run.callback_metrics[f"{monitored}/macro_f1"] == pytest.approx(summary["macro_f1"])
    assert "train/accuracy" in run.callback_metrics


def test_summarize__starts_anew_each_epoch(tmp_path: Path) -> None:
    model = classifier()
    trainer(tmp_path, epochs=3, enable_checkpointing=False).fit(model, loader(), loader())
    assert np.sum(model.confusion["train"]) == 24
    assert len(model.outputs("val")[0]) == 24


def test_loss__class_weights_and_smoothing() -> None:
    weights = [1.0, 2.0, 3.0, 4.0]
    model = classifier(class_weights=weights, label_smoothing=0.1)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    expected = nn.functional.cross_entropy(logits, labels, torch.tensor(weights), label_smoothing=0.1)
    assert torch.equal(model.loss(logits, labels), expected)


@pytest.mark.parametrize("monitored", ["val", "test"])
def test_summarize__loss_without_class_weights_and_smoothing_T15(monitored: str, tmp_path: Path) -> None:
    """A search that minimises val/loss would otherwise choose the weights that make the loss small."""
    model = classifier(monitored=monitored, class_weights=[1.0, 1.0, 0.01, 1.0], label_smoothing=0.1)
    run = trainer(tmp_path, epochs=1, enable_checkpointing=False)
    run.fit(model, loader(), loader())
    trained, evaluated = (model.outputs(stage)[:2] for stage in ("train", monitored))

    assert model.summarize("train")["loss"] == float(model.loss(*trained))
    assert model.summarize(monitored)["loss"] == float(nn.functional.cross_entropy(*evaluated))
    assert float(run.callback_metrics[f"{monitored}/loss"]) == pytest.approx(model.summarize(monitored)["loss"])
    assert abs(float(model.loss(*evaluated)) - model.summarize(monitored)["loss"]) > 1e-3


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_configure_optimizers__one_cycle_ends_with_the_run(interval: str, tmp_path: Path) -> None:
    options = {"max_lr": 0.01, "total_steps": "auto"}
    model = classifier(scheduler="OneCycleLR", scheduler_interval=interval, scheduler_options=options)
    rates: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer(tmp_path, epochs=4, enable_checkpointing=False, callbacks=[Watch()]).fit(model, loader(), loader())
    assert len(rates) == 12
    assert max(rates) == pytest.approx(0.01, rel=0.2)
    assert rates[-1] < 0.001


@pytest.mark.parametrize(
    ("options", "match"),
    [({"optimizer": "Adamm"}, "`Adam`"), ({"scheduler": "StepLRR"}, "`StepLR`")],
    ids=["optimizer", "scheduler"],
)
def test_init__wrong_names_are_refused_before_the_network_is_built(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        classifier("no_such_network", **options)


def blocks_of(count: int = 24) -> list[Batch]:
    """The same images as `loader`, in two blocks of whole batches."""
    noise = Noise(count)
    positions = torch.arange(count)
    parts = (positions[:16], positions[16:])
    return [(noise.images[part], noise.labels[part], part) for part in parts]


SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "steps": {"scheduler": "OneCycleLR", "scheduler_interval": "step",
              "scheduler_options": {"max_lr": 0.01, "total_steps": "auto"}},
    "epochs": {"scheduler": "StepLR", "scheduler_options": {"step_size": 1, "gamma": 0.1}},
    "plateau": {"scheduler": "ReduceLROnPlateau", "scheduler_options": {"patience": 0, "threshold": 10.0}},
}  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "finetune"])
def test_blocks__teach_what_single_batches_teach(freeze: bool, schedule: str, tmp_path: Path) -> None:
    single = classifier(freeze=freeze, **SCHEDULES[schedule])
    whole = classifier(freeze=freeze, blocks=Blocks(batch_size=8, steps=3), **SCHEDULES[schedule])
    first, second = (trainer(tmp_path, epochs=3, enable_checkpointing=False) for _ in range(2))
    first.fit(single, loader(), loader())
    second.fit(whole, DataLoader(blocks_of(), batch_size=None), loader())  # type: ignore[arg-type]
    for (key, left), right in zip(single.state_dict().items(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-6, msg=key)
    assert single.summarize("train") == pytest.approx(whole.summarize("train"), abs=1e-6)
    assert first.global_step == second.global_step == 9
    rates = [run.optimizers[0].param_groups[0]["lr"] for run in (first, second)]
    assert rates[0] == pytest.approx(rates[1])


def test_load_from_checkpoint__needs_no_weights_file(tmp_path: Path) -> None:
    model = classifier(freeze=False)
    run = trainer(tmp_path, epochs=1)
    run.fit(model, loader(), loader())
    run.save_checkpoint(tmp_path / "whole.ckpt")
    loaded = TumorClassifier.load_from_checkpoint(tmp_path / "whole.ckpt", weights=None)
    assert snapshot(loaded) == snapshot(model)
    assert loaded.classes == CLASSES


def test_on_save_checkpoint__what_a_graph_needs_stays_out(tmp_path: Path) -> None:
    model = classifier()
    run = trainer(tmp_path, epochs=1, enable_checkpointing=False)
    run.fit(model, loader(), loader())
    make_capturable(run.optimizers[0])
    run.save_checkpoint(tmp_path / "graphed.ckpt")
    (state,) = torch.load(tmp_path / "graphed.ckpt", weights_only=True)["optimizer_states"]
    assert [(group["capturable"], group["lr"]) for group in state["param_groups"]] == [(False, pytest.approx(0.001))]
    assert run.optimizers[0].param_groups[0]["capturable"] is True


def test_init__a_network_built_before_is_taken_as_it_is() -> None:
    torch.manual_seed(3)
    network = build_network("shufflenet_v2_x0_5", 4, None)
    torch.rand(7)  # whatever happens between network and classifier changes no weight
    model = TumorClassifier("shufflenet_v2_x0_5", CLASSES, weights=None, freeze=True, network=network)
    assert snapshot(model) == snapshot(classifier())
    assert "network" not in model.hparams


def test_of_all_processes__shares_of_any_size_come_together(tmp_path: Path) -> None:
    """Two processes hold 3 and 2 images; each gets all five, in the order of ranks."""
    context = multiprocessing.get_context("fork")  # to start Python and import torch would take most of the time
    processes = [context.Process(target=gather_and_check, args=(rank, str(tmp_path / "store"))) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(path.name for path in tmp_path.glob("store-*")) == ["store-0", "store-1"]


def gather_and_check(rank: int, store: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    mine = torch.arange(3) if rank == 0 else torch.arange(3, 5)
    logits, labels, positions = of_all_processes([(mine[:, None].float(), 10 * mine, mine)])
    assert logits.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert (labels.tolist(), positions.tolist()) == ([0, 10, 20, 30, 40], [0, 1, 2, 3, 4])
    torch.distributed.destroy_process_group()
    Path(f"{store}-{rank}").touch()
