"""Folder: new, interrupted, finished or another run's; and what a refusal and `force` leave in it."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from omegaconf import OmegaConf

from brain_tumor_tl.cli.help import composed
from brain_tumor_tl.cli.keys import declared
from brain_tumor_tl.reporting.discover import FAILURE
from brain_tumor_tl.run.folder import (
    WITHOUT_EFFECT,
    OtherRunError,
    clear,
    config_digest,
    differences,
    flat,
    has_effect,
    inspect_folder,
    note_failure,
    read_settings,
)

Settings = dict[str, Any]
MakeRun = Callable[..., Path]

WITH_EFFECT = [path for path in declared() if has_effect(path)]


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The settings of `brain-tumor-tl train`, resolved, as the run has them."""
    return cast("Settings", OmegaConf.to_container(composed([]), resolve=True))


def changed(settings: Settings, path: str, value: Any = "something else") -> Settings:
    """Return a copy with another value at a dotted key."""
    result = copy.deepcopy(settings)
    *tables, key = path.split(".")
    table = result
    for name in tables:
        table = table[name]
    assert key in table
    table[key] = value
    return result


@pytest.fixture
def make_run(tmp_path: Path, settings: Settings) -> MakeRun:
    """Write what a run leaves: `make_run(checkpoint=True, results=False, settings=...)`."""

    def make(checkpoint: bool, results: bool, settings: Mapping[str, Any] = settings) -> Path:
        folder = tmp_path / "run"
        (folder / "checkpoints").mkdir(parents=True)
        text = OmegaConf.to_yaml(OmegaConf.create(dict(settings)))
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        (folder / "train.log").write_text("a line\n")
        if checkpoint:
            (folder / "checkpoints" / "last.ckpt").write_bytes(b"weights")
        if results:
            (folder / "results.json").write_text("{}")
        return folder

    return make


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


STATES = {
    "nothing-yet": (False, False, "new"),
    "cut": (True, False, "cut"),
    "done": (True, True, "done"),
    "done-without-checkpoints": (False, True, "done"),
}


@pytest.mark.parametrize(("checkpoint", "results", "state"), STATES.values(), ids=STATES)
def test_inspect_folder__same_settings(
    checkpoint: bool, results: bool, state: str, make_run: MakeRun, settings: Settings
) -> None:
    folder = make_run(checkpoint, results)
    before = contents(folder)

    assert inspect_folder(folder, settings, force=False) == state
    assert contents(folder) == before


@pytest.mark.parametrize("force", [False, True], ids=["plain", "force"])
def test_inspect_folder__no_folder(force: bool, tmp_path: Path, settings: Settings) -> None:
    assert inspect_folder(tmp_path / "absent", settings, force) == "new"
    assert not (tmp_path / "absent").exists()


def test_inspect_folder__cut_before_the_first_checkpoint(make_run: MakeRun, settings: Settings) -> None:
    folder = make_run(False, False, changed(settings, "seed", 7))

    assert inspect_folder(folder, settings, force=False) == "new"


@pytest.mark.parametrize(("checkpoint", "results"), [(True, False), (True, True)], ids=["cut", "done"])
def test_inspect_folder__other_settings_are_refused(
    checkpoint: bool, results: bool, make_run: MakeRun, settings: Settings
) -> None:
    folder = make_run(checkpoint, results, changed(settings, "optimizer.lr", 0.01))
    before = contents(folder)

    with pytest.raises(FileExistsError, match=r"optimizer\.lr: 0\.01 -> 0\.001.*Nothing was changed.*force=true"):
        inspect_folder(folder, settings, force=False)
    assert contents(folder) == before


UNREADABLE = {
    "absent": None,
    "empty": b"",
    "list": b"- 1\n",
    "broken": b"seed: [1\n",
    "not-text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("results", [False, True], ids=["cut", "done"])
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_inspect_folder__unreadable_settings_are_refused(
    content: bytes | None, results: bool, make_run: MakeRun, settings: Settings
) -> None:
    folder = make_run(True, results)
    (folder / "config.yaml").unlink()
    if content is not None:
        (folder / "config.yaml").write_bytes(content)
    before = contents(folder)

    assert read_settings(folder / "config.yaml") is None
    with pytest.raises(FileExistsError, match=r"its config\.yaml can't be read.*Nothing was changed"):
        inspect_folder(folder, settings, force=False)
    assert contents(folder) == before


@pytest.mark.parametrize(("checkpoint", "results"), [(True, False), (True, True)], ids=["cut", "done"])
@pytest.mark.parametrize("seed", [0, 7], ids=["same", "other"])
def test_inspect_folder__force_clears_the_folder(
    checkpoint: bool, results: bool, seed: int, make_run: MakeRun, settings: Settings
) -> None:
    folder = make_run(checkpoint, results, changed(settings, "seed", seed))

    assert inspect_folder(folder, settings, force=True) == "new"
    assert contents(folder) == {"train.log": b"a line\n"}


def test_clear__leaves_what_no_run_wrote(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(True, True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "notes.txt").touch()

    clear(folder)

    assert sorted(path.name for path in folder.iterdir()) == ["link", "notes.txt", "train.log"]
    assert (tmp_path / "elsewhere" / "file").is_file()


def test_clear__removes_what_tensorboard_reads_and_no_more(make_run: MakeRun) -> None:
    folder = make_run(True, True)
    for place in ("", "train", "val"):
        (folder / place).mkdir(exist_ok=True)
        (folder / place / "events.out.tfevents.1.host.2.0").touch()
    (folder / "val" / "notes.txt").touch()

    clear(folder)

    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert left == ["train.log", "val", "val/notes.txt"]


def test_clear__half_done_looks_cut(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, ignore_errors: bool) -> None:
        raise KeyboardInterrupt

    folder = make_run(True, True)
    monkeypatch.setattr(shutil, "rmtree", interrupted)

    with pytest.raises(KeyboardInterrupt):
        clear(folder)
    assert not (folder / "results.json").exists()


@pytest.mark.parametrize("path", WITHOUT_EFFECT)
def test_config_digest__same_without_effect(path: str, settings: Settings) -> None:
    other = changed(settings, path)

    assert other != settings
    assert config_digest(other) == config_digest(settings)


@pytest.mark.parametrize("path", WITH_EFFECT)
def test_config_digest__differs_with_effect(path: str, settings: Settings) -> None:
    if path.startswith("head."):  # which a linear head doesn't go by
        settings = changed(settings, "head.name", "svm")
    assert config_digest(changed(settings, path)) != config_digest(settings)


def test_config_digest__every_key_is_one_or_the_other() -> None:
    tables = {path.rpartition(".")[0] for path in declared()}

    assert set(WITHOUT_EFFECT) <= set(declared()) | tables
    assert len(WITH_EFFECT) > 40
    assert not set(WITH_EFFECT) & set(WITHOUT_EFFECT)


def test_config_digest__same_as_before_there_was_a_launcher(settings: Settings) -> None:
    before = {key: value for key, value in settings.items() if key != "launcher"}

    assert config_digest(before) == config_digest(settings)
    assert differences(before, settings) == {}


@pytest.mark.parametrize("key", ["data.split", "data.fold_by"])
def test_config_digest__series_by_its_older_name(key: str, settings: Settings, make_run: MakeRun) -> None:
    older, newer = changed(settings, key, "runs"), changed(settings, key, "series")

    assert config_digest(older) == config_digest(newer) != config_digest(settings)
    assert differences(older, newer) == {}
    assert inspect_folder(make_run(True, True, older), newer, force=False) == "done"


def test_differences__one_batch_is_not_all_batches(settings: Settings) -> None:
    one, whole = (changed(settings, "trainer.limit_val_batches", limit) for limit in (1, 1.0))

    assert list(differences(one, whole).values()) == ["trainer.limit_val_batches: 1 -> 1.0"]


VALUES = {
    "small": ("optimizer.lr", 1e-05),
    "text-like-a-number": ("model.weights", "1e-5"),
    "text-like-a-bool": ("data.classes", [["no", "yes"], ["null", "1_000"]]),
    "open-table": ("model.options", {"dropout": 0.5, "nested": {"flag": True, "nothing": None}}),
    "letters": ("data.root", "/données/脳"),
}


@pytest.mark.parametrize(("path", "value"), VALUES.values(), ids=VALUES)
def test_config_digest__survives_the_file(path: str, value: Any, make_run: MakeRun, settings: Settings) -> None:
    before = changed(settings, path, value)
    folder = make_run(True, True, before)

    assert read_settings(folder / "config.yaml") == before
    assert inspect_folder(folder, before, force=False) == "done"


@pytest.mark.parametrize("content", [{}, {"data": None}, {"trainer": 5}], ids=["empty", "null", "number"])
def test_config_digest__settings_of_another_shape(content: Settings) -> None:
    assert len(config_digest(content)) == 64


def test_config_digest__leaves_its_argument_alone(settings: Settings) -> None:
    before = copy.deepcopy(settings)

    config_digest(settings)

    assert settings == before


def test_differences__by_key(settings: Settings, tmp_path: Path) -> None:
    other = settings
    paths = ("seed", "name", "data.root", "data.image_size", "model.name", "optimizer.lr", "trainer.devices")
    for path in paths:
        other = changed(other, path, 3)

    found = differences(settings, other)

    assert list(found) == [path for path in paths if path != "name"]
    assert list(found.values())[:2] == ["seed: 0 -> 3", f"data.root: {settings['data']['root']} -> 3"]
    assert differences(settings, settings) == {}
    told = str(OtherRunError(tmp_path, found))
    assert "optimizer.lr" in told
    assert "trainer.devices" not in told, "five are enough"


def test_differences__key_of_one_side_only() -> None:
    assert list(differences({"a": {"b": 1}}, {"a": {"c": 2}}).values()) == ["a.b: 1 -> None", "a.c: None -> 2"]


@pytest.mark.parametrize("form", ["mri/", "./mri", "../{here}/mri", "{whole}"], ids=["slash", "dot", "up", "absolute"])
@pytest.mark.parametrize("key", ["data.root", "model.weights"])
def test_inspect_folder__one_path_in_several_forms_is_one_run_D24(
    key: str, form: str, make_run: MakeRun, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_run(True, True, changed(settings, key, "mri"))
    same = form.format(here=tmp_path.name, whole=tmp_path / "mri")

    assert inspect_folder(folder, changed(settings, key, same), force=False) == "done"
    with pytest.raises(OtherRunError, match=rf"{key}: mri -> other"):
        inspect_folder(folder, changed(settings, key, "other"), force=False)


# The settings of the run in the folder, of its results, and of the one that is to start; and what that may do.
LONGER: dict[str, tuple[Settings, Settings | None, Settings, str]] = {
    "finished": ({"trainer.max_epochs": 2}, {"trainer.max_epochs": 2}, {"trainer.max_epochs": 4}, "longer"),
    "interrupted": ({"trainer.max_epochs": 2}, None, {"trainer.max_epochs": 4}, "longer"),
    "steps": ({"trainer.max_steps": 5}, {"trainer.max_steps": 5}, {"trainer.max_steps": 9}, "longer"),
    "no-limit-of-steps": ({"trainer.max_steps": 5}, {"trainer.max_steps": 5}, {}, "longer"),
    "fewer-steps": ({}, {}, {"trainer.max_steps": 9}, "other"),
    "shorter": ({"trainer.max_epochs": 4}, {"trainer.max_epochs": 4}, {"trainer.max_epochs": 2}, "other"),
    "other-rate": ({}, {}, {"trainer.max_epochs": 200, "optimizer.lr": 1}, "other"),
    "going-on": ({"trainer.max_epochs": 4}, {"trainer.max_epochs": 2}, {"trainer.max_epochs": 4}, "cut"),
    "shorter-one-is-there": ({"trainer.max_epochs": 4}, {"trainer.max_epochs": 2}, {"trainer.max_epochs": 2}, "done"),
    "between": ({"trainer.max_epochs": 4}, {"trainer.max_epochs": 2}, {"trainer.max_epochs": 3}, "other"),
}


def with_values(settings: Settings, values: Settings) -> Settings:
    for path, value in values.items():
        settings = changed(settings, path, value)
    return settings


@pytest.mark.parametrize(("begun", "finished", "wanted", "state"), LONGER.values(), ids=LONGER)
def test_inspect_folder__a_longer_run_goes_on_T20(
    begun: Settings, finished: Settings | None, wanted: Settings, state: str, make_run: MakeRun, settings: Settings
) -> None:
    folder = make_run(True, finished is not None, with_values(settings, begun))
    if finished is not None:
        (folder / "results.json").write_text(json.dumps({"config": with_values(settings, finished)}))
    before = contents(folder)

    if state == "other":
        with pytest.raises(OtherRunError):
            inspect_folder(folder, with_values(settings, wanted), force=False)
    else:
        assert inspect_folder(folder, with_values(settings, wanted), force=False) == state
    assert contents(folder) == before


def test_inspect_folder__planned_rates_do_not_go_on_T20(make_run: MakeRun, settings: Settings) -> None:
    planned = changed(settings, "scheduler.options", {"total_steps": "auto"})
    folder = make_run(True, True, planned)

    with pytest.raises(OtherRunError, match=r"trainer\.max_epochs: 100 -> 200"):
        inspect_folder(folder, changed(planned, "trainer.max_epochs", 200), force=False)


def test_inspect_folder__no_checkpoint_to_go_on_from(make_run: MakeRun, settings: Settings) -> None:
    with pytest.raises(OtherRunError):
        inspect_folder(make_run(False, True), changed(settings, "trainer.max_epochs", 200), force=False)


def test_note_failure__a_start_that_made_nothing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "train.log").write_text("a line\n")
    (folder / "run.lock").touch()

    note_failure(folder, ValueError("no images"))

    assert list(tmp_path.iterdir()) == []


def test_note_failure__what_nobody_wrote_here_stays(tmp_path: Path) -> None:
    (tmp_path / "console.log").touch()

    note_failure(tmp_path, ValueError("no images"))

    assert [path.name for path in tmp_path.iterdir()] == ["console.log"]


def test_note_failure__why_a_run_failed(make_run: MakeRun, settings: Settings) -> None:
    folder = make_run(True, False)

    note_failure(folder, RuntimeError("out of memory"))
    assert (folder / FAILURE).read_text() == "out of memory\n"
    note_failure(folder, OtherRunError(folder, {"seed": "seed: 0 -> 1"}))
    assert (folder / FAILURE).read_text() == "out of memory\n", "another run's start says nothing of this one"
    clear(folder)
    assert not (folder / FAILURE).exists()


def test_flat__agrees_with_the_schema(settings: Settings) -> None:
    assert set(flat(settings)) == set(declared())
    assert flat(yaml.safe_load("a: {b: {}, c: [1]}\nd: 2")) == {"a.b": {}, "a.c": [1], "d": 2}


def test_differences__keys_that_older_runs_lack_with_what_they_did() -> None:
    older = {"data": {"image_size": 224, "patients": None}, "trainer": {"cuda_graphs": "auto"}}
    added = {"patients": "auto", "unknown_patients": "group", "merge_scans": False, "intensity": "auto"}
    data = {"image_size": 224, **added, "slices": "all", "drop_last": "auto"}
    today = {"data": data, "scheduler": {"monitor": None}, "trainer": {"cuda_graphs": False}}

    assert not differences(older, today)
    assert list(differences(older, {**today, "data": {**data, "drop_last": True}})) == ["data.drop_last"]
