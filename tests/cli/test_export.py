"""`export`: what it prints, and what it answers to a line that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brain_tumor_tl.cli import export
from brain_tumor_tl.inference.export import Exported
from brain_tumor_tl.inference.graph import FORMATS
from brain_tumor_tl.reporting.notice import NOTICE


def test_formats__are_those_of_the_package() -> None:
    assert set(export.FORMATS) == set(FORMATS)


def test_main__writes_and_tells(
    finished_runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "net.pt2"

    assert export.main([str(finished_runs["frozen"]), "--format", "torch_export", "--out", str(file)]) == 0

    out = capsys.readouterr().out
    assert file.is_file()
    assert "Input     images: uint8 (N, 3, 64, 64)" in out
    assert 'Classes   ["no_tumor", ' in out
    assert "test images of the run: probabilities differ by at most" in out
    assert "Precision float32; the run's figures are of 32-true\n" in out
    assert "WARNING" not in out
    assert f"Written   {file} (" in out
    assert " ".join(out.split()).endswith(NOTICE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "expected the folder of a finished run, got none"),
        (["a", "b"], "expected one run, got 2: export each for itself, and average their probabilities"),
        (["a", "--format", "tflite"], r"invalid choice: 'tflite' \(choose from"),
        (["a", "--quantize"], "unrecognized arguments: --quantize"),
    ],
    ids=["none", "two", "format", "flag"],
)
def test_main__wrong_line(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        export.main(line)

    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.rstrip().endswith("; `brain-tumor-tl export --help` explains it.")
    assert re.search(message, error)


def test_main__no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(tmp_path / "none")]) == 1
    assert (
        capsys.readouterr().err == f"error: Expected the folder of a finished run, {tmp_path / 'none'} is no folder.\n"
    )


def test_lines_of__other_classes_than_in_the_run(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"0" * 2_500_000)
    known = dict.fromkeys(("input", "outputs", "classes", "precision", "notice"), "-")

    exported = Exported(tmp_path / "model.onnx", known, 40, 37, 1e-6, 2e-6)
    lines = export.lines_of(exported)

    assert lines[5].endswith("model.onnx (2.5 MB)")
    assert lines[6].startswith("WARNING: in float32, 3 of 40 test images get another class")
    assert not any(line.startswith("WARNING") for line in export.lines_of(exported._replace(same_class=40)))
    random = export.lines_of(exported._replace(same_class=None))
    assert "on 40 random images, since the run's own are not there" in random[4]
    assert len(random) == 7
