"""Report: one table of the finished runs below some folders."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.evidence.record import SCHEMA
from brain_tumor_tl.report import find_runs, main


def results(name: str, accuracy: float = 0.9) -> dict[str, Any]:
    """Return what the report needs of a run's results.json."""
    model, method, seed = name.split("-")
    return {
        "schema": SCHEMA,
        "name": name,
        "model": model,
        "method": method,
        "seed": int(seed[1:]),
        "epochs": 2,
        "accuracy": accuracy,
        "best_accuracy": 0.95,
        "best_epoch": 1,
        "macro_f1": 0.5,
        "seconds_per_epoch": {"train": 1.5, "test": 0.25},
        "protocol": {"synthetic": False, "best_chosen_on": "test", "text": "random split of single images."},
    }


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder of two finished runs and one that is not."""
    folder = tmp_path / "sweeps" / "grid"
    for name, accuracy in (("vgg16-frozen-s0", 0.8), ("resnet18-finetune-s0", 0.9)):
        (folder / name).mkdir(parents=True)
        (folder / name / "results.json").write_text(json.dumps(results(name, accuracy)))
    (folder / "resnet50-frozen-s0").mkdir()
    (folder / "resnet50-frozen-s0" / "config.yaml").touch()
    return folder


def test_main__one_row_a_finished_run(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep)]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == [
        ["resnet18-finetune-s0", "2", "90.00", "95.00", "97.86", "-7.86", "1.50"],
        ["vgg16-frozen-s0", "2", "80.00", "95.00", "88.97", "-8.97", "1.50"],
    ]


def test_main__csv_holds_fractions(sweep: Path, tmp_path: Path) -> None:
    assert main([str(sweep), "--csv", str(tmp_path / "table.csv")]) == 0

    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["resnet18-finetune-s0", "vgg16-frozen-s0"]
    assert rows[0] == {
        "name": "resnet18-finetune-s0", "model": "resnet18", "method": "finetune", "seed": "0", "epochs": "2",
        "accuracy": "0.9", "best_accuracy": "0.95", "best_epoch": "1", "macro_f1": "0.5",
        "seconds_per_epoch_train": "1.5", "seconds_per_epoch_test": "0.25",
        "protocol": "random split of single images.",
    }  # fmt: skip


def test_main__csv_in_an_absent_folder(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep), "--csv", str(sweep / "absent" / "table.csv")]) == 1
    assert "error: " in capsys.readouterr().out


def test_find_runs__each_once(sweep: Path) -> None:
    runs = find_runs([sweep, sweep.parent, sweep / "vgg16-frozen-s0"])

    assert sorted(run["name"] for run in runs) == ["resnet18-finetune-s0", "vgg16-frozen-s0"]


BAD = {
    "absent": ("absent", None, r"these are none: .*absent"),
    "no-run": (".", None, r"Expected a finished run .* found none\. brain-tumor-tl train makes one"),
    "half": (".", '{"schema": 1', r"Expected JSON in .*results\.json"),
    "of-another-program": (".", '{"accuracy": 1}', r"Expected results of this version \(schema \d+\).*results\.json"),
    "of-another-version": (".", '{"schema": 99}', r"Expected results of this version"),
}


@pytest.mark.parametrize(("place", "content", "match"), BAD.values(), ids=BAD)
def test_find_runs__bad_input(place: str, content: str | None, match: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)

    with pytest.raises(ValueError, match=match):
        find_runs([tmp_path / place])


def test_main__bad_input_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent")]) == 1

    out = capsys.readouterr().out
    assert out.startswith("error: Expected folders of runs")
    assert "Traceback" not in out
