"""Own test: the test split of finished runs again, against what the runs wrote when they ended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.inference.own_test import logits_as_trained, open_as_trained, positions_of_test
from brain_tumor_tl.inference.run_images import OtherImagesError, RunImages, has_same_paths, open_run_images
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.schema_1 import NEW_SETTINGS

METHODS = ("frozen", "finetune")


def opened(folder: Path, cache: Path | None = None) -> tuple[TrainedRun, RunImages, Path]:
    """Return a run, its images, and the cache folder."""
    run = open_as_trained(folder)
    cache = cache or Path(run.results["config"]["data"]["cache_dir"])
    return run, open_run_images(run, None, None, cache), cache


def probabilities_of(folder: Path) -> dict[str, list[float]]:
    """Return the probabilities of predictions.csv by path."""
    return {
        row["path"]: [float(value) for name, value in row.items() if name.startswith("probability/")]
        for row in read_csv(folder / "predictions.csv")
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "computed anew"])
def test_logits_as_trained__bit_for_bit(
    method: str, cached: bool, finished_runs: dict[str, Path], tmp_path: Path
) -> None:
    run, images, cache = opened(finished_runs[method], None if cached else tmp_path)

    positions = positions_of_test(run, images)
    found = softmax(logits_as_trained(run, images, positions, cache).numpy())

    expected = probabilities_of(finished_runs[method])
    paths = [printable(images.index.paths[position]) for position in positions]
    assert len(paths) == read_json(finished_runs[method] / "results.json")["protocol"]["test_images"]
    assert dict(zip(paths, found.tolist(), strict=True)) == expected


def changed_results(folder: Path, place: Path, **changes: Any) -> Path:
    """Return a copy of a run whose results.json has other top-level values."""
    shutil.copytree(folder, place)
    results = read_json(place / "results.json")
    (place / "results.json").write_text(json.dumps(results | changes))
    return place


def test_positions_of_test__of_a_limited_test(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    protocol = read_json(finished_runs["frozen"] / "results.json")["protocol"] | {"limited": True}
    folder = changed_results(finished_runs["frozen"], tmp_path / "run", protocol=protocol)
    lines = (folder / "predictions.csv").read_text(encoding="utf-8").splitlines()
    (folder / "predictions.csv").write_text("\n".join(lines[:6]) + "\n", encoding="utf-8")

    run, images, _ = opened(folder)

    paths = [images.index.paths[position] for position in positions_of_test(run, images)]
    assert paths == [line.partition(",")[0] for line in lines[1:6]]


def test_open_as_trained__precision_and_layout_of_training(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    environment = read_json(finished_runs["finetune"] / "results.json")["environment"]
    other = environment | {"precision": "bf16-mixed", "channels_last": False}
    folder = changed_results(finished_runs["finetune"], tmp_path / "run", environment=other)

    run, as_it_was = open_as_trained(folder), open_as_trained(finished_runs["finetune"])

    assert (run.precision, as_it_was.precision) == ("bf16-mixed", "32-true")
    layouts = [each.normalize.layout for each in (run, as_it_was)]
    assert layouts == [torch.contiguous_format, torch.channels_last]
    assert run.device.type == "cpu"


def test_open_as_trained__float16_needs_a_gpu(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    environment = read_json(finished_runs["finetune"] / "results.json")["environment"]
    of_a_gpu = environment | {"precision": "16-mixed", "accelerator": "cuda"}
    folder = changed_results(finished_runs["finetune"], tmp_path / "run", environment=of_a_gpu)

    assert open_as_trained(folder, "cpu").precision in ("bf16-mixed", "32-true")


@pytest.fixture
def copy_of_images(finished_runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the images of the finished runs."""
    root = Path(read_json(finished_runs["frozen"] / "results.json")["config"]["data"]["root"])
    return Path(shutil.copytree(root, tmp_path / "elsewhere"))


def test_open_run_images__at_another_place(
    finished_runs: dict[str, Path], copy_of_images: Path, tmp_path: Path
) -> None:
    run, before, _ = opened(finished_runs["frozen"])

    found = open_run_images(run, copy_of_images, None, tmp_path / "cache")

    assert found.index.root == copy_of_images
    assert np.array_equal(found.decoded.array, before.decoded.array)
    counts = run.results["protocol"]["counts"]
    assert {name: len(found.of(name)) for name in ("train", "val", "test")} == counts
    assert len(found.of("train", "val")) == counts["train"] + counts["val"]
    assert has_same_paths(run, found.index)


def test_open_run_images__changed(finished_runs: dict[str, Path], copy_of_images: Path, tmp_path: Path) -> None:
    run = open_as_trained(finished_runs["frozen"])
    first, second, *_ = sorted(copy_of_images.rglob("*.png"))

    first.write_bytes(second.read_bytes())
    with pytest.raises(OtherImagesError, match=r"contents or labels of some have changed\. Restore them, or give data"):
        open_run_images(run, copy_of_images, None, tmp_path / "cache")
    first.rename(first.with_name("another.png"))
    with pytest.raises(OtherImagesError, match=r"1 of its 64 are absent and 1 are new"):
        open_run_images(run, copy_of_images, None, tmp_path / "cache")


def test_open_run_images__gone(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    config = read_json(finished_runs["frozen"] / "results.json")["config"]
    data = config["data"] | {"root": str(tmp_path / "gone"), "labels": None}
    folder = changed_results(finished_runs["frozen"], tmp_path / "run", config=config | {"data": data})

    with pytest.raises(FileNotFoundError, match=r"where they were in training, in .*gone; .* Give data\.root=PATH"):
        open_run_images(open_as_trained(folder), None, None, tmp_path / "cache")


def test_open_run_images__table_of_labels_is_gone(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    config = read_json(finished_runs["frozen"] / "results.json")["config"]
    data = config["data"] | {"labels": str(tmp_path / "gone.csv")}
    folder = changed_results(finished_runs["frozen"], tmp_path / "run", config=config | {"data": data})

    with pytest.raises(FileNotFoundError, match=r"the labels of .* in .*gone\.csv.* Give data\.labels=PATH"):
        open_run_images(open_as_trained(folder), None, None, tmp_path / "cache")


def test_logits_as_trained__of_a_run_of_the_first_version(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    results = read_json(finished_runs["frozen"] / "results.json")
    data = {key: value for key, value in results["config"]["data"].items() if key not in NEW_SETTINGS["data"]}
    protocol = {("watched" if key == "monitored" else key): value for key, value in results["protocol"].items()}
    config = results["config"] | {"data": data}
    folder = changed_results(finished_runs["frozen"], tmp_path / "run", schema=1, config=config, protocol=protocol)

    run, images, cache = opened(folder)
    found = softmax(logits_as_trained(run, images, positions_of_test(run, images), cache).numpy())

    assert found.tolist() == list(probabilities_of(finished_runs["frozen"]).values())
