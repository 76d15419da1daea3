"""Command: help, refusals before anything is written, and Tab completion, as a user meets them."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from brain_tumor_tl import __version__
from brain_tumor_tl.__main__ import VERBS
from brain_tumor_tl.__main__ import main as start
from brain_tumor_tl.cli.command import run_hydra
from brain_tumor_tl.cli.config import choices_of, config_groups
from brain_tumor_tl.cli.help import help_page
from brain_tumor_tl.cli.keys import declared
from brain_tumor_tl.cli.mistakes import mistakes

SCRIPT = Path(sys.executable).with_name("brain-tumor-tl")
MODULE = (sys.executable, "-m", "brain_tumor_tl")
HEAVY = ("torch", "torchvision", "lightning", "torchmetrics", "matplotlib", "PIL")

# The command in one Python process, which tells at its end what came in with it.
MONITORED = f"""
import atexit, sys
from brain_tumor_tl.__main__ import main
sys.argv = ["brain-tumor-tl", *sys.argv[1:]]
atexit.register(lambda: print("heavy:", [name for name in {HEAVY!r} if name in sys.modules]))
sys.exit(main())
"""

# What bash does when Tab is pressed behind a line.
TAB = """
eval "$(brain-tumor-tl -sc install=bash)"
complete -p brain-tumor-tl
COMP_LINE="$1" COMP_POINT=${#1} COMP_WORDS=($1)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
hydra_bash_completion
printf '%s\\n' "${COMPREPLY[@]}"
"""


def run(
    *arguments: str, folder: Path, program: Sequence[str | Path] = (SCRIPT,), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder and wait for it."""
    return subprocess.run(
        [*program, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def completions(line: str, folder: Path) -> list[str]:
    """Return what the command offers behind a line."""
    result = run("-sc", "query=bash", folder=folder, COMP_LINE=line)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


LINES = {
    "help": (["--help"], 0),
    "version": (["--version"], 0),
    "train-help": (["train", "--help"], 0),
    "report-help": (["report", "--help"], 0),
    "unknown-verb": (["trian"], 2),
    "unknown-key": (["train", "trainer.max_epoch=3"], 2),
}


def test_main__script_is_installed() -> None:
    assert SCRIPT.is_file(), "`pip install -e .` puts it there"


@pytest.mark.parametrize(("line", "status"), LINES.values(), ids=LINES)
def test_main__script_and_module_do_the_same(line: list[str], status: int, tmp_path: Path) -> None:
    script, module = run(*line, folder=tmp_path), run(*line, folder=tmp_path, program=MODULE)

    assert (script.returncode, script.stdout, script.stderr) == (
        module.returncode,
        module.stdout,
        module.stderr,
    )
    assert script.returncode == status
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [[], ["-h"], ["--help"]], ids=["nothing", "short", "long"])
def test_main__help_names_every_verb(line: list[str], tmp_path: Path) -> None:
    result = run(*line, folder=tmp_path)

    assert result.returncode == 0
    assert VERBS
    for verb, meaning in VERBS.items():
        assert f"  {verb} " in result.stdout
        assert meaning in result.stdout


def test_main__version(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path).stdout == f"brain-tumor-tl {__version__}\n"


@pytest.mark.parametrize("line", [["--help"], ["train", "-sc", "install=bash"]], ids=" ".join)
def test_main__a_reader_that_has_seen_enough(line: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run([*MODULE, *line], stdout=closed, stderr=subprocess.PIPE, text=True)

    assert (done.returncode, done.stderr) == (141, "")


def test_main__interrupted_before_a_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brain_tumor_tl.__main__.import_module", interrupted)
    monkeypatch.setattr(sys, "argv", ["brain-tumor-tl", "train"])

    assert start() == 130
    assert capsys.readouterr().err == "Interrupted; nothing was started.\n"


@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        ("trian", " Did you mean `train`?"),
        ("reprot", " Did you mean `report` or `export`?"),
        ("zzz", ""),
        ("--hlep", ""),
    ],
)
def test_main__unknown_verb(verb: str, hint: str, tmp_path: Path) -> None:
    result = run(verb, "seed=1", folder=tmp_path)

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"There is no verb `{verb}`.{hint} The verbs are {', '.join(VERBS)}.\n"


def test_help_page__explains_every_group_and_key() -> None:
    lines = help_page("train").splitlines()

    for group in config_groups():
        assert f"  {group}={'|'.join(choices_of(group)) or '...'}" in lines, group
    assert len(declared()) > 50
    for key in declared().values():
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"  {key.path}=")]
        assert lines[place + 1] == f"      {key.rule['meaning']}"
    assert "  seed=0 (int)" in lines
    assert "  trainer.gradient_clip_algorithm=null (norm|value)" in lines


@pytest.mark.parametrize("verb", VERBS)
def test_help__of_every_verb(verb: str, tmp_path: Path) -> None:
    result = run(verb, "--help", folder=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert f"brain-tumor-tl {verb}" in result.stdout
    assert list(tmp_path.iterdir()) == []


def processor_seconds(*arguments: str, folder: Path) -> float:
    """Return the processor time that the command takes, whatever else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*arguments, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("line", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=["", *VERBS])
def test_help__is_quick(line: list[str], tmp_path: Path) -> None:
    # 0.3 s on a core of 2023, where 1 s is the limit; twice that leaves room for slow and shared cores.
    assert any(processor_seconds(*line, folder=tmp_path) < 2 for _ in range(3))


LIGHT = {
    "help": ["--help"],
    "train-help": ["train", "--help"],
    "report-help": ["report", "--help"],
    "unknown-verb": ["trian"],
    "unknown-key": ["train", "trainer.max_epoch=3"],
    "unknown-choice": ["train", "model=resnet19"],
    "wrong-type": ["train", "trainer.max_epochs=abc"],
    "printed-configuration": ["train", "--cfg", "job"],
    "completion-script": ["-sc", "install=bash"],
    "completion": ["-sc", "query=bash"],
}


@pytest.mark.parametrize("line", LIGHT.values(), ids=LIGHT)
def test_main__imports_nothing_heavy_before_there_is_work(line: list[str], tmp_path: Path) -> None:
    program = (sys.executable, "-c", MONITORED)
    result = run(*line, folder=tmp_path, program=program, COMP_LINE="brain-tumor-tl train model=")

    assert result.stdout.splitlines()[-1] == "heavy: []"


UNKNOWN = {
    "key": (["trainer.max_epoch=3"], "no key `trainer.max_epoch`. Did you mean `max_epochs`"),
    "added-key": (["+trainer.max_epoch=5"], "no key `trainer.max_epoch`. Did you mean `max_epochs`"),
    "forced-key": (["++trainer.max_epoch=5"], "no key `trainer.max_epoch`. Did you mean `max_epochs`"),
    "removed-key": (["~trainer.max_epoch"], "no key `trainer.max_epoch`. Did you mean `max_epochs`"),
    "key-of-a-closed-table": (["+model.dropout=0.5"], "no key `model.dropout`"),
    "key-without-its-table": (["lr=0.1"], "Did you mean `optimizer.lr`?"),
    "in-a-multirun": (["-m", "seed=0,1", "data.colour=red,blue"], "no key `data.colour`"),
    "beside-a-flag": (["--config-name", "grid", "sede=1"], "no key `sede`. Did you mean `seed`"),
    "in-a-folder-of-ones-own": (["--config-dir", "mine", "model=mine", "sede=1"], "no key `sede`"),
    "model": (["model=resnet19"], "`model` can't be 'resnet19'. Did you mean `resnet18`"),
    "any-network": (["model=efficientnet_b0"], "Any other network of torchvision: model.name=NAME."),
    "one-of-many-models": (["-m", "model=resnet18,resnet19"], "`model` can't be 'resnet19'."),
    "data": (["data=kagle"], "`data` can't be 'kagle'. Did you mean `kaggle`? Expected one of br35h, figshare"),
    "method": (["method=freeze"], "`method` can't be 'freeze'. Did you mean `frozen`"),
}


@pytest.mark.parametrize(("line", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_mistakes__nearest(line: list[str], message: str) -> None:
    assert message in "\n".join(mistakes(line))


def test_import_libraries__a_later_job_is_left_to_the_collector(tmp_path: Path) -> None:
    code = """
import gc
from brain_tumor_tl.cli.train import import_libraries
import_libraries()
frozen, enabled = gc.get_freeze_count(), gc.isenabled()
garbage = [[] for _ in range(10_000)]  # of a job
import_libraries()
print(frozen > 100_000, enabled, gc.get_freeze_count() <= frozen)
"""
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True"] * 3


KNOWN = {
    "nothing": [],
    "values": ["seed=1", "data.root='/a b=c'", "model.weights=null", "trainer.devices=[0,1]"],
    "groups": ["model=vgg16", "method=frozen", "recipe=onecycle", "~experiment"],
    "open-tables": ["+model.options.dropout=0.5", "+model.options.x=1", "++optimizer.options.eps=1e-5"],
    "sweep": ["-m", "model=resnet18,vgg16", "seed=range(0,3)", "recipe=choice(study,onecycle)"],
    "pattern": ["-m", "model=glob(*net*)"],
    "hydra": ["hydra.run.dir=here", "hydra/launcher=basic", "hydra.mode=MULTIRUN"],
    "flags": ["--config-name", "grid", "--cfg", "job", "--config-dir=mine", "-cn", "demo"],
    "folder-of-ones-own": ["--config-dir", "mine", "model=mine", "data=mine"],
}


@pytest.mark.parametrize("line", KNOWN.values(), ids=KNOWN)
def test_mistakes__none(line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert mistakes(line) == []


REFUSED = {
    "wrong-type": (["trainer.max_epochs=abc"], 2, "Expected `trainer.max_epochs` to be a whole number"),
    "no-such-file": (["--config-name", "gird"], 2, "There is no configuration `gird`."),
}


@pytest.mark.parametrize(("line", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_train__refused_before_anything_is_written(line: list[str], status: int, message: str, tmp_path: Path) -> None:
    result = run("train", *line, folder=tmp_path)

    assert (result.returncode, result.stdout) == (status, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_run_hydra__puts_the_command_line_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra 1.3 reads `sys.argv`; Lightning starts further processes with it, so the whole line must be there again."""
    assert hydra.__version__.startswith("1.3.")
    line = list(sys.argv)

    run_hydra("train", ["seed=3", "--cfg", "job"], lambda config: {})
    GlobalHydra.instance().clear()  # as the end of the process does

    assert sys.argv == line
    assert "seed: 3\n" in capsys.readouterr().out


def test_train__old_name_of_the_series_split(tmp_path: Path) -> None:
    result = run("train", "data.split=runs", "--cfg", "job", folder=tmp_path)

    assert "  split: series\n" in result.stdout
    assert result.stderr == "The split `runs` is called `series` now; the old name still works.\n"


def test_train__prints_the_configuration(tmp_path: Path) -> None:
    result = run("train", "--cfg", "job", "+model.options.x=1", "hydra/launcher=basic", folder=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert "  options:\n    x: 1\n" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["brain-tumor-tl ", "brain-tumor-tl", "brain-tumor-tl tr"])
def test_complete__verbs(line: str, tmp_path: Path) -> None:
    assert completions(line, tmp_path) == list(VERBS)


def test_complete__choices(tmp_path: Path) -> None:
    assert completions("brain-tumor-tl train model=", tmp_path) == [f"model={name}" for name in choices_of("model")]


COMPLETED = {
    "key": ("brain-tumor-tl train trainer.max_ep", {"trainer.max_epochs="}),
    "key-behind-others": ("brain-tumor-tl train model=vgg16 seed=1 opt", {"optimizer."}),
    "table": (
        "brain-tumor-tl train optimizer.",
        {"optimizer.name=", "optimizer.lr=", "optimizer.backbone_lr_factor=", "optimizer.options."},
    ),
    "one-choice": ("brain-tumor-tl train method=fr", {"method=frozen"}),
    "multirun": ("brain-tumor-tl train -m trainer=d", {"trainer=ddp"}),
}


@pytest.mark.parametrize(("line", "expected"), COMPLETED.values(), ids=COMPLETED)
def test_complete__keys(line: str, expected: set[str], tmp_path: Path) -> None:
    assert set(completions(line, tmp_path)) == expected


def test_complete__everything_behind_train(tmp_path: Path) -> None:
    offered = set(completions("brain-tumor-tl train ", tmp_path))

    assert offered >= {"seed=", "data=", "data.", "model=", "method=", "trainer.", "optimizer."}


def test_complete__leaves_folders_to_the_shell(tmp_path: Path) -> None:
    assert completions("brain-tumor-tl report out", tmp_path) == []


def test_complete__code_for_each_shell(tmp_path: Path) -> None:
    shells = {shell: run("-sc", f"install={shell}", folder=tmp_path).stdout for shell in ("bash", "zsh", "fish")}

    assert shells["zsh"] == "autoload -Uz bashcompinit && bashcompinit\n" + shells["bash"]
    assert "complete -c brain-tumor-tl -x -a '(hydra_fish_completion)'" in shells["fish"]
    refused = run("-sc", "install=tcsh", folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "Expected -sc install= with one of bash, zsh, fish, got 'install=tcsh'.\n"


def test_complete__one_candidate_a_line_for_fish(tmp_path: Path) -> None:
    offered = run("-sc", "query=fish", folder=tmp_path, COMP_LINE="brain-tumor-tl tr")
    assert offered.stdout.splitlines() == list(VERBS)


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish on this machine")
def test_complete__in_fish(tmp_path: Path) -> None:
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    asked = 'brain-tumor-tl -sc install=fish | source; complete -C "brain-tumor-tl train model=res"'

    assert run("-c", asked, folder=tmp_path, program=("fish",), PATH=path, HOME=str(tmp_path)).stdout.split() == [
        "model=resnet18", "model=resnet50",
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("brain-tumor-tl tr", ["train"]),
        ("brain-tumor-tl train model=res", ["model=resnet18", "model=resnet50"]),
        ("brain-tumor-tl train trainer.max_ep", ["trainer.max_epochs="]),
    ],
    ids=["verb", "choice", "key"],
)
def test_complete__in_bash(line: str, expected: list[str], tmp_path: Path) -> None:
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    program = ("bash", "--norc", "-c", TAB, "bash")
    result = run(line, folder=tmp_path, program=program, PATH=path, PYTHONPROFILEIMPORTTIME="1")

    rule, *offered = result.stdout.splitlines()
    assert rule.startswith("complete ")
    assert rule.endswith("brain-tumor-tl")
    assert offered == expected
    imported = {entry.rpartition("|")[2].strip() for entry in result.stderr.splitlines()}
    assert "brain_tumor_tl.cli.command" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "flags", [["hydra.run.dir={}"], ["-m", "seed=0,1", "hydra.sweep.dir={}"]], ids=["run", "sweep"]
)
def test_train__output_folder_that_cannot_be_made(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = [flag.format(tmp_path / "file" / "below") for flag in flags]

    ended = subprocess.run([*MODULE, "train", *line], cwd=tmp_path, capture_output=True, text=True)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "Not a directory. Move away the file that has the name of a folder. A run's folder is in" in ended.stderr
