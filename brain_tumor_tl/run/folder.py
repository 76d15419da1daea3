"""Folder: whether a run's folder is new, or holds an interrupted, a finished or another run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from brain_tumor_tl.cache import digest_of

OF_A_RUN = (
    "results.json", "config.yaml", "environment.json", "split.csv", "bad_files.csv", "metrics.csv",
    "predictions.csv", "confusion_matrix.png", "curves.png", "reliability.png",
)  # fmt: skip
FOLDERS_OF_A_RUN = ("checkpoints", "tensorboard")
State = Literal["new", "cut", "done"]

# Keys and tables of keys that none of a run's numbers depends on.
WITHOUT_EFFECT = (
    "name", "sweep", "force", "confusion_every", "data.cache_dir", "data.url",
    "trainer.enable_progress_bar", "trainer.keep_memory", "trainer.profiler", "trainer.detect_anomaly", "launcher",
    "search",
)  # fmt: skip
SPLIT_KEYS = ("data.split", "data.fold_by")  # older runs have "runs" here, which is now called "series"


def inspect_folder(folder: Path, config: Mapping[str, Any], force: bool) -> State:
    """Return what to do with a run's folder; with `force` an earlier run in it is removed.

    Args:
        folder: The run's folder; it may be absent.
        config: The settings of the run that is to start.
        force: Whether to train anew in any case.

    Returns:
        "new" to start, "cut" to resume from `checkpoints/last.ckpt`, "done" if there is a `results.json`.

    Raises:
        FileExistsError: The folder holds a run with other settings.
    """
    done = (folder / "results.json").is_file()
    resumable = (folder / "checkpoints" / "last.ckpt").is_file()
    if not done and not resumable:
        return "new"
    if force:
        clear(folder)
        return "new"
    before = read_settings(folder / "config.yaml")
    changed = ["its config.yaml can't be read"] if before is None else differences(before, config)
    if changed:
        raise FileExistsError(
            f"The folder {folder} holds a run with other settings ({', '.join(changed)}). Nothing was changed. "
            "Give this run another name, name=NAME, or train anew in its place with force=true."
        )
    return "done" if done else "cut"


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of an earlier run; None if its file is absent or can't be read."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return settings if isinstance(settings, dict) else None


def clear(folder: Path) -> None:
    """Remove the files of an earlier run, `results.json` first, so that a half-cleared run never looks finished.

    `train.log` stays, since the run that is about to start writes to it, and so do files that no run writes.
    """
    for name in OF_A_RUN:
        (folder / name).unlink(missing_ok=True)
    for name in FOLDERS_OF_A_RUN:
        shutil.rmtree(folder / name, ignore_errors=True)


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the digest of the settings that a run's numbers depend on.

    Args:
        config: The run's settings, resolved, as plain dicts and lists.
    """
    return digest_of(settings_with_effect(config))


def differences(before: Mapping[str, Any], after: Mapping[str, Any], most: int = 5) -> list[str]:
    """Return the first settings with an effect that differ, as `key: before -> after`."""
    old, new = settings_with_effect(before), settings_with_effect(after)
    keys = [key for key in {**old, **new} if repr(old.get(key)) != repr(new.get(key))]  # one batch, 1, is not all, 1.0
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys[:most]]


def settings_with_effect(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a run's numbers depend on, as one table with dotted keys."""
    table = {key: value for key, value in flat(config).items() if has_effect(key)}
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
