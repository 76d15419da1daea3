"""Multirun: what a multirun's command line becomes, and what is refused before any job starts."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from brain_tumor_tl.cli.command import checked_line
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.help import composed
from brain_tumor_tl.cli.multirun import plan_jobs
from brain_tumor_tl.cli.overrides import note_old_name, unresolved
from brain_tumor_tl.sweep.devices import Device
from brain_tumor_tl.sweep.manifest import SweepJob

BASE = ("data.source=folder", "data.root=/nowhere")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = HydraConfig.instance()
    monkeypatch.setattr(settings, "cfg", settings.cfg)  # put back, or later tests would be jobs of these multiruns


def values_of(override: Override) -> list[str]:
    """Return an override for each of its values."""
    if not override.is_sweep_override():
        return [override.input_line or ""]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def plan_of(*overrides: str, name: str = "train", available: int = 0) -> list[SweepJob]:
    """Return the jobs of a command line, as a launcher gets them from Hydra's own sweeper."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        setup_globals()
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(name, [*BASE, *overrides], RunMode.MULTIRUN)
        params = OmegaConf.select(master, "hydra.sweeper.params") or {}
        lines = [f"{key}={value}" for key, value in params.items()] + unresolved(master.hydra.overrides.task)
        swept = OverridesParser.create(loader).parse_overrides(lines)
        batch = list(itertools.product(*map(values_of, swept)))
        return plan_jobs(loader, master, batch, [Device(str(number), "") for number in range(available)])


def test_plan_jobs__the_grid() -> None:
    jobs = plan_of(name="grid")

    assert len({job.name for job in jobs}) == len(jobs) == 14
    assert {(job.model, job.method, job.seed, job.state) for job in jobs} >= {("vgg16", "frozen", 0, "waiting")}
    assert jobs[0].folder == Path.cwd() / "outputs" / "sweeps" / "grid" / "resnet18-frozen-s0"
    assert jobs[0].max_epochs == 100
    assert jobs[0].command == [
        sys.executable, "-m", "brain_tumor_tl", "train", "--config-name", "grid",
        "model=resnet18", "method=frozen", *BASE, "name='resnet18-frozen-s0'", "sweep='grid'",
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
def test_plan_jobs__names_follow_from_what_is_swept(overrides: list[str], names: list[str]) -> None:
    assert [job.name for job in plan_of(*overrides)] == names


def test_plan_jobs__pairs_through_experiments(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    for name, method, rate in (("gentle", "finetune", 1e-4), ("bold", "frozen", 1e-2)):
        lines = ["# @package _global_", "defaults:", f"  - override /method: {method}", "optimizer:", f"  lr: {rate}"]
        (folder / f"{name}.yaml").write_text("\n".join(lines))
    path = f"hydra.searchpath=[file://{tmp_path / 'mine'}]"

    jobs = plan_of("experiment=gentle,bold", path)

    assert [job.name for job in jobs] == ["resnet18-finetune-s0-gentle", "resnet18-frozen-s0-bold"]
    assert all(path.split("[")[0] in " ".join(job.command) for job in jobs)


def test_plan_jobs__hydras_own_settings() -> None:
    (job, _) = plan_of("seed=0,1", "hydra.sweep.dir=there", "hydra.verbose=true", "hydra.mode=MULTIRUN")

    assert job.folder == Path.cwd() / "there" / "resnet18-finetune-s0"
    assert [line for line in job.command if line.startswith("hydra.")] == [
        "hydra.verbose=true", f"hydra.run.dir='{job.folder}'", "hydra.mode=RUN",
    ]  # fmt: skip


def test_plan_jobs__devices_and_processes() -> None:
    jobs = plan_of("trainer.devices=1,2,auto", available=4)

    assert [(job.needs, job.processes) for job in jobs] == [(1, 1), (2, 2), (1, 1)]


REFUSED: dict[str, tuple[list[str], str]] = {
    "same-folder": (["name=same", "seed=0,1"], r"Two jobs would share the folder .*same.*seed=0.*seed=1"),
    "same-job": (["seed=0,0"], "Two jobs would share the folder"),
    "out-of-range": (["optimizer.lr=0.1,-1"], r"Expected `optimizer\.lr` to be greater than 0"),
    "devices": (["seed=0,1", "trainer.devices=[0,1]"], "the launcher assigns"),
    "too-few": (["seed=0,1", "trainer.devices=3"], "at least 3 devices"),
    "launcher": (["seed=0,1", "launcher.jobs=0"], r"Expected `launcher\.jobs` to be at least 1"),
}


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_plan_jobs__refused_before_any_job_starts(overrides: list[str], message: str) -> None:
    with pytest.raises(CompactHydraException, match=f"(?s){message}.*No job was started"):
        plan_of(*overrides, available=2)


def test_plan_jobs__every_problem_once() -> None:
    with pytest.raises(CompactHydraException) as caught:
        plan_of("seed=0,1", "optimizer.lr=-1,-2", "data.test_fraction=2")

    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines)) == 4


def leave_run(job: SweepJob, overrides: Sequence[str], results: bool) -> None:
    """Write what a run of the job leaves, finished or cut."""
    (job.folder / "checkpoints").mkdir(parents=True)
    config = composed([*BASE, *overrides])
    config.name = job.name
    (job.folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    (job.folder / "checkpoints" / "last.ckpt").touch()
    if results:
        (job.folder / "results.json").write_text("{}")


def test_plan_jobs__second_start() -> None:
    sweep = ("optimizer.lr=0.1,0.2,0.3", "launcher.jobs=2")
    first, second, _ = plan_of(*sweep)
    leave_run(first, ["optimizer.lr=0.1"], results=True)
    leave_run(second, ["optimizer.lr=0.2"], results=False)

    assert [job.state for job in plan_of(*sweep)] == ["skipped", "waiting", "waiting"]
    assert [job.state for job in plan_of(*sweep, "force=true")] == ["waiting"] * 3
    assert (first.folder / "results.json").exists(), "only the job itself clears its folder"


@pytest.mark.parametrize("results", [True, False], ids=["finished", "cut"])
def test_plan_jobs__folder_of_another_run(results: bool) -> None:
    named = ("seed=0,1", "sweep=mine")
    job, _ = plan_of(*named)
    leave_run(job, ["seed=0", "optimizer.lr=0.5"], results)

    with pytest.raises(
        CompactHydraException, match=rf"{job.name} holds a run with other settings .optimizer\.lr: 0\.5"
    ):
        plan_of(*named)
    assert [job.state for job in plan_of(*named, "force=true")] == ["waiting", "waiting"]


def test_plan_jobs__without_a_name_beside_another_run() -> None:
    job, _ = plan_of("seed=0,1")
    leave_run(job, ["seed=0", "optimizer.lr=0.5"], results=True)

    beside, _ = plan_of("seed=0,1")

    assert (beside.name, beside.folder) == (f"{job.name}-lr0.001", job.folder.with_name(f"{job.name}-lr0.001"))
    assert f"name='{beside.name}'" in beside.command
    assert f"hydra.run.dir='{beside.folder}'" in beside.command


SWEEPS = {
    "model-method": ["model=resnet18,vgg16", "method=frozen,finetune"],
    "lr-frozen": ["optimizer.lr=1e-3,1e-4", "method=frozen"],
    "recipe": ["recipe=study,onecycle", "trainer.max_epochs=3"],
    "seed-onecycle-max_epochs3": ["seed=0,1", "recipe=onecycle", "trainer.max_epochs=3"],
    "seed-split_grouped-batch_size8": ["seed=0,1", "data.split=grouped", "data.batch_size=8", "optimizer.lr=0.001"],
    "crossval-resnet18-finetune-series": ["experiment=crossval", "data.fold_by=series"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "overrides"), SWEEPS.items(), ids=list(SWEEPS))
def test_plan_jobs__a_sweep_is_named_after_what_it_varies_and_over_what(name: str, overrides: list[str]) -> None:
    first, *_ = plan_of(*overrides)

    base = "" if name.startswith("crossval") else "-source_folder-root_nowhere"
    assert sorted(first.folder.parent.name.split("-")) == sorted((name + base).split("-"))
    assert f"sweep='{first.folder.parent.name}'" in first.command


def test_plan_jobs__longer_jobs_go_on_in_their_folders_T20() -> None:
    first, second = plan_of("seed=0,1")
    leave_run(first, ["seed=0"], results=True)
    leave_run(second, ["seed=1"], results=False)

    longer = plan_of("seed=0,1", "trainer.max_epochs=200")

    assert [job.folder for job in longer] == [first.folder, second.folder]
    assert [job.state for job in longer] == ["waiting", "waiting"]


@pytest.mark.parametrize("root", ["mri/", "./mri", "{here}/mri"], ids=["slash", "dot", "absolute"])
def test_plan_jobs__one_path_in_several_forms_is_one_sweep_D24(root: str) -> None:
    first, _ = plan_of("seed=0,1", "data.root=mri")
    leave_run(first, ["seed=0", "data.root=mri"], results=True)

    again, _ = plan_of("seed=0,1", f"data.root={root.format(here=Path.cwd())}")

    assert (again.folder, again.state) == (first.folder, "skipped")


def test_plan_jobs__paths_with_brackets_are_a_job_each_S01() -> None:
    flag, line = checked_line(["-m", "data.root=D/mri (1),D/mri (2)"])

    jobs = plan_of(line)

    assert flag == "-m"
    roots = [OmegaConf.select(composed([*job.overrides]), "data.root") for job in jobs]
    assert roots == ["D/mri (1)", "D/mri (2)"]
    assert len({job.folder for job in jobs}) == 2


def test_plan_jobs__folders_by_number_S03() -> None:
    jobs = plan_of("seed=0,1", "hydra.sweep.subdir=${hydra.job.num}")

    assert [job.folder.name for job in jobs] == ["0", "1"]
    assert [job.name for job in jobs] == ["resnet18-finetune-s0", "resnet18-finetune-s1"]


def test_plan_jobs__old_name_of_the_series_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "old.yaml").write_text("# @package _global_\ndata:\n  split: runs\n")
    note_old_name.cache_clear()

    jobs = plan_of("experiment=old", "seed=0,1", f"hydra.searchpath=[file://{tmp_path / 'mine'}]")

    assert [job.name for job in jobs] == ["resnet18-finetune-s0-series", "resnet18-finetune-s1-series"]
    assert capsys.readouterr().err.count("`runs` is called `series` now") == 1
