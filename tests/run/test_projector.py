"""Projector: the files that TensorBoard's tab reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format  # type: ignore[import-untyped]
from PIL import Image
from sklearn.decomposition import PCA
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import nn

from brain_tumor_tl.run.projector import (
    CONFIG,
    THUMBNAIL,
    head_inputs,
    principal_components,
    sprite,
    thumbnails,
    write_projector,
)


@pytest.mark.parametrize("every", [1, 3])
def test_head_inputs__of_every_nth_image(every: int) -> None:
    head, features = nn.Linear(2, 3), torch.arange(20.0).reshape(10, 2)

    with head_inputs(head, every) as found:
        for batch in (features[:4], features[4:8], features[8:]):
            head(batch)
    head(features)  # after the context

    assert torch.equal(torch.cat(found), features[::every])


def test_head_inputs__of_no_image() -> None:
    head = nn.Linear(2, 3)

    with head_inputs(head, 0) as found:
        head(torch.ones(4, 2))

    assert found == []


def test_principal_components__of_scikit_learn() -> None:
    features = np.random.default_rng(0).normal(size=(12, 40)).astype(np.float32)

    found = principal_components(features, most=5)
    expected = PCA(5).fit_transform(features.astype(np.float64))

    assert np.allclose(np.abs(found), np.abs(expected), atol=1e-6)  # their sign is arbitrary


def test_sprite__rows_of_thumbnails() -> None:
    small = np.arange(1, 6, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8)

    with Image.open(io.BytesIO(sprite(small))) as image:
        pixels = np.asarray(image)

    assert pixels.shape == (12, 12)
    assert pixels[::4, ::4].tolist() == [[1, 2, 3], [4, 5, 0], [0, 0, 0]]


def test_write_projector__what_the_tab_reads(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(3, 8)).astype(np.float32)
    pixels = generator.integers(0, 256, (3, 1, 64, 64), dtype=np.uint8)
    rows = [{"class": "a", "path": "a/1.png"}, {"class": "b", "path": "b/tab\there.png"}, {"class": "a", "path": "2"}]

    write_projector(tmp_path, features, pixels, rows)

    (described,) = text_format.Parse((tmp_path / CONFIG).read_text(), ProjectorConfig()).embeddings
    coordinates = np.loadtxt(tmp_path / described.tensor_path, delimiter="\t")
    assert np.allclose(coordinates, principal_components(features), rtol=1e-3, atol=1e-3)
    with (tmp_path / described.metadata_path).open() as file:
        assert [row["path"] for row in csv.DictReader(file, delimiter="\t")] == ["a/1.png", "b/tab here.png", "2"]
    with Image.open(tmp_path / described.sprite.image_path) as image:
        assert list(described.sprite.single_image_dim) == [THUMBNAIL, THUMBNAIL]
        assert np.array_equal(np.asarray(image)[:THUMBNAIL, :THUMBNAIL], thumbnails(pixels)[0])
