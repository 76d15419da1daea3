"""Launcher: what is told of the jobs of a multirun, what is handed to a scheduler, and that no torch is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from brain_tumor_tl.cli import launcher, report
from brain_tumor_tl.cli.launcher import Bookkeeper, job_returns, jobs_at_once, submit, tell_end
from brain_tumor_tl.sweep.manifest import Manifest, SweepJob

BASE = ("data.source=folder", "data.root=/nowhere")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_bookkeeper__report_after_each_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Path] = []
    monkeypatch.setattr(report, "refresh", reported.append)
    jobs = [SweepJob(name, tmp_path / name, [], []) for name in ("a", "b")]
    books = Bookkeeper(jobs, Manifest(tmp_path, []))
    with books.view.live:
        jobs[0].state = "running"
        books.changed(jobs[0])
        books.tick()
        assert reported == []
        jobs[0].state = "done"
        books.changed(jobs[0], [])
        books.tick()
        books.tick()
    assert reported == [tmp_path]
    entries = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    assert [entry["state"] for entry in entries] == ["done", "waiting"]


def test_job_returns__errors_of_what_is_not_finished(tmp_path: Path) -> None:
    jobs = [SweepJob(name, tmp_path / name, [f"seed={name}"], []) for name in ("0", "1", "2")]
    for job, state in zip(jobs, ("done", "skipped", "failed"), strict=True):
        job.state = cast("Any", state)
        job.folder.mkdir()
        (job.folder / "results.json").write_text('{"accuracy": 0.5}')

    assert [(each.status, each.return_value) for each in job_returns(jobs[:2])] == [
        (JobStatus.COMPLETED, {"accuracy": 0.5})
    ] * 2
    with pytest.raises(CompactHydraException, match="1 of 3 jobs are not finished: 2"):
        job_returns(jobs)


def test_tell_end__names_what_is_missing_without_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [SweepJob("a", tmp_path / "a", [], [], state="failed", reason="killed by SIGKILL")]

    Manifest(tmp_path, []).write(jobs)
    tell_end(jobs, tmp_path)

    out = capsys.readouterr().out
    assert "failed: a\n" in out
    assert "killed" not in out  # told when it ended
    assert "0 of 1" in out


AT_ONCE = {
    "asked-for": (3, 2, 1, 3),
    "processor": (None, 0, 1, 1),
    "devices": (None, 1, 1, 4),
    "shared-devices": (None, 1, 2, 8),
}


@pytest.mark.parametrize(("setting", "needs", "per_device", "count"), AT_ONCE.values(), ids=AT_ONCE)
def test_jobs_at_once__default(setting: int | None, needs: int, per_device: int, count: int, tmp_path: Path) -> None:
    limits = OmegaConf.create({"jobs": setting, "jobs_per_device": per_device})

    assert jobs_at_once([SweepJob("job", tmp_path, [], [], needs=needs)], limits, 4) == count


@pytest.mark.parametrize("killed", [False, True], ids=["returns", "raises"])
def test_submit__all_but_the_finished(killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [SweepJob(name, tmp_path / name, ["hydra.verbose=true", f"seed={name}"], []) for name in "012"]
    jobs[2].state = "skipped"
    for job in jobs:
        job.folder.mkdir()
    (jobs[2].folder / "results.json").write_text("{}")
    starts: list[Sequence[str]] = []

    def start(lines: Sequence[Sequence[str]]) -> list[JobReturn]:
        starts.extend(lines)
        (jobs[0].folder / "results.json").write_text("{}")
        if killed:
            raise RuntimeError("a job was killed")
        returns = [JobReturn(status=JobStatus.COMPLETED), JobReturn(status=JobStatus.FAILED)]
        returns[1].return_value = ValueError("first line\nno such thing")
        return returns

    monkeypatch.setattr(launcher, "plan_jobs", lambda *_: jobs)
    monkeypatch.setattr(report, "refresh", lambda folder: None)
    monkeypatch.setattr(launcher, "tell_report", lambda folder: None)
    master = OmegaConf.create({"sweep": "mine", "hydra": {"sweep": {"dir": str(tmp_path)}}})

    with pytest.raises(CompactHydraException, match="1 of 3 jobs are not finished: 1"):
        submit(start, None, master, [])  # type: ignore[arg-type]  # the plan is made already

    assert starts == [["seed=0", "name='0'", "sweep='mine'"], ["seed=1", "name='1'", "sweep='mine'"]]
    content = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    assert [entry["state"] for entry in content] == ["done", "failed", "skipped"]
    assert ("see the logs" if killed else "no such thing") in content[1]["reason"]


# A whole multirun in one process, its jobs replaced by a script that leaves results.
WHOLE = """
import sys
from brain_tumor_tl.cli import launcher, multirun, report
real = multirun.make_job
script = "import sys; from pathlib import Path; Path(sys.argv[1], 'results.json').write_text(sys.argv[2])"
def replaced(*arguments):
    job = real(*arguments)
    job.command = [sys.executable, "-S", "-c", script, str(job.folder), "{}"]
    return job
multirun.make_job = replaced
launcher.tell_report = lambda folder: print("table of", folder.name)
report.refresh = lambda folder: None
sys.argv = ["brain-tumor-tl", "train", *sys.argv[1:]]
from brain_tumor_tl.__main__ import main
main()
print("heavy:", [name for name in ("torch", "lightning", "torchvision", "matplotlib") if name in sys.modules])
"""


def test_launch__without_torch(tmp_path: Path) -> None:
    line = [sys.executable, "-c", WHOLE, "-m", *BASE, "seed=0,1,2", "launcher.jobs=2", "sweep=mine"]
    result = subprocess.run(
        line, cwd=tmp_path, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=120
    )

    assert (result.returncode, result.stderr) == (0, "")
    for text in ("3 jobs into outputs/sweeps/mine", "start   resnet18-finetune-s2", "table of mine", "heavy: []"):
        assert text in result.stdout
    content = json.loads((tmp_path / "outputs" / "sweeps" / "mine" / "sweep.json").read_text())
    assert content["command"][:3] == ["brain-tumor-tl", "train", "-m"]
    assert [job["state"] for job in content["jobs"]] == ["done"] * 3
