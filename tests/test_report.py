"""Report: from run folders to the terminal and to files, at any time."""

from __future__ import annotations

import csv
import json
import re
import socket
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.report import FILES, main, refresh, settings_of

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
        {"name": "resnet50-frozen-s0", "folder": "resnet50-frozen-s0", "state": "failed", "reason": "exit status -9"},
        {"name": "vgg16-finetune-s0", "folder": "vgg16-finetune-s0", "state": "waiting", "reason": None},
    ]
    (folder / "sweep.json").write_text(json.dumps({"schema": 1, "jobs": jobs}))
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Texts(HTMLParser):
    """Collects the text of a page and the addresses of its pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.pictures: list[str | None] = []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])


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
        "Report of grid", "91.00 ± 1.41", "Which method wins", "Tables 2 to 7", "Confusion matrices",
        "finetune, sum of 2 runs", "frozen: no finished run.", "exit status -9", "out of <memory>",
        "resnet50-frozen-s0/train.log", "Kazemi", "random split of single images.",
    ):  # fmt: skip
        assert text in page.text, text
    assert len(page.pictures) == 2
    assert all(str(address).startswith("data:image/png;base64,iVBOR") for address in page.pictures)


def test_main__markdown_tables(sweep: Path) -> None:
    main([str(sweep)])

    text = (sweep / "report.md").read_text(encoding="utf-8")
    assert "| resnet18 | finetune | 2 | 100 | 91.00 ± 1.41 | 97.86 | -6.86 |" in text
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


def test_main__named_files_alone(sweep: Path, tmp_path: Path) -> None:
    assert main([str(sweep), "--csv", str(tmp_path / "a.csv"), "--html", str(tmp_path / "a.html")]) == 0

    assert {path.name for path in tmp_path.iterdir()} == {"sweeps", "a.csv", "a.html"}
    assert not (sweep / "report.html").exists()
    assert read_csv(tmp_path / "a.csv")[0]["folder"] == "sweeps/grid/resnet18-finetune-s0"


@pytest.mark.parametrize("places", [["."], [".", "."]], ids=["of-a-run", "several"])
def test_main__writes_nothing_into_a_run_or_several_folders(
    places: list[str], tmp_path: Path, put_run: PutRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = put_run(tmp_path, "resnet18-frozen-s0")
    before = sorted(path.name for path in run.iterdir())

    assert main([str(run / place) for place in places]) == 0

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


def test_refresh__never_raises(tmp_path: Path, sweep: Path) -> None:
    refresh(tmp_path / "absent")
    (sweep / "report.html").mkdir()
    refresh(sweep)


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

    assert settings_of({"config": config, "environment": environment}) == {
        "seed": "any", "data.image_size": 224, "model.weights": "a.pth", "images": "d", "precision": "bf16-mixed",
        "model.weights_digest": "w",
    }  # fmt: skip


def test_settings_of__random_weights_differ_with_the_seed() -> None:
    environment = {"digests": {"weights": "w"}}

    assert settings_of({"config": {"model": {"weights": None}}, "environment": environment}) == {
        "seed": "any", "model.weights": None,
    }  # fmt: skip
