"""Features: computed once, in order, whole, and found again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brain_tumor_tl.model.features import compute_into, features_key, load_features


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


def test_compute_into__rows_follow_positions_in_eval_mode() -> None:
    backbone, features = Mean().train(), np.zeros((10, 3), dtype=np.float32)
    compute_into(features, backbone, batches([[9, 0], [1, 2, 3], [8, 7, 6, 5, 4]]))
    assert np.array_equal(features, IMAGES.mean(dim=(2, 3)).numpy())
    assert not backbone.training


@pytest.mark.parametrize("order", [WHOLE[:2], [*WHOLE, [0]]], ids=["missed", "twice"])
def test_compute_into__incomplete_passes_are_refused(order: list[list[int]]) -> None:
    with pytest.raises(RuntimeError, match="Expected each of 10 images once"):
        compute_into(np.zeros((10, 3), dtype=np.float32), Mean(), batches(order))


def load(folder: Path, key: str = "a" * 64) -> np.ndarray:
    entry = load_features(Mean(), batches(WHOLE), (10, 3), key=key, cache_dir=folder, precision=nullcontext())
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
    ]
    assert len({key, *others}) == 9
