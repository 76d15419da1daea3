"""Mistakes: every command line that can't be right is answered by one sentence of the package's own, and a way out."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from brain_tumor_tl.__main__ import main
from brain_tumor_tl.cli import train
from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.command import run_hydra
from brain_tumor_tl.cli.mistakes import mistakes

# Words of Hydra, OmegaConf, argparse and Python that mean nothing to a user of this package.
FOREIGN = re.compile(
    r"hydra|omegaconf|traceback|full_key|object_type|usage:|error executing|struct|not optional|lexer|"
    r"override|primary config|mismatched|interpolation|could not be converted|NoneType|config\b",
    re.IGNORECASE,
)

WRONG = {
    "type-int": ("trainer.max_epochs=abc", 2, "Expected `trainer.max_epochs` to be a whole number, got 'abc'."),
    "type-fraction": ("trainer.max_epochs=3.5", 2, "Expected `trainer.max_epochs` to be a whole number, got 3.5."),
    "type-null": ("trainer.max_epochs=null", 2, "Expected `trainer.max_epochs` to be a whole number, got null."),
    "type-list": ("seed=[1,2]", 2, "Expected `seed` to be a whole number, got [1, 2]."),
    "type-nothing": ("seed=", 2, "Expected `seed` to be a whole number, got ''."),
    "type-float": ("optimizer.lr=fast", 2, "Expected `optimizer.lr` to be a number, got 'fast'."),
    "type-bool": ("force=maybe", 2, "Expected `force` to be true or false, got 'maybe'."),
    "type-or-null": ("trainer.num_threads=all", 2, "to be a whole number or null, got 'all'."),
    "type-open-table": ("optimizer.options=3", 2, "`optimizer.options` to be a table such as {a:1,b:2}, got 3."),
    "type-in-table": ("loss={label_smoothing:a}", 2, "Expected `loss.label_smoothing` to be a number"),
    "type-in-sweep": ("-m trainer.max_epochs=3,abc", 2, "`trainer.max_epochs` to be a whole number, got 'abc'."),
    "type-added": ("+trainer.max_epochs=abc", 2, "Expected `trainer.max_epochs` to be a whole number, got 'abc'."),
    "D26-no-root": ("data.root=", 2, "`data.root` has no value. Give data.root=VALUE."),
    "null-root": ("data.root=null", 2, "Expected `data.root` to be a text, got null."),
    "no-name": ("name=", 2, "`name` has no value."),
    "no-weights": ("model.weights=", 2, "`model.weights` has no value. Give model.weights=VALUE, or null."),
    "X01-table": ("optimizer=adamw", 2, "`optimizer` is a table of optimizer.name, .* Give optimizer.name=adamw."),
    "option-in-table": ("optimizer={options:{eps:1}}", 2, "Give it alone, optimizer.options.eps=VALUE."),
    "table-scheduler": ("scheduler=StepLR", 2, "Give scheduler.name=StepLR."),
    "table-without-name": ("data.augment=0.5", 2, "`data.augment` is a table of data.augment.flip,"),
    "X04-optimizer": ("optimizer.weight_decay=0.1", 2, "are in its options: optimizer.options.weight_decay=0.1."),
    "X04-trainer": ("trainer.fast_dev_run=true", 2, "For a quick try give trainer.max_epochs=1"),
    "other-programs-gpus": ("trainer.gpus=2", 2, "There is no key `trainer.gpus`. Give trainer.devices=NUMBER."),
    "other-programs-workers": ("data.num_workers=4", 2, "There are no workers"),
    "other-programs-epochs": ("epochs=3", 2, "Give trainer.max_epochs=NUMBER."),
    "scheduler-option": ("scheduler.gamma=0.1", 2, "are in its options: scheduler.options.gamma=0.1."),
    "unknown-key": ("trainer.max_epoch=3", 2, "no key `trainer.max_epoch`. Did you mean `max_epochs`"),
    "unknown-key-broken-value": ("trainer.max_epoch=[3", 2, "no key `trainer.max_epoch`. Did you mean `max_epochs`"),
    "doubled-dot": ("data..root=3", 2, "There is no key `data..root`. Did you mean `data.root`"),
    "gap-in-key": ("'data root=3'", 2, "There is no key `data root`."),
    "no-key": ("=3", 2, "Expected KEY=VALUE, got `=3`."),
    "key-alone": ("seed", 2, "Expected KEY=VALUE, got `seed`. Give seed=VALUE."),
    "folder-alone": (str(Path(__file__).parent), 2, "For a folder of images give data.root=/"),
    "doubled-sign": ("seed==3", 2, "Can't read the value of `seed`: =3."),
    "open-bracket": ("'data.classes=[a,b'", 2, "Can't read the value of `data.classes`: [a,b. A list is [a,b]"),
    "open-brace": ("'optimizer.options={a:1'", 2, "a table {a:1,b:2}"),
    "open-quote": ("'name=\"abc'", 2, "Can't read the value of `name`: \"abc."),
    "removed-key": ("~seed", 2, "`~seed`: a key can't be removed, only changed."),
    "removed-group": ("~model", 2, "`~model`: a key can't be removed, only changed."),
    "removed-option": ("~optimizer.options.momentum", 2, "There is no key `optimizer.options.momentum` to remove."),
    "null-group": ("model=null", 2, "`model` can't be null. Expected one of densenet121"),
    "unknown-choice": ("-m model=resnet18,resnet19", 2, "`model` can't be 'resnet19'. Did you mean `resnet18`"),
    "group-elsewhere": ("model@x=resnet18", 2, "`model@x`: the values of a group go to its own table, model=CHOICE."),
    "no-such-file": ("--config-name gird", 2, "no configuration `gird`. Did you mean `grid`? Expected one of demo"),
    "no-such-launcher": ("hydra/launcher=slrum", 2, "can't be 'slrum'. Did you mean `slurm`?"),
    "no-such-folder": ("--config-dir /nowhere", 2, "a folder of YAML files, found none at /nowhere."),
    "no-such-path": ("--config-path /nowhere", 2, "There is no folder of YAML files where --config-path says."),
    "flag-without-value": ("--config-name", 2, "`--config-name` needs a value."),
    "cfg-without-value": ("--cfg", 2, "`--cfg` needs a value."),
    "cfg-of-what": ("--cfg foo", 2, "one of job, hydra, all, got 'foo'."),
    "cfg-of-a-sweep": ("-m seed=0,1 --cfg job", 2, "prints the configuration of one run: leave out -m"),
    "cfg-of-no-table": ("--cfg job -p dtaa", 2, "to be followed by a table, got 'dtaa'. Did you mean `data`?"),
    "unknown-flag": ("--mutlirun seed=0,1", 2, "There is no flag `--mutlirun`. Did you mean `--multirun`"),
    "flag-for-key": ("--epochs 3", 2, "There is no flag `--epochs`."),
    "several-values": ("seed=0,1", 2, "`seed=0,1` has several values: -m runs each of them"),
    "several-by-range": ("seed=range(0,3)", 2, "`seed=range(0,3)` has several values: -m runs each of them"),
    "S05-interval": ("-m optimizer.lr=interval(1e-5,1e-2)", 2, "brain-tumor-tl search 'optimizer.lr=interval"),
    "S05-interval-alone": ("optimizer.lr=interval(1e-5,1e-2)", 2, "is for a search"),
    "S05-tagged": ("-m optimizer.lr=tag(log,interval(1e-5,1e-2))", 2, "is for a search"),
    "refers-to-nothing": ("data.root=${data.rot}", 2, "There is no key `data.rot`. Did you mean `root`?"),
    "name-of-nothing": ("'name=${modle.name}'", 2, "There is no key `modle.name`. Did you mean `model.name`"),
    "key-of-launching": ("hydra.rnu.dir=x", 2, "There is no key `hydra.rnu`."),
    "type-of-launching": ("hydra.run=x", 2, "The value of `hydra.run` is of a wrong type."),
    "D22-typo": ("data.root=/typo", 1, "There is no folder /typo. Leave out data.root to download"),
    "D22-typo-in-sweep": ("-m data.root=/typo,/typo2", 1, "There is no folder /typo2."),
}  # fmt: skip


def checked(config: DictConfig, verbose: bool = False) -> dict[str, Any]:
    """A run that ends when its settings are checked, and tells its name and place."""
    try:
        checked_settings(config)
    except (ValueError, OSError) as error:
        raise CompactHydraException(str(error)) from error
    print(f"{config.name} from {config.data.root} with {config.optimizer.options}")
    return {}


def outcome(line: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    """Return the exit status of a command line, run in this process and in a folder of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["brain-tumor-tl", *shlex.split(line)])
    monkeypatch.setattr(train, "run", checked)
    try:
        return main()
    except SystemExit as end:
        return cast("int", end.code)
    finally:
        GlobalHydra.instance().clear()  # as the end of the process does


@pytest.mark.parametrize(("line", "status", "message"), WRONG.values(), ids=WRONG)
def test_train__answers_in_its_own_words(
    line: str, status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert outcome(f"train {line}", monkeypatch, tmp_path) == status

    out, err = capsys.readouterr()
    pattern = re.escape(message).replace(r"\.\*", ".*")
    assert (out, len(re.findall(pattern, err))) == ("", 1), err
    assert not FOREIGN.search(
        err.replace("hydra.", "").replace("hydra/", "").replace("hydra, ", "").replace("--config", "")
    ), err
    assert "Traceback" not in err


AUDITED = {
    "folder-alone": ("audit /", 2, "For a folder of images give data.root=/."),
    "D26-no-root": ("audit data.root=", 2, "`data.root` has no value."),
    "D22-typo": ("audit data.root=/typo", 1, "There is no folder /typo."),
    "type": ("audit data.image_size=big", 2, "Expected `data.image_size` to be a whole number, got 'big'."),
    "flag": ("audit --config-name grid", 2, "`audit` has no flag `--config-name`"),
    "several": ("audit data.root=x data.image_size=64,32", 2, "has several values"),
    "search-flag": ("search --verbose", 2, "There is no flag `--verbose`."),
    "search-type": ("search seed=abc", 2, "Expected `seed` to be a whole number, got 'abc'."),
}


@pytest.mark.parametrize(("line", "status", "message"), AUDITED.values(), ids=AUDITED)
def test_other_verbs__answer_in_their_own_words(
    line: str, status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert outcome(line, monkeypatch, tmp_path) == status

    err = capsys.readouterr().err
    assert err.count(message) == 1
    assert not FOREIGN.search(err.replace("--config", "")), err
    assert list(tmp_path.iterdir()) == []


RIGHT = {
    "name-with-gaps": ("'name=my run (1)'", "my run (1) from "),
    "name-not-ascii": ("name=Müller", "Müller from "),
    "path-with-comma": ("'data.root=/tmp (1),b'", "from /tmp (1),b with"),
    "option": ("optimizer.options.momentum=0.9", "with {'momentum': 0.9}"),
    "option-added": ("+optimizer.options.momentum=0.9", "with {'momentum': 0.9}"),
    "added": ("+seed=2", "resnet18-finetune-s2-phantom from"),
    "without-experiment": ("~experiment", "resnet18-finetune-s0-phantom from"),
}


@pytest.mark.parametrize(("line", "told"), RIGHT.values(), ids=RIGHT)
def test_train__accepts(line: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert outcome(f"train data=phantom {line}", monkeypatch, tmp_path) == 0
    out, err = capsys.readouterr()
    assert told in out
    assert err == ""


PRINTED = {
    "job": "train --cfg job", "job-by-sign": "train --cfg=job", "short": "train -c job", "hydra": "train --cfg hydra",
    "all": "train --cfg all", "table": "train --cfg job -p data", "resolved": "train --cfg job --resolve",
}  # fmt: skip


@pytest.mark.parametrize("line", PRINTED.values(), ids=PRINTED)
def test_train__prints_the_configuration(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert outcome(line, monkeypatch, tmp_path) == 0
    out, err = capsys.readouterr()
    assert (len(out.splitlines()) > 10, err) == (True, "")


@pytest.mark.parametrize("verb", ["", "train ", "audit ", "search "])
def test_version__is_the_packages(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert outcome(f"{verb}--version", monkeypatch, tmp_path) == 0
    assert re.fullmatch(r"brain-tumor-tl \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_run_hydra__a_file_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "typed.yaml").write_text("name: [resnet18]\n")
    (tmp_path / "model" / "torn.yaml").write_text("name: [resnet18\n")

    assert outcome("train --config-dir . model=typed", monkeypatch, tmp_path) == 2
    assert "error: Expected `model.name` to be a text" in capsys.readouterr().err
    assert outcome("train --config-dir . model=torn", monkeypatch, tmp_path) == 2
    assert "error: A YAML file can't be read: " in capsys.readouterr().err


def test_run_hydra__a_fault_of_the_program_shows_its_origin(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(config: DictConfig) -> dict[str, Any]:
        raise KeyError("lost")

    with pytest.raises(SystemExit, match="1"):
        run_hydra("train", ["data=phantom"], faulty)
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "KeyError: 'lost'" in err
    assert "Error executing" not in err


def test_mistakes__all_at_once() -> None:
    found = mistakes(["sede=1", "model=resnet18", "model.nmae=x", "data=kagle", "seed=x", "--foo"])

    assert [problem.split(".")[0] for problem in found] == [
        "There is no flag `--foo`", "There is no key `sede`", "There is no key `model", "`data` can't be 'kagle'",
        "Expected `seed` to be a whole number, got 'x'",
    ]  # fmt: skip
