"""TumorData: the splits of a folder as normalised batches for any Trainer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brain_tumor_tl.data.augment import Augmentation
from brain_tumor_tl.data.batches import Batches
from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.data.normalize import Normalization
from brain_tumor_tl.data.splits.protocol import Protocol


def fake_trainer(epoch: int = 0, world_size: int = 1) -> Any:
    trainer = Mock(current_epoch=epoch, global_rank=0, world_size=world_size)
    trainer.strategy.root_device = torch.device("cpu")
    return trainer


@pytest.fixture
def data(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> TumorData:
    return make(image_folder, tmp_path, study_classes)


def make(root: Path, cache: Path, classes: Sequence[str | Sequence[str]] | None, **options: Any) -> TumorData:
    settings: dict[str, Any] = {"image_size": 32, "batch_size": 4, "normalize": "unit", "seed": 0, "find_copies": False}
    module = TumorData(root, classes, cache_dir=cache / "cache", **(settings | options))
    module.setup()
    module.trainer = fake_trainer()
    return module


def positions(batches: Batches) -> list[int]:
    return [int(i) for _, _, chunk in batches for i in chunk]


def stored(data: TumorData, chunk: Tensor) -> Tensor:
    return torch.from_numpy(data.images.array[chunk.numpy()])


class Means(L.LightningModule):
    """Learns from the mean of each image, and keeps the batches that the Trainer gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 4)
        self.seen: dict[str, list[Any]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen["train"].append(batch)
        return nn.functional.cross_entropy(self.layer(batch[0].mean(dim=(1, 2, 3))[:, None]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["val"].append(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["test"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:`isinstance")
def test_tumor_data__a_trainer_gets_normalised_batches(
    image_folder: Path, tmp_path: Path, study_classes: list[list[str]]
) -> None:
    data = TumorData(
        image_folder, study_classes, image_size=32, batch_size=4, normalize="imagenet", cache_dir=tmp_path, seed=0,
        protocol=Protocol(val_fraction=0.2),
    )  # fmt: skip
    module = Means()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    seen = {stage: [int(i) for _, _, chunk in batches for i in chunk] for stage, batches in module.seen.items()}
    epochs = seen["train"][:16], seen["train"][16:]
    assert sorted(epochs[0]) == sorted(epochs[1]) == data.split.train.tolist()
    assert epochs[0] != epochs[1]
    assert seen["val"] == 2 * data.split.val.tolist()
    assert seen["test"] == data.split.test.tolist()
    for images, labels, chunk in [batch for batches in module.seen.values() for batch in batches]:
        assert images.dtype == torch.float32
        assert torch.equal(images, Normalization("imagenet")(stored(data, chunk)))
        assert labels.tolist() == data.index.labels[chunk.numpy()].tolist()


def test_train_dataloader__each_image_once_in_a_new_order_each_epoch(data: TumorData) -> None:
    first = positions(data.train_dataloader())
    data.trainer = fake_trainer(epoch=1)
    second = positions(data.train_dataloader())
    assert sorted(first) == sorted(second) == data.split.train.tolist()
    assert first != second
    data.trainer = fake_trainer(epoch=0)
    assert positions(data.train_dataloader()) == first


def test_train_dataloader__batch_size_must_fit_the_devices(data: TumorData) -> None:
    data.trainer = fake_trainer(world_size=3)
    with pytest.raises(ValueError, match="multiple of the 3 devices, got 4"):
        data.train_dataloader()


def test_train_dataloader__only_training_images_are_augmented(data: TumorData) -> None:
    data.augmentation = Augmentation(flip=1.0)
    images, _, chunk = next(iter(data.train_dataloader()))
    torch.testing.assert_close(images, data.normalize(stored(data, chunk)).flip(3), rtol=0, atol=1e-5)
    images, _, chunk = next(iter(data.test_dataloader()))
    assert torch.equal(images, data.normalize(stored(data, chunk)))


def test_val_dataloader__is_the_test_split_without_a_validation_split(data: TumorData) -> None:
    assert data.monitored == "test"
    assert positions(data.val_dataloader()) == positions(data.test_dataloader()) == data.split.test.tolist()


def test_val_dataloader__is_the_validation_split_if_there_is_one(
    image_folder: Path, tmp_path: Path, study_classes: list[list[str]]
) -> None:
    data = make(image_folder, tmp_path, study_classes, protocol=Protocol(val_fraction=0.2))
    assert data.monitored == "val"
    assert positions(data.val_dataloader()) == data.split.val.tolist()
    assert not set(data.split.val) & set(data.split.test)


LOADERS = ["train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"]


@pytest.mark.parametrize("name", LOADERS)
def test_loaders__say_what_to_call_first(
    name: str, image_folder: Path, tmp_path: Path, study_classes: list[list[str]]
) -> None:
    options: dict[str, Any] = {"image_size": 32, "batch_size": 4, "normalize": "unit", "seed": 0}
    data = TumorData(image_folder, study_classes, cache_dir=tmp_path / "cache", find_copies=False, **options)

    with pytest.raises(ValueError, match=r"Expected `setup` before any loader: .*call setup\(\) first"):
        getattr(data, name)()
    data.setup()
    with pytest.raises(ValueError, match=r"Expected a Trainer, .*trainer\.fit\(model, data\)"):
        getattr(data, name)()


def test_predict_dataloader__all_images_in_their_order(data: TumorData) -> None:
    assert positions(data.predict_dataloader()) == list(range(28))


def test_preprocessing__plain_values(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> None:
    data = make(image_folder, tmp_path, study_classes, normalize="imagenet", channels_last=True)

    found = data.preprocessing()

    assert found == {
        "image_size": 32,
        "normalize": "imagenet",
        "intensity": {"rule": "auto", "window": None, "deep": 0, "percentiles": None},
        "channels": 1,
        "channels_last": True,
    }
    torch.save(found, tmp_path / "found")
    assert torch.load(tmp_path / "found", weights_only=True) == found


def test_batches__what_is_kept_of_a_frozen_part_passes_as_it_is(data: TumorData) -> None:
    maps = torch.rand(len(data.index), 2, 3, 3, dtype=torch.bfloat16)
    source = data.batches(maps, data.trainer).of(np.array([3, 5, 8]))
    ((inputs, labels, chunk),) = list(source)
    assert torch.equal(inputs, maps[[3, 5, 8]])
    assert torch.equal(labels, data.labels[[3, 5, 8]])
    assert chunk.tolist() == [3, 5, 8]


def test_setup__reads_once(data: TumorData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brain_tumor_tl.data.module.read_index", Mock(side_effect=AssertionError))
    data.setup("test")
    assert len(data.index) == 28


def test_setup__splits_as_the_protocol_says(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> None:
    first, copy = sorted((image_folder / "Training" / "no_tumor").iterdir())[0], "image(9).png"
    shutil.copy(first, image_folder / "Testing" / "no_tumor" / copy)
    patients = tmp_path / "patients.csv"
    patients.write_text("path,patient\nTesting/glioma_tumor/image(0).jpg,p1\n", encoding="utf-8")
    options: dict[str, Any] = {"protocol": Protocol("official_clean"), "patients": patients, "find_copies": "auto"}
    data = make(image_folder, tmp_path, study_classes, **options)

    protocol, rows = data.describe_split(), {row["path"]: row for row in data.split_rows()}

    tested = len(data.split.test)  # drawn heads may look like copies of each other
    assert len(data.split.train) == 20
    assert (protocol["split"], protocol["copies_in_training"]) == ("official_clean", 0)
    assert protocol["left_out"] == 9 - tested > 0
    assert protocol["patients_in_several_splits"] == 0
    assert protocol["shuffled_labels"] is False
    assert rows["Testing/no_tumor/" + copy]["split"] == "left_out"
    assert rows["Testing/no_tumor/" + copy]["group"] == rows[f"Training/no_tumor/{first.name}"]["group"]
    assert {"path", "label", "class", "split", "group", "copies", "patient"} == set(rows["Testing/no_tumor/" + copy])
    accuracy = data.nearest_neighbour()
    assert accuracy is not None
    assert accuracy * tested == pytest.approx(round(accuracy * tested))


def test_describe_split__intensity_and_folders_of_no_class(tmp_path: Path) -> None:
    for number, name in enumerate(["no", "yes", "no", "yes", "no", "yes", "pred"]):
        path = tmp_path / "set" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * (number + 1)).save(path)
    data = make(tmp_path / "set", tmp_path, ["no", "yes"], protocol=Protocol(test_fraction=0.5))

    described = data.describe_split()

    assert described["intensity"]["window"] == [0, 1023 * 6]
    assert described["folders_left_out"] == ["pred"]
    assert dict(data.remarks()) == {
        "Intensity": "6 of 6 images have more than 8 bits; in all of them 0 to 6138 became 0 to 255",
        "Left out": "pred, which are folders of no class",
    }
    assert data.pixels[[0, 2], 0, 31, 31].tolist() == [42, 212]  # 1023 and 5 x 1023 of 6 x 1023


def test_setup__folders_name_the_classes(image_folder: Path, tmp_path: Path) -> None:
    data = make(image_folder, tmp_path, None)

    assert data.index.classes == ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
    assert data.classes == [[name] for name in data.index.classes]


def test_setup__fold_in_split_csv(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> None:
    protocol = Protocol("kfold", fold=1, folds=4, fold_by="random")
    data = make(image_folder, tmp_path, study_classes, protocol=protocol)

    assert len(data.split.test) == 7
    assert {row["fold"] for row in data.split_rows()} == {1}
    assert data.nearest_neighbour() is None


def test_setup__shuffled_labels_are_trained_on_alone(
    image_folder: Path, tmp_path: Path, study_classes: list[list[str]]
) -> None:
    data = make(image_folder, tmp_path, study_classes, shuffle_labels=True)

    truth = torch.from_numpy(data.index.labels)
    assert torch.equal(data.labels[data.split.test], truth[data.split.test])
    trained = torch.cat([labels for _, labels, _ in data.train_dataloader()])
    assert sorted(trained.tolist()) == sorted(truth[data.split.train].tolist())
    assert not torch.equal(data.labels[data.split.train], truth[data.split.train])
    assert data.describe_split()["shuffled_labels"] is True


def test_setup__labels_of_a_table(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nTesting/glioma_tumor/image(0).jpg,no\n", encoding="utf-8")
    data = make(image_folder, tmp_path, study_classes, labels=table)

    assert data.labels[data.index.paths.index("Testing/glioma_tumor/image(0).jpg")] == 0
