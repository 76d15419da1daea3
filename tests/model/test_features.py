"""Features: computed once, in order, whole, and found again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brain_tumor_tl.model.features import as_stored, compute_into, features_key, from_stored, load_features


class Mean(nn.Module):
    """A backbone whose features are the channels' means; counts its calls."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        Mean.calls += 1
        return images.mean(dim=(2, 3))


IMAGES = torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def batches(order: list[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for rows in order:
        yield IMAGES[rows], torch.zeros(len(rows)), torch.tensor(rows)


WHOLE = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_compute_into__rows_follow_positions(tmp_path: Path) -> None:
    compute_into(tmp_path / "array.npy", Mean().eval(), batches([[9, 0], [1, 2, 3], [8, 7, 6, 5, 4]]), 10)
    assert np.array_equal(np.load(tmp_path / "array.npy"), IMAGES.mean(dim=(2, 3)).numpy())


@pytest.mark.parametrize("order", [WHOLE[:2], [*WHOLE, [0]]], ids=["missed", "twice"])
def test_compute_into__incomplete_passes_are_refused(order: list[list[int]], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Expected each of 10 images once"):
        compute_into(tmp_path / "array.npy", Mean().eval(), batches(order), 10)


def load(folder: Path, key: str = "a" * 64) -> np.ndarray:
    entry = load_features(Mean().train(), batches(WHOLE), 10, key=key, cache_dir=folder, precision=nullcontext())
    return np.array(entry.array)


def test_load_features__second_time_computes_nothing(tmp_path: Path) -> None:
    Mean.calls = 0
    first = load(tmp_path)
    assert Mean.calls == 3
    assert np.array_equal(load(tmp_path), first)
    assert Mean.calls == 3
    load(tmp_path, key="b" * 64)
    assert Mean.calls == 6


def test_load_features__damage_is_found_and_mended(tmp_path: Path) -> None:
    first = load(tmp_path)
    [file] = tmp_path.rglob("array.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert np.array_equal(load(tmp_path), first)
    assert np.array_equal(load(tmp_path), first)


def test_features_key__depends_on_everything() -> None:
    model = {"name": "resnet18", "options": {}, "weights": "ignored"}
    compute = {"precision": "32-true", "channels_last": True, "accelerator": "cpu", "fuses_norms": True}
    key = features_key("images-a", "unit", model, "digest", compute)

    assert features_key("images-a", "unit", {**model, "weights": "elsewhere"}, "digest", compute) == key
    others = [
        features_key("images-b", "unit", model, "digest", compute),
        features_key("images-a", "imagenet", model, "digest", compute),
        features_key("images-a", "unit", {**model, "options": {"a": 1}}, "digest", compute),
        features_key("images-a", "unit", model, "another", compute),
        *(features_key("images-a", "unit", model, "digest", {**compute, name: False}) for name in compute),
        features_key("images-a", "unit", model, "digest", compute, "layer3"),
        features_key("images-a", "unit", model, "digest", compute, "layer4"),
        features_key("images-a", "unit", model, "digest", compute, "layer4", (1, {"flip": 0.5})),
        features_key("images-a", "unit", model, "digest", compute, "layer4", (2, {"flip": 0.5})),
        features_key("images-a", "unit", model, "digest", compute, "layer4", (2, {"flip": 0.4})),
    ]
    assert len({key, *others}) == 14


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_as_stored__maps_keep_their_type_and_bits(dtype: torch.dtype) -> None:
    maps = torch.randn(2, 4, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    stored = torch.from_numpy(as_stored(maps))
    assert stored.element_size() == maps.element_size()
    restored = from_stored(stored, channels_last=True)
    assert restored.dtype == dtype
    assert torch.equal(restored, maps)
    assert restored.is_contiguous(memory_format=torch.channels_last)


def test_as_stored__features_are_float32() -> None:
    assert as_stored(torch.ones(2, 5, dtype=torch.bfloat16)).dtype == np.float32


def test_load_features__without_room_says_how_much_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Mock(free=7))
    expected = (
        r"Can't write features to .*: 0\.0 GB are needed and 0\.0 GB are free\. A later method\.train_from.*cache_dir"
    )
    with pytest.raises(OSError, match=expected):
        load(tmp_path)
    assert not list(tmp_path.rglob("*.npy"))
