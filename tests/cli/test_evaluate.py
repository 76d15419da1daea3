"""Evaluate: the verb, as a user calls it, on finished runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from brain_tumor_tl.cli import report
from brain_tumor_tl.cli.evaluate import main, parse
from brain_tumor_tl.data.sources.phantom import write_phantoms
from brain_tumor_tl.files import read_csv, read_json


@pytest.fixture
def run(finished_runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run, to be written to."""
    return Path(shutil.copytree(finished_runs["frozen"], tmp_path / "run"))


def test_main__own_test_and_its_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run)]) == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "13 of 64 in" in shown
    assert "the run's own test split" in shown
    assert "SYNTHETIC images: the figures say nothing about MRI." in shown
    assert "every figure is that of results.json, to the digit" in shown
    place = run / "evaluations" / "own-test"
    assert (place / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert read_json(place / "evaluation.json")["environment"]["packages"]["torch"]
    assert report.main([str(run), "--markdown", str(run / "report.md"), "--html", str(run / "report.html")]) == 0
    assert "Evaluations, percent" in capsys.readouterr().out
    for name in ("report.md", "report.html"):
        text = (run / name).read_text(encoding="utf-8")
        assert "Evaluations" in text
        assert "own-test" in text


def test_main__another_set(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_phantoms(tmp_path / "hospital", per_class=2, size=64, seed=4)
    ours = Path(read_json(run / "results.json")["config"]["data"]["root"])
    (path,) = [row["path"] for row in read_csv(run / "split.csv") if row["split"] == "train"][:1]
    shutil.copy(ours / path, tmp_path / "hospital" / "glioma_tumor" / "known.png")
    line = [str(run), f"data.root={tmp_path / 'hospital'}", f"data.cache_dir={tmp_path / 'cache'}"]

    assert main(line) == 0
    assert main([*line, "--keep-copies"]) == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 9 images were seen: 1 in training, 0 in validation (1 identical files); left out" in shown
    assert [row["copy"] for row in read_csv(run / "evaluations" / "hospital" / "seen.csv")] == [path]
    assert len(read_csv(run / "evaluations" / "hospital" / "predictions.csv")) == 8
    assert len(read_csv(run / "evaluations" / "hospital-with-copies" / "predictions.csv")) == 9
    shutil.move(tmp_path / "hospital", tmp_path / "elsewhere" / "hospital")
    assert main([line[0], f"data.root={tmp_path / 'elsewhere' / 'hospital'}"]) == 1
    assert "Give --name NAME" in capsys.readouterr().err


def test_parse__runs_keys_and_flags(tmp_path: Path) -> None:
    line = ["a", "--keep-copies", f"data.root={tmp_path}", "data.classes=[[glioma,GBM]]", "b", "--name", "x (1)"]

    found = parse(line)

    assert found.runs == [Path("a"), Path("b")]
    assert found.data == {"root": str(tmp_path), "classes": [["glioma", "GBM"]]}
    assert (found.keep_copies, found.unchecked, found.name, found.device) == (True, False, "x (1)", "auto")


Refused = Callable[..., tuple[int, str]]

REFUSED = {
    "no run": ([], 2, "expected the folder of a finished run"),
    "no device": (["RUN", "--device", "mps"], 1, "Expected a device mps, PyTorch sees none"),
    "no such run": (["/no/such/run"], 1, "/no/such/run is no folder"),
    "key of the run": (["a", "data.split=grouped"], 2, "the run has its own data.split; expected one of data.root"),
    "another key of the run": (["a", "trainer=cpu"], 2, "the run has its own trainer; expected one of data.root"),
    "choice": (["a", "data.on_bad_file=skp"], 2, "`data.on_bad_file` to be one of error, skip, got 'skp'"),
    "slices": (["RUN", "data.slices=half"], 1, "Expected `data.slices` to be all, middle"),
    "misspelled key": (["a", "data.rot=x"], 2, "there is no key data.rot. Did you mean `data.root`?"),
    "flag": (["a", "--keep"], 2, "unrecognized arguments: --keep"),
    "flag without a set": (["a", "--keep-copies"], 2, "are for another data set: give data.root=PATH"),
    "name": (["a", "--name", "b/c"], 2, "expected --name to be the name of a folder, got 'b/c'"),
    "root": (["RUN", "data.root=/no/such/folder"], 1, "Expected a folder of images at /no/such/folder"),
}


@pytest.mark.parametrize(("line", "status", "expected"), REFUSED.values(), ids=REFUSED)
def test_main__refuses_in_one_message(line: list[str], status: int, expected: str, run: Path, refused: Refused) -> None:
    ended, err = refused(main, [str(run) if word == "RUN" else word for word in line])

    assert ended == status
    assert expected in err


def test_main__run_without_results(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "results.json").unlink()

    assert main([str(run)]) == 1
    assert "is unfinished" in capsys.readouterr().err
