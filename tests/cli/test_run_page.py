"""The files of `report RUN`: page, figures and model card, with pictures or the reason why there are none."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from brain_tumor_tl.cli.report import main, refresh
from brain_tumor_tl.reporting.discover import CARD, FIGURES, RUN_PAGE
from brain_tumor_tl.run.folder import clear

PutRun = Callable[..., Path]
Main = Callable[[Sequence[str]], int]
Refused = Callable[[Main, Sequence[str]], tuple[int, str]]


@pytest.fixture
def run(finished_runs: dict[str, Path], tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished_runs["frozen"], tmp_path / "run"))


def page_of(folder: Path) -> str:
    """Return the page in a folder with each run of white space as one space."""
    return " ".join((folder / RUN_PAGE).read_text(encoding="utf-8").split())


def test_main__a_run_gets_its_page_with_pictures_and_its_figures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--device=cpu"]) == 0

    page, out = page_of(run), capsys.readouterr().out
    assert len(re.findall(r'<img src="data:image/jpeg;base64,/9j/', page)) > 3
    assert "Without" not in page
    assert {path.suffix for path in (run / FIGURES).iterdir()} == {".svg", ".png"}
    assert "Written" in out


def test_main__the_card_alone(run: Path, tmp_path: Path) -> None:
    assert main([str(run), "--card", "--device=cpu"]) == 0

    assert (run / CARD).read_text(encoding="utf-8").startswith("# Model card: ")
    assert not (run / RUN_PAGE).exists()
    assert main(["--card", str(run)]) == 0, "a folder after --card is the run, not a file to write"
    assert (
        main([str(run), "--card", str(tmp_path / "card.md"), "--html", str(tmp_path / "page.html"), "--no-images"]) == 0
    )
    assert (tmp_path / "card.md").is_file()
    assert not (run / FIGURES).exists()


def test_main__without_images_as_asked(run: Path, tmp_path: Path) -> None:
    assert main([str(run), "--no-images", "--html", str(tmp_path / RUN_PAGE)]) == 0

    assert "Without pictures, as asked for with --no-images." in page_of(tmp_path)
    assert "<img" not in page_of(tmp_path)


def test_main__images_that_are_gone_are_said_and_found_where_they_are_now(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((run / "results.json").read_text())
    root = Path(results["config"]["data"]["root"])
    moved = Path(shutil.copytree(root, tmp_path / "moved"))
    results["config"]["data"]["root"] = str(tmp_path / "gone")
    (run / "results.json").write_text(json.dumps(results))

    (tmp_path / "page").mkdir()
    line = [str(run), "--device=cpu", "--html", f"{tmp_path}/page/{RUN_PAGE}"]
    assert main(line) == 0
    assert "Without pictures: Expected the images" in page_of(tmp_path / "page")
    assert "Without pictures" in capsys.readouterr().out
    assert main([*line, "--images", str(moved)]) == 0
    assert "Without pictures" not in page_of(tmp_path / "page")

    next(moved.rglob("*.png")).write_bytes(next(reversed(sorted(moved.rglob("*.png")))).read_bytes())
    assert main([*line, "--images", str(moved)]) == 0
    assert "contents or labels of some have changed" in page_of(tmp_path / "page")


def test_main__a_run_without_weights_says_so(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "checkpoints")

    assert main([str(run), "--device=cpu", "--html", str(tmp_path / RUN_PAGE)]) == 0
    assert "Without pictures: Expected the weights of the run" in page_of(tmp_path)


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        (["RUN", "--images", "absent"], 2, "expected a folder of images for --images, absent is none"),
        (["RUN", "--images", ".", "--no-images"], 2, "expected one of --images and --no-images, got both"),
        ([".", "--card"], 1, "Expected the folder of one finished run for --card, got ."),
        (["RUN", "RUN", "--no-images"], 1, "Expected the folder of one finished run for --no-images"),
    ],
    ids=["no-folder", "both", "several-runs", "two-folders"],
)
def test_main__refuses(
    line: list[str], status: int, error: str, tmp_path: Path, put_run: PutRun, refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("resnet18-frozen-s0", "vgg16-frozen-s0"):
        put_run(tmp_path, name)
    monkeypatch.chdir(tmp_path)

    found, message = refused(main, [word.replace("RUN", "vgg16-frozen-s0") for word in line])

    assert found == status
    assert error in message


def test_refresh__a_page_for_each_run_once(tmp_path: Path, put_run: PutRun) -> None:
    runs = [put_run(tmp_path, name) for name in ("resnet18-frozen-s0", "vgg16-frozen-s0")]
    refresh(tmp_path)
    before = [(run / RUN_PAGE).stat().st_mtime_ns for run in runs]
    later = (runs[0] / RUN_PAGE).stat().st_mtime + 10
    os.utime(runs[0] / "results.json", (later, later))

    refresh(tmp_path)

    after = [(run / RUN_PAGE).stat().st_mtime_ns for run in runs]
    assert (after[0] > before[0], after[1] == before[1]) == (True, True)


def test_refresh__a_damaged_run_does_not_cost_the_others_theirs(
    tmp_path: Path, put_run: PutRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (put_run(tmp_path, "resnet18-frozen-s0") / "metrics.csv").write_text("epoch\nx\n")
    whole = put_run(tmp_path, "vgg16-frozen-s0")

    refresh(tmp_path)

    assert (whole / RUN_PAGE).is_file()
    assert (tmp_path / "report.html").is_file()
    assert "WARNING: no page for" in capsys.readouterr().out


def test_clear__pages_and_figures_are_of_the_run(run: Path) -> None:
    for name in (RUN_PAGE, CARD):
        (run / name).write_text("of an earlier run")
    (run / FIGURES).mkdir()

    clear(run)

    assert not any((run / name).exists() for name in (RUN_PAGE, CARD, FIGURES))
