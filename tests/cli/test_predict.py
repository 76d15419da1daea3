"""Predict: the verb on pictures, folders and lists, what it writes and prints, and its exit status."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import brain_tumor_tl
from brain_tumor_tl.cli.predict import main
from brain_tumor_tl.files import read_csv, read_json

CLASSES = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]


@pytest.fixture
def run(finished_runs: Mapping[str, Path]) -> Path:
    """A finished run."""
    return finished_runs["frozen"]


@pytest.fixture
def pictures(run: Path, tmp_path: Path) -> Path:
    """A folder with two pictures of each class in class folders."""
    root = Path(read_json(run / "results.json")["config"]["data"]["root"])
    for name in CLASSES:
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for path in sorted((root / name).iterdir())[:2]:
            shutil.copy(path, tmp_path / "pictures" / name)
    return tmp_path / "pictures"


def probabilities(rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """Return the probabilities of rows of a CSV file."""
    return np.array([[float(row[f"probability/{name}"]) for name in CLASSES] for row in rows])


def test_predict__csv_has_a_row_for_each_picture(run: Path, pictures: Path, tmp_path: Path) -> None:
    assert main([str(run), str(pictures), "--csv", str(tmp_path / "out.csv")]) == 0

    rows = read_csv(tmp_path / "out.csv")
    paths = [row["path"] for row in rows]
    assert len(paths) == 8
    assert paths == sorted(paths)
    expected = brain_tumor_tl.load(run).predict(paths)
    assert np.allclose(probabilities(rows), expected, atol=1e-6)
    assert [row["predicted"] for row in rows] == [CLASSES[label] for label in expected.argmax(1)]
    assert all(float(row["distance"]) > 0 and row["unlike_training"] in "01" and not row["problem"] for row in rows)


def test_predict__an_unreadable_picture_has_its_reason_and_the_status_is_1(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "no_tumor" / "0.png").write_bytes(b"no image")

    assert main([str(run), str(pictures), "--csv", str(tmp_path / "out.csv")]) == 1

    rows = read_csv(tmp_path / "out.csv")
    (bad,) = (row for row in rows if row["problem"])
    assert (Path(bad["path"]).name, bad["predicted"], bad["problem"]) == ("0.png", "", "not an image by its content")
    assert len(rows) == 9


def test_predict__json_lines_of_a_list_on_stdin(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(map(str, pictures.rglob("*.png")))[:3]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*paths, "absent.png"]) + "\n"))

    assert main([str(run), "-", "--jsonl"]) == 1

    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert [line["path"] for line in lines] == [*paths, "absent.png"]
    assert "No such file" in lines[3]["problem"]
    assert all(abs(sum(line["probabilities"].values()) - 1) < 1e-5 for line in lines[:3])
    assert "Not for diagnosis" in output.err


def test_predict__the_table_on_the_terminal(run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), *map(str, sorted((pictures / "no_tumor").iterdir()))]) == 0

    text = capsys.readouterr().out
    assert "predicted" in text
    assert text.count(".png") >= 2
    assert "Pictures  2: " in text
    assert "Not for diagnosis" in text


def test_predict__several_runs_and_tta(finished_runs: Mapping[str, Path], pictures: Path, tmp_path: Path) -> None:
    folders = list(map(str, finished_runs.values()))

    assert main([*folders, str(pictures), "--tta", "--csv", str(tmp_path / "out.csv")]) == 0

    rows = read_csv(tmp_path / "out.csv")
    expected = brain_tumor_tl.load(*folders).predict([row["path"] for row in rows], tta=True)
    assert np.allclose(probabilities(rows), expected, atol=1e-6)


def test_predict__another_precision_than_that_of_the_test_is_told(
    run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), str(pictures), "--precision", "bf16-mixed"]) == 0
    assert "was tested in 32-true: in bf16-mixed its accuracy may be another" in capsys.readouterr().out

    assert main([str(run), str(pictures)]) == 0
    assert "was tested in" not in capsys.readouterr().out


def test_predict__features(run: Path, pictures: Path, tmp_path: Path) -> None:
    assert main([str(run), str(pictures), "--features", str(tmp_path / "f.npy"), "--csv", str(tmp_path / "o.csv")]) == 0

    paths = [row["path"] for row in read_csv(tmp_path / "o.csv")]
    assert np.allclose(np.load(tmp_path / "f.npy"), brain_tumor_tl.load(run).features(paths), atol=1e-5)


def test_predict__ranks_labels(run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "no_tumor" / "0.png").write_bytes(b"")
    (pictures / "metastasis").mkdir()
    shutil.copy(next((pictures / "glioma_tumor").iterdir()), pictures / "metastasis")
    assert main([str(run), str(pictures), "--rank-labels"]) == 1
    shown = capsys.readouterr()
    assert "pictures in metastasis are left out, since these are no classes of the run: no_tumor" in shown.err
    assert main([str(run), str(pictures), "--rank-labels", "--csv", str(tmp_path / "out.csv")]) == 1

    *rows, bad = read_csv(tmp_path / "out.csv")
    assert len(rows) == 8
    assert (Path(bad["path"]).name, bad["self_confidence"]) == ("0.png", "")
    confidence = [float(row["self_confidence"]) for row in rows]
    assert confidence == sorted(confidence)
    assert all(row["class"] == Path(row["path"]).parent.name for row in rows)
    assert confidence == [float(row[f"probability/{row['class']}"]) for row in rows]


def test_predict__interrupted_leaves_no_file(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brain_tumor_tl.inference.predict.predict_batch", interrupt)
    assert main([str(run), str(pictures), "--csv", str(tmp_path / "out.csv")]) == 130

    assert "Interrupted" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out.csv*"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "expected the folder of a finished run"),
        (["RUN"], "expected pictures or folders of pictures after"),
        (["RUN", "absent.png"], "there is no absent.png"),
        (["RUN", "PICTURES", "--csv", "a.csv", "--jsonl"], "expected one of --csv and --jsonl, got both"),
        (["RUN", "PICTURES", "--csv", "absent/a.csv"], "the folder of absent/a.csv doesn't exist"),
        (["RUN", "RUN", "PICTURES", "--features", "f.npy"], "expected one run for --features, got 2"),
        (["RUN", "-", "--rank-labels"], "expected one folder with class folders for --rank-labels"),
        (["RUN", "PICTURES", "--device", "tpu"], "invalid choice: 'tpu'"),
    ],
    ids=["nothing", "no-pictures", "absent", "two-outputs", "no-folder", "features-of-two", "rank-a-list", "device"],
)
def test_predict__what_is_wrong_with_a_line(
    run: Path, pictures: Path, line: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([{"RUN": str(run), "PICTURES": str(pictures)}.get(word, word) for word in line])

    assert message in capsys.readouterr().err


def test_predict__an_unfinished_run_and_an_empty_folder(
    run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = Path(shutil.copytree(run, tmp_path / "cut", ignore=lambda *_: ["results.json"]))
    (tmp_path / "empty").mkdir()

    assert main([str(cut), str(pictures)]) == 1
    assert main([str(run), str(tmp_path / "empty")]) == 1

    errors = capsys.readouterr().err.splitlines()
    assert "is unfinished" in errors[0]
    assert "Expected images in" in errors[1]
