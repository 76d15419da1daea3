"""Folder: whether a run's folder is new, or holds an interrupted, a finished or another run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from brain_tumor_tl.files import read_json, write_text
from brain_tumor_tl.reporting.discover import CARD, EVENTS, FAILURE, INSIDE_A_RUN, REFERENCE, RUN_PAGE, SPLIT_FOLDERS
from brain_tumor_tl.reporting.schema_1 import upgrade_settings

RUN_FILES = (
    "results.json", FAILURE, "config.yaml", "environment.json", "split.csv", "bad_files.csv", "metrics.csv",
    "predictions.csv", REFERENCE, "confusion_matrix.png", "curves.png", "reliability.png", "fit-profile.txt",
    "validate-profile.txt", "test-profile.txt", "lr_range.csv", "lr_range.png", "model.onnx", "model.pt2", RUN_PAGE,
    CARD, "projector_config.pbtxt",
)  # fmt: skip
# Keys that came after the first version, and the value that means what earlier runs did.
SINCE: dict[str, Any] = {
    "data.hierarchy": None,
    "method.train_from": None,
    "method.stages": None,
    "trainer.patience": None,
    "trainer.ema": None,
    "trainer.overfit_batches": None,
    "data.slices": "all",
    "method.views": 1,
    "optimizer.backbone_lr_factor": 1.0,
    "data.augment.gamma": 0.0,
    "data.augment.noise": 0.0,
    "data.augment.mixup": 0.0,
    "data.augment.cutmix": 0.0,
}
MAX_DIFFERENCES, LONGEST = 5, 200  # differences in an error, and characters of a value
STARTS = (
    yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken, yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken,
)  # fmt: skip
ENDS = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
DEEPEST = 50  # levels of settings
State = Literal["new", "cut", "longer", "done"]

# Keys and tables of keys that none of a run's numbers depends on.
WITHOUT_EFFECT = (
    "name", "sweep", "force", "confusion_every", "evidence", "data.cache_dir", "data.url",
    "trainer.enable_progress_bar", "trainer.keep_memory", "trainer.profiler", "trainer.detect_anomaly",
    "trainer.find_lr", "launcher", "search",
)  # fmt: skip
PATHS = ("data.root", "data.matlab", "data.labels", "data.patients", "model.weights")  # the same however written
LENGTHS = ("trainer.max_epochs", "trainer.max_steps")
LINEAR = "linear"  # the head of runs that don't name one
# Of a head that is fitted on all images at once; those of the Trainer limit its steps.
WITHOUT_EFFECT_ON_FITS = (
    "optimizer.", "scheduler.", "data.batch_size", "data.drop_last", "trainer.patience", "trainer.ema", *LENGTHS,
    "head.hidden", "head.dropout", "trainer.max_time",
)  # fmt: skip
SPLIT_KEYS = ("data.split", "data.fold_by")  # older runs have "runs" here, which is now called "series"


class OtherRunError(FileExistsError):
    """A folder holds a run with other settings.

    Args:
        folder: The folder.
        differences: The settings that differ, as `differences` returns them, or why they aren't known.
        cut_off: Whether the run in the folder could be resumed with these settings if its last checkpoint were there.
    """

    def __init__(self, folder: Path, differences: Mapping[str, str], cut_off: bool = False) -> None:
        self.keys, self.cut_off = tuple(differences), cut_off
        shown = ", ".join(list(differences.values())[:MAX_DIFFERENCES])
        what = f"holds a run with other settings ({shown})"
        if cut_off:
            what = f"holds a run that can't be resumed ({shown}), since its checkpoints/last.ckpt is missing"
        elif "" in differences:
            what = f"holds a run whose settings are not known, since {shown}; put that file back if you have a copy"
        super().__init__(
            f"The folder {folder} {what}. Nothing was changed. "
            "Give this run another name, name=NAME, or train anew in its place with force=true."
        )


def inspect_folder(folder: Path, config: Mapping[str, Any], force: bool) -> State:
    """Return what to do with a run's folder; with `force` an earlier run in it is removed.

    Args:
        folder: The run's folder; it may be absent.
        config: The settings of the run that is to start.
        force: Whether to train anew in any case.

    Returns:
        "new" to start, "cut" to resume from `checkpoints/last.ckpt`, "longer" to continue from it to more epochs or
        steps than the run in the folder was to have, "done" if its results are there.

    Raises:
        OtherRunError: The folder holds a run with other settings.
    """
    results = folder / "results.json"
    resumable = (folder / "checkpoints" / "last.ckpt").is_file()
    if not results.is_file() and not resumable:
        return "new"
    if force:
        clear(folder)
        return "new"
    begun = read_settings(folder / "config.yaml")
    changed = {"": "its config.yaml can't be read"} if begun is None else differences(begun, config)
    if results.is_file():  # while a run continues to more epochs, these are still those of the shorter one
        finished = read_settings(results) or begun
        if finished is not None and not differences(finished, config):
            return "done"
    longer = begun is not None and is_longer(begun, config, changed)
    if changed and not (longer and resumable):
        raise OtherRunError(folder, changed, cut_off=longer)
    if not resumable:
        return "done"
    if is_fitted(config):  # in seconds; its checkpoint doesn't have what cross-validation found
        clear(folder)
        return "new"
    return "longer" if changed else "cut"


def is_longer(before: Mapping[str, Any], after: Mapping[str, Any], changed: Iterable[str]) -> bool:
    """Tell whether a run is the same as an earlier one with more epochs or steps, so that it can go on from there.

    It can't if its learning rates were planned for the shorter run.

    Args:
        before: The settings of the earlier run.
        after: The settings of the run that is to start.
        changed: The keys in which they differ.
    """
    old, new = flat(before), flat(after)
    if is_planned(new) or not set(changed) <= set(LENGTHS):
        return False
    limits = [[math.inf if table[key] == -1 else table[key] for key in LENGTHS] for table in (old, new)]
    return all(longer >= shorter for shorter, longer in zip(*limits, strict=True))


def is_fitted(settings: Mapping[str, Any]) -> bool:
    """Tell whether a run's head is fitted, which has a grid of hyperparameters, instead of trained by gradients."""
    return bool((settings.get("head") or {}).get("grid"))


def is_planned(settings: Mapping[str, Any]) -> bool:
    """Tell whether a run's learning rates depend on its number of steps.

    >>> is_planned({"scheduler.name": "OneCycleLR", "scheduler.options.total_steps": "auto"})
    True
    """
    return any(value == "auto" for key, value in settings.items() if key.startswith("scheduler.options."))


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings in an earlier run's config.yaml or results.json; None if they are absent or can't be read."""
    try:
        is_json = path.suffix == ".json"
        settings = read_json(path).get("config") if is_json else read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return settings if isinstance(settings, dict) else None


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, without running code from it.

    A run writes no references; with them a file of a few lines can stand for more than memory holds.

    Raises:
        ValueError: It has references, is deeper than any settings, or is no UTF-8.
        yaml.YAMLError: It is no YAML.
    """
    text, depth = path.read_text(encoding="utf-8"), 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        depth += isinstance(token, STARTS) - isinstance(token, ENDS)
        if depth > DEEPEST or isinstance(token, yaml.AliasToken):
            raise ValueError(f"Expected settings of at most {DEEPEST} levels without references in {path}.")
    return yaml.safe_load(text)


def note_failure(folder: Path, error: Exception) -> None:
    """Keep why a run failed in its folder; remove a folder that holds no run, since the run never began.

    Args:
        folder: The run's folder.
        error: Why; a refusal to touch another run's folder leaves that as it is.
    """
    if (folder / "config.yaml").is_file() or (folder / "checkpoints").is_dir():
        if not isinstance(error, OtherRunError) and not (folder / "results.json").is_file():
            write_text(folder / FAILURE, f"{error or type(error).__name__}\n")
        return
    for name in ("train.log", "run.lock"):
        (folder / name).unlink(missing_ok=True)
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Remove a folder if it is empty, and the folders above that are empty then."""
    while folder.is_dir() and folder != Path.cwd() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def clear(folder: Path) -> None:
    """Remove the files of an earlier run, `results.json` first, so that a half-cleared run never looks finished.

    `train.log` stays, since the run that is about to start writes to it, and so do files that no run writes.
    """
    for name in RUN_FILES:
        (folder / name).unlink(missing_ok=True)
    for name in INSIDE_A_RUN:
        shutil.rmtree(folder / name, ignore_errors=True)
    for place in (folder, *(folder / name for name in SPLIT_FOLDERS)):
        for path in place.glob(EVENTS):
            path.unlink()
        if place != folder and place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the digest of the settings that a run's numbers depend on.

    Args:
        config: The run's settings, resolved, as plain dicts and lists.
    """
    from brain_tumor_tl.cache import digest_of  # imports NumPy, which `--help` need not wait for

    return digest_of(settings_with_effect(config))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings with an effect that differ, by key, as `key: before -> after`."""
    old, new = SINCE | settings_with_effect(before), SINCE | settings_with_effect(after)
    keys = [key for key in {**old, **new} if comparable(key, old.get(key)) != comparable(key, new.get(key))]
    return {key: f"{key}: {str(old.get(key))[:LONGEST]} -> {str(new.get(key))[:LONGEST]}" for key in keys}


def comparable(key: str, value: Any) -> str:
    """Return a setting's value as text that is equal for equal values: a path in one form, however it is written."""
    if key in PATHS and isinstance(value, str):
        return str(Path(value).expanduser().resolve())
    return repr(value)  # one batch, 1, is not all of them, 1.0


def settings_with_effect(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a run's numbers depend on, as one table with dotted keys."""
    data = config.get("data")
    if isinstance(data, Mapping) and "patients" in data and "intensity" not in data:  # of an older version
        config = upgrade_settings(config)
    table = {key: value for key, value in flat(config).items() if has_effect(key)}
    if not table.get("head.backbones") and table.get("head.name", LINEAR) == LINEAR:  # as before there were others
        table = {key: value for key, value in table.items() if not key.startswith("head.")}
    elif is_fitted(config):
        table = {key: value for key, value in table.items() if not key.startswith(WITHOUT_EFFECT_ON_FITS)}
    return table | {key: "series" for key in SPLIT_KEYS if table.get(key) == "runs"}


def has_effect(key: str) -> bool:
    """Tell whether a run's numbers depend on a key.

    >>> has_effect("seed"), has_effect("force"), has_effect("launcher.jobs")
    (True, False, False)
    """
    return not any(f"{key}.".startswith(f"{path}.") for path in WITHOUT_EFFECT)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one table with dotted keys.

    >>> flat({"a": {"b": 1}})
    {'a.b': 1}
    """
    if not isinstance(config, Mapping) or not config:
        return {prefix.rstrip("."): config}
    return {k: v for key, value in config.items() for k, v in flat(value, f"{prefix}{key}.").items()}
