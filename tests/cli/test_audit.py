"""Audit: the verb finds what was planted in drawn images, and says so in its three files."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from brain_tumor_tl.cli.audit import main
from brain_tumor_tl.data.leakage import survey
from brain_tumor_tl.data.sources.phantom import write_phantoms

Audit = Callable[..., tuple[int, dict[str, Any], Path]]
Refused = Callable[..., tuple[int, str]]
CLASSES = ("no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 heads, 3 of each class for testing, with planted faults."""
    drawn, root = (tmp_path_factory.mktemp(name) / "set" for name in ("drawn", "planted"))
    write_phantoms(drawn, per_class=12, size=96, seed=3)
    for name in CLASSES:
        for number, path in enumerate(sorted((drawn / name).iterdir())):
            part = "Testing" if number < 3 else "Training"
            (root / part / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / part / name / f"image({number}).png")
    training, testing = root / "Training", root / "Testing"
    shutil.copy(training / "glioma_tumor" / "image(5).png", testing / "glioma_tumor" / "the same file.png")
    with Image.open(training / "no_tumor" / "image(6).png") as image:
        image.save(testing / "no_tumor" / "the same pixels.bmp")
    with Image.open(training / "meningioma_tumor" / "image(7).png") as image:
        brighter = ImageEnhance.Brightness(image.transpose(Image.Transpose.ROTATE_90)).enhance(1.1)
        brighter.save(testing / "pituitary_tumor" / "turned and under another label.png")
    (training / "no_tumor" / "empty.png").touch()
    shutil.copy(training / "no_tumor" / "image(5).png", root / "Training" / "beside the classes.png")
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def audit(cache: Path, tmp_path: Path) -> Audit:
    """Audit in this process: `audit(root, *overrides)` returns exit status, findings and folder."""

    def run(root: Path, *overrides: str) -> tuple[int, dict[str, Any], Path]:
        out = tmp_path / "out"
        status = main([f"data.root={root}", f"data.cache_dir={cache}", f"out={out}", *overrides])
        file = out / "audit.json"
        return status, json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}, out

    return run


def test_audit__finds_what_was_planted(planted: Path, audit: Audit) -> None:
    status, found, out = audit(planted)

    assert status == 0
    levels = found["copies"]["levels"]
    assert [levels[name]["further"] for name in ("identical files", "identical pixels", "near copies")] == [1, 2, 3]
    assert found["copies"]["across_official"]["near copies"]["with_a_copy"] == 3
    (conflict,) = found["conflicts"]
    assert {found["paths"][i] for i in conflict} == {
        "Testing/pituitary_tumor/turned and under another label.png", "Training/meningioma_tumor/image(7).png",
    }  # fmt: skip
    assert [path for path, _ in found["unreadable"]] == ["Training/no_tumor/empty.png"]
    assert found["stray"] == ["Training/beside the classes.png"]
    assert [row["split"] for row in found["splits"]] == ["random", "grouped", "series", "official", "official_clean"]
    by_name = {row["split"]: row for row in found["splits"]}
    assert by_name["official"]["copies_in_training"]["mean"] == 3
    assert by_name["official"]["test_images"]["mean"] == 15
    assert by_name["grouped"]["copies_in_training"]["mean"] == 0
    with (out / "copies.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["level"] for row in rows].count("identical files") == 2
    assert len(rows) == 6
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert "turned and under another label.png" in page
    assert "data:image/png" in page
    assert "http" not in page.replace("http-equiv", "")


def test_audit__all_folds_of_a_k_fold_split(planted: Path, audit: Audit) -> None:
    status, found, out = audit(planted, "data.split=kfold", "data.folds=3", "data.fold_by=series", "data.fold=1")

    assert status == 0
    (row,) = (row for row in found["splits"] if row["split"] == "kfold")
    assert row["title"] == "k-fold split of whole series, each of 3 folds"
    assert (row["repeats"], row["test_images"]["mean"]) == (3, pytest.approx(found["contents"]["images"] / 3))
    assert (row["copies_in_training"]["mean"], row["series_in_training"]["mean"]) == (0, 0)
    assert row["title"] in (out / "audit.html").read_text(encoding="utf-8")


def test_audit__a_split_that_the_images_do_not_allow(planted: Path, audit: Audit) -> None:
    status, found, _ = audit(planted, "data.split=kfold", "data.fold_by=patients")

    assert status == 0
    assert "Expected to know the patients" in found["splits"][-1]["impossible"]
    assert [row["split"] for row in found["splits"]].count("patients") == 0


def test_audit__overlap_with_a_second_set(planted: Path, audit: Audit, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_phantoms(other, per_class=2, size=96, seed=99)
    with Image.open(planted / "Training" / "glioma_tumor" / "image(8).png") as image:
        image.resize((70, 70)).save(other / "glioma_tumor" / "smaller.png")
    shutil.copy(planted / "Training" / "no_tumor" / "image(8).png", other / "no_tumor" / "same.png")

    status, found, out = audit(planted, f"other={other}")

    assert status == 0
    overlap = found["overlap"]
    assert [overlap[name] for name in ("images", "identical files", "identical pixels", "near copies")] == [10, 1, 1, 2]
    assert overlap["classes"]["glioma_tumor"] == [1, 3]
    with (out / "overlap.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tuple(row.values())[:6] for row in rows] == [
        ("Training/glioma_tumor/image(8).png", "glioma_tumor", "glioma_tumor/smaller.png", "glioma_tumor",
         "near copies", "as it is"),
        ("Training/no_tumor/image(8).png", "no_tumor", "no_tumor/same.png", "no_tumor", "identical files", "as it is"),
    ]  # fmt: skip
    assert rows == [{key: str(value) for key, value in row.items()} for row in overlap["shared"]]
    assert overlap["patients"] == {"of_the_first": None, "of_the_second": None, "images_of_the_second": None}
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert "glioma_tumor/smaller.png" in page


def test_audit__labels_and_patients_of_tables(audit: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_phantoms(tmp_path / "drawn", per_class=6, size=64, seed=1)
    (tmp_path / "flat").mkdir()
    rows = []
    for number, path in enumerate(sorted((tmp_path / "drawn").rglob("*.png"))):
        shutil.copy(path, tmp_path / "flat" / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},{f'p{number // 3}' if number < 18 else ''}\n")
    table = tmp_path / "table.csv"
    table.write_text(f"path,label,patient\n{''.join(rows)}", encoding="utf-8")

    status, found, out = audit(tmp_path / "flat", "data=folder", f"data.labels={table}")

    assert status == 0
    assert found["contents"]["classes"] == {"a": 12, "b": 12}
    assert found["patients"] == {"patients": 6, "images": 18, "source": str(table)}
    by_name = {row["split"]: row for row in found["splits"]}
    assert list(by_name) == ["random", "grouped", "series", "patients"]
    assert by_name["random"]["patients_in_training"]["mean"] > 0
    assert by_name["patients"]["patients_in_training"]["mean"] == 0
    assert f"The patient of 18 images is known, 6 patients, from {table}." in capsys.readouterr().out.replace("\n", " ")
    assert "18 images are of 6 known patients" in (out / "audit.html").read_text(encoding="utf-8").replace("\n", " ")


def test_audit__patients_in_two_sets(audit: Audit, tmp_path: Path) -> None:
    for name, per_class in (("ours", 6), ("theirs", 4)):  # the first images of both are the same
        write_phantoms(tmp_path / name, per_class=per_class, size=64, seed=1)
        for number, path in enumerate(sorted((tmp_path / name).rglob("*.png"))):
            folder = path.parent / f"patient {number // 2}"
            folder.mkdir(exist_ok=True)
            path.rename(folder / path.name)

    _, found, out = audit(tmp_path / "theirs", "data=folder", f"other={tmp_path / 'ours'}")

    assert found["overlap"]["identical files"] == 16
    assert found["overlap"]["patients"] == {"of_the_first": 8, "of_the_second": 8, "images_of_the_second": 16}
    text = (out / "audit.html").read_text(encoding="utf-8")
    assert "They are of 8 patients known here." in text
    assert "they are of 8, who have 16 images there" in text


def test_audit__labels_of_a_table_below_the_pictures_of_a_conflict(audit: Audit, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "drawn", per_class=4, size=64, seed=1)
    first = sorted((tmp_path / "drawn" / "no_tumor").iterdir())[0]
    shutil.copy(first, first.with_name("again.png"))
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nno_tumor/again.png,glioma_tumor\n", encoding="utf-8")

    _, found, out = audit(tmp_path / "drawn", f"data.labels={table}", "data.val_fraction=0.2")

    assert len(found["conflicts"]) == 1
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert "<li>no_tumor/again.png: glioma_tumor</li>" in page
    assert f"<li>no_tumor/{first.name}: no_tumor</li>" in page


def test_audit__intensities_and_folders_of_no_class(
    audit: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantoms(tmp_path / "drawn", per_class=3, size=64, seed=1)
    path = sorted((tmp_path / "drawn" / "no_tumor").iterdir())[0]
    with Image.open(path) as image:
        values = np.asarray(image).astype(np.uint16) * 16
    Image.fromarray(values).save(path)
    (tmp_path / "drawn" / "extra").mkdir()
    shutil.copy(path, tmp_path / "drawn" / "extra" / "one.png")

    _, found, _ = audit(tmp_path / "drawn", "data.val_fraction=0")

    assert found["folders_left_out"] == ["extra"]
    assert (found["intensity"]["deep"], found["intensity"]["window"]) == (1, [0, int(values.max())])
    shown = capsys.readouterr().out.replace("\n", " ")
    assert f"1 of 12 images have more than 8 bits; in all of them 0 to {values.max()} became 0 to 255" in shown
    assert "1 folder(s) of no class, which no run uses: extra." in shown


def test_audit__no_second_set_leaves_no_folder(
    planted: Path, audit: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, out = audit(planted, f"other={tmp_path / 'absent'}")

    assert status == 1
    assert "absent" in capsys.readouterr().err
    assert not out.exists()


def test_audit__synthetic_images_without_parts(
    audit: Audit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantoms(tmp_path / "drawn", per_class=6, size=64, seed=1)

    status, found, out = audit(tmp_path / "drawn")

    assert status == 0
    assert found["synthetic"]
    assert found["copies"]["across_official"]["near copies"] is None
    assert [row["split"] for row in found["splits"]] == ["random", "grouped", "series"]
    assert "These images are synthetic" in (out / "audit.html").read_text(encoding="utf-8")
    assert "24 images" in capsys.readouterr().out


REFUSED = {
    "no folder": (
        (
            "data=folder",
            "data.root=/no/such/folder",
        ),
        1,
        "found nothing",
    ),
    "no value": (("data=folder",), 1, "`data.root` has no value"),
    "value": (("data.source=folder", "data.root=x", "data.test_fraction=2"), 2, "less than 1, got 2"),
    "syntax": (("data.classes=[",), 2, "Can't read the value of `data.classes`"),
    "key": (("data.rot=x",), 2, "Did you mean `root`?"),
}


@pytest.mark.parametrize(("line", "status", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_main__refuses_in_one_message(
    line: tuple[str, ...], status: int, expected: str, refused: Refused, tmp_path: Path
) -> None:
    ended, err = refused(main, [*line, f"out={tmp_path}"])

    assert ended == status
    assert expected in err


@pytest.mark.slow
@pytest.mark.real_data
def test_audit__of_the_studys_images(
    real_data: Path, study_cache: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "SEEDS", 2)  # of 10, and 1 of 3: the splits and their forests take most of the time
    monkeypatch.setattr(survey, "FOREST_SEEDS", 1)

    status, found, _ = audit(real_data, f"data.cache_dir={study_cache}")

    assert status == 0
    levels, across = found["copies"]["levels"], found["copies"]["across_official"]
    assert (levels["identical files"]["groups"], levels["identical files"]["images"]) == (166, 403)
    assert levels["identical pixels"]["further"] == 394
    assert across["identical pixels"]["with_a_copy"] == 251
    assert len(found["conflicts"]) >= 2
    by_name = {row["split"]: row for row in found["splits"]}
    assert by_name["random"]["nearest_neighbour"]["mean"] == pytest.approx(0.9205, abs=0.01)
    assert by_name["official"]["nearest_neighbour"]["mean"] == pytest.approx(0.764, abs=0.0115)
    assert found["patients"]["patients"] == 202
    assert by_name["random"]["patients_in_training"]["mean"] > 0.98 * by_name["random"]["known_patients"]["mean"]
    assert by_name["patients"]["patients_in_training"] == {"mean": 0, "std": 0}
    assert by_name["official"]["shortcuts"]["width and height"]["mean"] == pytest.approx(0.627, abs=0.02)


def test_main__tells_why_no_file_can_be_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("no", "yes"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "notes.txt").write_text("no image")
    root, cache = f"data.root={tmp_path / 'set'}", f"data.cache_dir={tmp_path / 'cache'}"

    assert main(["data=folder", root, cache, f"out={tmp_path / 'audit'}"]) == 1

    assert "no/notes.txt, yes/notes.txt: not an image by its name" in capsys.readouterr().err
    assert not (tmp_path / "audit").exists()
