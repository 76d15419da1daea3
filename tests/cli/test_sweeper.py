"""Sweeper: search spaces from a command line, refusals, and whole searches whose runs are small scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from brain_tumor_tl.cli.checks import named_classes, search_metrics, search_problems
from brain_tumor_tl.cli.help import composed
from brain_tumor_tl.cli.sweeper import parameter_of
from brain_tumor_tl.sweep.search.search_space import Parameter

BASE = ("data.source=folder", "data.root=/nowhere", "data.val_fraction=0.1", "method=frozen")
RATE = "optimizer.lr=tag(log,interval(1e-5,1e-2))"

# A whole search in one process, its runs replaced by a script; their accuracy is their learning rate.
WHOLE = r"""
import sys
from brain_tumor_tl.cli import multirun, report, sweeper
from brain_tumor_tl.sweep.search import trial_source
trial_source.REPORT_SECONDS = 0.05
real = multirun.make_job
script = '''
import json, sys, time
from pathlib import Path
folder, rate, mode = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
with (folder / "starts").open("a") as file:
    file.write("x")
if mode == "fail" and rate < 1e-3:
    sys.exit("error: out of memory")
(folder / "metrics.csv").write_text(f"epoch,val/accuracy\\n1,{rate}\\n")
if mode == "slow" or (mode == "prune" and rate < 1e-3):
    time.sleep(60)
(folder / "results.json").write_text(json.dumps({"accuracy": rate / 2}))
'''
def replaced(config, overrides, *arguments):
    job = real(config, overrides, *arguments)
    values = dict(line.lstrip("+").split("=", 1) for line in overrides if "=" in line)
    with open("command.txt", "w") as file:
        file.write(" ".join(job.command))
    job.command = [sys.executable, "-S", "-c", script, str(job.folder), values["optimizer.lr"], sys.argv_mode]
    return job
sys.argv_mode = sys.argv.pop(1)
multirun.make_job = replaced
sweeper.tell_report = lambda folder: print("table of", folder.name)
report.refresh = lambda folder: None
sys.argv = ["brain-tumor-tl", "search", *sys.argv[1:]]
from brain_tumor_tl.__main__ import main
try:
    sys.exit(main())
finally:
    heavy = ("torch", "lightning", "torchvision", "matplotlib", "sqlalchemy", "scipy", "pandas")
    print("heavy:", [name for name in heavy if name in sys.modules])
"""


def start(folder: Path, mode: str, *line: str, program: str = WHOLE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, mode, *BASE, *line],
        cwd=folder,
        env=os.environ | {"COLUMNS": "300"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def searched(folder: Path, mode: str, *line: str, status: int = 0) -> tuple[str, str]:
    """Search, and return what was printed and what was wrong."""
    process = start(folder, mode, *line)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, out + err
    return out, err


def entries(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("outputs/sweeps/search-*/sweep.json")
    content = json.loads(path.read_text())
    assert content["command"][:2] == ["brain-tumor-tl", "search"]
    return {job["name"]: job for job in content["jobs"]}


def starts(folder: Path) -> int:
    return sum(len(path.read_text()) for path in folder.rglob("starts"))


SPACES = {
    "list": ("model=resnet18,vgg16", Parameter("model", "choice", choices=("resnet18", "vgg16"))),
    "choice": ("data.batch_size=choice(16,32)", Parameter("data.batch_size", "choice", choices=("16", "32"))),
    "null": ("model.weights=null,a", Parameter("model.weights", "choice", choices=("null", "a"))),
    "interval": ("loss.label_smoothing=interval(0,0.3)", Parameter("loss.label_smoothing", "float", 0.0, 0.3)),
    "powers": (RATE, Parameter("optimizer.lr", "float", 1e-5, 1e-2, log=True)),
    "whole": ("data.batch_size=int(interval(8,64))", Parameter("data.batch_size", "integer", 8, 64)),
    "range": ("data.batch_size=range(16,65,16)", Parameter("data.batch_size", "integer", 16, 64, step=16)),
    "range-without-its-end": ("data.batch_size=range(1,4)", Parameter("data.batch_size", "integer", 1, 3, step=1)),
    "fractions": ("+model.options.x=range(0,0.5,0.25)", Parameter("+model.options.x", "float", 0, 0.25, 0.25)),
    "one": ("seed=range(3,4)", Parameter("seed", "choice", choices=("3",))),
}  # fmt: skip


@pytest.mark.parametrize(("line", "parameter"), SPACES.values(), ids=SPACES)
def test_parameter_of__spaces(line: str, parameter: Parameter) -> None:
    assert parameter_of(OverridesParser.create().parse_override(line)) == parameter


@pytest.fixture(scope="module")
def defaults() -> DictConfig:
    config = composed([])
    config.data.val_fraction = 0.1
    return config


def test_search_problems__none(defaults: DictConfig) -> None:
    assert (
        list(search_problems(defaults, named_classes(defaults.data), ["optimizer.lr", "model", "data.batch_size"]))
        == []
    )
    assert {"val/accuracy", "val/loss", "val/recall/glioma_tumor"} <= set(search_metrics(named_classes(defaults.data)))


PROBLEMS = {
    "test-part": ("search.metric", "test/macro_f1", [], "Give search.metric=val/macro_f1."),
    "metric": ("search.metric", "val/acuracy", [], "Did you mean `val/accuracy`"),
    "no-part": ("data.val_fraction", 0.0, [], "Give data.val_fraction=0.1."),
    "split": ("search.trials", 3, ["seed", "data"], "but `seed`, `data` changes it"),
}


@pytest.mark.parametrize(("key", "value", "searched", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_search_problems__told(key: str, value: Any, searched: list[str], message: str, defaults: DictConfig) -> None:
    config = defaults.copy()
    table, leaf = key.split(".")
    config[table][leaf] = value

    (problem,) = search_problems(config, named_classes(config.data), searched)

    assert message in problem


REFUSED = {
    "no-space": (["optimizer.lr=0.1"], 1, "Expected a search space, got one value for each key."),
    "no-validation-part": ([RATE, "data.val_fraction=0"], 1, "Give data.val_fraction=0.1."),
    "unknown-key": (["loss.smoothing=interval(0,1)"], 2, "no key `loss.smoothing`. Did you mean `label_smoothing`"),
    "unknown-choice": (["model=resnet18,resnet19"], 2, "`model` can't be 'resnet19'"),
    "out-of-range": (["optimizer.lr=interval(-1,1)"], 2, "Expected `optimizer.lr` to be greater than 0, got -1.0."),
    "fraction-of-a-whole": (["data.batch_size=interval(8,64.5)"], 2, "Expected `data.batch_size` to be a whole number"),
    "no-effect": (["launcher.jobs=1,2"], 1, "no result of a run depends on it"),
    "pruner": ([RATE, "search.pruner=medain"], 2, "Expected `search.pruner` to be one of none, median, hyperband"),
    "numbers-S03": ([RATE, "hydra.sweep.subdir=${hydra.job.num}"], 1, "trials that don't depend on their numbers"),
    "launcher": ([RATE, "hydra/launcher=basic"], 1, "with hydra/launcher=local, got basic"),
}


@pytest.mark.parametrize(("line", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_search__refused_before_anything_starts(line: list[str], status: int, message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "brain_tumor_tl", "search", *BASE, *line]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    assert (result.returncode, result.stdout) == (status, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_search__without_the_extra(tmp_path: Path) -> None:
    absent = "import sys; sys.modules['optuna'] = None; from brain_tumor_tl.__main__ import main; sys.exit(main())"
    process = start(tmp_path, "search", RATE, program=absent)
    out, err = process.communicate(timeout=120)

    assert (process.returncode, out) == (1, "")
    assert "pip install 'brain_tumor_tl[search]'" in err
    assert "Traceback" not in err


def test_search__whole_and_again(tmp_path: Path) -> None:
    line = (RATE, "model=resnet18,vgg16", "launcher.jobs=2", "data.cache_dir=/a b")
    out, err = searched(tmp_path, "well", *line, "search.trials=3")

    assert err == ""
    assert out.endswith("heavy: []\n")
    jobs = entries(tmp_path)
    assert [job["state"] for job in jobs.values()] == ["done"] * 3
    best = max(jobs.values(), key=lambda job: float(job["name"].rpartition("-lr")[2]))
    rate = best["name"].rpartition("-lr")[2]
    for text in (
        "3 trials into outputs/sweeps/search-lr-model-frozen-",
        ", so far none",
        "table of search-lr-model-frozen-",
        "Done      3 finished of 3 trials",
    ):
        assert text in out
    assert f"val/accuracy {float(rate):.4f}, test accuracy {50 * float(rate):.2f} %" in out
    fixed = f"{' '.join(BASE)} 'data.cache_dir=/a b'"
    assert f"Next      brain-tumor-tl train {fixed} optimizer.lr={rate} model={best['model']}" in out
    command = (tmp_path / "command.txt").read_text()
    assert "-m brain_tumor_tl train --config-name search" in command
    assert command.endswith("hydra.mode=RUN")

    out, _ = searched(tmp_path, "well", *line, "search.trials=4")
    assert "so far 3 finished" in out
    assert (out.count("start   "), starts(tmp_path)) == (1, 4)
    out, _ = searched(tmp_path, "well", *line, "search.trials=4")
    assert (out.count("start   "), "4 finished of 4 trials" in out) == (0, True)

    _, err = searched(tmp_path, "well", *line, "trainer.max_epochs=7", status=1)
    assert "holds a search with other settings (trainer.max_epochs: 100 -> 7)" in err
    assert starts(tmp_path) == 4


def test_search__failed_trials(tmp_path: Path) -> None:
    out, err = searched(tmp_path, "fail", RATE, "search.trials=4", status=1)

    failed = [job["name"] for job in entries(tmp_path).values() if job["state"] == "failed"]
    assert len(failed) in (1, 2, 3), "rates below 0.001 fail"
    assert f"{len(failed)} of 4 trials failed: {', '.join(failed)}. The same command runs them again." in err
    assert f"{4 - len(failed)} finished, {len(failed)} failed of 4 trials" in out

    out, _ = searched(tmp_path, "well", RATE, "search.trials=4")

    assert out.count("start   ") == len(failed)
    assert "4 finished of 4 trials" in out


def test_search__pruned_trials(tmp_path: Path) -> None:
    line = (RATE, "search.trials=12", "search.sampler=random", "trainer.max_epochs=2", "search.pruner=hyperband")
    out, _ = searched(tmp_path, "prune", *line)

    pruned = [job for job in entries(tmp_path).values() if job["state"] == "pruned"]
    assert pruned
    assert all("(hyperband pruner)" in job["reason"] for job in pruned)
    assert f"{len(pruned)} pruned of 12 trials" in out


def test_search__interrupt_and_resume(tmp_path: Path) -> None:
    process = start(tmp_path, "slow", RATE, "search.trials=2")
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("metrics.csv")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    _, busy = searched(tmp_path, "well", RATE, "search.trials=2", status=1)
    assert "Another search runs in outputs/sweeps/search-lr-frozen-" in busy
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGINT
    assert "Stopped by SIGINT; the same command resumes." in out
    (cut,) = entries(tmp_path).values()
    assert cut["state"] == "interrupted"

    out, _ = searched(tmp_path, "well", RATE, "search.trials=2")

    assert "so far 1 to be resumed" in out
    assert out.index(f"start   {cut['name']}") < out.index("done ")
    assert (starts(tmp_path), "2 finished of 2 trials" in out) == (3, True)


def test_search__force_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        out, _ = searched(tmp_path, "well", RATE, "search.trials=2", "force=true")
        assert "so far none" in out

    assert starts(tmp_path) == 4
