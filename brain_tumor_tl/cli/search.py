"""Search: the best settings by Optuna, each trial one single run in a process of its own, as in a sweep."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import setup_globals
from hydra.errors import CompactHydraException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from brain_tumor_tl.cli.checks import search_problems
from brain_tumor_tl.cli.launcher import Bookkeeper, make_folder, processors, say, shown, tell_report
from brain_tumor_tl.cli.multirun import hydra_config, of_single_run, parsed, plan
from brain_tumor_tl.console import console
from brain_tumor_tl.reporting.leaderboard import percent
from brain_tumor_tl.run.folder import differences, has_effect, settings_with_effect
from brain_tumor_tl.sweep.devices import Device, devices_needed, visible_devices
from brain_tumor_tl.sweep.leases import Leases, lease_folder
from brain_tumor_tl.sweep.live import LiveView, final_accuracy
from brain_tumor_tl.sweep.manifest import Manifest, SweepJob
from brain_tumor_tl.sweep.queue import Queue, room, share_of_threads
from brain_tumor_tl.sweep.search.search_space import Parameter, corners

if TYPE_CHECKING:
    from brain_tumor_tl.sweep.search.study import Trials
    from brain_tumor_tl.sweep.search.trial_source import Feed

EXTRA = "A search needs Optuna: pip install 'brain_tumor_tl[search]'."
OF_A_SEARCH = ("search", "launcher", "sweep", "name", "force")  # overrides that a single run has no use for
EXAMPLE = "Give at least one key several, such as 'optimizer.lr=tag(log,interval(1e-5,1e-2))' or data.batch_size=16,32."


def search(loader: ConfigLoader, master: DictConfig, lines: Sequence[str]) -> float | None:
    """Search as configured, and return the best value, None where no trial is finished.

    Args:
        loader: Composes configurations from the YAML files of the command.
        master: The configuration of the search.
        lines: The overrides, spaces among them, later ones over earlier ones.

    Raises:
        CompactHydraException: The search can't be started as it is, or trials failed.
    """
    setup_globals()
    try:
        from brain_tumor_tl.sweep.search import study as _  # noqa: F401  # brings Optuna, which an extra installs
    except ImportError as error:
        raise CompactHydraException(f"{EXTRA} ({error})") from error
    overrides = list({o.key_or_group: o for o in OverridesParser.create(loader).parse_overrides(list(lines))}.values())
    space = [parameter_of(override) for override in overrides if override.is_sweep_override()]
    fixed = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
    planner = Planner(loader, master, fixed)
    refuse(planner, space)
    with alone_in(make_folder(master)) as folder:
        return run(planner, space, folder)


class Planner:
    """Makes the jobs of trials.

    Args:
        loader: Composes configurations.
        master: The configuration of the search.
        fixed: The overrides that every trial has.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, fixed: Sequence[str]) -> None:
        self.loader, self.master, self.fixed = loader, master, list(fixed)
        self.pool: list[Device] = list(visible_devices(os.environ))

    def jobs(self, trials: Sequence[Sequence[str]]) -> list[SweepJob]:
        """Return the jobs of some trials.

        Raises:
            HydraException: They can't run as they are.
        """
        most = self.master.launcher.devices_per_job
        lines = [[*self.fixed, *overrides] for overrides in trials]
        return plan(self.loader, self.master, lines, lambda trainer: devices_needed(trainer, most, len(self.pool)))

    def job(self, overrides: Sequence[str]) -> SweepJob:
        """Return the job of a trial.

        Raises:
            ValueError: It can't run as it is.
        """
        try:
            (job,) = self.jobs([overrides])
        except HydraException as error:
            raise ValueError(str(error).removesuffix("\nNo job was started.")) from error
        return job

    def settings(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the flat settings of a trial that its figures depend on."""
        config = self.loader.load_sweep_config(self.master, [*of_single_run(self.master), *self.fixed, *overrides])
        with hydra_config(config):
            with open_dict(config):
                config.pop("hydra")
            return settings_with_effect(cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True)))


def parameter_of(override: Override) -> Parameter:
    """Return what an override of several values says, as a part of the space."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None
        assert high is not None
        whole = isinstance(low, int) and isinstance(high, int)
        return Parameter(key, "integer" if whole else "float", low, high, log="log" in value.tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        numbers = list(value.range())
        if len(numbers) > 1:
            numbers = sorted(numbers)
            whole = all(isinstance(number, int) for number in numbers)
            # The last number in place of the end, which a range leaves out.
            return Parameter(key, "integer" if whole else "float", numbers[0], numbers[-1], step=abs(value.step))
    return Parameter(key, "choice", choices=tuple(override.sweep_string_iterator()))


def refuse(planner: Planner, space: Sequence[Parameter]) -> None:
    """Refuse, before anything starts, what can't be searched.

    Raises:
        CompactHydraException: Everything that is wrong.
    """
    master = planner.master
    problems = search_problems(master, [parameter.name for parameter in space])
    problems += [problem for parameter in space if (problem := parameter.problem())]
    if not space:
        problems.append(f"Expected a space to search, got one value for each key. {EXAMPLE}")
    without = [parameter.name for parameter in space if not has_effect(parameter.name)]
    problems += [f"There is nothing to search in `{name}`: no figure of a run depends on it." for name in without]
    launcher = master.hydra.runtime.choices["hydra/launcher"]
    if launcher != "local":
        problems.append(f"A search runs on this machine, with hydra/launcher=local, got {launcher}.")
    if problems:
        raise CompactHydraException("\n".join([*problems, "No trial was started."]))
    planner.jobs(corners(space))


@contextmanager
def alone_in(folder: Path) -> Iterator[Path]:
    """Hold a sweep's folder for this search alone.

    Raises:
        CompactHydraException: Another search runs in it.
    """
    lock = FileLock(folder / ".search.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CompactHydraException(
            f"Another search runs in {shown(folder)}. Give this one a folder of its own, sweep=NAME; "
            "launcher.jobs=2 makes one search run two trials at a time."
        ) from error
    try:
        yield folder
    finally:
        lock.release()


def run(planner: Planner, space: Sequence[Parameter], folder: Path) -> float | None:
    """Run the trials that are wanted, and tell what came of them; return the best value.

    Raises:
        CompactHydraException: The folder holds another search, or trials failed.
    """
    trials = open_trials(planner, space, folder)
    manifest = Manifest(folder, ["brain-tumor-tl", "search", *sys.argv[1:]])
    earlier = trials.summary("to be resumed")
    say(f"Search    {trials.most} trials into {shown(folder)}, so far {earlier}; the best {trials.metric} counts")
    jobs: list[SweepJob] = []
    feed, stopped = run_trials(planner, trials, corners(space)[0], jobs, manifest)
    manifest.write(jobs)
    tell_end(planner, trials, folder)
    if stopped is not None:
        say(f"Stopped by {signal.Signals(stopped).name}; the same command goes on.")
        sys.exit(128 + stopped)
    if feed.failed:
        raise CompactHydraException(
            f"{len(feed.failed)} of {trials.most} trials failed: {', '.join(feed.failed)}. "
            "The same command runs them again."
        )
    best = trials.best()
    return None if best is None else best.value


def open_trials(planner: Planner, space: Sequence[Parameter], folder: Path) -> Trials:
    """Return the trials that a folder holds, none in a new one.

    Raises:
        CompactHydraException: The folder holds a search with other settings.
    """
    from brain_tumor_tl.sweep.search.study import FILE, Trials

    chosen = planner.master.search
    first = corners(space)[0]
    if planner.master.force:
        (folder / FILE).unlink(missing_ok=True)
    trials = Trials(
        folder,
        space,
        chosen.metric,
        most=chosen.trials,
        sampler=chosen.sampler,
        pruner=chosen.pruner,
        seed=chosen.seed,
        epochs=planner.job(first).max_epochs,
    )
    spaces = {f"the values of {parameter.name}": str(parameter) for parameter in space}
    refuse_another(trials, planner.settings(first) | spaces | {"the metric": chosen.metric}, folder)
    trials.repeat_failed()
    return trials


def refuse_another(trials: Trials, about: Mapping[str, Any], folder: Path) -> None:
    """Note what a new search is, or refuse to go on with one that was another.

    Raises:
        CompactHydraException: The folder holds a search with other settings.
    """
    before = trials.about()
    changed = differences(before, about) if before else []
    if changed:
        raise CompactHydraException(
            f"The folder {shown(folder)} holds a search with other settings ({', '.join(changed)}). Nothing was "
            "changed. Give this search another folder, sweep=NAME, or begin anew in its place with force=true."
        )
    trials.note(about)


def run_trials(
    planner: Planner, trials: Trials, first: Sequence[str], jobs: list[SweepJob], manifest: Manifest
) -> tuple[Feed, int | None]:
    """Run the trials side by side; return what fed the queue, and the signal that stopped it, None where none did."""
    from brain_tumor_tl.sweep.search.trial_source import Feed

    chosen = planner.master.launcher
    most = room([planner.job(first)], chosen.jobs, planner.pool, chosen.jobs_per_device)
    feeds: list[Feed] = []
    with (
        tempfile.TemporaryDirectory() as private,
        LiveView(jobs, console, lambda: feeds[0].headline() if feeds else "") as view,
    ):
        leases = Leases(planner.pool, lease_folder(os.environ, Path(private)), chosen.jobs_per_device)
        keeper = Bookkeeper(jobs, view, manifest)
        feed = Feed(trials, planner.job, jobs, keeper, view.say)
        feeds.append(feed)
        threads = share_of_threads(min(most, trials.most), processors())
        queue = Queue([], leases, most, feed, threads=threads, fail_fast=chosen.fail_fast, source=feed.next)
        stopped = queue.run()
        keeper.refresh()
    return feed, stopped


def tell_end(planner: Planner, trials: Trials, folder: Path) -> None:
    """Print the table of what is finished, the best trial, and the command that trains it."""
    tell_report(folder)
    say(f"Done      {trials.summary('to be resumed')} of {trials.most} trials in {shown(folder)}")
    best = trials.best()
    if best is None:
        return
    overrides, place = list(best.user_attrs["overrides"]), folder / best.user_attrs["run"]
    figure = f"{trials.metric} {best.value:.4f}, test accuracy {percent(final_accuracy(place))} %"
    say(f"Best      trial {best.number}: {' '.join(overrides)}")
    say(f"          {figure}, in {shown(place)}")
    say(f"Next      {again(planner, overrides)}")


def again(planner: Planner, overrides: Sequence[str]) -> str:
    """Return the command that trains with a trial's settings, for a shell."""
    source = planner.master.hydra.job.config_name
    command = ["brain-tumor-tl", "train"]
    if source not in ("train", "search"):
        command += ["--config-name", source]
    for place in planner.master.hydra.runtime.config_sources:
        if place.provider == "command-line":
            command += ["--config-dir", place.path]
    lines = [*planner.fixed, *overrides]
    return shlex.join(
        [*command, *(line for line in lines if parsed(line).key_or_group.split(".")[0] not in OF_A_SEARCH)]
    )
