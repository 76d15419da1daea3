"""Grad-CAM of a network that has learned phantoms: the maps are where the lesions are, and random weights' are not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import hydra
import numpy as np
import pytest
import torch
from numpy.random import PCG64, RandomState
from scipy.stats import spearmanr

import brain_tumor_tl
from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.run_names import origin_of
from brain_tumor_tl.cli.train import train
from brain_tumor_tl.data.sources.phantom import CLASSES, paint_brain, paint_lesion, place_head
from brain_tumor_tl.inference.explain import Explanation
from brain_tumor_tl.inference.trained_run import TrainedRun

SIZE = 64
LINE = (
    "data=phantom", "data.phantoms_per_class=80", f"data.phantom_size={SIZE}", f"data.image_size={SIZE}",
    "data.batch_size=16", "model.name=mobilenet_v2", "model.weights=null", "method=finetune", "recipe=onecycle",
    # A map of 8 x 8 cells with small receptive fields, since 2 x 2 cells can't tell where a lesion is.
    "+model.options.inverted_residual_setting=[[1,16,1,1],[4,24,1,2],[4,32,1,2]]", "optimizer.lr=0.01",
    "trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=10",
)  # fmt: skip


class Explained(NamedTuple):
    """A run, its lesions, and their maps, of images that it predicts right."""

    run: TrainedRun
    paths: list[Path]
    maps: list[Explanation]


def lesion_box(path: Path) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a phantom's lesion: the pixels that painting it changes, seed 0."""
    kind, number = re.fullmatch(r"synthetic-(\w+)-(\d+)", path.stem).groups()  # type: ignore[union-attr]
    rng = RandomState(PCG64([0, CLASSES.index(kind), int(number) - 1]))  # as `write_phantoms` draws it
    head = place_head(SIZE, rng)
    brain = paint_brain(head, rng)
    rows, columns = np.nonzero(np.abs(paint_lesion(brain, head, kind, rng) - brain) > 0.05)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def is_inside(path: Path, explanation: Explanation) -> bool:
    """Tell whether the peak of a map is in the lesion's box."""
    left, top, right, bottom = lesion_box(path)
    ((x, y),) = explanation.peaks
    return left <= x * SIZE <= right and top <= y * SIZE <= bottom


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    folder = tmp_path_factory.mktemp("phantoms")
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = hydra.compose("train", [*LINE, f"data.cache_dir={folder / 'cache'}", f"data.root={folder / 'images'}"])
    (folder / "run").mkdir()
    train(checked_settings(config), folder / "run", origin_of(config))
    run = brain_tumor_tl.load(folder / "run", device="cpu")
    assert isinstance(run, TrainedRun)
    assert run.results["accuracy"] > 0.85
    paths = [path for path in sorted((folder / "images").rglob("*.png")) if path.parent.name != "no_tumor"]
    maps = run.explain(paths)
    right = [place for place, path in enumerate(paths) if maps[place].predicted == path.parent.name]
    return Explained(run, [paths[place] for place in right], [maps[place] for place in right])


@pytest.mark.slow
def test_explain__peaks_are_in_the_lesions(explained: Explained) -> None:
    inside = [is_inside(path, one) for path, one in zip(explained.paths, explained.maps, strict=True)]
    others = [is_inside(path, one) for path, one in zip(explained.paths, explained.maps[::-1], strict=True)]

    assert len(inside) > 200
    assert np.mean(inside) >= 0.7
    assert np.mean(others) < 0.3, "the boxes are small: maps of other images don't meet them"


@pytest.mark.slow
def test_explain__random_weights_give_other_maps(explained: Explained) -> None:
    """Adebayo et al. 2018 (arXiv:1810.03292): a map that doesn't depend on the weights explains nothing."""
    paths, trained = explained.paths[::8], explained.maps[::8]
    untrained = brain_tumor_tl.load(explained.run.folder, device="cpu")
    assert isinstance(untrained, TrainedRun)
    torch.manual_seed(0)
    for layer in [*untrained.backbone.modules(), untrained.head]:
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.reset_parameters()

    random = [untrained.explain(path, one.classes)[0] for path, one in zip(paths, trained, strict=True)]

    of_trained = [one.maps[0, ::8, ::8].ravel() for one in trained]
    of_random = [one.maps[0, ::8, ::8].ravel() for one in random]
    correlations = [spearmanr(one, other).statistic for one, other in zip(of_trained, of_random, strict=True)]
    assert len(correlations) > 20
    assert abs(float(np.mean(correlations))) < 0.4
    inside = [is_inside(path, one) for path, one in zip(paths, random, strict=True)]
    assert np.mean(inside) < 0.5


@pytest.mark.slow
def test_explain__maps_are_faithful(explained: Explained) -> None:
    found = explained.run.explain(explained.paths[::12], faithfulness=True)

    scores = [one.scores[0] for one in found if one.scores]
    assert len(scores) > 15
    assert np.mean(scores) > 0.1
