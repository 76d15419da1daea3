"""Gallery: maps of what was predicted and of the truth beside each image; every kind of network says what it can."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.inference.explain import Explanation
from brain_tumor_tl.inference.gallery import SIDE, pictures_of, with_pictures
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.cases import Case, Gallery, cases_of, choose
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.run_files import read_run_files


@pytest.fixture(scope="module")
def run(finished_runs: dict[str, Path]) -> TrainedRun:
    """A finished run."""
    return TrainedRun(finished_runs["finetune"], "cpu")


@pytest.fixture(scope="module")
def gallery(run: TrainedRun) -> Gallery:
    """Its cases."""
    return choose(cases_of(read_run_files(Run(run.folder, run.results))))


def as_array(content: bytes) -> np.ndarray[Any, Any]:
    """Return the pixels of a picture."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_with_pictures__an_image_and_maps_for_each_case(run: TrainedRun, gallery: Gallery) -> None:
    found = with_pictures(gallery, run)

    cases = [*found.wrong, *found.right]
    assert found.missing == ""
    assert cases
    assert set(found.pictures) == {case.path for case in cases}
    for case in cases:
        first, *maps = found.pictures[case.path]
        assert [each.caption for each in maps] == [f"for {n}" for n in dict.fromkeys((case.predicted, case.truth))]
        assert as_array(first.content).shape == (SIDE, SIDE, 3)


def test_with_pictures__shows_the_image_of_the_case(run: TrainedRun, gallery: Gallery) -> None:
    found = with_pictures(gallery, run)
    root = Path(run.results["config"]["data"]["root"])
    case = [*gallery.wrong, *gallery.right][-1]

    decoded = Image.fromarray(run.decode(root / case.path)[0]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    shown = as_array(found.pictures[case.path][0].content)
    assert np.abs(shown[..., 0] - np.asarray(decoded)).mean() < 3, "but for the JPEG"


def test_pictures_of__maps_on_one_scale_colour_only_where_they_are_positive() -> None:
    maps = np.full((2, 8, 8), -1, np.float32)
    maps[0, :, :4], maps[1, :, 4:] = 1.0, 0.25
    grey = np.full((1, 8, 8), 100, np.uint8)
    explanation = Explanation(grey, "b", ("a", "b"), (0.1, 0.9), maps)

    pictures = pictures_of(Case("x.png", truth="a", predicted="b", probability=0.9, of_truth=0.1), explanation)

    assert [each.caption for each in pictures] == ["the image", "for b", "for a"]
    image, of_b, of_a = (as_array(each.content)[SIDE // 2] for each in pictures)
    left, right = slice(0, SIDE // 3), slice(2 * SIDE // 3, SIDE)
    change = {name: np.abs(found - image).sum(-1) for name, found in (("a", of_a), ("b", of_b))}
    assert change["a"][right].mean() < 5
    assert change["b"][left].mean() < 5
    assert change["a"][left].mean() > 2 * change["b"][right].mean() > 20, "a quarter of the largest value is fainter"


def test_with_pictures__a_network_of_tokens_has_images_without_maps(
    run: TrainedRun, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("computes with tokens")

    monkeypatch.setattr("brain_tumor_tl.inference.gallery.check_run", refuse)
    found = with_pictures(gallery, run)

    assert found.missing == "Without maps: computes with tokens"
    assert {len(pictures) for pictures in found.pictures.values()} == {1}


STUDY = ("densenet121", "googlenet", "mobilenet_v2", "resnet18", "resnet50", "shufflenet_v2_x1_0", "vgg16")


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY)
def test_with_pictures__every_backbone_of_the_study_has_maps(
    name: str, run: TrainedRun, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brain_tumor_tl.model.backbone import build_network

    network = build_network(name, run.classes, weights=None)
    backbone, head = network.backbone.eval().requires_grad_(False), network.head.eval().requires_grad_(False)
    monkeypatch.setattr(run, "backbone", backbone)
    monkeypatch.setattr(run, "head", head)
    monkeypatch.setattr(run, "_fast", None)

    found = with_pictures(gallery._replace(wrong=gallery.wrong[:2], right=gallery.right[:1]), run)

    assert found.missing == ""
    assert all(len(pictures) >= 2 for pictures in found.pictures.values())
