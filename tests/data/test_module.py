"""TumorData and its batches: every image once, in an order that seed and epoch fix, normalised as torchvision does."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from brain_tumor_tl.data import TumorData
from brain_tumor_tl.data.augment import Augmentation
from brain_tumor_tl.data.batches import Batches, Shard, ahead
from brain_tumor_tl.data.module import IMAGENET_MEAN, IMAGENET_STD, affine
from brain_tumor_tl.data.splits.protocol import Protocol

CPU = torch.device("cpu")


def fake_trainer(epoch: int = 0, rank: int = 0, world: int = 1) -> Any:
    trainer = Mock(current_epoch=epoch, global_rank=rank, world_size=world)
    trainer.strategy.root_device = CPU
    return trainer


@pytest.fixture
def data(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> TumorData:
    return make(image_folder, tmp_path, study_classes)


def make(root: Path, cache: Path, classes: list[list[str]], **options: Any) -> TumorData:
    settings: dict[str, Any] = {"image_size": 32, "batch_size": 4, "normalize": "unit", "seed": 0, "find_copies": False}
    module = TumorData(root, classes, cache_dir=cache / "cache", **(settings | options))
    module.setup()
    module.trainer = fake_trainer()
    return module


def positions(batches: Batches) -> list[int]:
    return [int(i) for _, _, chunk in batches for i in chunk]


def test_train_dataloader__each_image_once_in_a_new_order_each_epoch(data: TumorData) -> None:
    first = positions(data.train_dataloader())
    data.trainer = fake_trainer(epoch=1)
    second = positions(data.train_dataloader())
    assert sorted(first) == sorted(second) == data.split.train.tolist()
    assert first != second
    data.trainer = fake_trainer(epoch=0)
    assert positions(data.train_dataloader()) == first


def test_val_dataloader__is_the_test_part_without_a_validation_part(data: TumorData) -> None:
    assert data.monitored == "test"
    assert positions(data.val_dataloader()) == positions(data.test_dataloader()) == data.split.test.tolist()


def test_val_dataloader__is_the_validation_part_where_there_is_one(
    image_folder: Path, tmp_path: Path, study_classes: list[list[str]]
) -> None:
    data = make(image_folder, tmp_path, study_classes, protocol=Protocol(val_fraction=0.2))
    assert data.monitored == "val"
    assert positions(data.val_dataloader()) == data.split.val.tolist()
    assert not set(data.split.val) & set(data.split.test)


def test_batches__hold_the_images_of_their_positions(data: TumorData) -> None:
    for images, labels, chunk in data.train_dataloader():
        assert images.dtype == torch.uint8
        assert np.array_equal(images.numpy(), data.images.array[chunk.numpy()])
        assert labels.tolist() == data.index.labels[chunk.numpy()].tolist()


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("normalize", ["unit", "imagenet"])
def test_normalized__agrees_with_torchvision(
    data: TumorData, normalize: str, channels: int, channels_last: bool
) -> None:
    data.scale, data.shift = affine(normalize)
    data.channels_last = channels_last
    images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
    expected = images.expand(-1, 3, -1, -1).float() / 255
    if normalize == "imagenet":
        expected = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)(expected)
    result = data.normalized(images)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=layout)


def test_affine__unknown_name() -> None:
    with pytest.raises(ValueError, match="unit or imagenet, got 'z'"):
        affine("z")


def test_on_after_batch_transfer__features_pass_untouched(data: TumorData) -> None:
    features = torch.rand(len(data.index), 7)
    data.use_features(features)
    for batch in data.test_dataloader():
        inputs, _, chunk = data.on_after_batch_transfer(batch, 0)
        assert torch.equal(inputs, features[chunk])


@pytest.mark.parametrize("shape", [(3, 7), (28, 7, 1)], ids=["rows", "dimensions"])
def test_use_features__wrong_shape(data: TumorData, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Expected features of shape \(28, D\)"):
        data.use_features(torch.zeros(shape))


def test_all_images__every_position_once(data: TumorData) -> None:
    seen = torch.cat([positions for positions, _ in data.all_images(CPU, 5)])
    assert seen.tolist() == list(range(28))


@pytest.mark.parametrize("count", [16, 17, 19], ids=["even", "one-over", "three-over"])
def test_batches__shards_make_up_the_whole_batch(count: int) -> None:
    inputs = torch.arange(count)
    shared: dict[str, Any] = {"seed": 1, "epoch": lambda: 3}
    whole = list(Batches(inputs, inputs, inputs, 4, **shared))
    shards = [list(Batches(inputs, inputs, inputs, 4, Shard(rank, 2), **shared)) for rank in (0, 1)]
    assert len(shards[0]) == len(shards[1]) == len(Batches(inputs, inputs, inputs, 4, Shard(0, 2), **shared))
    for batch, left, right in zip(whole, *shards, strict=False):
        assert sorted(batch[2].tolist()) == sorted(left[2].tolist() + right[2].tolist())
        assert len(right[2]) > 0


def test_batches__watched_parts_lose_nothing_to_shards() -> None:
    inputs = torch.arange(17)
    shards = [Batches(inputs, inputs, inputs, 4, Shard(rank, 2)) for rank in (0, 1)]
    assert sorted(positions(shards[0]) + positions(shards[1])) == list(range(17))


def test_batches__batch_size_must_fit_the_devices(data: TumorData) -> None:
    data.trainer = fake_trainer(world=3)
    with pytest.raises(ValueError, match="multiple of the 3 devices, got 4"):
        data.train_dataloader()


def test_setup__reads_once(data: TumorData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brain_tumor_tl.data.module.read_index", Mock(side_effect=AssertionError))
    data.setup("test")
    assert len(data.index) == 28


@pytest.mark.parametrize("block", [1, 3, 100], ids=["single", "some", "all"])
def test_batches__blocks_hold_the_batches_in_their_order(block: int) -> None:
    inputs = torch.arange(25)
    shared: dict[str, Any] = {"seed": 1, "epoch": lambda: 3}
    single = positions(Batches(inputs, inputs, inputs, 4, **shared))
    blocks = Batches(inputs, inputs, inputs, 4, **shared, block=block)
    assert positions(blocks) == single
    assert len(list(blocks)) == len(blocks) == -(-25 // (4 * block))


def test_batches__prefetched_are_the_same(data: TumorData) -> None:
    shared: dict[str, Any] = {"seed": 1, "epoch": lambda: 3}
    tensors = (torch.from_numpy(data.images.array), data.labels, torch.arange(28), 4)
    plain, early = (list(Batches(*tensors, **shared, prefetch=prefetch)) for prefetch in (False, True))
    assert len(plain) == 7
    for left, right in zip(plain, early, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_ahead__an_error_reaches_the_reader() -> None:
    def broken() -> Iterator[Any]:
        yield (1, 2, 3)
        raise OSError("disk gone")

    reader = ahead(broken())
    assert list(next(reader)) == [1, 2, 3]
    with pytest.raises(OSError, match="disk gone"):
        next(reader)


def test_ahead__leaves_no_thread_when_left_early_and_holds_few_batches() -> None:
    made: list[int] = []

    def endless() -> Iterator[Any]:
        for number in itertools.count():
            made.append(number)
            yield (number, number, number)

    reader = ahead(endless(), depth=2)
    assert next(reader)[0] == 0
    time.sleep(0.2)
    assert len(made) <= 4
    assert isinstance(reader, Generator)
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_prepared__augments_training_images_alone(data: TumorData) -> None:
    data.augmentation = Augmentation(flip=1.0)
    images = torch.from_numpy(data.images.array[:5])
    plain = data.normalized(images)
    assert torch.equal(data.prepared(images, training=False), plain)
    torch.testing.assert_close(data.prepared(images), plain.flip(3), rtol=0, atol=1e-5)
    features = torch.rand(5, 3)
    assert data.prepared(features) is features


def test_use_blocks__training_images_come_as_they_are_stored(data: TumorData) -> None:
    data.use_blocks()
    (block,) = list(data.train_dataloader())
    assert data.on_after_batch_transfer(block, 0)[0].dtype == torch.uint8
    data.trainer = fake_trainer()
    data.trainer.training = False
    assert data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)[0].dtype == torch.float32


def test_setup__splits_as_the_protocol_says(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> None:
    first, copy = sorted((image_folder / "Training" / "no_tumor").iterdir())[0], "image(9).png"
    shutil.copy(first, image_folder / "Testing" / "no_tumor" / copy)
    patients = tmp_path / "patients.csv"
    patients.write_text("path,patient\nTesting/glioma_tumor/image(0).jpg,p1\n", encoding="utf-8")
    options: dict[str, Any] = {"protocol": Protocol("official_clean"), "patients": patients, "find_copies": "auto"}
    data = make(image_folder, tmp_path, study_classes, **options)

    facts, rows = data.facts(), {row["path"]: row for row in data.split_rows()}

    assert (len(data.split.train), len(data.split.test)) == (20, 8)
    assert (facts["split"], facts["left_out"], facts["copies_in_training"]) == ("official_clean", 1, 0)
    assert facts["patients_on_two_sides"] == 0
    assert facts["shuffled_labels"] is False
    assert rows["Testing/no_tumor/" + copy]["part"] == "left_out"
    assert rows["Testing/no_tumor/" + copy]["group"] == rows[f"Training/no_tumor/{first.name}"]["group"]
    assert {"path", "label", "class", "part", "group", "patient"} == set(rows["Testing/no_tumor/" + copy])
    accuracy = data.nearest_neighbour()
    assert accuracy is not None
    assert accuracy * 8 == pytest.approx(round(accuracy * 8))


def test_setup__fold_in_split_csv(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> None:
    protocol = Protocol("kfold", fold=1, folds=4, fold_by="random")
    data = make(image_folder, tmp_path, study_classes, protocol=protocol)

    assert len(data.split.test) == 7
    assert {row["fold"] for row in data.split_rows()} == {1}
    assert data.nearest_neighbour() is None, "nobody looked"


def test_setup__shuffled_labels_are_trained_on_alone(
    image_folder: Path, tmp_path: Path, study_classes: list[list[str]]
) -> None:
    data = make(image_folder, tmp_path, study_classes, shuffle_labels=True)

    truth = torch.from_numpy(data.index.labels)
    assert torch.equal(data.labels[data.split.test], truth[data.split.test])
    trained = torch.cat([labels for _, labels, _ in data.train_dataloader()])
    assert sorted(trained.tolist()) == sorted(truth[data.split.train].tolist())
    assert not torch.equal(data.labels[data.split.train], truth[data.split.train])
    assert data.facts()["shuffled_labels"] is True


def test_setup__labels_of_a_table(image_folder: Path, tmp_path: Path, study_classes: list[list[str]]) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nTesting/glioma_tumor/image(0).jpg,no\n", encoding="utf-8")
    data = make(image_folder, tmp_path, study_classes, labels=table)

    assert data.labels[data.index.paths.index("Testing/glioma_tumor/image(0).jpg")] == 0


TEAMS = """
import os, torch
from brain_tumor_tl.data.batches import Batches
images = torch.zeros(COUNT, 1, SIZE, SIZE, dtype=torch.uint8)
before = len(os.listdir("/proc/self/task"))
for batch in Batches(images, torch.zeros(COUNT), torch.arange(COUNT), COUNT // 10, epoch=lambda: 0, prefetch=True):
    most = len(os.listdir("/proc/self/task"))
print(most - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to count threads in")
@pytest.mark.parametrize(("count", "size"), [(640, 224), (200_000, 4)], ids=["large images", "many images"])
def test_batches__the_reading_thread_has_no_team_of_its_own(count: int, size: int) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "4"}
    code = TEAMS.replace("COUNT", str(count)).replace("SIZE", str(size))
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(result.stdout) <= 1
