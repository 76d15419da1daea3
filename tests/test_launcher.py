"""Launcher: what a multirun's command line becomes, what it refuses before any job starts, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import hydra
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl import launcher
from brain_tumor_tl.config import conf_dir
from brain_tumor_tl.evidence.console import console
from brain_tumor_tl.launcher import Bookkeeper, job_returns, parsed, plan, quoted, submit, tell_end
from brain_tumor_tl.sweep.devices import devices_needed
from brain_tumor_tl.sweep.live import LiveView
from brain_tumor_tl.sweep.manifest import Manifest, SweepJob

BASE = ("data=folder", "data.root=/nowhere")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    GlobalHydra.instance().clear()


@contextmanager
def composed(
    *overrides: str, name: str = "train", base: Sequence[str] = BASE
) -> Iterator[tuple[Any, DictConfig, list[list[str]]]]:
    """Give what Hydra's sweeper hands a launcher for a command line: loader, configuration, overrides of each job."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        setup_globals()
        program = GlobalHydra.instance().hydra
        assert program is not None
        master = program.compose_config(name, [*base, *overrides], RunMode.MULTIRUN, with_log_configuration=False)
        params = OmegaConf.select(master, "hydra.sweeper.params") or {}
        lines = [f"{key}={value}" for key, value in params.items()] + launcher.typed(master.hydra.overrides.task)
        parser = OverridesParser.create(program.config_loader)
        yield program.config_loader, master, BasicSweeper.split_arguments(parser.parse_overrides(lines), None)[0]


def plan_of(*overrides: str, name: str = "train", available: int = 0, per_job: int | None = None) -> list[SweepJob]:
    """Return the jobs of a command line."""
    with composed(*overrides, name=name) as (loader, master, batch):
        return plan(loader, master, batch, lambda trainer: devices_needed(trainer, per_job, available))


def test_plan__the_grid() -> None:
    jobs = plan_of(name="grid")

    assert len({job.name for job in jobs}) == len(jobs) == 14
    assert {(job.model, job.method, job.seed, job.state) for job in jobs} >= {("vgg16", "frozen", 0, "waiting")}
    assert jobs[0].folder == Path.cwd() / "outputs" / "sweeps" / "grid" / "resnet18-frozen-s0"
    assert jobs[0].max_epochs == 100
    assert jobs[0].command == [
        sys.executable, "-m", "brain_tumor_tl", "train", "--config-name", "grid",
        "model=resnet18", "method=frozen", *BASE, "name='resnet18-frozen-s0'",
        f"hydra.run.dir='{jobs[0].folder}'", "hydra.mode=RUN",
    ]  # fmt: skip
    assert list(Path.cwd().iterdir()) == [], "planning writes nothing"


NAMES = {
    "seeds": (["seed=0,1"], ["resnet18-finetune-s0", "resnet18-finetune-s1"]),
    "rates": (["optimizer.lr=1e-4,0.001"], ["resnet18-finetune-s0-lr0.0001", "resnet18-finetune-s0-lr0.001"]),
    "ranges": (["seed=range(0,2)", "method=glob(fr*)"], ["resnet18-frozen-s0", "resnet18-frozen-s1"]),
    "recipes": (["recipe=study,onecycle"], ["resnet18-finetune-s0-study", "resnet18-finetune-s0-onecycle"]),
    "open-table": (["+model.options.dropout=0.2,0.5"], [f"resnet18-finetune-s0-dropout{p}" for p in (0.2, 0.5)]),
    "own-name": (["name=mine-${seed}-${data.batch_size}", "seed=0,1", "data.batch_size=8"], ["mine-0-8", "mine-1-8"]),
    "one-value-is-no-sweep": (["seed=0,1", "optimizer.lr=0.1"], ["resnet18-finetune-s0", "resnet18-finetune-s1"]),
}  # fmt: skip


@pytest.mark.parametrize(("overrides", "names"), NAMES.values(), ids=NAMES)
def test_plan__names_follow_from_what_is_swept(overrides: list[str], names: list[str]) -> None:
    assert [job.name for job in plan_of(*overrides)] == names


def test_plan__pairs_through_experiments(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    for name, method, rate in (("gentle", "finetune", 1e-4), ("bold", "frozen", 1e-2)):
        lines = ["# @package _global_", "defaults:", f"  - override /method: {method}", "optimizer:", f"  lr: {rate}"]
        (folder / f"{name}.yaml").write_text("\n".join(lines))
    path = f"hydra.searchpath=[file://{tmp_path / 'mine'}]"

    jobs = plan_of("experiment=gentle,bold", path)

    assert [job.name for job in jobs] == ["resnet18-finetune-s0-gentle", "resnet18-frozen-s0-bold"]
    assert all(path.split("[")[0] in " ".join(job.command) for job in jobs)


def test_plan__hydras_own_settings() -> None:
    (job, _) = plan_of("seed=0,1", "hydra.sweep.dir=there", "hydra.verbose=true", "hydra.mode=MULTIRUN")

    assert job.folder == Path.cwd() / "there" / "resnet18-finetune-s0"
    assert [line for line in job.command if line.startswith("hydra.")] == [
        "hydra.verbose=true", f"hydra.run.dir='{job.folder}'", "hydra.mode=RUN",
    ]  # fmt: skip


def test_plan__devices_and_processes() -> None:
    jobs = plan_of("trainer.devices=1,2,auto", available=4)

    assert [(job.needs, job.processes) for job in jobs] == [(1, 1), (2, 2), (1, 1)]


REFUSED: dict[str, tuple[list[str], str]] = {
    "same-folder": (["name=same", "seed=0,1"], r"Two jobs would share the folder .*same.*seed=0.*seed=1"),
    "same-job": (["seed=0,0"], "Two jobs would share the folder"),
    "out-of-range": (["optimizer.lr=0.1,-1"], r"Expected `optimizer\.lr` to be greater than 0"),
    "devices": (["seed=0,1", "trainer.devices=[0,1]"], "the launcher chooses which"),
    "too-few": (["seed=0,1", "trainer.devices=3"], "at least 3 devices"),
    "launcher": (["seed=0,1", "launcher.jobs=0"], r"Expected `launcher\.jobs` to be at least 1"),
}


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_plan__refused_before_any_job_starts(overrides: list[str], message: str) -> None:
    with pytest.raises(CompactHydraException, match=f"(?s){message}.*No job was started"):
        plan_of(*overrides, available=2)


def test_plan__every_problem_once() -> None:
    with pytest.raises(CompactHydraException) as caught:
        plan_of("seed=0,1", "optimizer.lr=-1,-2", "data.test_fraction=2")

    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines)) == 4


def leave_run(job: SweepJob, overrides: Sequence[str], results: bool) -> None:
    """Write what a run of the job leaves, finished or cut."""
    (job.folder / "checkpoints").mkdir(parents=True)
    active = GlobalHydra.instance().is_initialized()
    with nullcontext() if active else hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = hydra.compose("train", [*BASE, *overrides])
    config.name = job.name
    (job.folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (job.folder / "checkpoints" / "last.ckpt").touch()
    if results:
        (job.folder / "results.json").write_text("{}")


def test_plan__second_start() -> None:
    sweep = ("optimizer.lr=0.1,0.2,0.3", "launcher.jobs=2")
    first, second, _ = plan_of(*sweep)
    leave_run(first, ["optimizer.lr=0.1"], results=True)
    leave_run(second, ["optimizer.lr=0.2"], results=False)

    assert [job.state for job in plan_of(*sweep)] == ["skipped", "waiting", "waiting"]
    assert [job.state for job in plan_of(*sweep, "force=true")] == ["waiting"] * 3
    assert (first.folder / "results.json").exists(), "only the job itself clears its folder"


@pytest.mark.parametrize("results", [True, False], ids=["finished", "cut"])
def test_plan__folder_of_another_run(results: bool) -> None:
    job, _ = plan_of("seed=0,1")
    leave_run(job, ["seed=0", "optimizer.lr=0.5"], results)

    with pytest.raises(
        CompactHydraException, match=rf"{job.name} holds a run with other settings .optimizer\.lr: 0\.5"
    ):
        plan_of("seed=0,1")
    assert [job.state for job in plan_of("seed=0,1", "force=true")] == ["waiting", "waiting"]


TEXTS = ["plain", "it's", "back\\slash", "\\'", "end\\", "a,b=[c]", "ü ", "a\\\\'"]


@pytest.mark.parametrize("text", TEXTS)
def test_quoted__stands_for_itself(text: str) -> None:
    assert OverridesParser.create().parse_override(f"key={quoted(text)}").value() == text


class Recorded:
    """Stands for the report."""

    def __init__(self, error: Exception | None = None) -> None:
        self.folders: list[Path] = []
        self.error = error

    def __call__(self, folder: Path) -> None:
        self.folders.append(folder)
        if self.error:
            raise self.error


@pytest.mark.parametrize("error", [None, ValueError("no report")], ids=["works", "fails"])
def test_bookkeeper__report_after_each_job(
    error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Recorded(error)
    monkeypatch.setattr(launcher, "refresh_report", report)
    jobs = [SweepJob(name, tmp_path / name, [], []) for name in ("a", "b")]
    with LiveView(jobs, console) as view:
        keeper = Bookkeeper(jobs, view, Manifest(tmp_path, []))
        keeper.started(jobs[0])
        keeper.tick()
        assert report.folders == []
        jobs[0].state = "done"
        keeper.ended(jobs[0], [])
        keeper.tick()
        keeper.tick()
    assert report.folders == [tmp_path]
    assert ("no report" in capsys.readouterr().out) == (error is not None)
    entries = json.loads((tmp_path / "sweep.json").read_text())["jobs"]
    assert [entry["state"] for entry in entries] == ["done", "waiting"]


def test_job_returns__errors_of_what_is_not_finished(tmp_path: Path) -> None:
    jobs = [SweepJob(name, tmp_path / name, [f"seed={name}"], []) for name in ("0", "1", "2")]
    for job, state in zip(jobs, ("done", "skipped", "failed"), strict=True):
        job.state = cast("Any", state)
        job.folder.mkdir()
        (job.folder / "results.json").write_text('{"accuracy": 0.5}')

    returns = job_returns(jobs)

    assert [result.status for result in returns] == [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED]
    assert returns[0].return_value == {"accuracy": 0.5}
    with pytest.raises(CompactHydraException, match="1 of 3 jobs are not finished: 2"):
        _ = returns[2].return_value


def test_tell_end__names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [SweepJob("a", tmp_path / "a", [], [], state="failed", reason="killed by SIGKILL")]

    Manifest(tmp_path, []).write(jobs)
    tell_end(jobs, tmp_path)

    out = capsys.readouterr().out
    assert "failed: a: killed by SIGKILL" in out
    assert "0 of 1" in out


def submitted(starts: list[Sequence[str]], *overrides: str, killed: bool = False) -> list[JobReturn]:
    """Submit a sweep over two learning rates to a scheduler that fails jobs of rate 0.2 or, `killed`, tells nothing."""

    def start(lines: Sequence[Sequence[str]]) -> list[JobReturn]:
        starts.extend(lines)
        returns = []
        for line in lines:
            result = JobReturn(status=JobStatus.COMPLETED)
            if "optimizer.lr=0.2" in line:
                result.status, result.return_value = JobStatus.FAILED, ValueError("no such thing")
            else:
                name = parsed(line[-1]).value()
                leave_run(SweepJob(str(name), Path("outputs/sweeps/adhoc", str(name)), [], []), line[2:-1], True)
            returns.append(result)
        if killed:
            raise RuntimeError("a job was killed")
        return returns

    with composed("optimizer.lr=0.1,0.2", *overrides) as (loader, master, batch):
        return submit(start, loader, master, batch)


@pytest.mark.parametrize("killed", [False, True], ids=["returns", "raises"])
def test_submit__all_but_the_finished(killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "refresh_report", lambda folder: None)
    monkeypatch.setattr(launcher, "tell_report", lambda folder: None)
    first: list[Sequence[str]] = []
    second: list[Sequence[str]] = []

    returns = submitted(first, "hydra.verbose=true", killed=killed)
    submitted(second, killed=killed)

    names = [f"resnet18-finetune-s0-lr{rate}" for rate in (0.1, 0.2)]
    assert first[0] == [*BASE, "optimizer.lr=0.1", f"name='{names[0]}'"]
    assert [line[-1] for line in second] == [f"name='{names[1]}'"]
    assert [result.status for result in returns] == [JobStatus.COMPLETED, JobStatus.FAILED]
    content = json.loads(Path("outputs/sweeps/adhoc/sweep.json").read_text())["jobs"]
    assert [(entry["name"], entry["state"]) for entry in content] == [(names[0], "skipped"), (names[1], "failed")]
    assert content[1]["reason"] == (
        "the logs below .submitit in the sweep's folder say why" if killed else "no such thing"
    )


# A whole multirun in one process, its jobs replaced by a script that leaves results.
WHOLE = """
import sys
from brain_tumor_tl import launcher
real = launcher.make_job
script = "import sys; from pathlib import Path; Path(sys.argv[1], 'results.json').write_text(sys.argv[2])"
def replaced(*arguments):
    job = real(*arguments)
    job.command = [sys.executable, "-S", "-c", script, str(job.folder), "{}"]
    return job
launcher.make_job = replaced
launcher.tell_report = lambda folder: print("table of", folder.name)
launcher.refresh_report = lambda folder: None
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
