"""Study: what Optuna is told and asked, after interruptions, failures and incomplete writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import Trial, TrialState

from brain_tumor_tl.sweep.manifest import JobState, SweepJob
from brain_tumor_tl.sweep.search.search_space import Parameter
from brain_tumor_tl.sweep.search.study import FILE, RUN, Study, make_pruner, make_sampler, metric_values, repair

SPACE = (
    Parameter("optimizer.lr", "float", 1e-5, 1e-2, log=True),
    Parameter("data.batch_size", "choice", choices=("8", "16")),
)


def opened(folder: Path, **other: Any) -> Study:
    settings: dict[str, Any] = {"max_trials": 4, "sampler": "tpe", "pruner": "none", "seed": 0, "epochs": 3} | other
    return Study(folder, list(SPACE), settings.pop("metric", "val/accuracy"), **settings)


def run_of(folder: Path, name: str, *values: float | str, metric: str = "val/accuracy") -> Path:
    """Write the metrics of a run, one value an epoch."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    rows = [f"{epoch},{value}" for epoch, value in enumerate(values, start=1)]
    (place / "metrics.csv").write_text("\n".join([f"epoch,{metric}", *rows, ""]))
    return place


def finish(study: Study, trial: Trial, folder: Path, state: JobState = "done") -> SweepJob:
    """Tell the study that a trial's job ended."""
    job = SweepJob(folder.name, folder, [], [], state=state)
    study.finish(trial, job)
    return job


def all_overrides(study: Study, folder: Path) -> list[list[str]]:
    """Run every trial that there is; the value is the learning rate."""
    found = []
    while (next_one := study.next()) is not None:
        trial, overrides = next_one
        value = float(overrides[0].partition("=")[2])
        finish(study, trial, run_of(folder, f"run{trial.number}", value))
        found.append(overrides)
    return found


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_next__an_interrupted_search_chooses_as_a_whole_one(sampler: str, tmp_path: Path) -> None:
    for name in ("interrupted", "whole"):
        (tmp_path / name).mkdir()
    whole = all_overrides(opened(tmp_path / "whole", max_trials=13, sampler=sampler), tmp_path / "whole")

    begun = opened(tmp_path / "interrupted", max_trials=3, sampler=sampler)
    first = all_overrides(begun, tmp_path / "interrupted")
    begun.max_trials = 4
    assert begun.next() is not None, "a trial is running when the search is interrupted"
    again = opened(tmp_path / "interrupted", max_trials=13, sampler=sampler)
    assert again.summary("open") == "3 finished, 1 open"
    rest = all_overrides(again, tmp_path / "interrupted")

    assert first + rest == whole
    assert len({tuple(overrides) for overrides in whole}) == 13, "no two starts draw the same numbers"
    assert states(again) == ["COMPLETE"] * 13
    assert again.next() is None


def test_finish__the_best_epoch(tmp_path: Path) -> None:
    study = opened(tmp_path)
    for curve in ((0.5, 0.9, 0.7), (0.8, "", 0.6)):
        found = study.next()
        assert found is not None
        finish(study, found[0], run_of(tmp_path, "run", *curve))

    assert [trial.value for trial in study.trials()] == [0.9, 0.8]
    assert study.best() == study.trials()[0]
    assert [trial.intermediate_values for trial in study.trials()] == [{1: 0.5, 2: 0.9, 3: 0.7}, {1: 0.8, 3: 0.6}]


def test_finish__a_loss_is_minimised(tmp_path: Path) -> None:
    study = opened(tmp_path, metric="val/loss")
    for curve in ((0.5, 0.2, 0.7), (0.1, float("nan"))):
        found = study.next()
        assert found is not None
        finish(study, found[0], run_of(tmp_path, "run", *curve, metric="val/loss"))

    best = study.best()
    assert best is not None
    assert (best.number, best.value) == (1, 0.1)


@pytest.mark.parametrize("curve", [(), ("nan",)], ids=["none", "not-a-number"])
def test_finish__no_value(curve: tuple[str, ...], tmp_path: Path) -> None:
    study = opened(tmp_path)
    found = study.next()
    assert found is not None

    job = finish(study, found[0], run_of(tmp_path, "run", *curve))

    assert (job.state, job.reason) == ("failed", "its metrics.csv has no number in val/accuracy")
    assert states(study) == ["FAIL"]


def test_finish__interrupted_stays_open(tmp_path: Path) -> None:
    study = opened(tmp_path)
    found = study.next()
    assert found is not None

    finish(study, found[0], run_of(tmp_path, "run", 0.5), "interrupted")

    assert states(study) == ["RUNNING"]
    again = opened(tmp_path).next()
    assert again is not None
    assert (again[0].number, again[1]) == (found[0].number, found[1])


def test_repeat_failed__once_a_start(tmp_path: Path) -> None:
    study = opened(tmp_path, max_trials=2)
    failing = []
    for _ in range(2):
        found = study.next()
        assert found is not None
        study.fail(found[0], "out of memory")
        failing.append(found[1])
    assert study.next() is None, "a failed trial counts in its own start"

    again = opened(tmp_path, max_trials=2)
    again.repeat_failed()

    assert all_overrides(again, tmp_path) == failing
    assert again.summary("open") == "2 finished"
    third = opened(tmp_path, max_trials=2)
    third.repeat_failed()
    assert third.next() is None


def test_report__median_ends_what_is_behind(tmp_path: Path) -> None:
    study = opened(tmp_path, max_trials=9, pruner="median")
    for value in (0.5, 0.6, 0.7, 0.8, 0.9):
        found = study.next()
        assert found is not None
        finish(study, found[0], run_of(tmp_path, "good", value, value, value))
    found, other = study.next(), study.next()
    assert found is not None
    assert other is not None
    assert study.report(found[0], run_of(tmp_path, "behind", 0.1)) == 1
    assert study.report(other[0], run_of(tmp_path, "ahead", 0.8)) is None

    found[0].set_user_attr(RUN, "behind")
    finish(study, found[0], run_of(tmp_path, "behind", 0.1, 0.2), "pruned")

    assert study.was_pruned("behind")
    assert not study.was_pruned("ahead")
    assert study.trials()[5].state == TrialState.PRUNED
    assert study.summary("open") == "5 finished, 1 pruned, 1 open"


def test_first_settings__stays(tmp_path: Path) -> None:
    study = opened(tmp_path)
    first = {"optimizer.lr": 0.1, "model.weights": None}

    assert study.first_settings(first) == first
    assert opened(tmp_path).first_settings({"optimizer.lr": 0.2}) == first


def test_repair__after_a_kill(tmp_path: Path) -> None:
    study = opened(tmp_path)
    found = study.next()
    assert found is not None
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"op_code":6,"tri')
    (tmp_path / f"{FILE}.lock").symlink_to("nowhere")

    again = opened(tmp_path)

    assert all_overrides(again, tmp_path)[0] == found[1]
    assert states(opened(tmp_path)) == ["COMPLETE"] * 4


def test_repair__nothing_there(tmp_path: Path) -> None:
    repair(tmp_path / FILE)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [None, "", "epoch\n1\n", "epoch,val/accuracy\nx,0.5\n"])
def test_metric_values__none(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)

    assert metric_values(tmp_path, "val/accuracy") == {}


def test_make_sampler__follows_from_seed_and_number() -> None:
    draws = [type(make_sampler(name, 0, 0)).__name__ for name in ("tpe", "random")]
    assert draws == ["TPESampler", "RandomSampler"]
    assert [type(make_pruner(name, 9)).__name__ for name in ("none", "median", "hyperband")] == [
        "NopPruner", "MedianPruner", "HyperbandPruner",
    ]  # fmt: skip


def test_study__prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verbosity = optuna.logging.get_verbosity()

    all_overrides(opened(tmp_path), tmp_path)

    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == verbosity, "set for the whole process"
