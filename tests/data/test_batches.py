"""Batches: every image once, in an order that seed and epoch determine, prepared, whole over all processes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from brain_tumor_tl.data import batches
from brain_tumor_tl.data.batches import Batches, ahead, all_resident, monitored_batch_size, resident

CPU = torch.device("cpu")


def make(count: int, batch_size: int = 4, **options: Any) -> Batches:
    """Return batches of images `0, 10, 20, ...` whose labels are 1 larger."""
    numbers = torch.arange(count)
    return Batches(10 * numbers, 10 * numbers + 1, numbers, batch_size, CPU, **options)


def shuffled(count: int, **options: Any) -> Batches:
    return make(count, seed=1, epoch=lambda: 3, **options)


def positions(source: Batches) -> list[int]:
    return [int(position) for _, _, chunk in source for position in chunk]


@pytest.mark.parametrize(("min_images", "count"), [(1, 17), (2, 16), (4, 16)])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_iter__a_last_training_batch_of_too_few_images_is_left_out(
    in_blocks: bool, min_images: int, count: int
) -> None:
    source = shuffled(17, min_images=min_images, in_blocks=in_blocks)
    assert positions(source) == positions(shuffled(17))[:count]
    assert len(source) == len(list(source)) == (1 if in_blocks else -(-count // 4))
    assert positions(make(17, min_images=4)) == list(range(17))  # every image of an evaluated split counts


def test_iter__inputs_and_labels_belong_to_their_positions() -> None:
    seen = list(shuffled(17))
    assert [len(batch[0]) for batch in seen] == [4, 4, 4, 4, 1]
    for inputs, labels, chunk in seen:
        assert torch.equal(inputs, 10 * chunk)
        assert torch.equal(labels, 10 * chunk + 1)


def test_iter__the_order_depends_on_seed_and_epoch_alone() -> None:
    first = positions(shuffled(17))
    assert sorted(first) == list(range(17))
    assert positions(shuffled(17)) == first
    assert positions(replace(shuffled(17), epoch=lambda: 4)) != first
    assert positions(replace(shuffled(17), seed=2)) != first
    assert positions(make(17)) == list(range(17))


def test_iter__each_batch_is_prepared_when_it_is_taken() -> None:
    calls: list[int] = []

    def prepare(inputs: torch.Tensor) -> torch.Tensor:
        calls.append(len(inputs))
        return inputs + 5

    source = iter(make(9, prepare=prepare))
    assert calls == []
    assert next(source)[0].tolist() == [5, 15, 25, 35]
    assert calls == [4]
    assert [len(batch[0]) for batch in source] == [4, 1]


def test_of__some_of_the_images() -> None:
    some = make(17, batch_size=2).of(np.array([3, 5, 8]), batch_size=4)
    assert [batch[2].tolist() for batch in some] == [[3, 5, 8]]
    assert [batch[0].tolist() for batch in some] == [[30, 50, 80]]


@pytest.mark.parametrize("count", [16, 17, 19], ids=["even", "one-over", "three-over"])
def test_iter__shards_make_up_the_whole_batch(count: int) -> None:
    whole = list(shuffled(count))
    shards = [shuffled(count, rank=rank, world_size=2) for rank in (0, 1)]
    assert len(list(shards[0])) == len(list(shards[1])) == len(shards[0]) == len(shards[1])
    for batch, left, right in zip(whole, *shards, strict=False):
        assert sorted(batch[2].tolist()) == sorted(left[2].tolist() + right[2].tolist())
        assert len(right[2]) > 0


def test_iter__evaluated_splits_lose_nothing_to_shards() -> None:
    shards = [make(17, rank=rank, world_size=2) for rank in (0, 1)]
    assert sorted(positions(shards[0]) + positions(shards[1])) == list(range(17))


def test_init__batch_size_must_fit_the_processes() -> None:
    with pytest.raises(ValueError, match="multiple of the 3 devices, got 4"):
        shuffled(17, world_size=3)
    assert len(make(17, world_size=3)) == 5  # batches of an evaluated split may be of any size


def test_init__an_input_for_each_label() -> None:
    with pytest.raises(ValueError, match="an input for each of 5 images, got 4"):
        Batches(torch.zeros(4, 2), torch.zeros(5), torch.arange(5), 2, CPU)


@pytest.mark.parametrize("block", [1, 3, 100], ids=["single", "some", "all"])
@pytest.mark.parametrize("reads_ahead", [False, True], ids=["memory", "disk"])
def test_iter__blocks_hold_the_batches_in_their_order(
    block: int, reads_ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BLOCK_FROM_DISK" if reads_ahead else "BLOCK", block)
    blocks = shuffled(25, in_blocks=True, reads_ahead=reads_ahead)
    assert positions(blocks) == positions(shuffled(25))
    assert len(list(blocks)) == len(blocks) == -(-25 // (4 * block))


def test_iter__read_ahead_they_are_the_same() -> None:
    plain, early = list(shuffled(28)), list(shuffled(28, reads_ahead=True))
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
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:  # what is read ahead, and no more
        time.sleep(0.01)
    assert len(made) == 3
    assert [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    assert isinstance(reader, Generator)
    reader.close()
    assert len(made) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_resident__inputs_for_the_processor_stay_where_they_are() -> None:
    inputs = torch.zeros(3)
    assert resident(inputs, CPU) is inputs


@pytest.mark.parametrize(("free", "moves"), [(25, True), (24, False)], ids=["fits", "too-large"])
def test_resident__takes_at_most_half_of_the_free_memory(
    free: int, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1000))
    inputs = Mock(nbytes=12, device=CPU)
    assert resident(inputs, torch.device("cuda")) is (inputs.to.return_value if moves else inputs)


@pytest.mark.parametrize(("free", "moves"), [(401, True), (399, False)])
def test_all_resident__all_variants_or_none(free: int, moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = tuple(Mock(nbytes=100) for _ in range(2))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1000))
    expected = tuple(each.to.return_value if moves else each for each in variants)
    assert all_resident(variants, torch.device("cuda")) == expected


TEAMS = """
import os, torch
from brain_tumor_tl.data.batches import Batches
images, labels = torch.zeros(COUNT, 1, SIZE, SIZE, dtype=torch.uint8), torch.zeros(COUNT)
before = len(os.listdir("/proc/self/task"))
options = {"epoch": lambda: 0, "reads_ahead": True}
for batch in Batches(images, labels, torch.arange(COUNT), COUNT // 10, torch.device("cpu"), **options):
    most = len(os.listdir("/proc/self/task"))
print(most - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to count threads in")
@pytest.mark.parametrize(("count", "size"), [(640, 224), (200_000, 4)], ids=["large images", "many images"])
def test_iter__the_reading_thread_has_no_openmp_team_of_its_own(count: int, size: int) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "4"}
    code = TEAMS.replace("COUNT", str(count)).replace("SIZE", str(size))
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(result.stdout) <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("on_gpu", [False, True], ids=["read-ahead", "resident"])
def test_iter__batches_are_on_the_gpu(on_gpu: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda", 0)
    images = torch.randint(0, 256, (28, 1, 8, 8), dtype=torch.uint8)
    where = device if on_gpu else CPU
    source = Batches(
        images.to(where), torch.arange(28).to(where), torch.arange(28).to(where), 4, device,
        seed=1, epoch=lambda: 3, reads_ahead=not on_gpu,
    )  # fmt: skip
    for (inputs, labels, chunk), expected in zip(source, shuffled(28), strict=True):
        assert inputs.device == labels.device == chunk.device == device
        assert torch.equal(chunk.cpu(), expected[2])
        assert torch.equal(inputs.cpu(), images[expected[2]])


SIZES = {
    "processor": (False, False, {}, 32),
    "gpu": (False, True, {}, 256),
    "features": (True, False, {}, 1000),
    "counted": (True, False, {"limit_val_batches": 2}, 32),
    "counted on a gpu": (False, True, {"limit_test_batches": 0.5}, 32),
}


@pytest.mark.parametrize(("cached", "gpu", "limits", "expected"), SIZES.values(), ids=SIZES)
def test_monitored_batch_size__of_images_and_features(
    cached: bool, gpu: bool, limits: dict[str, float], expected: int
) -> None:
    trainer = {"limit_val_batches": None, "limit_test_batches": None} | limits
    assert monitored_batch_size(trainer, 32, 1000, cached, gpu) == expected
