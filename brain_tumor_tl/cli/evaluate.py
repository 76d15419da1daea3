"""Evaluate: finished runs on their own test split again, or on another data set."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from brain_tumor_tl.cli.checks import violation
from brain_tumor_tl.cli.command import checked_line
from brain_tumor_tl.cli.keys import declared, unknown_key
from brain_tumor_tl.cli.outcome import exit_status
from brain_tumor_tl.cli.overrides import parsed
from brain_tumor_tl.cli.parser import Parser
from brain_tumor_tl.console import console, log
from brain_tumor_tl.data.volumes import chosen_slices
from brain_tumor_tl.files import check_writable
from brain_tumor_tl.inference.run_folder import check_folders
from brain_tumor_tl.names import nearest
from brain_tumor_tl.reporting.discover import EVALUATIONS
from brain_tumor_tl.reporting.evaluations import (
    check_place,
    comparison_sentence,
    run_names,
    save_evaluation,
    sentences,
)
from brain_tumor_tl.reporting.tables import run_table

KEYS = ("root", "labels", "classes", "patients", "merge_scans", "on_bad_file", "slices", "cache_dir")  # of `data`
OWN = "own-test"  # name of the evaluation of the run's own test split


def main(arguments: Sequence[str]) -> int:
    """Evaluate the runs that the line names; return the exit status."""
    options = parse(arguments)
    return exit_status(lambda: evaluate(options, options.data), "Interrupted; the evaluation is not written.")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed line: `runs`, `data`, the values of its keys, and the flags; exit with 2 if it is wrong."""
    parser = Parser("evaluate")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--name")
    parser.add_argument("--keep-copies", action="store_true")
    parser.add_argument("--unchecked", action="store_true")
    parser.add_argument("--trained-on", type=lambda text: Path(text).expanduser())
    parser.add_device()
    options = parser.parse_intermixed_args(arguments)
    overrides = [word for word in options.words if "=" in word and not Path(word).is_dir()]
    options.runs = [Path(word).expanduser() for word in options.words if word not in overrides]
    if not options.runs:
        parser.error("expected the folder of a finished run, such as outputs/runs/NAME, got none")
    options.data = keys_of(parser, overrides)
    if options.name is not None and (Path(options.name).name != options.name or options.name in (".", "..")):
        parser.error(f"expected --name to be the name of a folder, got {options.name!r}")
    if options.data.get("root") is None and (options.keep_copies or options.unchecked or options.trained_on):
        parser.error("--keep-copies, --unchecked and --trained-on are for another data set: give data.root=PATH")
    return options


def keys_of(parser: Parser, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values of keys of `data`; exit with 2 if one is wrong, or is the run's own to say."""
    values, known = {}, [f"data.{key}" for key in KEYS]
    for name in (override.partition("=")[0].lstrip("+") for override in overrides):
        if name not in known and unknown_key(name):
            parser.error(f"there is no key {name}.{nearest(name, known)} Expected one of {', '.join(known)}")
    for override in checked_line(overrides):
        name = override.partition("=")[0].lstrip("+")
        key = name.removeprefix("data.")
        if name not in known:
            parser.error(f"the run has its own {name}; expected one of {', '.join(known)}")
        try:
            values[key] = parsed(override).value()
        except HydraException as error:
            parser.error(f"can't read {override}: {error}")
        if problem := violation(declared()[name], values[key]):
            parser.error(problem)
    return values


def evaluate(options: argparse.Namespace, data: Mapping[str, Any]) -> int:
    """Evaluate runs, write the evaluation to the folder of the first, and print it; return the exit status.

    Raises:
        ValueError: A run isn't finished, or the images don't fit.
        OSError: Images are absent, or a folder can't be written to.
    """
    check_folders(options.runs)
    source = source_of(data)
    name = options.name or default_name(options, source["root"])
    place = options.runs[0] / EVALUATIONS / name
    check_writable(place)
    if source["root"]:
        check_place(place, source["root"])
    from brain_tumor_tl.inference.evaluate import evaluate as found_by  # imports torch
    from brain_tumor_tl.inference.other_set import Source
    from brain_tumor_tl.inference.own_test import open_as_trained
    from brain_tumor_tl.run import record

    runs = [open_as_trained(folder, options.device) for folder in options.runs]
    for run in runs:
        of = f"weights of the {run.results['protocol']['accuracy_of']}"
        log.info(f"{'Run':<10}{run.name}: {of}, {run.precision} on {run.device}")
    cache = Path(data.get("cache_dir") or runs[0].results["config"]["data"]["cache_dir"]).expanduser()
    flags = {key: getattr(options, key) for key in ("trained_on", "keep_copies", "unchecked")}
    found = found_by(runs, Source(**source), cache, **flags)
    if (own := found.results["data_set"]["own"]) and not options.name:  # its images are at another place now
        name = default_name(options, None)
        place = options.runs[0] / EVALUATIONS / name
    results = {"schema": found.results["schema"], "name": name, **found.results, "environment": record.environment()}
    for title, sentence in sentences(results):
        log.info(f"{title:<10}{sentence}")
    console.print(run_table(results | {"name": run_names(results)}, "own test split" if own else name))
    if results["compared"]:
        log.info(f"{'Compared':<10}{comparison_sentence(results['compared'], len(found.paths))}")
    written = save_evaluation(place, results, found.paths, found.labels, found.probabilities, found.seen)
    log.info(f"{'Written':<10}{place}: {', '.join(written)}")
    return 0


def source_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Source`, paths in place of their texts.

    Raises:
        FileNotFoundError: The folder of the images is absent.
        ValueError: `data.slices` is no rule.
    """
    values = {"root": None, **{key: value for key, value in data.items() if key != "cache_dir"}}
    if values.get("slices") is not None:
        values["slices"] = str(values["slices"])
        chosen_slices(values["slices"], 1)
    paths = {key: Path(str(values[key])).expanduser() for key in ("root", "labels") if values.get(key) is not None}
    if "root" in paths and not paths["root"].is_dir():
        raise FileNotFoundError(
            f"Expected a folder of images at {paths['root']}, found none. Give data.root=PATH of the folder that holds "
            "the class folders."
        )
    return values | paths


def default_name(options: argparse.Namespace, root: Path | None) -> str:
    """Return the name of an evaluation: that of the images' folder, None for the run's own, and what else differs."""
    name = OWN if root is None else root.resolve().name
    name += "-with-copies" if root and options.keep_copies else ""
    name += "-unchecked" if root and options.unchecked else ""
    return name + (f"-mean-of-{len(options.runs)}" if len(options.runs) > 1 else "")
