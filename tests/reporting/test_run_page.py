"""Run page and model card: all evidence of a run, and what is missing is said."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from brain_tumor_tl.reporting.cases import Case, Gallery, cases_of, choose
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.model_card import model_card
from brain_tumor_tl.reporting.notice import NOTICE
from brain_tumor_tl.reporting.page import Picture
from brain_tumor_tl.reporting.run_figures import drawings, run_figures, write_figures
from brain_tumor_tl.reporting.run_files import RunFiles, read_run_files
from brain_tumor_tl.reporting.run_page import alts, command_of, run_page
from tests.reporting.test_page import EVIL, Reader, read

PutRun = Callable[..., Path]
SECTIONS = [
    "Result", "Learning curves", "Confusion matrix", "Each class", "Probabilities", "Errors",
    "Most confident correct predictions", "Pictures under several labels", "Data and split", "How to repeat it",
]  # fmt: skip


def opened(folder: Path) -> RunFiles:
    """Return the files of a run."""
    return read_run_files(Run(folder, json.loads((folder / "results.json").read_text(encoding="utf-8"))))


def page_of(files: RunFiles, gallery: Gallery | None = None) -> Reader:
    """Return what a parser finds in a run's page."""
    figures = drawings(run_figures(files), alts(files))
    return read(run_page(files, choose(cases_of(files)) if gallery is None else gallery, figures))


@pytest.fixture(scope="module")
def finished(finished_runs: dict[str, Path]) -> RunFiles:
    """The files of a finished run."""
    return opened(finished_runs["frozen"])


@pytest.fixture(scope="module")
def finished_page(finished: RunFiles) -> Reader:
    """Its page."""
    return page_of(finished)


def test_run_page__has_all_evidence(finished_page: Reader) -> None:
    titles = finished_page.text_of("h2")

    assert [title for title in SECTIONS if title in titles] == [title for title in SECTIONS if title != "Errors"] or (
        titles == SECTIONS
    )
    assert NOTICE in " ".join(finished_page.text_of("p"))


def test_run_page__the_headline_is_the_accuracy(finished: RunFiles, finished_page: Reader) -> None:
    accuracy = f"{100 * finished.results['accuracy']:.2f} %"

    assert accuracy in finished_page.text_of("strong")
    assert any(accuracy in text for text in finished_page.text_of("p"))


def test_run_page__every_figure_has_words_and_every_table_scopes(finished_page: Reader) -> None:
    drawn = [box for box in finished_page.all("div") if box.get("role") == "img"]

    assert len(drawn) == len(finished_page.all("svg")) == 4
    assert all(len(str(box["aria-label"])) > 20 for box in drawn)
    assert finished_page.all("th")
    assert all(cell.get("scope") in ("col", "row") for cell in finished_page.all("th"))


def test_run_page__shows_errors_in_words_without_pictures(finished: RunFiles) -> None:
    case = Case("a/1.png", "no_tumor", "glioma_tumor", 0.97, 0.0004, ("glioma_tumor",), True)
    texts = " ".join(text for _, text in page_of(finished, Gallery([case], [], 40, {}, "Without pictures: gone")).texts)

    for part in ("glioma tumor", ", 97.0 %; filed under", "< 0.1 %", "its label may be wrong", "a/1.png", "1 of 40"):
        assert part in texts, part
    assert "Without pictures: gone" in texts
    assert "a copy of it is in the training split" in texts


def test_run_page__pictures_have_alternative_texts(finished: RunFiles) -> None:
    case = Case("a/1.png", "no_tumor", "glioma_tumor", 0.9, 0.1)
    picture = Picture(b"\xff\xd8\xff", "Grad-CAM of glioma_tumor", "for glioma_tumor")

    (image,) = page_of(finished, Gallery([case], [], 1, {"a/1.png": [picture]})).all("img")

    assert image["alt"] == "Grad-CAM of glioma_tumor"


def test_run_page__text_of_files_stays_text(finished: RunFiles) -> None:
    case = Case(EVIL, EVIL, EVIL + "2", 0.9, 0.1, (EVIL,))
    results = {**finished.results, "name": EVIL, "classes": [EVIL, "b", "c", "d"]}
    rows = [{**row, "class": EVIL} for row in finished.split]
    files = RunFiles(finished.folder, results, [], [], rows)
    found = page_of(files, Gallery([case], [case], 1, {}))

    assert found.all("script") == []
    assert EVIL in found.text_of("small")


def test_run_page__a_run_of_the_first_version_has_what_it_knows(tmp_path: Path, put_run: PutRun) -> None:
    found = page_of(opened(put_run(tmp_path, "resnet18-frozen-s0")))

    assert found.text_of("h2") == [
        "Result", "Confusion matrix", "Each class", "Pictures under several labels", "Data and split",
        "How to repeat it",
    ]  # fmt: skip
    assert any("copies were not searched for" in text for text in found.text_of("p"))


def test_run_page__pictures_under_several_labels_are_listed(tmp_path: Path, put_run: PutRun) -> None:
    folder = put_run(tmp_path, "resnet18-frozen-s0")
    rows = ["a/1.png,no_tumor,train,0", "b/1.png,glioma_tumor,test,0", "b/2.png,glioma_tumor,test,1"]
    (folder / "split.csv").write_text("\n".join(["path,class,split,copies", *rows]) + "\n")

    texts = " ".join(text for _, text in page_of(opened(folder)).texts)

    assert "1 picture(s) filed under several labels; 1 of their 2 files are in the test split" in texts
    assert "b/2.png" not in texts


@pytest.mark.parametrize("name", ["metrics.csv", "predictions.csv"])
def test_read_run_files__a_damaged_table_is_named(tmp_path: Path, put_run: PutRun, name: str) -> None:
    folder = put_run(tmp_path, "resnet18-frozen-s0")
    (folder / name).write_text("label,epoch\nx,y\n")

    with pytest.raises(ValueError, match=r"metrics\.csv or predictions\.csv is damaged"):
        opened(folder)


def test_command_of__is_the_command_of_the_run(finished: RunFiles) -> None:
    results = {"environment": {"command": ["/x/__main__.py", "train", "model=resnet18", "name=a b"]}}

    assert command_of(results) == "brain-tumor-tl train model=resnet18 'name=a b'"


def test_command_of__of_a_multirun_is_made_from_what_differs(finished: RunFiles) -> None:
    line = shlex.split(command_of({**finished.results, "environment": {"command": ["x", "train", "-m", "seed=1,2"]}}))

    assert line[:2] == ["brain-tumor-tl", "train"]
    assert {"method.name=frozen", "method.freeze=true", "model.name=shufflenet_v2_x0_5", "model.weights=null"} <= set(
        line
    )


def test_write_figures__svg_and_png_for_a_paper(finished: RunFiles, tmp_path: Path) -> None:
    from PIL import Image

    write_figures(run_figures(finished), tmp_path / "figures")

    names = ["confusion_matrix", "curves", "precision_recall", "reliability", "roc"]
    written = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert written == sorted(f"{name}.{kind}" for name in names for kind in ("png", "svg"))
    with Image.open(tmp_path / "figures" / "roc.png") as picture:
        assert picture.width == round(3.4 * 300)
    with Image.open(tmp_path / "figures" / "curves.png") as picture:
        assert picture.width == 7 * 300


def test_model_card__says_what_it_is_not_for(finished: RunFiles) -> None:
    text = model_card(finished)

    assert NOTICE in text
    assert "Not for diagnosis, treatment, triage" in text
    assert "SYNTHETIC" in text
    for title in ("Intended use", "Not intended", "Data", "Known faults of the data", "Figures", "Limits"):
        assert f" {title}\n" in text, title
    assert f"{100 * finished.results['accuracy']:.2f} %" in text


def test_model_card__names_known_faults(tmp_path: Path, put_run: PutRun) -> None:
    protocol = {
        "patients_from": "kaggle_patients.csv of the package, by the files' digests", "copies_in_training": 7,
        "patients_in_training": 9, "folders_left_out": ["masks"],
    }  # fmt: skip
    text = model_card(opened(put_run(tmp_path, "resnet18-frozen-s0", protocol=protocol)))

    for part in ("7 test images have a copy", "9 test images are of a patient", "masks", "pictures from the web"):
        assert part in text, part
    assert "Nobody looked for copies" in text
