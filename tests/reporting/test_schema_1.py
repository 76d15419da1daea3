"""Schema 1: runs of the first version, written by it and shortened, are read and reported together with new ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.cli.report import make_report
from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.discover import discover_runs
from brain_tumor_tl.reporting.document import Report, as_html, as_markdown
from brain_tumor_tl.reporting.results_file import SCHEMA
from brain_tumor_tl.run.folder import flat

OLD = Path(__file__).with_name("schema_1")


def report_with(new: Path, old: str, folder: Path) -> Report:
    """Return the report of a new run and an old one, as if both were on the very same image files.

    The files of drawn images differ with the version of Pillow, so the old run gets the digest of the new one's.
    """
    shutil.copytree(OLD / old, folder / "old")
    shutil.copytree(new, folder / "new", ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    results = read_json(folder / "old" / "results.json")
    results["environment"]["digests"] = read_json(folder / "new" / "results.json")["environment"]["digests"]
    (folder / "old" / "results.json").write_text(json.dumps(results))
    return make_report([folder], folder)


def test_discover_runs__schema_1_has_the_names_of_schema_2() -> None:
    found = discover_runs([OLD])

    assert (len(found.runs), found.unfinished) == (3, [])
    series = next(run.results for run in found.runs if run.folder.name == "series")
    protocol, config = series["protocol"], series["config"]
    assert series["schema"] == SCHEMA == 2
    assert (protocol["split"], protocol["fold_by"]) == (config["data"]["split"], config["data"]["fold_by"])
    assert (protocol["split"], protocol["fold_by"]) == ("kfold", "series")
    assert protocol["title"] == "k-fold split of whole series, fold 1 of 5 counted from 0"
    assert (protocol["monitored"], protocol["best_chosen_on"]) == ("val", "val")
    assert (protocol["groups_in_several_splits"], protocol["patients_in_several_splits"]) == (0, None)
    before = read_json(OLD / "series" / "results.json")
    assert {key for key in before if before[key] != series[key]} == {"schema", "protocol", "config"}


def keys(results: Mapping[str, Any]) -> set[str]:
    """Return the dotted keys of the protocol and settings of a run."""
    found = set(flat({"protocol": results["protocol"], "config": results["config"]}))
    return {key for key in found if not key.startswith("protocol.missing_classes")}


def test_discover_runs__schema_1_has_no_key_that_a_new_run_lacks(finished_runs: Mapping[str, Path]) -> None:
    (new,) = discover_runs([finished_runs["frozen"]]).runs
    old = discover_runs([OLD / "seed_0"]).runs[0]

    assert len(keys(old.results)) > 80
    assert keys(old.results) - keys(new.results) == set()


def test_report__another_seed_of_schema_1_is_in_the_same_group(
    finished_runs: Mapping[str, Path], tmp_path: Path
) -> None:
    report = report_with(finished_runs["frozen"], "seed_1", tmp_path)

    (group,) = report.groups
    assert [run.results["seed"] for run in group.runs] == [0, 1]
    assert [run.folder.name for run in group.runs] == ["new", "old"]
    assert group.accuracy.count == 2


def test_report__a_run_of_schema_1_is_compared_on_the_same_test_images(
    finished_runs: Mapping[str, Path], tmp_path: Path
) -> None:
    report = report_with(finished_runs["finetune"], "seed_0", tmp_path)

    (compared,) = report.comparisons
    assert {one.run.folder.name for one in compared.runs} == {"new", "old"}
    assert compared.images == 13
    assert "Method with the highest accuracy for shufflenet_v2_x0_5: " in as_markdown(report)
    assert "shufflenet_v2_x0_5" in as_html(report)


@pytest.mark.parametrize("key", ["schema", "protocol"])
def test_discover_runs__damaged_schema_1_is_unreadable(key: str, tmp_path: Path) -> None:
    results = read_json(OLD / "seed_0" / "results.json")
    del results[key]
    (tmp_path / "results.json").write_text(json.dumps(results))

    (run,) = discover_runs([tmp_path]).unfinished
    assert (run.state, key in run.reason) == ("unreadable", True)
