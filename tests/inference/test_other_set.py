"""OtherSet: another data set under a run's classes: names, tables, patients, deep and bad files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.data.sources.phantom import write_phantoms
from brain_tumor_tl.inference.other_set import OtherSet, Source, read_other_set, seen_counts, with_aliases
from brain_tumor_tl.inference.own_test import open_as_trained
from brain_tumor_tl.inference.trained_run import TrainedRun

CLASSES = [["no_tumor", "no"], ["glioma_tumor", "glioma"]]


@pytest.fixture(scope="module")
def run(finished_runs: dict[str, Path]) -> TrainedRun:
    """A finished run of the study's four classes."""
    return open_as_trained(finished_runs["finetune"])


@pytest.fixture
def phantoms(tmp_path: Path) -> Path:
    """Two images of each of the study's classes."""
    write_phantoms(tmp_path / "set", per_class=2, size=64, seed=5)
    return tmp_path / "set"


def read(run: TrainedRun, root: Path, **source: Any) -> OtherSet:
    """Read a data set with a cache beside it."""
    return read_other_set(run, root, Source(root, **source), root.parent / "cache")


def test_with_aliases__further_names_of_known_classes(tmp_path: Path) -> None:
    assert with_aliases(CLASSES, tmp_path, None) == CLASSES
    assert with_aliases(CLASSES, tmp_path, [["Glioma", "GBM", "LGG"]]) == [
        ["no_tumor", "no"], ["glioma_tumor", "glioma", "Glioma", "GBM", "LGG"],
    ]  # fmt: skip


@pytest.mark.parametrize("names", [["GBM"], ["no", "glioma"]], ids=["of no class", "of two classes"])
def test_with_aliases__each_list_is_of_one_class(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one class of the run in each list .*The run's classes are no_tumor, glioma"):
        with_aliases(CLASSES, tmp_path, [names])


def test_read_other_set__folders_by_further_names(run: TrainedRun, phantoms: Path) -> None:
    (phantoms / "glioma_tumor").rename(phantoms / "GBM")
    (phantoms / "no_tumor").rename(phantoms / "healthy")
    (phantoms / "meningioma_tumor").rename(phantoms / "other")

    found = read(run, phantoms, classes=[["glioma", "GBM"]])

    assert found.index.classes == run.classes
    assert found.index.missing_classes() == ["meningioma_tumor"]
    assert found.index.left_out == ("other",)
    labels = [run.classes[label] for label in found.index.labels]
    names = {path.partition("/")[0]: name for path, name in zip(found.index.paths, labels, strict=True)}
    assert names == {"GBM": "glioma_tumor", "healthy": "no_tumor", "pituitary_tumor": "pituitary_tumor"}
    assert found.decoded.array.shape == (6, 1, 64, 64)


def test_read_other_set__no_class_of_the_run(run: TrainedRun, tmp_path: Path, phantoms: Path) -> None:
    for place, name in zip(sorted(phantoms.iterdir()), "abcde", strict=False):
        if place.is_dir():
            place.rename(phantoms / name)

    with pytest.raises(ValueError, match=r"class folders in .*Class folders may be named .*glioma_tumor"):
        read(run, phantoms)


def test_read_other_set__labels_and_patients_of_a_table(run: TrainedRun, phantoms: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(phantoms.rglob("*.png"))):
        shutil.copy(path, flat / f"{number}.png")
    table = tmp_path / "table.csv"
    table.write_text("path,label,patient\n0.png,glioma,p1\n1.png,glioma,p1\n2.png,normal,p2\n3.png,abscess,p3\n")

    found = read(run, flat, labels=table)

    assert found.index.paths == ("0.png", "1.png", "2.png")
    assert [run.classes[label] for label in found.index.labels] == ["glioma_tumor", "glioma_tumor", "no_tumor"]
    assert found.unknown == {"abscess": 1, "": 4}
    assert found.patients is not None
    assert found.patients.numbers.tolist() == [0, 0, 1]
    groups, unit = found.units(tmp_path / "cache")
    assert (groups.tolist(), unit) == ([0, 0, 1], "patient")
    assert len(found.decoded.array) == len(found.info.files) == 3


def test_read_other_set__labels_of_no_class_alone(run: TrainedRun, phantoms: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    paths = [path.relative_to(phantoms).as_posix() for path in phantoms.rglob("*.png")]
    table.write_text("path,label\n" + "".join(f"{path},abscess\n" for path in paths))

    with pytest.raises(ValueError, match=r"Expected images of no_tumor, .* found none\. Give names that the set has"):
        read(run, phantoms, labels=table)


def test_read_other_set__bad_files_are_named_or_skipped(run: TrainedRun, phantoms: Path) -> None:
    (phantoms / "no_tumor" / "truncated.png").write_bytes(sorted(phantoms.rglob("*.png"))[0].read_bytes()[:80])

    with pytest.raises(ValueError, match=r"truncated\.png.*data\.on_bad_file=skip|(?s:.*)on_bad_file=skip"):
        read(run, phantoms)
    found = read(run, phantoms, on_bad_file="skip")

    assert len(found.index) == len(found.decoded.array) == 8
    assert [path for path, _ in found.index.bad] == ["no_tumor/truncated.png"]


def test_read_other_set__the_runs_window_of_intensities(run: TrainedRun, phantoms: Path) -> None:
    path = sorted((phantoms / "no_tumor").iterdir())[0]
    with Image.open(path) as image:
        Image.fromarray(np.asarray(image).astype(np.uint16) * 16).save(path)
    before = run.preprocessing
    narrow = type(before)(**{**vars(before), "intensity": {**before.intensity, "window": [0, 16]}})

    run.preprocessing = narrow
    try:
        found = read(run, phantoms)
    finally:
        run.preprocessing = before

    place = found.index.paths.index(f"no_tumor/{path.name}")
    assert set(np.unique(found.decoded.array[place]).tolist()) == {0, 255}, "all but black is above the window"


def row(path: str, split: str, level: str = "near copies", label: str = "a") -> dict[str, Any]:
    """Return the columns of a row of seen.csv that are counted."""
    return {"path": path, "split": split, "level": level, "class": "a", "class_of_copy": label}


def test_seen_counts__each_image_once_over_all_runs(run: TrainedRun, phantoms: Path) -> None:
    other = read(run, phantoms)
    first, second, third = other.index.paths[:3]
    rows = [
        row(first, "test"), row(first, "train", "identical files"), row(second, "val", label="b"),
        row(second, "val", "identical pixels", label="b"), row(third, "left_out"),
    ]  # fmt: skip

    found = seen_counts(rows, other, np.arange(2, 8), searched=True, keep_copies=False)

    assert {name: found[name] for name in ("train", "val", "test", "left_out")} == {
        "train": 1, "val": 1, "test": 0, "left_out": 1,
    }  # fmt: skip
    assert found["kinds"] == {"identical files": 1, "identical pixels": 1, "near copies": 0}
    assert (found["other_label"], found["patients"]) == (1, None)


def test_seen_counts__patients_of_images_that_were_seen(run: TrainedRun, phantoms: Path) -> None:
    table = phantoms.parent / "patients.csv"
    paths = sorted(path.relative_to(phantoms).as_posix() for path in phantoms.rglob("*.png"))
    names = ["p1", "p1", "p2", "", "", "p3", "p3", "p3"]
    table.write_text("path,patient\n" + "".join(f"{p},{name}\n" for p, name in zip(paths, names, strict=True)))
    other = read(run, phantoms, patients=table)
    rows = [row(paths[0], "train"), row(paths[3], "val"), row(paths[5], "test")]

    found = seen_counts(rows, other, np.array([1, 2, 4, 5, 6, 7]), searched=True, keep_copies=False)

    assert found["patients"] == 1, "the other image of p1; unknown patients are nobody's"
