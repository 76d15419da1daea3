"""Explain: its line, what it prints and writes, and `predict --explain`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from brain_tumor_tl.cli import predict
from brain_tumor_tl.cli.explain import main
from brain_tumor_tl.files import read_csv

Draw = Callable[..., Path]


@pytest.fixture
def pictures(tmp_path: Path, draw: Draw) -> Path:
    """A folder with three pictures."""
    for number in range(3):
        draw(tmp_path / "pictures" / f"{number}.png", seed=number)
    return tmp_path / "pictures"


def test_main__writes_overlays_and_a_table(
    finished_runs: Mapping[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = pictures / "overlays"  # among the pictures, so that a second call must leave them out
    line = [str(finished_runs["finetune"]), str(pictures), "--out", str(out), "--class", "all"]

    assert main(line) == 0
    first = read_csv(out / "explanations.csv")
    assert main(line) == 0

    text = capsys.readouterr().out
    assert read_csv(out / "explanations.csv") == first
    assert len(first) == 12
    assert sorted(path.name for path in out.iterdir()) == ["0.png.png", "1.png.png", "2.png.png", "explanations.csv"]
    assert "3 overlays and explanations.csv in" in text
    assert "A map shows what the network used, not where a tumour is. Not for diagnosis" in text
    assert "Faithful" not in text


def test_main__faithfulness_and_a_bad_file(
    finished_runs: Mapping[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_bytes(b"no image")
    line = [str(finished_runs["frozen"]), str(pictures), "--faithfulness", f"--out={tmp_path / 'out'}"]

    assert main(line) == 1

    rows = read_csv(tmp_path / "out" / "explanations.csv")
    scores = [float(row["faithfulness"]) for row in rows if not row["problem"]]
    text = capsys.readouterr().out
    assert len(scores) == 3
    assert all(-1 <= score <= 1 for score in scores)
    assert f"Faithful  {sum(scores) / 3:+.2f} on average of 3 maps" in text
    assert "1 can't be read: see the column problem" in text


def test_main__a_class_that_the_run_lacks(
    finished_runs: Mapping[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    assert main([str(finished_runs["frozen"]), str(pictures), "--class=glioma", f"--out={out}"]) == 1

    assert "got 'glioma'. Did you mean `glioma_tumor`?" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "expected the folder of a finished run, such as outputs/runs/NAME, and pictures, got none"),
        (["{run}"], "expected pictures or folders of pictures after {run}, or - for a list on stdin"),
        (["{run}", "{run}", "a.png"], "expected one run, got {run} and {run}: a map is of one network"),
        (["{run}", "absent.png"], "there is no absent.png"),
        (
            ["{run}", "{pictures}", "--out={pictures}/0.png"],
            "expected --out to be a folder, {pictures}/0.png is a file",
        ),
        (["{run}", "{pictures}", "--colour=red"], "unrecognized arguments: --colour=red"),
    ],
    ids=["nothing", "no-pictures", "two-runs", "absent", "out", "flag"],
)
def test_main__what_is_wrong_with_the_line(
    finished_runs: Mapping[str, Path],
    pictures: Path,
    line: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {"run": finished_runs["frozen"], "pictures": pictures}

    with pytest.raises(SystemExit) as stopped:
        main([word.format(**words) for word in line])

    assert stopped.value.code == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {message.format(**words)}")
    assert error.endswith("`brain-tumor-tl explain --help` explains it.")


def test_predict__explain(
    finished_runs: Mapping[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = str(finished_runs["frozen"]), tmp_path / "out"

    assert predict.main([run, str(pictures), "--explain", str(out), "--csv", str(tmp_path / "rows.csv")]) == 0

    explained, predicted = read_csv(out / "explanations.csv"), read_csv(tmp_path / "rows.csv")
    assert [row["predicted"] for row in explained] == [row["predicted"] for row in predicted]
    assert f"overlays of Grad-CAM in {out}" in capsys.readouterr().out.replace("\n", "")
    assert len(list(out.glob("*.png"))) == 3


def test_predict__explain_takes_one_run(
    finished_runs: Mapping[str, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(folder) for folder in finished_runs.values()]

    with pytest.raises(SystemExit):
        predict.main([*runs, str(pictures), f"--explain={tmp_path}"])

    assert "expected one run for --explain, got 2: a map is of one network" in capsys.readouterr().err
