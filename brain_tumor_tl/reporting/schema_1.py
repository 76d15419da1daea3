"""Schema 1: the results and settings of runs of the first version, upgraded to today's keys and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "watched": "monitored",
    "groups_on_two_sides": "groups_in_several_splits",
    "patients_on_two_sides": "patients_in_several_splits",
}
# Settings of schema 2 alone, and those with another default before, with values that change no number of an older run.
NEW_SETTINGS: dict[str, dict[str, Any]] = {
    "data": {
        "patients": "auto", "unknown_patients": "group", "merge_scans": False, "slices": "all", "intensity": "auto",
        "drop_last": "auto",
    },
    "scheduler": {"monitor": None},
    "trainer": {"cuda_graphs": False},
}  # fmt: skip
OLD_DEFAULTS = (("patients", None), ("cuda_graphs", "auto"))  # no GPU ran a graph with schema 1


def upgrade_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return results of schema 1 with the keys of schema 2, so that its runs can be in one group with new ones.

    >>> upgrade_results({"protocol": {"watched": "val", "split": "runs", "title": "split of whole runs"}})["protocol"]
    {'monitored': 'val', 'split': 'series', 'title': 'split of whole series'}
    """
    protocol = {RENAMED.get(key, key): value for key, value in results["protocol"].items()}
    if "title" in protocol:
        protocol["title"] = protocol["title"].replace("runs", "series")
    config = upgrade_settings(results.get("config") or {})
    return {**results, "protocol": runs_to_series(protocol), "config": config}


def upgrade_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run of schema 1 with the keys and words of schema 2."""
    upgraded = dict(config)
    for table, new in NEW_SETTINGS.items():
        given = runs_to_series(config.get(table) or {}).items()
        upgraded[table] = new | {key: value for key, value in given if (key, value) not in OLD_DEFAULTS}
    return upgraded


def runs_to_series(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the value `runs`, of `split` and `fold_by`, replaced by `series`."""
    return {key: "series" if value == "runs" else value for key, value in settings.items()}
