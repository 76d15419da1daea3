"""Discover: every run of a folder once, in any state; results of schema 1 in the current one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from brain_tumor_tl.reporting.discover import Discovered, discover_runs, last_lines

PutRun = Callable[..., Path]


def job(name: str, state: str, **other: Any) -> dict[str, Any]:
    """Return a job's entry in sweep.json."""
    return {"name": name, "folder": name, "state": state, "exit_status": None, "reason": None, **other}


def write_sweep(sweep: Path, *jobs: dict[str, Any]) -> None:
    """Write a sweep.json."""
    sweep.mkdir(parents=True, exist_ok=True)
    (sweep / "sweep.json").write_text(json.dumps({"schema": 1, "jobs": jobs}))


def states(found: Discovered) -> dict[str, str]:
    """Return the state of each run without results."""
    return {run.name: run.state for run in found.unfinished}


def test_discover_runs__each_run_once(tmp_path: Path, put_run: PutRun) -> None:
    one = put_run(tmp_path / "grid", "resnet18-frozen-s0")
    put_run(tmp_path / "grid" / "deeper", "resnet18-frozen-s1")

    found = discover_runs([tmp_path, tmp_path / "grid", one])

    assert sorted(run.results["seed"] for run in found.runs) == [0, 1]
    assert found.state() == "2 of 2 runs done"


def test_discover_runs__below_folders_named_as_those_of_a_runs_events(tmp_path: Path, put_run: PutRun) -> None:
    run = put_run(tmp_path / "train", "resnet18-frozen-s0")
    (run / "val").mkdir()
    (run / "val" / "results.json").write_text("{}")  # which no run has there, so nobody looks

    found = discover_runs([tmp_path])

    assert [each.folder for each in found.runs] == [run]
    assert found.unfinished == []


def test_discover_runs__without_a_sweep(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "resnet18-frozen-s0")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.yaml").touch()
    (tmp_path / "cut" / "metrics.csv").write_text("epoch,train/loss\n1,0.5\n2,0.4\n")
    (tmp_path / "failed-early").mkdir()
    (tmp_path / "failed-early" / "train.log").touch()
    (tmp_path / "no-run").mkdir()

    found = discover_runs([tmp_path])

    assert states(found) == {"cut": "cut or running", "failed-early": "cut or running"}
    assert [(run.epochs, run.log is not None) for run in found.unfinished] == [(2, False), (0, True)]
    assert found.state() == "1 of 3 runs done, 2 cut or running"


def test_discover_runs__with_a_sweep(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "resnet18-frozen-s0")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train.log").write_text("out of memory\n")
    names = ("waiting", "running", "skipped", "interrupted")
    write_sweep(
        tmp_path, job("resnet18-frozen-s0", "done"), job("b", "failed", exit_status=-9),
        job("c", "failed", exit_status=1, reason="RuntimeError: no"), job("d", "done"),
        *(job(name, name) for name in names),
    )  # fmt: skip

    found = discover_runs([tmp_path])

    assert len(found.runs) == 1
    assert states(found) == {"b": "failed", "c": "failed", "d": "missing", **{name: name for name in names}}
    told = {run.name: run for run in found.unfinished}
    assert told["b"].reason == "exit status -9"
    assert told["b"].log == tmp_path / "b" / "train.log"
    assert told["c"].reason == "RuntimeError: no"
    assert told["d"].reason == "sweep.json says done, but there is no results.json"


def test_discover_runs__results_count_whatever_the_sweep_says(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "resnet18-frozen-s0")
    write_sweep(tmp_path, job("resnet18-frozen-s0", "running"))

    found = discover_runs([tmp_path])

    assert (len(found.runs), found.unfinished) == (1, [])


def test_discover_runs__refused_job_in_another_runs_folder(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "resnet18-frozen-s0")
    write_sweep(tmp_path, job("resnet18-frozen-s0", "failed", reason="other settings"))

    found = discover_runs([tmp_path])

    assert len(found.runs) == 1
    assert [run.reason for run in found.unfinished] == ["other settings; an earlier run's results are in the folder"]


def started(sweep: Path, seconds_ago: float, lock: bool = True) -> Path:
    """Write a sweep that listed a job as running some seconds ago; return the path of the job's lock."""
    write_sweep(sweep, job("a", "running"))
    os.utime(sweep / "sweep.json", (time.time() - seconds_ago,) * 2)
    (sweep / "a").mkdir()
    if lock:
        (sweep / "a" / "run.lock").touch()
    return sweep / "a" / "run.lock"


@pytest.mark.parametrize(
    ("seconds_ago", "lock", "state"),
    [(3600, True, "cut"), (3600, False, "running"), (1, True, "running")],
    ids=["nobody-holds-it", "no-lock", "still-importing"],
)
def test_discover_runs__left_as_running_by_a_killed_launcher(
    seconds_ago: float, lock: bool, state: str, tmp_path: Path
) -> None:
    started(tmp_path, seconds_ago, lock)

    assert states(discover_runs([tmp_path])) == {"a": state}


def test_discover_runs__running_while_its_lock_is_held(tmp_path: Path) -> None:
    with FileLock(started(tmp_path, 3600)):
        assert states(discover_runs([tmp_path])) == {"a": "running"}
    assert states(discover_runs([tmp_path])) == {"a": "cut"}


@pytest.mark.parametrize("held", [True, False])
def test_discover_runs__single_run_without_results(held: bool, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").touch()
    lock = FileLock(tmp_path / "a" / "run.lock")
    with lock:
        pass
    if held:
        lock.acquire()

    found = states(discover_runs([tmp_path]))

    lock.release()
    assert found == {"a": "running" if held else "cut"}


def test_discover_runs__log_is_what_the_launcher_kept(tmp_path: Path) -> None:
    for place in ("a/train.log", "a/console.log", "b/train.log", "c/console.log"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()

    logs = [run.log and run.log.name for run in discover_runs([tmp_path]).unfinished]

    assert logs == ["console.log", "train.log", "console.log"]


BROKEN = {
    "half": ('{"schema": 1', "Expected JSON"),
    "a-list": ("[]", "Expected a JSON object"),
    "of-another-program": ('{"accuracy": 1}', "expected schema 2 or 1, got null"),
    "of-another-version": ('{"schema": 99}', "expected schema 2 or 1, got 99"),
    "lacking": ('{"schema": 1, "name": "a", "protocol": {}}', "lacks model, method, seed"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN)
def test_discover_runs__broken_results_are_listed(content: str, reason: str, tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "resnet18-frozen-s0")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "results.json").write_text(content)

    found = discover_runs([tmp_path])

    assert len(found.runs) == 1
    assert states(found) == {"bad": "unreadable"}
    assert reason in found.unfinished[0].reason


@pytest.mark.parametrize("content", ["{", "{}", '{"jobs": [1]}', '{"jobs": 3}', '{"jobs": [{"folder": null}]}'])
def test_discover_runs__broken_sweep_is_listed(content: str, tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "resnet18-frozen-s0")
    (tmp_path / "sweep.json").write_text(content)

    found = discover_runs([tmp_path])

    assert len(found.runs) == 1
    assert states(found) == {"sweep.json": "unreadable"}


def test_discover_runs__sweep_before_its_first_job(tmp_path: Path) -> None:
    write_sweep(tmp_path / "grid", job("a", "waiting"))

    assert discover_runs([tmp_path]).state() == "0 of 1 runs done, 1 waiting"


@pytest.mark.parametrize(
    ("place", "match"),
    [
        ("absent", r"these don't exist: .*absent"),
        (".", r"Expected a run .* found none\. brain-tumor-tl train makes one"),
    ],
)
def test_discover_runs__nothing_there(place: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=match):
        discover_runs([tmp_path / place])


def test_last_lines__the_last(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"\xff bad byte\n" + b"".join(b"line %d\n" % i for i in range(5000)))

    assert last_lines(tmp_path / "train.log", 2) == "line 4998\nline 4999"
    assert last_lines(None) == last_lines(tmp_path / "absent") == ""


def test_discover_runs__pruned_is_listed_as_such(tmp_path: Path, put_run: PutRun) -> None:
    put_run(tmp_path, "vgg16-frozen-s0")
    cut = tmp_path / "vgg16-frozen-s0-lr0.1"
    cut.mkdir()
    (cut / "config.yaml").write_text("seed: 0\n")
    (cut / "metrics.csv").write_text("epoch,val/accuracy\n1,0.2\n2,0.2\n")
    write_sweep(tmp_path, job(cut.name, "pruned", reason="ended after epoch 2", exit_status=130))

    found = discover_runs([tmp_path])

    (run,) = found.unfinished
    assert (run.state, run.reason, run.epochs) == ("pruned", "ended after epoch 2", 2)
    assert found.state() == "1 of 2 runs done, 1 pruned"


def test_discover_runs__why_a_run_failed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "a" / "error.txt").write_text("out of\nmemory\n")

    (run,) = discover_runs([tmp_path]).unfinished

    assert (run.state, run.reason) == ("failed", "out of memory")
