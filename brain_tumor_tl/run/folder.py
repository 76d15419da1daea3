"""Folder: whether a run's folder is new, cut, finished, or another run's."""

from __future__ import annotations

import json
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

# Keys, and tables of keys, that change where a run is kept and what is shown of it, but no number that it gives.
WITHOUT_EFFECT = (
    "name", "sweep", "force", "confusion_every", "data.cache_dir", "data.url",
    "trainer.enable_progress_bar", "trainer.keep_memory", "trainer.profiler", "trainer.detect_anomaly", "launcher",
    "search",
)  # fmt: skip


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the digest of the settings that a run's figures depend on.

    Args:
        config: The run's settings, resolved, as plain dicts and lists.
    """
    content = json.loads(json.dumps(config))
    for path in WITHOUT_EFFECT:
        *tables, key = path.split(".")
        table = content
        for name in tables:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table.pop(key, None)
    return digest_of(content)


def inspect_folder(folder: Path, config: Mapping[str, Any], force: bool) -> State:
    """Return what to do with a run's folder; with `force` an earlier run in it is removed.

    Args:
        folder: The run's folder; it may be absent.
        config: The settings of the run that is to start.
        force: Train anew whatever is there.

    Returns:
        "new" to start, "cut" to go on from `checkpoints/last.ckpt`, "done" where `results.json` is there.

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
    if before is None or config_digest(before) != config_digest(config):
        what = "its config.yaml can't be read" if before is None else ", ".join(differences(before, config))
        raise FileExistsError(
            f"The folder {folder} holds a run with other settings ({what}). Nothing was changed. "
            "Give this run another name, name=NAME, or train anew in its place with force=true."
        )
    return "done" if done else "cut"


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings of an earlier run, None where its file is absent or holds something else."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return settings if isinstance(settings, dict) else None


def clear(folder: Path) -> None:
    """Remove what an earlier run wrote, `results.json` first, so that no half of it looks finished.

    `train.log` stays, for the run that is to start writes to it, and so does whatever no run has written.
    """
    for name in OF_A_RUN:
        (folder / name).unlink(missing_ok=True)
    for name in FOLDERS_OF_A_RUN:
        shutil.rmtree(folder / name, ignore_errors=True)


def differences(before: Any, after: Mapping[str, Any], most: int = 5) -> list[str]:
    """Return the first few settings that differ, as `key: before -> after`."""
    old, new = flat(before), flat(after)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key) and has_effect(key)]
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys[:most]]


def settings_with_effect(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return as one table the settings that a run's figures depend on."""
    return {key: value for key, value in flat(config).items() if has_effect(key)}


def has_effect(key: str) -> bool:
    """Tell whether a run's figures depend on a key.

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
