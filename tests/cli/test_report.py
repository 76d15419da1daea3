"""Report: from run folders to the terminal and to files, at any time."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.cli.report import FILES, main, refresh, settings_of
from brain_tumor_tl.reporting.discover import INSIDE_A_RUN
from brain_tumor_tl.run.folder import SINCE

PutRun = Callable[..., Path]
MakeResults = Callable[..., dict[str, Any]]


@pytest.fixture
def sweep(tmp_path: Path, put_run: PutRun) -> Path:
    """A sweep of three finished runs, one that failed and one that waits."""
    folder = tmp_path / "sweeps" / "grid"
    for name, accuracy in (("vgg16-frozen-s0", 0.8), ("resnet18-finetune-s0", 0.9), ("resnet18-finetune-s1", 0.92)):
        put_run(folder, name, accuracy=accuracy)
    (folder / "resnet50-frozen-s0").mkdir()
    (folder / "resnet50-frozen-s0" / "train.log").write_text("Data\nout of <memory>\n")
    jobs: list[dict[str, Any]] = [
        {"name": "vgg16-finetune-s0", "folder": "vgg16-finetune-s0", "state": "waiting", "reason": None},
        {"name": "resnet50-frozen-s0", "folder": "resnet50-frozen-s0", "state": "failed", "reason": "exit status -9"},
    ]
    (folder / "sweep.json").write_text(json.dumps({"schema": 1, "jobs": jobs}))
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Texts(HTMLParser):
    """Collects the text of a page, and the addresses of its pictures and links."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.pictures: list[str | None] = []
        self.links: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])
        if tag == "a":
            self.links.append(str(dict(attrs)["href"]))


def test_main__terminal(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep)]) == 0

    out = capsys.readouterr().out
    assert re.search(r"resnet18 +finetune +2 +100 +91.00 +±1.41 +97.86 +-6.86 +95.00 +1.50", out)
    assert re.search(r"vgg16 +frozen +1 +100 +80.00 +- +88.97 +-8.97 +95.00 +1.50", out)
    assert "failed: resnet50-frozen-s0: exit status -9" in out
    assert "resnet50-frozen-s0/train.log" in out
    assert "waiting: vgg16-finetune-s0" in out
    assert "3 of 5 runs done, 1 failed, 1 waiting" in out


def test_main__writes_the_usual_files_into_the_one_folder(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep)]) == 0

    assert all((sweep / name).is_file() for name in FILES.values())
    assert all(f"{sweep / name}" in capsys.readouterr().out.replace("\n", "") for name in list(FILES.values())[:1])
    rows = read_csv(sweep / "report.csv")
    assert [(row["name"], row["state"]) for row in rows] == [
        ("resnet18-finetune-s0", "done"), ("resnet18-finetune-s1", "done"), ("vgg16-frozen-s0", "done"),
        ("resnet50-frozen-s0", "failed"), ("vgg16-finetune-s0", "waiting"),
    ]  # fmt: skip
    assert {key: rows[0][key] for key in ("model", "seed", "accuracy", "study_accuracy", "recall/no_tumor")} == {
        "model": "resnet18", "seed": "0", "accuracy": "0.9", "study_accuracy": "0.9786", "recall/no_tumor": "0.9",
    }  # fmt: skip
    assert rows[3]["reason"] == "exit status -9"


def test_main__html_is_whole_and_self_contained(sweep: Path) -> None:
    main([str(sweep)])

    page = Texts()
    page.feed((sweep / "report.html").read_text(encoding="utf-8"))
    for text in (
        "Report of grid", "91.00 ± 1.41", "Tables 2 to 7", "Confusion matrices",
        "finetune, sum of 2 runs", "exit status -9", "out of <memory>",
        "resnet50-frozen-s0/train.log", "Kazemi", "random split of single images.",
    ):  # fmt: skip
        assert text in page.text, text
    assert page.text.count("seconds per epoch (logarithmic)") == 2, "a plot for each method"
    assert "Methods compared" not in page.text, "no network has both methods"
    assert page.pictures == []


def test_main__markdown_tables(sweep: Path) -> None:
    main([str(sweep)])

    text = (sweep / "report.md").read_text(encoding="utf-8")
    assert "| resnet18 | finetune | 91.00 ± 1.41 | 2 | 100 | 97.86 | -6.86 |" in text
    assert "| resnet50-frozen-s0 | failed | 0 | exit status -9 | resnet50-frozen-s0/train.log |" in text


def test_main__synthetic_images_are_named_everywhere(
    tmp_path: Path, put_run: PutRun, capsys: pytest.CaptureFixture[str]
) -> None:
    put_run(tmp_path, "resnet18-frozen-s0", synthetic=True)
    main([str(tmp_path)])

    assert "SYNTHETIC" in capsys.readouterr().out
    assert "SYNTHETIC" in (tmp_path / "report.md").read_text()
    html = (tmp_path / "report.html").read_text()
    assert "SYNTHETIC" in html
    assert "89.13" not in html
    assert "89.13" not in (tmp_path / "report.md").read_text()


def test_main__settings_stand_below_the_table_of_the_page(tmp_path: Path, put_run: PutRun) -> None:
    for folder, rate in (("a", 0.001), ("b", 0.1)):
        put_run(tmp_path, "resnet18-finetune-s0", folder, config={"optimizer": {"lr": rate}})
    main([str(tmp_path)])

    page = Texts()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Set 1: optimizer.lr=0.001" in page.text
    assert "Set 2: optimizer.lr=0.1" in page.text
    assert "| network | method | set | accuracy | runs |" in (tmp_path / "report.md").read_text()
    assert "| settings |" in (tmp_path / "report.md").read_text()


def test_main__named_files_alone(sweep: Path, tmp_path: Path) -> None:
    assert main([str(sweep), "--csv", str(tmp_path / "a.csv"), "--html", str(tmp_path / "a.html")]) == 0

    assert {path.name for path in tmp_path.iterdir()} == {"sweeps", "a.csv", "a.html"}
    assert not (sweep / "report.html").exists()
    assert read_csv(tmp_path / "a.csv")[0]["folder"] == "sweeps/grid/resnet18-finetune-s0"


def test_main__writes_nothing_into_several_folders(
    tmp_path: Path, put_run: PutRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = put_run(tmp_path, "resnet18-frozen-s0")
    before = sorted(path.name for path in run.iterdir())

    assert main([str(run), str(run)]) == 0

    assert sorted(path.name for path in run.iterdir()) == before
    assert "precision" in capsys.readouterr().out


@pytest.mark.parametrize("line", [["absent"], ["grid", "--csv", "absent/table.csv"]])
def test_main__error_is_one_message_on_stderr(
    line: list[str], sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sweep.parent)

    assert main(line) == 1

    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert "error" not in output.out
    assert "Traceback" not in output.err


SPLIT = {
    "title": "random split of single images", "test_images": 653, "copies_in_training": 131, "known_patients": 470,
    "patients_in_training": 466, "nearest_neighbour": 0.9158,
}  # fmt: skip
SPLIT_LINE = (
    "131 of 653 test images have a copy in training; 466 of the 470 with a known patient have it in training; "
    "1-NN baseline 91.58 %"
)


def test_main__copies_and_patients_with_every_table(
    tmp_path: Path, put_run: PutRun, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("frozen", "finetune"):
        put_run(tmp_path, f"resnet18-{method}-s0", hits=[True] * 9 + [False], protocol=SPLIT)
    main([str(tmp_path)])

    assert SPLIT_LINE in " ".join(capsys.readouterr().out.split())
    markdown = (tmp_path / "report.md").read_text().split("\n## ")
    with_tables = [part for part in markdown if "|---|" in part]
    assert len(with_tables) == 4
    assert all(SPLIT_LINE in part for part in with_tables)
    sections = (tmp_path / "report.html").read_text().split("<section ")
    with_figures = [part for part in sections if "<table" in part or "<svg" in part]
    assert len(with_figures) == 7  # the last is on machines and versions
    assert all(SPLIT_LINE in part for part in with_figures[:-1])
    row = read_csv(tmp_path / "report.csv")[0]
    assert [row[key] for key in ("copies_in_training", "patients_in_training", "known_patients")] == [
        "131", "466", "470",
    ]  # fmt: skip


def test_main__page_links_to_the_predictions_of_each_run(tmp_path: Path, put_run: PutRun) -> None:
    for name, folder in (("resnet18-finetune-s0", "javascript:a"), ("resnet18-frozen-s0", "b c")):
        put_run(tmp_path / "sweep", name, folder, hits=[True, False])
    put_run(tmp_path / "sweep", "vgg16-frozen-s0")
    main([str(tmp_path / "sweep"), "--html", str(tmp_path / "page.html")])

    page = Texts()
    page.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "sweep/b c/predictions.csv" in page.text
    assert [link for link in page.links if not link.startswith("#")] == [
        "sweep/b%20c/report.html", "sweep/javascript%3Aa/report.html", "sweep/vgg16-frozen-s0/report.html",
        "sweep/b%20c/predictions.csv", "sweep/javascript%3Aa/predictions.csv",
    ]  # fmt: skip


def test_main__which_runs_are_not_significantly_different(
    tmp_path: Path, put_run: PutRun, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, right in (("vgg16-frozen-s0", 10), ("resnet18-frozen-s0", 38), ("resnet18-finetune-s0", 39)):
        put_run(tmp_path, name, hits=[True] * right + [False] * (40 - right))
    main([str(tmp_path)])

    assert "highest resnet18 finetune (97.50 %), not significantly different from 1 of 2 others" in " ".join(
        capsys.readouterr().out.split()
    )
    markdown = (tmp_path / "report.md").read_text()
    assert "| resnet18 | frozen | 95.00 | 1.000 | not significantly different |" in markdown
    assert "| vgg16 | frozen | 25.00 | &lt; 0.001 | significantly lower |" in markdown
    page = Texts()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Holm-corrected" in page.text
    assert "not significantly different" in page.text


def put_folds(place: Path, put_run: PutRun, seed: int, folds: range) -> None:
    """Write folds of 10 images each, 10 - fold of them right."""
    for fold in folds:
        put_run(
            place, f"resnet18-frozen-s{seed}", f"s{seed}f{fold}", [True] * (10 - fold) + [False] * fold, 10 * fold,
            protocol={"split": "kfold", "fold": fold, "folds": 3, "title": f"k-fold split, fold {fold} of 3"},
            config={"data": {"split": "kfold", "fold": fold}, "seed": seed},
        )  # fmt: skip


def test_main__folds_are_joined_and_no_seeds(
    tmp_path: Path, put_run: PutRun, capsys: pytest.CaptureFixture[str]
) -> None:
    put_folds(tmp_path, put_run, 0, range(3))
    put_folds(tmp_path, put_run, 1, range(2))
    put_run(tmp_path, "resnet18-frozen-s2", accuracy=0.5)
    main([str(tmp_path)])

    out = capsys.readouterr().out
    markdown = (tmp_path / "report.md").read_text()
    assert "fold 2 missing" in out
    assert re.search(r"\| resnet18 \| frozen \| . \| 90.00 ± 10.00 \| 74\..*3 folds.*seed=0", markdown)
    assert re.search(r"\| resnet18 \| frozen \| . \| 95.00 ± 7.07 \| - \| 2/3 folds \| 100 \| .*seed=1", markdown)
    assert re.search(r"\| resnet18 \| frozen \| . \| 50.00 \| - \| 1 \| 100 \| .*seed=any", markdown)
    assert "| 100.00 | 90.00 | 80.00 |" in markdown
    assert "fold 2 missing" in markdown
    assert [row["fold"] for row in read_csv(tmp_path / "report.csv")] == ["", "0", "1", "2", "0", "1"]


@pytest.fixture
def real_sweep(finished_runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of two runs that were trained, without their checkpoints."""
    for folder in finished_runs.values():
        shutil.copytree(folder, tmp_path / "real" / folder.name, ignore=shutil.ignore_patterns(*INSIDE_A_RUN))
    return tmp_path / "real"


def test_main__checklist_on_the_terminal(real_sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checklist", str(real_sweep)]) == 0

    out = capsys.readouterr().out
    assert out.count("CLAIM 2024 and TRIPOD+AI") == 2  # one for each group
    assert "left to the author" in out
    assert (real_sweep / "report.html").is_file()


def test_main__checklist_into_a_file(real_sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(real_sweep), "--checklist", str(tmp_path / "list.md")]) == 0

    text = (tmp_path / "list.md").read_text()
    assert "**CLAIM 2024 and TRIPOD+AI: shufflenet_v2_x0_5-frozen-s0-" in text
    assert "| topic | question | answer |" in text
    assert "CLAIM" not in capsys.readouterr().out
    assert not (real_sweep / "report.html").exists()


def test_main__checklist_names_the_run_that_lacks_a_key(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--checklist"]) == 1

    assert (
        "error: Expected in results.json of resnet18-finetune-s0 all that the checklist needs"
        in capsys.readouterr().err
    )


def test_main__real_runs_fill_every_section(real_sweep: Path) -> None:
    assert main([str(real_sweep)]) == 0

    page = Texts()
    page.feed((real_sweep / "report.html").read_text(encoding="utf-8"))
    for text in ("SYNTHETIC images", "2 of 2 runs done", "Holm-corrected", "32-true"):
        assert text in page.text, text
    rows = read_csv(real_sweep / "report.csv")
    results = json.loads((real_sweep / "shufflenet_v2_x0_5-frozen-s0" / "results.json").read_text())
    assert [row["method"] for row in rows] == ["frozen", "finetune"]
    assert {key: rows[0][key] for key in ("accuracy", "epochs", "loss")} == {
        key: str(results[key]) for key in ("accuracy", "epochs", "loss")
    }
    assert [rows[0]["accuracy_low"], rows[0]["accuracy_high"]] == [str(end) for end in results["intervals"]["accuracy"]]


def test_main__no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--checklist"])

    err = capsys.readouterr().err
    assert "expected one folder of runs or more" in err
    assert "usage" not in err


def test_main__an_abbreviated_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["outputs", "--htm", "x"])

    assert "unrecognized arguments: --htm" in capsys.readouterr().err


def test_main__traceback_of_a_failed_job_is_shown(sweep: Path) -> None:
    (sweep / "resnet50-frozen-s0" / "console.log").write_text("Traceback\nRuntimeError: cuDNN <gone>\n")
    main([str(sweep)])

    page = Texts()
    page.feed((sweep / "report.html").read_text(encoding="utf-8"))
    assert "RuntimeError: cuDNN <gone>" in page.text
    assert "resnet50-frozen-s0/console.log" in page.text


def test_refresh__quietly_the_same_as_the_verb(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refresh(sweep)
    refreshed = {name: (sweep / name).read_bytes() for name in FILES.values()}
    assert capsys.readouterr() == ("", "")
    assert not list(sweep.glob(".*"))

    main([str(sweep)])

    assert {name: (sweep / name).read_bytes() for name in FILES.values()} == refreshed


@pytest.mark.parametrize("name", ["results.json", "config.yaml", "metrics.csv"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"schema": 1}', b"[" * 100_000])
def test_refresh__half_written_run_is_listed(name: str, content: bytes, sweep: Path) -> None:
    (sweep / "half").mkdir()
    (sweep / "half" / "config.yaml").touch()
    (sweep / "half" / name).write_bytes(content)

    refresh(sweep)

    states = {row["name"]: row["state"] for row in read_csv(sweep / "report.csv")}
    assert states["half"] == ("unreadable" if name == "results.json" else "cut or running")
    assert states["resnet18-finetune-s0"] == "done"


ODD: dict[str, dict[str, Any]] = {
    "no-per-class": {"per_class": None}, "no-matrix": {"confusion_matrix": None},
    "odd-matrix": {"confusion_matrix": [[1, 2]]},
    "no-config": {"config": None}, "no-environment": {"environment": None}, "no-seconds": {"seconds_per_epoch": {}},
    "no-best": {"best_accuracy": None}, "no-classes": {"classes": None}, "no-features": {"features": None},
    "further-keys": {"intervals": {"accuracy": [0.8, 0.9]}},
}  # fmt: skip


@pytest.mark.parametrize("keys", ODD.values(), ids=ODD)
def test_refresh__whatever_a_run_lacks(keys: dict[str, Any], tmp_path: Path, make_results: MakeResults) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps(make_results("resnet18-frozen-s0") | keys))

    refresh(tmp_path)

    assert [row["state"] for row in read_csv(tmp_path / "report.csv")] == ["done"]
    assert "90.00" in (tmp_path / "report.html").read_text()


def test_refresh__never_raises(tmp_path: Path, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refresh(tmp_path / "absent")
    (sweep / "report.html").mkdir()
    refresh(sweep)

    assert capsys.readouterr().out.count("WARNING: the report of ") == 2


def test_refresh__needs_no_network(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("opened a socket"))

    refresh(sweep)

    assert (sweep / "report.html").is_file()


def test_settings_of__what_figures_depend_on() -> None:
    config = {
        "seed": 1, "name": "a", "data": {"root": "/a", "image_size": 224}, "trainer": {"precision": "auto"},
        "model": {"weights": "a.pth"},
    }  # fmt: skip
    environment = {"precision": "bf16-mixed", "digests": {"data": "d", "weights": "w", "split": "s"}}

    assert settings_of({"config": config, "environment": environment}) == SINCE | {
        "seed": "any", "data.image_size": 224, "model.weights": "a.pth", "images": "d", "precision": "bf16-mixed",
        "model.weights_digest": "w",
    }  # fmt: skip


def test_settings_of__random_weights_differ_with_the_seed() -> None:
    environment = {"digests": {"weights": "w"}}

    assert settings_of({"config": {"model": {"weights": None}}, "environment": environment}) == SINCE | {
        "seed": "any", "model.weights": None,
    }  # fmt: skip
