"""Evaluate: finished runs on their own test split, on another set with planted copies, and several together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.data.sources.phantom import write_phantoms
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.inference.evaluate import Evaluation, evaluate
from brain_tumor_tl.inference.other_set import Source
from brain_tumor_tl.inference.own_test import logits_as_trained, open_as_trained, positions_of_test
from brain_tumor_tl.inference.run_images import open_run_images

NAMES = ("no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor")


@pytest.fixture(scope="module")
def other(finished_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another data set: 8 new images, 4 that the runs know by their splits, a folder of no class; none of glioma."""
    root = tmp_path_factory.mktemp("other") / "hospital"
    write_phantoms(root, per_class=2, size=64, seed=99)
    (root / "glioma_tumor").rename(root / "abscess")
    (root / "meningioma_tumor").rename(root / "Meningioma")
    shutil.copy(root / "no_tumor" / sorted(path.name for path in (root / "no_tumor").iterdir())[0], root / "Meningioma")
    known = {row["split"]: row for row in read_csv(finished_runs["frozen"] / "split.csv") if row["class"] == "no_tumor"}
    ours = Path(read_json(finished_runs["frozen"] / "results.json")["config"]["data"]["root"])
    shutil.copy(ours / known["train"]["path"], root / "pituitary_tumor" / "the same file.png")
    with Image.open(ours / known["train"]["path"]) as image:
        image.resize((90, 90)).save(root / "no_tumor" / "larger.png")
    with Image.open(ours / known["val"]["path"]) as image:
        image.save(root / "no_tumor" / "the same pixels.bmp")
    shutil.copy(ours / known["test"]["path"], root / "no_tumor" / "of the test split.png")
    return root


Run = Callable[..., Evaluation]


@pytest.fixture
def run_on(finished_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Evaluate finished runs: `run_on(["frozen"], root, **flags)`."""

    def run(methods: Sequence[str], root: Path | None = None, **flags: Any) -> Evaluation:
        cache = tmp_path_factory.getbasetemp() / "cache of evaluations"
        return evaluate([open_as_trained(finished_runs[name]) for name in methods], Source(root), cache, **flags)

    return run


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_evaluate__own_test_equals_the_results_to_the_digit(
    method: str, finished_runs: dict[str, Path], run_on: Run
) -> None:
    found = run_on([method])

    then = read_json(finished_runs[method] / "results.json")
    assert found.results["compared"]["figures"] == {}
    assert found.results["compared"]["largest_difference"] == 0
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "loss", "per_class", "confusion_matrix", "intervals"):
        assert json.loads(json.dumps(found.results[key])) == then[key]
    assert json.loads(json.dumps(found.results["probabilities"])) == then["probabilities"]
    assert found.results["seen"] is None
    assert found.results["data_set"]["own"]


def test_evaluate__own_images_at_another_place(finished_runs: dict[str, Path], run_on: Run, tmp_path: Path) -> None:
    root = Path(read_json(finished_runs["frozen"] / "results.json")["config"]["data"]["root"])
    shutil.copytree(root, tmp_path / "moved")

    found = run_on(["frozen"], tmp_path / "moved")

    assert found.results["data_set"]["own"]
    assert found.results["compared"]["figures"] == {}


def test_evaluate__other_images_under_the_same_names(
    finished_runs: dict[str, Path], run_on: Run, tmp_path: Path
) -> None:
    write_phantoms(tmp_path / "new", per_class=16, size=64, seed=7)

    found = run_on(["frozen"], tmp_path / "new")

    split = {row["path"] for row in read_csv(finished_runs["frozen"] / "split.csv")}
    assert set(found.paths) == split
    assert not found.results["data_set"]["own"]
    assert found.results["seen"]["train"] == 0


def test_evaluate__another_set_without_what_was_seen(other: Path, run_on: Run) -> None:
    found = run_on(["frozen"], other)

    seen, images = found.results["seen"], found.results["data_set"]
    assert {name: seen[name] for name in ("train", "val", "test", "left_out")} == {
        "train": 2, "val": 1, "test": 1, "left_out": 0,
    }  # fmt: skip
    assert seen["kinds"] == {"identical files": 1, "identical pixels": 1, "near copies": 1}
    assert seen["other_label"] == 1
    assert {(row["path"], row["split"], row["level"]) for row in found.seen} == {
        ("pituitary_tumor/the same file.png", "train", "identical files"),
        ("no_tumor/larger.png", "train", "near copies"),
        ("no_tumor/the same pixels.bmp", "val", "identical pixels"),
        ("no_tumor/of the test split.png", "test", "identical files"),
    }
    assert (images["images"], images["evaluated"], len(found.paths)) == (11, 8, 8)
    assert images["classes_without_images"] == ["glioma_tumor"]
    assert images["folders_left_out"] == ["abscess"]
    assert found.results["classes_in_means"] == list(NAMES[:3])
    assert found.results["intervals"]["unit"] == "group"
    assert found.results["intervals"]["units"] == 7, "one image stands in two folders"
    assert 0 <= found.results["protocol"]["nearest_neighbour"] <= 1
    assert found.results["protocol"]["synthetic"]


def test_evaluate__copies_kept_or_not_searched_for(other: Path, run_on: Run, finished_runs: dict[str, Path]) -> None:
    kept, unchecked = run_on(["frozen"], other, keep_copies=True), run_on(["frozen"], other, unchecked=True)

    assert len(kept.paths) == len(unchecked.paths) == 11
    assert kept.results["seen"]["kept"]
    assert kept.results["seen"]["train"] == 2
    assert not unchecked.results["seen"]["searched"]
    assert unchecked.results["protocol"]["nearest_neighbour"] is None
    assert np.array_equal(kept.probabilities, unchecked.probabilities)
    same = read_csv(finished_runs["frozen"] / "predictions.csv")
    expected = {row["path"].rpartition("/")[2]: row for row in same}
    (copy,) = [row["copy"].rpartition("/")[2] for row in kept.seen if row["split"] == "test"]
    by_path = dict(zip(kept.paths, kept.probabilities, strict=True))
    then = [float(expected[copy][f"probability/{name}"]) for name in NAMES]
    assert by_path["no_tumor/of the test split.png"] == pytest.approx(then, abs=1e-5)


def test_evaluate__nothing_is_left(finished_runs: dict[str, Path], run_on: Run, tmp_path: Path) -> None:
    rows = read_csv(finished_runs["frozen"] / "split.csv")
    root = Path(read_json(finished_runs["frozen"] / "results.json")["config"]["data"]["root"])
    for row in [row for row in rows if row["split"] == "train"][:3]:
        (tmp_path / "set" / row["class"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / row["path"], tmp_path / "set" / row["class"])

    (tmp_path / "set" / "GBM").mkdir()
    shutil.copy(root / rows[0]["path"], tmp_path / "set" / "GBM")

    expected = r"all 3 have a copy in its training or validation split\. Images of GBM are left out, .*\. --keep-copies"
    with pytest.raises(ValueError, match=expected):
        run_on(["frozen"], tmp_path / "set")


def test_evaluate__the_runs_images_are_gone(other: Path, finished_runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(finished_runs["frozen"], tmp_path / "run")
    results = read_json(tmp_path / "run" / "results.json")
    root = Path(results["config"]["data"]["root"])
    results["config"]["data"]["root"] = str(tmp_path / "gone")
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    run, cache = open_as_trained(tmp_path / "run"), tmp_path / "cache"

    with pytest.raises(FileNotFoundError, match=r"has seen can't be known.*gone.*Give --trained-on PATH.*--unchecked"):
        evaluate([run], Source(other), cache)
    assert evaluate([run], Source(other), cache, trained_on=root).results["seen"]["train"] == 2


def test_evaluate__mean_of_runs(finished_runs: dict[str, Path], run_on: Run, tmp_path: Path) -> None:
    found = run_on(["frozen", "finetune"])

    single = []
    for method in ("frozen", "finetune"):
        run = open_as_trained(finished_runs[method])
        images = open_run_images(run, None, None, tmp_path)
        logits = logits_as_trained(run, images, positions_of_test(run, images), tmp_path)
        single.append(softmax(logits.numpy(), run.temperature or 1.0))
    assert np.allclose(found.probabilities, np.mean(single, axis=0), atol=1e-6)
    assert [run["method"] for run in found.results["runs"]] == ["frozen", "finetune"]
    assert found.results["compared"] is None
    assert found.results["probabilities"]["temperature"] is None


def test_evaluate__runs_of_other_test_images(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished_runs["finetune"], tmp_path / "run"))
    rows = read_csv(folder / "split.csv")
    swapped = {"test": "train", "train": "test"}
    text = [",".join({**row, "split": swapped.get(row["split"], row["split"])}.values()) for row in rows]
    (folder / "split.csv").write_text("\n".join([",".join(rows[0]), *text]) + "\n", encoding="utf-8")
    runs = [open_as_trained(finished_runs["frozen"]), open_as_trained(folder)]

    with pytest.raises(ValueError, match=r"Expected runs with the same test images, .* 0 of them in both"):
        evaluate(runs, Source(), tmp_path / "cache")


def test_evaluate__runs_of_other_classes(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    runs = [open_as_trained(finished_runs["frozen"]) for _ in range(2)]
    runs[1].classes = ("a", "b")

    with pytest.raises(
        ValueError, match=r"Expected runs for the same classes in the same order: .*no_tumor, .*, .* for a, b\."
    ):
        evaluate(runs, Source(), tmp_path / "cache")
