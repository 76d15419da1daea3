"""Wheel: it contains what it needs and runs from a virtual environment outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from brain_tumor_tl import __version__

CHECKOUT = Path(__file__).resolve().parents[1]

COMPOSE = """
import sys
import brain_tumor_tl
from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.help import composed
settings = checked_settings(composed(["model=vgg16", "data.root=."]))
print(brain_tumor_tl.__file__, conf_dir(), settings["model"]["name"], "torch" in sys.modules, sep="\\n")
"""

# The launchers that any Hydra program of the environment finds, and what is imported to find them.
LAUNCHERS = """
import sys
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
for found in Plugins.instance().discover(Launcher):
    if found.__module__.startswith("hydra_plugins"):
        print(found.__module__, found.__name__)
print([name for name in ("brain_tumor_tl", "torch", "rich") if name in sys.modules])
"""


def run(*command: str | Path, folder: Path) -> str:
    """Run a program in a folder, without this environment's settings for Python and pip; return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    result = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the installed build backend, which needs no network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT, folder=folder)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def site_packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of a new venv with the wheel; a .pth file adds the other packages of this environment."""
    venv = tmp_path_factory.mktemp("empty") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, folder=venv.parent)
    pip = (sys.executable, "-m", "pip", "--python", venv / "bin" / "python")
    run(*pip, "install", "--no-deps", "--no-index", wheel, folder=venv.parent)
    (found,) = venv.glob("lib/python*/site-packages")
    added = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (found / "added.pth").write_text("".join(f"{path}\n" for path in sorted(added)))
    return found


def test_wheel__contains_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    assert wheel.name.startswith(f"brain_tumor_tl-{__version__}-py3-none-any")
    assert "brain_tumor_tl/conf/train.yaml" in names
    for folder, inside, least in (("conf", "brain_tumor_tl/conf", 23), ("brain_tumor_tl", "brain_tumor_tl", 80)):
        paths = [path.relative_to(CHECKOUT / folder) for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
        files = {f"{inside}/{path.as_posix()}" for path in paths if path.suffix != ".pyc" and path.name[0] != "."}
        assert len(files) >= least
        assert files <= names, "templates, styles, tables and help pages included"


def test_wheel__contains_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    top = {"brain_tumor_tl", "hydra_plugins", f"brain_tumor_tl-{__version__}.dist-info"}
    assert {name.split("/")[0] for name in names} == top
    inside = {name for name in names if name.startswith("hydra_plugins/")}
    plugins = {f"hydra_plugins/brain_tumor_tl_{name}.py" for name in ("launcher", "search", "slurm")}
    assert inside == plugins, "an __init__.py would hide other packages' plugins"
    assert not [name for name in names if Path(name).name.startswith("test_") or "__pycache__" in name]


def test_wheel__composes_a_configuration_in_an_empty_venv(site_packages: Path, tmp_path: Path) -> None:
    python = site_packages.parents[2] / "bin" / "python"

    package, conf, model, torch = run(python, "-c", COMPOSE, folder=tmp_path).splitlines()

    assert Path(package) == (site_packages / "brain_tumor_tl" / "__init__.py").resolve()
    assert Path(conf) == (site_packages / "brain_tumor_tl" / "conf").resolve()
    assert (model, torch) == ("vgg16", "False")
    assert list(tmp_path.iterdir()) == []


def test_wheel__launcher_is_found_in_an_empty_venv(site_packages: Path, tmp_path: Path) -> None:
    python = site_packages.parents[2] / "bin" / "python"

    output = run(python, "-c", LAUNCHERS, folder=tmp_path).splitlines()

    assert "hydra_plugins.brain_tumor_tl_launcher LocalLauncher" in output
    assert output[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["--version"], f"brain-tumor-tl {__version__}"),
        (["train", "--help"], "  model=densenet121|googlenet|mobilenet_v2|resnet18|resnet50|shufflenet_v2_x1_0|vgg16"),
        (["train", "--config-name", "grid", "--cfg", "job"], "sweep: grid"),
    ],
    ids=["version", "help", "configuration"],
)
def test_wheel__command_runs_in_an_empty_venv(
    line: list[str], expected: str, site_packages: Path, tmp_path: Path
) -> None:
    command = site_packages.parents[2] / "bin" / "brain-tumor-tl"

    assert expected in run(command, *line, folder=tmp_path).splitlines()
    assert list(tmp_path.iterdir()) == []
