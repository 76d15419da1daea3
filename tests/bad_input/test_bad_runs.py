"""Bad runs: whatever is wrong with a file of a run, each verb names it in one sentence, and never with a traceback."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from brain_tumor_tl.cli.evaluate import main as evaluate
from brain_tumor_tl.cli.predict import main as predict
from brain_tumor_tl.cli.report import main as report
from brain_tumor_tl.inference.network import read_checkpoint, rebuild
from brain_tumor_tl.reporting.results_file import HOLDS, REQUIRED, found, read_results
from brain_tumor_tl.run.checkpoints import Checkpoints
from brain_tumor_tl.run.folder import OtherRunError, inspect_folder, read_settings
from brain_tumor_tl.run.training_run import check_same_inputs

Refused = Callable[..., tuple[int, str]]
Spoil = Callable[[Path], object]
FROZEN: Any = ()  # what is frozen has no say in which files can be read
BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
ABSENT = object()


@pytest.fixture
def run(finished_runs: Mapping[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run that a test may spoil."""
    return Path(shutil.copytree(finished_runs["frozen"], tmp_path / "run"))


@pytest.fixture
def picture(draw: Callable[..., Path], tmp_path: Path) -> Path:
    return draw(tmp_path / "picture.png", size=(64, 64))


def put(name: str, content: str | bytes) -> Spoil:
    """Return what replaces a file's content."""
    return lambda run: (run / name).write_bytes(content.encode() if isinstance(content, str) else content)


def folder_in_place_of(name: str) -> Spoil:
    """Return what replaces a file by a folder."""

    def spoil(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return spoil


def cut(name: str, share: float = 0.5) -> Spoil:
    """Return what keeps the first part of a file."""

    def spoil(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def changed(name: str, key: str, value: object = ABSENT) -> Spoil:
    """Return what gives a dotted key of a JSON file another value, or removes it."""

    def spoil(run: Path) -> None:
        content = json.loads((run / name).read_text())
        *above, last = key.split(".")
        table = content
        for part in above:
            table = table[part]
        if value is ABSENT:
            del table[last]
        else:
            table[last] = value
        (run / name).write_text(json.dumps(content))

    return spoil


def checkpoint(name: str, change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Return what writes a checkpoint anew with other content."""

    def spoil(run: Path) -> None:
        content = torch.load(run / name, weights_only=True)
        torch.save(change(content), run / name)

    return spoil


def settings(**values: Any) -> Callable[[dict[str, Any]], object]:
    """Return the change of a checkpoint's hyperparameters."""
    return lambda content: content | {"hyper_parameters": content["hyper_parameters"] | values}


class Harmless:
    """An object whose unpickling calls a function, as hostile ones do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def noise(content: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with other numbers of the same shapes in its head."""
    state = {k: torch.randn_like(v) if k.startswith("head.") else v for k, v in content["state_dict"].items()}
    return content | {"state_dict": state}


def without(part: str) -> Callable[[dict[str, Any]], object]:
    """Return the change of a checkpoint that loses a part."""
    return lambda content: {name: value for name, value in content.items() if name != part}


def damaged_rows(content: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint whose rows of epochs are no JSON."""
    kept = {name: state | {"rows": "x"} if "rows" in state else state for name, state in content["callbacks"].items()}
    return content | {"callbacks": kept}


def huge_images(content: dict[str, Any]) -> object:
    """Return a checkpoint of a network for images of a thousand million pixels a side."""
    own = content["hyper_parameters"]["preprocessing"]
    return settings(preprocessing=own | {"image_size": 10**9})(content)


# What is spoiled, and what `predict` says.
PREDICTED: dict[str, tuple[Spoil, str]] = {
    "results-empty-table": (put("results.json", "{}"), "another version or program: expected schema 2 or 1, got null"),
    "results-a-list": (put("results.json", "[]"), "Expected a JSON object in .*results.json, got list"),
    "results-empty": (put("results.json", ""), "Expected JSON in .*results.json"),
    "results-half": (cut("results.json"), "Expected JSON in .*results.json"),
    "results-deep": (put("results.json", "[" * 100_000), "Expected JSON in .*recursion"),
    "results-no-text": (put("results.json", b"\x80\xff"), "Expected JSON in .*'utf-8' codec"),
    "results-huge-number": (put("results.json", '{"schema": 1' + "0" * 5000 + "}"), "Expected JSON in .*results.json"),
    "results-a-folder": (folder_in_place_of("results.json"), "is unfinished, since it has no results.json"),
    "no-config": (changed("results.json", "config"), "results.json lacks config.data.root"),
    "config-null": (changed("results.json", "config", None), "results.json lacks config.data.root"),
    "config-a-list": (changed("results.json", "config", []), "lacks config.data.root"),
    "data-a-text": (changed("results.json", "config.data", "x"), "lacks config.data.root"),
    "no-accuracy-of": (changed("results.json", "protocol.accuracy_of"), "lacks protocol.accuracy_of"),
    "protocol-empty": (changed("results.json", "protocol", {}), "lacks protocol.synthetic, protocol.text"),
    "classes-numbers": (changed("results.json", "classes", [1, 2]), "expected classes to be a list of texts, got a l"),
    "probabilities-text": (changed("results.json", "probabilities", "x"), "probabilities to be a table, got 'x'"),
    "temperature-text": (
        changed("results.json", "probabilities.temperature", "2"),
        "probabilities.temperature to be a number above 0, got '2'",
    ),
    "temperature-0": (changed("results.json", "probabilities.temperature", 0), "to be a number above 0, got 0"),
    "environment-a-list": (changed("results.json", "environment", []), "lacks environment.digests.data"),
    "digests-text": (changed("results.json", "environment.digests", "x"), "lacks environment.digests.data"),
    "features-text": (changed("results.json", "features", "x"), "lacks features.cached"),
    "epochs-negative": (changed("results.json", "epochs", -1), "epochs to be a whole number, got -1"),
    "accuracy-infinite": (put("results.json", '{"schema": 2, "accuracy": 1e999}'), "lacks name, model, method"),
    "best-empty": (put(BEST, b""), "best.ckpt, it is empty"),
    "best-half": (cut(BEST), "best.ckpt, it is damaged"),
    "best-without-end": (cut(BEST, 0.99), "best.ckpt, it is damaged"),
    "best-text": (put(BEST, "hello" * 100), "best.ckpt, it is damaged"),
    "best-a-pickle": (put(BEST, pickle.dumps(Harmless())), "best.ckpt, it is damaged"),
    "best-gone": (lambda run: (run / BEST).unlink(), "Expected the weights of the run in .*there is no such file"),
    "best-a-folder": (folder_in_place_of(BEST), "there is no such file"),
    "best-a-list": (checkpoint(BEST, lambda _: [1]), "it holds something else"),
    "best-without-weights": (checkpoint(BEST, lambda c: {"hyper_parameters": c["hyper_parameters"]}), "something else"),
    "best-without-settings": (checkpoint(BEST, lambda c: {"state_dict": c["state_dict"]}), "holds something else"),
    "best-settings-empty": (checkpoint(BEST, lambda c: c | {"hyper_parameters": {}}), "hyper_parameters lack name"),
    "best-settings-text": (checkpoint(BEST, lambda c: c | {"hyper_parameters": "x"}), "hyper_parameters lack name"),
    "best-weights-a-list": (checkpoint(BEST, lambda c: c | {"state_dict": [1]}), "state_dict is no table of tensors"),
    "best-weights-texts": (checkpoint(BEST, lambda c: c | {"state_dict": {"head.a": "x"}}), "no table of tensors"),
    "best-head-alone": (
        checkpoint(BEST, lambda c: c | {"state_dict": {"head.weight": torch.zeros(1)}}),
        "a head without its backbone",
    ),
    "best-classes-a-number": (checkpoint(BEST, settings(classes=4)), "its classes are no list of names"),
    "best-other-classes": (checkpoint(BEST, settings(classes=list("abcd"))), "not those that the run's results.json"),
    "best-unknown-network": (checkpoint(BEST, settings(name="no_such")), "a classification network of torchvision"),
    "best-other-network": (checkpoint(BEST, settings(name="resnet18")), "weights don't fit the network"),
    "best-preprocessing": (checkpoint(BEST, settings(preprocessing={"image_size": 64})), "preprocessing has not image"),
    "best-huge-images": (checkpoint(BEST, huge_images), "images of 1000000000 pixels a side, and not 1 to"),
    "best-replaced": (checkpoint(BEST, noise), "not those that the run's results.json is of: the file was replaced"),
    "reference-empty": (put("reference.npz", ""), "features of training images in .*reference.npz, it can't be read"),
    "reference-text": (put("reference.npz", "a,b"), "reference.npz, it can't be read"),
    "reference-half": (cut("reference.npz"), "reference.npz, it can't be read"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "sentence"), PREDICTED.values(), ids=PREDICTED)
def test_predict__names_the_bad_file(
    spoil: Spoil, sentence: str, run: Path, picture: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    spoil(run)

    status, err = refused(predict, [str(run), str(picture)])

    assert status == 1
    assert err.startswith("error: ")
    assert re.search(sentence, err), err
    assert not (run.parent / "executed").exists()


# What is spoiled of a run that was cut before its results, and why it can't be resumed.
RESUMED: dict[str, tuple[Spoil, str]] = {
    "last-empty": (put(LAST, b""), "last.ckpt: it is empty"),
    "last-half": (cut(LAST), "last.ckpt: it is damaged"),
    "last-text": (put(LAST, "hello" * 100), "last.ckpt: it is damaged"),
    "last-a-pickle": (put(LAST, pickle.dumps(Harmless())), "last.ckpt: it is damaged"),
    "last-a-list": (checkpoint(LAST, lambda _: [1]), "last.ckpt: it is no checkpoint of a run"),
    "last-without-callbacks": (checkpoint(LAST, without("callbacks")), "last.ckpt: it is no checkpoint of a run"),
    "last-without-loops": (checkpoint(LAST, without("loops")), "last.ckpt: it is no checkpoint of a run"),
    "last-loops-empty": (checkpoint(LAST, lambda c: c | {"loops": {}}), "last.ckpt: it is no checkpoint of a run"),
    "last-callbacks-empty": (checkpoint(LAST, lambda c: c | {"callbacks": {}}), "last.ckpt: it is no checkpoint of"),
    "last-callbacks-a-list": (checkpoint(LAST, lambda c: c | {"callbacks": []}), "last.ckpt: it is no checkpoint of"),
    "last-weights-a-list": (checkpoint(LAST, lambda c: c | {"state_dict": [1]}), "it is no checkpoint of a run"),
    "last-rows-damaged": (checkpoint(LAST, damaged_rows), "the rows of its epochs are damaged"),
    "last-other-network": (
        checkpoint(LAST, lambda c: c | {"state_dict": {"head.weight": torch.zeros(1)}}),
        "last.ckpt: it holds another network",
    ),
    "best-gone": (lambda run: (run / BEST).unlink(), "best.ckpt: it is gone, and the weights of the best epoch"),
    "best-empty": (put(BEST, b""), "best.ckpt: it is empty"),
    "best-half": (cut(BEST), "best.ckpt: it is damaged"),
    "best-a-list": (checkpoint(BEST, lambda _: [1]), "best.ckpt: it is no checkpoint of a run"),
    "best-replaced": (checkpoint(BEST, noise), "best.ckpt: it is not the one that the run wrote"),
}  # fmt: skip


@pytest.fixture(scope="module")
def network(finished_runs: Mapping[str, Path]) -> dict[str, nn.Module]:
    cut = rebuild(read_checkpoint(finished_runs["frozen"] / BEST))
    return {"backbone": cut.backbone, "head": cut.head}


@pytest.mark.parametrize(("spoil", "sentence"), RESUMED.values(), ids=RESUMED)
def test_epochs_saved__names_the_bad_checkpoint(
    spoil: Spoil, sentence: str, run: Path, network: dict[str, nn.Module]
) -> None:
    checkpoints = Checkpoints(run / "checkpoints", "val/accuracy", frozen=FROZEN)
    assert checkpoints.epochs_saved(network, needs_best=True) == 2
    spoil(run)

    with pytest.raises(ValueError, match=f"The run can't be resumed from .*{sentence}") as refusal:
        checkpoints.epochs_saved(network, needs_best=True)

    assert "as they were. Put the file back if you have a copy, or train anew in its place" in str(refusal.value)


def test_epochs_saved__best_of_a_later_epoch_is_the_runs_own(run: Path, network: dict[str, nn.Module]) -> None:
    later = checkpoint(BEST, lambda content: noise(content) | {"epoch": 2})
    later(run)  # as if the run was killed between the two files of its third epoch

    assert Checkpoints(run / "checkpoints", "val/accuracy", FROZEN).epochs_saved(network, needs_best=True) == 2


def test_epochs_saved__replaced_best_is_named_even_if_it_is_not_tested(
    run: Path, network: dict[str, nn.Module]
) -> None:
    checkpoint(BEST, noise)(run)

    with pytest.raises(ValueError, match="it is not the one that the run wrote"):
        Checkpoints(run / "checkpoints", "val/accuracy", FROZEN).epochs_saved(network, needs_best=False)


SETTINGS = {
    "deep": "a: " + "[" * 5000 + "]" * 5000,
    "references": "a: &a [x, x]\nb: [*a, *a]\n",
    "reference-to-itself": "a: &a [*a]\n",
    "python": "a: !!python/object/apply:os.system [exit]\n",
    "no-yaml": "\t- : [",
    "a-list": "- a\n",
    "a-text": "hello",
    "empty": "",
    "no-text": b"\xff\xfe",
}


@pytest.mark.parametrize("content", SETTINGS.values(), ids=SETTINGS)
def test_inspect_folder__settings_that_cannot_be_read(content: str | bytes, run: Path) -> None:
    settings = read_settings(run / "config.yaml")
    assert settings is not None
    assert inspect_folder(run, settings, force=False) == "done"
    put("config.yaml", content)(run)
    (run / "results.json").unlink()
    started = time.process_time()

    with pytest.raises(OtherRunError, match=r"whose settings are not known, since its config\.yaml can't be read; put"):
        inspect_folder(run, settings, force=False)

    assert time.process_time() - started < 2


DIGESTS = {
    "empty-table": ("{}", "Expected the digests of images, split and weights"),
    "digests-a-list": ('{"digests": []}', "Expected the digests of images, split and weights"),
    "a-list": ("[]", "Expected a JSON object"),
    "half": ('{"digests": {', "Expected JSON in"),
    "deep": ("[" * 100_000, "Expected JSON in"),
}


@pytest.mark.parametrize(("content", "sentence"), DIGESTS.values(), ids=DIGESTS)
def test_check_same_inputs__digests_that_cannot_be_read(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(content)

    with pytest.raises(ValueError, match=sentence):
        check_same_inputs(tmp_path / "environment.json", {"data": "a", "split": "b", "weights": "c"})


EVALUATED: dict[str, tuple[Spoil, str]] = {
    "split-empty": (put("split.csv", ""), "Expected the split of all 64 images in .*split.csv, it lacks 64"),
    "split-half": (cut("split.csv"), "split.csv"),
    "split-of-other-columns": (put("split.csv", "a,b\n1,2\n"), "Expected path, split of each image in .*split.csv"),
    "split-no-text": (put("split.csv", b"\xff\xfe"), "Expected CSV in .*split.csv"),
    "predictions-half": (cut("predictions.csv"), "Expected .*predictions.csv"),
    "predictions-other-columns": (put("predictions.csv", "a,b\n1,2\n"), "path, label and correct of each test image"),
    "predictions-long-field": (put("predictions.csv", "path\n" + "x" * 200_000), "field larger than field limit"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "sentence"), EVALUATED.values(), ids=EVALUATED)
def test_evaluate__names_the_bad_table(spoil: Spoil, sentence: str, run: Path, refused: Refused) -> None:
    spoil(run)

    status, err = refused(evaluate, [str(run)])

    assert status == 1
    assert re.search(f"^error: .*{sentence}", err), err


REPORTED = ("results-empty-table", "results-half", "classes-numbers", "temperature-text")


@pytest.mark.parametrize("name", REPORTED)
def test_report__goes_on_without_the_bad_run(
    name: str, run: Path, finished_runs: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    PREDICTED[name][0](run)
    shutil.copytree(finished_runs["finetune"], run.parent / "good", ignore=shutil.ignore_patterns("checkpoints"))

    assert report([str(run.parent)]) == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 runs done, 1 unreadable" in shown
    assert "Put" in shown


@pytest.mark.parametrize("name", ["train.log", "metrics.csv", "error.txt", "console.log", "run.lock"])
def test_report__a_folder_in_place_of_a_file(name: str, run: Path) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    (run / "results.json").unlink()

    assert report([str(run)]) == 0


WRONG: dict[str, Any] = {
    "a text": [1, True, [], {}], "a whole number": ["1", 1.5, -1, True, 2**64], "a number": ["1", True, [], 10**400],
    "a number above 0": [0, -1, "1"], "true or false": [0, "true", []], "a list of texts": ["a", [1], {}],
    "a list of lists of whole numbers": [1, [1], [["1"]]], "a list of two numbers": [1, [1], [1, "2"], [1, 2, 3]],
    "a list of tables": [1, [1], {}], "a table": [1, "x", []],
}  # fmt: skip


@pytest.mark.parametrize("kind", HOLDS)
def test_read_results__every_key_of_a_wrong_kind_is_named(kind: str, run: Path) -> None:
    whole = json.loads((run / "results.json").read_text())
    whole |= {"trial": {"metric": "val/loss", "value": 1.0}, "study": {"accuracy": 0.9}}
    places = [(place, value) for key in HOLDS[kind] for place, _ in found(whole, key) for value in WRONG[kind]]
    assert places

    for place, value in places:
        content = json.loads(json.dumps(whole))
        *above, last = place.split(".")
        table = content
        for part in above:
            table = table[part]
        table[last] = value
        (run / "results.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"results\.json (is damaged|lacks|is of another)") as refusal:
            read_results(run / "results.json")
        assert place in str(refusal.value)


def test_read_results__required_keys_are_named(run: Path) -> None:
    for key in REQUIRED:
        shutil.copy(run / "results.json", run / "kept")
        changed("results.json", key)(run)
        with pytest.raises(ValueError, match=rf"results.json lacks (.*, )?{key}"):
            read_results(run / "results.json")
        shutil.copy(run / "kept", run / "results.json")
