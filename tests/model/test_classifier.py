"""TumorClassifier: what is frozen stays frozen to the byte, and what it logs is what its logits say."""

from __future__ import annotations

import copy
import csv
import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models

from brain_tumor_tl.model.backbone import build_network
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.model.metrics import gather_outputs
from brain_tumor_tl.model.optim import HEADLINES
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


def test_loss__whole_numbers_as_class_weights_T01() -> None:
    model = classifier(class_weights=[1, 1, 1, 2])
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 3, 0])
    assert torch.equal(
        model.loss(logits, labels), nn.functional.cross_entropy(logits, labels, torch.tensor([1.0, 1, 1, 2]))
    )


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


EACH_EPOCH = {"validation": (None, 5, [5, 10, 15]), "training": ("train/accuracy", 5, list(range(1, 16)))}


@pytest.mark.parametrize(("monitor", "every", "stepped"), EACH_EPOCH.values(), ids=EACH_EPOCH)
@pytest.mark.parametrize("blocks", [None, Blocks(batch_size=8, steps=3)], ids=["steps", "blocks"])
def test_plateau__steps_by_new_values_only(
    blocks: Blocks | None, monitor: str | None, every: int, stepped: list[int], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[tuple[int, float]] = []
    model = classifier(
        scheduler="ReduceLROnPlateau", scheduler_options={"patience": 2}, scheduler_monitor=monitor, blocks=blocks
    )
    run = trainer(tmp_path, epochs=15, check_val_every_n_epoch=every, enable_checkpointing=False)
    step = torch.optim.lr_scheduler.ReduceLROnPlateau.step

    def noted(self: Any, metrics: float, *arguments: Any) -> None:
        seen.append((run.current_epoch + 1, float(metrics)))
        step(self, metrics, *arguments)

    monkeypatch.setattr(torch.optim.lr_scheduler.ReduceLROnPlateau, "step", noted)
    batches: Any = loader() if blocks is None else DataLoader(blocks_of(), batch_size=None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="ReduceLROnPlateau")
        run.fit(model, batches, loader())
    split, name = (monitor or "val/loss").split("/")
    assert [epoch for epoch, _ in seen] == stepped
    assert seen[-1][1] == model.summarize(split)[name]


def test_plateau__without_a_validation_split_it_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a validation split"):
        classifier("no_such_network", scheduler="ReduceLROnPlateau", monitored="test")


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
    "mixed": {"mixup": 0.4, "cutmix": 1.0, "class_weights": [1.0, 2.0, 0.5, 1.0], "label_smoothing": 0.1},
    "rates": {"backbone_lr_factor": {"conv1": 0.1, "stage4": 0.5}, "scheduler": "OneCycleLR",
              "scheduler_interval": "step", "scheduler_options": {"max_lr": 0.01, "total_steps": "auto"}},
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


@pytest.mark.parametrize("source", ["file", "hub"])
def test_load_from_checkpoint__needs_no_weights(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of GoogLeNet, which takes other inputs if it was built from weights."""
    file = tmp_path / Path(models.GoogLeNet_Weights.IMAGENET1K_V1.url).name
    torch.save(models.googlenet(weights=None, init_weights=False).state_dict(), file)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: torch.load(file))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: torch.load(file))
    weights = file if source == "file" else "IMAGENET1K_V1"
    model = TumorClassifier("googlenet", CLASSES, weights=weights, freeze=True).eval()
    run = trainer(tmp_path, epochs=0)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "whole.ckpt")
    file.unlink()

    loaded = TumorClassifier.load_from_checkpoint(tmp_path / "whole.ckpt").eval()

    assert torch.load(tmp_path / "whole.ckpt", weights_only=True)["hyper_parameters"]["weights"] == str(weights)
    assert (loaded.classes, loaded.hparams["weights"]) == (CLASSES, str(weights))
    assert snapshot(loaded) == snapshot(model)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))


def saved(model: TumorClassifier, folder: Path) -> dict[str, Any]:
    run = trainer(folder, epochs=0)
    run.strategy.connect(model)
    run.save_checkpoint(folder / "saved.ckpt")
    return dict(torch.load(folder / "saved.ckpt", weights_only=True))


def test_load_from_checkpoint__of_an_older_version(tmp_path: Path) -> None:
    content = saved(classifier(monitored="test"), tmp_path)
    settings = content["hyper_parameters"]
    settings["watched"] = settings.pop("monitored")
    del settings["preprocessing"]
    torch.save(content, tmp_path / "old.ckpt")

    loaded = TumorClassifier.load_from_checkpoint(tmp_path / "old.ckpt")

    assert snapshot(loaded) == snapshot(classifier())
    assert loaded.hparams["preprocessing"] is None


def test_load_from_checkpoint__misspelled_argument() -> None:
    with pytest.raises(TypeError, match=r"arguments of TumorClassifier, got 'optimiser'\. Did you mean `optimizer`"):
        TumorClassifier.load_from_checkpoint("any.ckpt", optimiser="SGD")


def test_load_from_checkpoint__of_a_cut_run(tmp_path: Path) -> None:
    content = saved(classifier(), tmp_path)
    content["state_dict"] = {k: v for k, v in content["state_dict"].items() if not k.startswith("backbone.")}
    torch.save(content, tmp_path / "last.ckpt")

    with pytest.raises(ValueError, match="head without its backbone, since its run was cut: resume that run"):
        TumorClassifier.load_from_checkpoint(tmp_path / "last.ckpt")


class Source(L.LightningDataModule):
    """A data module as the classifier needs it: it says which split it evaluates, and how inputs are made."""

    def __init__(self, monitored: str, image_size: int = 32) -> None:
        super().__init__()
        self.monitored, self.image_size = monitored, image_size

    def preprocessing(self) -> dict[str, Any]:
        return {"image_size": self.image_size}

    def train_dataloader(self) -> DataLoader[Batch]:
        return loader()

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


@pytest.mark.parametrize("monitored", ["val", "test"])
def test_setup__monitored_is_the_data_modules(monitored: str, tmp_path: Path) -> None:
    model, run = classifier(), trainer(tmp_path, epochs=1, enable_checkpointing=False)

    run.fit(model, Source(monitored))

    assert {name.split("/")[0] for name in run.callback_metrics} == {"train", monitored}
    assert model.hparams["preprocessing"] == {"image_size": 32}


def test_setup__images_prepared_otherwise_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = classifier(preprocessing={"image_size": 64})
    run = trainer(tmp_path)

    run.test(model, Source("test", image_size=64), verbose=False)
    assert "not prepared as in training" not in caplog.text
    run.test(model, Source("test", image_size=32), verbose=False)
    assert "not prepared as in training: {'image_size': 32}, where training had {'image_size': 64}" in caplog.text


def test_log_summary__every_logger_gets_the_metrics_X06(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="log")
    model, run = classifier(), trainer(tmp_path, logger=logger, enable_checkpointing=False)

    run.fit(model, loader(), loader())
    (tested,) = run.test(model, loader(), verbose=False)

    rows = list(csv.DictReader((tmp_path / "log" / "metrics.csv").open()))
    for split, count in (("train", 2), ("val", 2), ("test", 1)):
        assert len([row for row in rows if row[f"{split}/accuracy"]]) == count
    assert float(rows[-1]["test/f1/glioma_tumor"]) == tested["test/f1/glioma_tumor"]
    assert tested == pytest.approx({f"test/{name}": value for name, value in model.summarize("test").items()})
    assert run.callback_metrics["test/accuracy"] == pytest.approx(tested["test/accuracy"])


def test_log_summary__a_run_writes_its_own_rows(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="log")
    run = trainer(tmp_path, logger=logger, enable_checkpointing=False)

    run.fit(classifier(to_loggers=False), loader(), loader())

    assert not (tmp_path / "log" / "metrics.csv").exists()
    assert {f"{split}/{name}" for split in ("train", "val") for name in HEADLINES} == set(run.callback_metrics)


def test_predict_step__probabilities_and_positions(tmp_path: Path) -> None:
    model = classifier().eval()

    batches: Any = trainer(tmp_path).predict(model, loader())

    probabilities = torch.cat([batch["probabilities"] for batch in batches])
    assert torch.cat([batch["positions"] for batch in batches]).tolist() == list(range(24))
    with torch.inference_mode():
        torch.testing.assert_close(probabilities, model(Noise().images).softmax(1))
    assert all("paths" not in batch for batch in batches)


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
    network = build_network("shufflenet_v2_x0_5", CLASSES, None)
    torch.rand(7)  # whatever happens between network and classifier changes no weight
    model = TumorClassifier("shufflenet_v2_x0_5", CLASSES, weights=None, freeze=True, network=network)
    assert snapshot(model) == snapshot(classifier())
    assert "network" not in model.hparams


def test_gather_outputs__shares_of_any_size_come_together(tmp_path: Path) -> None:
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
    logits, labels, positions = gather_outputs([(mine[:, None].float(), 10 * mine, mine)])
    assert logits.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert (labels.tolist(), positions.tolist()) == ([0, 10, 20, 30, 40], [0, 1, 2, 3, 4])
    torch.distributed.destroy_process_group()
    Path(f"{store}-{rank}").touch()
