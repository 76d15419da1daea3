"""Sweeper: what `hydra/sweeper=search` does: Optuna proposes trials, and each is a single run in its own process."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import setup_globals
from hydra.errors import CompactHydraException, HydraException
from omegaconf import DictConfig

from brain_tumor_tl.cli.checks import named_classes, search_problems
from brain_tumor_tl.cli.launcher import Bookkeeper, open_manifest, run_queue, shown, tell_report
from brain_tumor_tl.cli.multirun import job_config, of_single_run, plan_jobs, settings_of, source_flags
from brain_tumor_tl.cli.overrides import parsed
from brain_tumor_tl.cli.run_names import raw_settings
from brain_tumor_tl.console import say
from brain_tumor_tl.run.folder import differences, has_effect, settings_with_effect
from brain_tumor_tl.sweep.devices import visible_devices
from brain_tumor_tl.sweep.live import final_accuracy, percent
from brain_tumor_tl.sweep.manifest import Manifest, SweepJob
from brain_tumor_tl.sweep.search.search_space import Parameter, corners

if TYPE_CHECKING:
    from brain_tumor_tl.sweep.search.study import Study

OF_A_SEARCH = ("search", "launcher", "sweep", "name", "force")  # overrides that a single run does not need


def search(loader: ConfigLoader, master: DictConfig, lines: Sequence[str]) -> float | None:
    """Search as configured, and return the best value, None if no trial is finished.

    Args:
        loader: Composes configurations from the YAML files of the command.
        master: The configuration of the search.
        lines: The overrides, including the search space; later ones win.

    Raises:
        CompactHydraException: The search can't be started as it is, or trials failed.
    """
    setup_globals()
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        hint = "A search needs Optuna: pip install 'brain_tumor_tl[search]'."
        raise CompactHydraException(f"{hint} ({error})") from error
    whole = Search(loader, master, lines)
    first = whole.check()
    manifest = open_manifest(master, "search")
    try:
        with FileLock(manifest.folder / ".search.lock", timeout=0):
            return whole.run(manifest, whole.open_study(manifest.folder, first.max_epochs), first)
    except Timeout as error:
        raise CompactHydraException(
            f"Another search runs in {shown(manifest.folder)}. Give this one another folder, sweep=NAME; "
            "launcher.jobs=2 makes one search run two trials at a time."
        ) from error


class Search:
    """One search: its space, and how its trials become jobs.

    Args:
        loader: Composes configurations.
        master: The configuration of the search.
        lines: The overrides, including the search space; later ones win.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, lines: Sequence[str]) -> None:
        self.loader, self.master = loader, master
        parsed_lines = OverridesParser.create(loader).parse_overrides(list(lines))
        overrides = list({override.key_or_group: override for override in parsed_lines}.values())
        self.space = [parameter_of(override) for override in overrides if override.is_sweep_override()]
        self.fixed = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
        self.pool = visible_devices(os.environ)

    def check(self) -> SweepJob:
        """Check, before anything starts, that the corners of the search space can run; return the first one.

        Raises:
            CompactHydraException: Everything that is wrong.
        """
        try:
            classes = named_classes(self.master.data)
        except (ValueError, OSError) as error:
            raise CompactHydraException(f"{error}\nNo trial was started.") from error
        problems = list(search_problems(self.master, classes, [parameter.name for parameter in self.space]))
        for parameter in self.space:
            if problem := parameter.problem():
                problems.append(problem)
            if not has_effect(parameter.name):
                problems.append(f"There is nothing to search in `{parameter.name}`: no result of a run depends on it.")
        if not self.space:
            example = "'optimizer.lr=tag(log,interval(1e-5,1e-2))' or data.batch_size=16,32"
            problems.append(f"Expected a search space, got one value for each key. Give several, such as {example}.")
        if "hydra.job" in (place := raw_settings(self.master.hydra.sweep)["subdir"]):
            numbers = f"got hydra.sweep.subdir={place}: a search that goes on has other numbers"
            problems.append(f"Expected folders of trials that don't depend on their numbers, {numbers}. Give name=.")
        launcher = self.master.hydra.runtime.choices["hydra/launcher"]
        if launcher != "local":
            problems.append(f"A search runs on this machine, with hydra/launcher=local, got {launcher}.")
        if problems:
            raise CompactHydraException("\n".join([*problems, "No trial was started."]))
        return self.jobs(corners(self.space))[0]

    def jobs(self, trials: Sequence[Sequence[str]]) -> list[SweepJob]:
        """Return the jobs of trials.

        Raises:
            HydraException: They can't run as they are.
        """
        return plan_jobs(self.loader, self.master, [[*self.fixed, *trial] for trial in trials], self.pool)

    def job(self, overrides: Sequence[str]) -> SweepJob:
        """Return the job of a trial.

        Raises:
            ValueError: It can't run as it is.
        """
        try:
            return self.jobs([overrides])[0]
        except HydraException as error:
            raise ValueError(str(error).removesuffix("\nNo job was started.")) from error

    def about(self) -> dict[str, Any]:
        """Return the settings of the search that its results depend on."""
        line = [*of_single_run(self.master), *self.fixed, *corners(self.space)[0]]
        with job_config(self.loader, self.master, line) as config:
            settings = settings_with_effect(settings_of(config))
        values = {f"the values of {parameter.name}": str(parameter) for parameter in self.space}
        return settings | values | {"the metric": self.master.search.metric}

    def open_study(self, folder: Path, epochs: int) -> Study:
        """Return the study in a folder, a new one if there is none.

        Raises:
            CompactHydraException: The folder holds a search with other settings.
        """
        from brain_tumor_tl.sweep.search.study import FILE, Study

        chosen, about = self.master.search, self.about()
        if self.master.force:
            (folder / FILE).unlink(missing_ok=True)
        how = {name: chosen[name] for name in ("metric", "sampler", "pruner", "seed")}
        study = Study(folder, self.space, max_trials=chosen.trials, epochs=epochs, **how)
        if changed := ", ".join(differences(study.first_settings(about), about).values()):
            raise CompactHydraException(
                f"The folder {shown(folder)} holds a search with other settings ({changed}). Nothing was "
                "changed. Give this search another folder, sweep=NAME, or start again in its place with force=true."
            )
        study.repeat_failed()
        return study

    def run(self, manifest: Manifest, study: Study, first: SweepJob) -> float | None:
        """Run the missing trials, and print the outcome; return the best value.

        Raises:
            CompactHydraException: Trials failed.
        """
        from brain_tumor_tl.sweep.search.trial_source import TrialSource

        earlier, folder = study.summary("to be resumed"), manifest.folder
        say(f"Search    {study.max_trials} trials into {shown(folder)}, so far {earlier}; best by {study.metric}")
        jobs: list[SweepJob] = []
        books = Bookkeeper(jobs, manifest)
        source = TrialSource(study, self.job, jobs, books)
        books.view.headline = source.headline
        limits, tell = self.master.hydra.launcher, partial(self.tell_end, folder, study)
        run_queue(books, self.pool, limits, [first] * study.max_trials, tell, source)
        if source.failed:
            names = f"{len(source.failed)} of {study.max_trials} trials failed: {', '.join(source.failed)}"
            raise CompactHydraException(f"{names}. The same command runs them again.")
        return best.value if (best := study.best()) else None

    def tell_end(self, folder: Path, study: Study) -> None:
        """Print the tables of the finished trials, the best one, and the command that trains it."""
        tell_report(folder)
        say(f"Done      {study.summary('to be resumed')} of {study.max_trials} trials in {shown(folder)}")
        if best := study.best():
            overrides, place = list(best.user_attrs["overrides"]), folder / best.user_attrs["run"]
            accuracy = percent(final_accuracy(place))
            say(f"Best      trial {best.number}: {' '.join(overrides)}")
            say(f"          {study.metric} {best.value:.4f}, test accuracy {accuracy} %, in {shown(place)}")
            say(f"Next      {self.train_command(overrides)}")

    def train_command(self, overrides: Sequence[str]) -> str:
        """Return the command that trains with a trial's settings, for a shell."""
        own = self.master.hydra
        name = [] if own.job.config_name in ("train", "search") else ["--config-name", own.job.config_name]
        lines = [*self.fixed, *overrides]
        kept = [line for line in lines if parsed(line).key_or_group.split(".")[0] not in OF_A_SEARCH]
        return shlex.join(["brain-tumor-tl", "train", *name, *source_flags(own), *kept])


def parameter_of(override: Override) -> Parameter:
    """Return the search space of an override with several values."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        low, high = cast("tuple[float, float]", (value.start, value.end))
        whole = isinstance(low, int) and isinstance(high, int)
        return Parameter(key, "integer" if whole else "float", low, high, log="log" in value.tags)
    if isinstance(value, RangeSweep) and not value.shuffle and len(numbers := sorted(value.range())) > 1:
        whole = all(isinstance(number, int) for number in numbers)
        # The last number, since a range excludes its end.
        return Parameter(key, "integer" if whole else "float", numbers[0], numbers[-1], step=abs(value.step))
    return Parameter(key, "choice", choices=tuple(override.sweep_string_iterator()))
