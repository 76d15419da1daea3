"""Trials: a search is listed by its validation metric, with the test results of the chosen trial alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.cli.report import main
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.trials import by_search, trial_table, without_others

PutRun = Callable[..., Path]
MakeResults = Callable[..., dict[str, Any]]


def trials_of(make_results: MakeResults, metric: str, *values: float | None) -> list[Run]:
    """Return a run for each value, named and placed after its number."""
    made = [make_results(trial={"metric": metric, "value": value}) for value in values]
    return [Run(Path(f"search/{number}"), one | {"name": f"t{number}"}) for number, one in enumerate(made)]


@pytest.mark.parametrize(("metric", "order"), [("val/accuracy", "t1 t2 t0 t3"), ("val/loss", "t0 t1 t2 t3")])
def test_by_search__best_first_and_of_equals_the_first_by_name(
    metric: str, order: str, make_results: MakeResults
) -> None:
    other = Run(Path("other"), make_results())
    trials = trials_of(make_results, metric, 0.5, 0.9, 0.9, None)

    (found,) = by_search([other, *reversed(trials)])

    assert " ".join(run.results["name"] for run in found) == order
    assert without_others([other, *trials]) == [other, found[0]]
    assert [row[2] for row in trial_table(found).rows].count("-") == 1


def test_by_search__each_folder_is_a_search(make_results: MakeResults) -> None:
    first = trials_of(make_results, "val/accuracy", 0.5, 0.6)
    second = [Run(Path("another") / run.folder.name, run.results) for run in first]

    assert [len(found) for found in by_search([*first, *second])] == [2, 2]


def test_report__of_a_search(put_run: PutRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, rate, value, accuracy in (("a", 0.1, 0.7, 0.1234), ("b", 0.2, 0.8, 0.5678), ("c", 0.3, 0.6, 0.4321)):
        trial = {"metric": "val/accuracy", "value": value}
        put_run(
            tmp_path, "resnet18-frozen-s0", folder, accuracy=accuracy, trial=trial, config={"optimizer": {"lr": rate}}
        )

    assert main([str(tmp_path)]) == 0

    texts = {
        "terminal": capsys.readouterr().out,
        **{name: (tmp_path / f"report.{name}").read_text(encoding="utf-8") for name in ("md", "html")},
    }
    for where, text in texts.items():
        assert all(value in text for value in ("0.7000", "0.8000", "0.6000")), where
        assert "56.78" in text, where
        assert not [accuracy for accuracy in ("12.34", "43.21") if accuracy in text], where
    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows[1:]] == ["done", "trial", "trial"]
    assert not [row for row in rows if "0.1234" in row or "0.4321" in row]
