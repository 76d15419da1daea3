"""Trial source: trials in a real queue; the runs are small scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from brain_tumor_tl.sweep import queue
from brain_tumor_tl.sweep.leases import Leases
from brain_tumor_tl.sweep.manifest import SweepJob
from brain_tumor_tl.sweep.queue import Queue
from brain_tumor_tl.sweep.search import trial_source
from brain_tumor_tl.sweep.search.search_space import Parameter
from brain_tumor_tl.sweep.search.study import Study
from brain_tumor_tl.sweep.search.trial_source import TrialSource

CHOICES = Parameter("x", "choice", choices=("1", "2"))
# A run of one epoch whose accuracy is given; it sleeps, or fails.
RUN = """
import sys, time
from pathlib import Path
folder, accuracy, seconds = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
(folder / "starts").open("a").write("x")
if accuracy < 0:
    sys.exit("no such thing")
(folder / "metrics.csv").write_text(f"epoch,val/accuracy\\n1,{accuracy}\\n")
time.sleep(seconds)
(folder / "results.json").write_text("{}")
"""
Plan = Callable[[Sequence[str]], SweepJob]


@pytest.fixture(autouse=True)
def fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(trial_source, "REPORT_SECONDS", 0.05)


class Quiet:
    """A watcher that records what it is told."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def changed(self, job: SweepJob, last_lines: Sequence[str] = ()) -> None:
        if job.state != "running":
            self.ends.append((job.name, job.state))

    def tick(self) -> None:
        pass


def planned(folder: Path, accuracy: Callable[[str], float], seconds: Callable[[float], float] = lambda a: 0) -> Plan:
    """Make jobs named after their overrides, "skipped" where their folder is finished."""

    def plan(overrides: Sequence[str]) -> SweepJob:
        (text,) = overrides
        place, value = folder / text, accuracy(text)
        command = [sys.executable, "-S", "-c", RUN, str(place), str(value), str(seconds(value))]
        done = (place / "results.json").exists()
        return SweepJob(text, place, [text], command, state="skipped" if done else "waiting")

    return plan


def searched(folder: Path, plan: Plan, space: Parameter = CHOICES, at_once: int = 1, **other: object) -> TrialSource:
    """Run a search to its end."""
    settings = {"max_trials": 6, "sampler": "random", "pruner": "none", "seed": 0, "epochs": 1} | other
    study = Study(folder, [space], "val/accuracy", **settings)  # type: ignore[arg-type]
    source = TrialSource(study, plan, [], Quiet())
    assert Queue([], Leases([], folder), at_once, source, source=source.next, grace_seconds=5).run() is None
    return source


def states(source: TrialSource) -> list[str]:
    return [trial.state.name for trial in source.study.trials()]


@pytest.mark.parametrize("at_once", [1, 3])
def test_trial_source__same_values_run_once(at_once: int, tmp_path: Path) -> None:
    source = searched(tmp_path, planned(tmp_path, lambda text: float(text[-1]) / 10), at_once=at_once)

    assert states(source) == ["COMPLETE"] * 6
    assert {trial.value for trial in source.study.trials()} == {0.1, 0.2}
    assert [job.name for job in source.jobs] == list(dict.fromkeys(job.name for job in source.jobs))
    assert [(job.folder / "starts").read_text() for job in source.jobs] == ["x", "x"]
    assert source.headline() == f"6 finished of 6 trials, best val/accuracy 0.2000 (trial {source.study.best().number})"  # type: ignore[union-attr]


def test_trial_source__finished_before(tmp_path: Path) -> None:
    plan = planned(tmp_path, lambda text: float(text[-1]) / 10)
    searched(tmp_path, plan)
    (tmp_path / "search.journal").unlink()

    source = searched(tmp_path, plan)

    assert [job.state for job in source.jobs] == ["skipped", "skipped"]
    assert states(source) == ["COMPLETE"] * 6
    assert isinstance(source.watcher, Quiet)
    assert source.watcher.ends == []


def test_trial_source__a_failure_costs_one_trial(tmp_path: Path) -> None:
    source = searched(tmp_path, planned(tmp_path, lambda text: -1.0 if text == "x=1" else 0.5))

    assert set(states(source)) == {"COMPLETE", "FAIL"}
    assert source.failed == {"x=1": "no such thing"}
    assert (tmp_path / "x=1" / "starts").read_text() == "x", "a start tries what failed once"
    again = searched(tmp_path, planned(tmp_path, lambda text: 0.7))
    assert again.failed == {}


def test_trial_source__values_that_can_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = planned(tmp_path, lambda text: 0.5)

    def plan(overrides: Sequence[str]) -> SweepJob:
        if overrides == ["x=1"]:
            raise ValueError("x must not be 1")
        return real(overrides)

    source = searched(tmp_path, plan)

    assert set(source.failed.values()) == {"x must not be 1"}
    assert [job.name for job in source.jobs] == ["x=2"]
    assert states(source).count("FAIL") == len(source.failed) >= 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED  trial ")]
    assert len(said) == len(source.failed)
    assert all(line.endswith(" (x=1): x must not be 1") for line in said)


def test_trial_source__no_metric(tmp_path: Path) -> None:
    script = "import sys; open(sys.argv[1] + '/results.json', 'w').write('{}')"

    def plan(overrides: Sequence[str]) -> SweepJob:
        place = tmp_path / overrides[0]
        return SweepJob(overrides[0], place, [], [sys.executable, "-S", "-c", script, str(place)])

    source = searched(tmp_path, plan, max_trials=1)

    assert list(source.failed.values()) == ["its metrics.csv has no number in val/accuracy"]
    assert isinstance(source.watcher, Quiet)
    assert [state for _, state in source.watcher.ends] == ["failed"]


def test_trial_source__pruned(tmp_path: Path) -> None:
    space = Parameter("x", "integer", 1, 1000)
    order = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.1])
    plan = planned(tmp_path, lambda text: next(order, 0.5), lambda value: 60 if value == 0.1 else 0)

    source = searched(tmp_path, plan, space, pruner="median")

    assert states(source) == ["COMPLETE"] * 5 + ["PRUNED"]
    last = source.jobs[-1]
    assert last.state == "pruned"
    assert last.reason == "ended after epoch 1: too far behind the other trials (median pruner)"
    assert json.loads(json.dumps(last.entry(tmp_path)))["state"] == "pruned"
    assert not (last.folder / "results.json").exists()
