"""Imports: who may import whom inside the package, what importing it must not load, and how long its files are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import brain_tumor_tl

PACKAGE = Path(brain_tumor_tl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
DOCUMENT = PACKAGE.parent / "docs" / "architecture.md"

# A unit is a module at the package's root or one of its folders. docs/architecture.md shows this table.
ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli", "names"},
    "cli": {"run", "inference", "serve", "sweep", "reporting", "data", "cache", "console", "files", "names"},
    "run": {"reporting", "evaluation", "data", "model", "cache", "console", "files"},
    "inference": {"data", "evaluation", "model", "names", "reporting", "run", "cache", "console", "files"},
    "serve": {"inference", "reporting", "data"},
    "sweep": {"cache", "console", "files"},
    "reporting": {"evaluation", "files"},
    "evaluation": set(),
    "model": {"cache", "names"},
    "data": {"cache", "files", "names"},
    "cache": {"files"},
    "files": set(),
    "console": set(),
    "names": set(),
}


def unit_of(path: Path) -> str:
    """Return the unit that a file belongs to; the package's own __init__.py is one too."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_units(source: str) -> set[str]:
    """Return the units that a file imports, anywhere in it, functions and TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            whole = node.module == "brain_tumor_tl"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if whole else {node.module or ""}
    units = {name.split(".")[1] for name in found if name.startswith("brain_tumor_tl.")}
    return units - {"__version__"}


def imports() -> dict[str, set[str]]:
    """Return the other units that each unit imports."""
    found: dict[str, set[str]] = {}
    for path in FILES:
        unit = unit_of(path)
        found.setdefault(unit, set()).update(imported_units(path.read_text(encoding="utf-8")) - {unit})
    return found


def as_text(table: Mapping[str, set[str]]) -> str:
    """Return a table in the form of docs/architecture.md, with `nothing` for an empty set."""
    return "\n".join(f"{unit} -> {', '.join(sorted(units)) or 'nothing'}" for unit, units in table.items())


def read_table(text: str) -> dict[str, set[str]]:
    """Return the table in the ```imports block of a Markdown text."""
    (block,) = re.findall(r"^```imports\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    rows = [line.partition("->") for line in block.splitlines() if line.strip()]
    return {unit.strip(): set(re.findall(r"\w+", units)) - {"nothing"} for unit, _, units in rows}


def test_imports__go_one_way() -> None:
    found = imports()

    assert len(FILES) >= 30
    assert found.pop("__init__") == {"data", "inference", "model"}, "the public names, imported on first use"
    beyond = {unit: units - ALLOWED.get(unit, set()) for unit, units in found.items()}
    assert {unit: units for unit, units in beyond.items() if units} == {}
    assert set(found) == set(ALLOWED), "every module and folder of the package has its row in ALLOWED"


def test_imports__no_row_allows_an_unused_import() -> None:
    found = imports()

    unused = {unit: units - found[unit] for unit, units in ALLOWED.items()}
    assert {unit: units for unit, units in unused.items() if units} == {}


RULES = {
    "only-main-knows-the-command-line": (set(ALLOWED) - {"__main__"}, {"cli"}),
    "reporting-reads-files-alone": ({"reporting"}, {"run", "sweep", "model", "data"}),
    "evaluation-takes-arrays-alone": ({"evaluation"}, set(ALLOWED)),
    "model-and-data-meet-in-run": ({"model", "data"}, {"model", "data", "evaluation", "reporting", "sweep", "run"}),
    "only-the-command-line-and-the-page-use-finished-runs": (set(ALLOWED) - {"cli", "serve"}, {"inference"}),
    "leaves-import-nothing": ({"files", "console", "names"}, set(ALLOWED)),
}


@pytest.mark.parametrize(("units", "never"), RULES.values(), ids=RULES)
def test_imports__table_keeps_the_rules(units: set[str], never: set[str]) -> None:
    assert {unit: ALLOWED[unit] & never - {unit} for unit in units if ALLOWED[unit] & never - {unit}} == {}


def test_imports__table_of_the_documentation() -> None:
    table = read_table(DOCUMENT.read_text(encoding="utf-8"))
    assert table == ALLOWED, f"the block ```imports of {DOCUMENT} should read\n{as_text(ALLOWED)}"


def test_architecture__names_every_module() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (tree,) = re.findall(r"^```\n(conf/.*?)^```$", text, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"\b\w+\.py\b", tree)) - {"__main__.py"}
    modules = {path.name for path in FILES if not path.name.startswith("__")}

    assert len(modules) > 60
    assert (modules - named, named - modules) == (set(), set())


def test_read_table__reads_what_as_text_writes() -> None:
    text = f"# Architecture\n\n```imports\n{as_text(ALLOWED)}\n```\n\n```\nother -> block\n```\n"

    assert read_table(text) == ALLOWED


@pytest.mark.parametrize(
    ("source", "units"),
    [
        ("from brain_tumor_tl import hardware, __version__", {"hardware"}),
        ("import brain_tumor_tl.data.index as index", {"data"}),
        ("def f():\n    from brain_tumor_tl.model.optim import build_optimizer", {"model"}),
        ("if TYPE_CHECKING:\n    from brain_tumor_tl.cli.train import run", {"cli"}),
        ("import torch\nfrom brain_tumor_tlx.data import x", set()),
    ],
    ids=["package", "plain", "late", "type-checking", "others"],
)
def test_imported_units__kinds_of_import(source: str, units: set[str]) -> None:
    assert imported_units(source) == units


def test_imports__inference_takes_of_run_the_hardware_alone() -> None:
    sources = [path.read_text(encoding="utf-8") for path in FILES if unit_of(path) == "inference"]
    found = {name for source in sources for name in re.findall(r"brain_tumor_tl\.run\b.*", source)}

    assert found == {"brain_tumor_tl.run import hardware"}


LIGHTNING = ("run/", "data/module.py", "model/classifier.py", "model/lightning_internals.py")


def imported_packages(source: str) -> set[str]:
    """Return the top-level packages that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_imports__lightning_stays_in_its_places() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if "lightning" in imported_packages(path.read_text(encoding="utf-8"))
    }

    assert {"data/module.py", "model/classifier.py"} <= found
    assert {name for name in found if not name.startswith(LIGHTNING)} == set()


def test_imports__web_packages_stay_in_serve() -> None:
    web = {"starlette", "uvicorn"}
    found = {unit_of(path) for path in FILES if web & imported_packages(path.read_text(encoding="utf-8"))}

    assert found == {"serve"}


MAX_FILE, MAX_FUNCTION = 300, 50  # lines, docstrings and comments included


def test_files__none_is_too_long() -> None:
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in FILES}

    assert {name: length for name, length in lengths.items() if length > MAX_FILE} == {}


def function_lengths(source: str) -> dict[str, int]:
    """Return the number of lines of each function of a file, by name."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}


def test_functions__none_is_too_long() -> None:
    found = {path.name: function_lengths(path.read_text(encoding="utf-8")) for path in FILES}

    assert sum(map(len, found.values())) > 300
    too_long = {name: {f: n for f, n in lengths.items() if n > MAX_FUNCTION} for name, lengths in found.items()}
    assert {name: lengths for name, lengths in too_long.items() if lengths} == {}


TORCH = ("torch", "torchvision", "lightning")
LIGHT = ("__main__", "cache", "cli", "console", "evaluation", "files", "names", "reporting", "sweep")
HEAVY = {"cli.audit"}  # finding copies needs torch

# Imports each module of the command line and prints the first that brings one of the heavy packages.
IMPORT_ALL = f"""
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    if found := [name for name in {TORCH} if name in sys.modules]:
        print(module, *found)
        break
"""


def test_import__command_line_and_reports_bring_no_torch() -> None:
    names = [".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__") for path in FILES]
    light = [name.rstrip(".") for name in names if name.startswith(LIGHT) and name not in HEAVY]
    modules = ["brain_tumor_tl", *(f"brain_tumor_tl.{name}" for name in [*light, "run.folder", "run.record"])]
    line = [sys.executable, "-c", IMPORT_ALL, *modules]
    result = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    assert len(modules) > 50
    assert (result.stdout, result.stderr) == ("", "")


NOT_FOR_INFERENCE = ("lightning", "torchmetrics", "matplotlib")


def test_import__inference_brings_torch_alone() -> None:
    files = [path for path in FILES if unit_of(path) == "inference" and path.stem != "__init__"]
    script = f"import sys, {', '.join(f'brain_tumor_tl.inference.{path.stem}' for path in files)}\n"
    script += f"print([name for name in ('torchvision', *{NOT_FOR_INFERENCE}) if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=False)

    assert len(files) >= 2
    assert (result.stdout.strip(), result.stderr) == ("['torchvision']", "")


def test_import__public_names() -> None:
    assert set(brain_tumor_tl.__all__) >= {"TumorData", "TumorClassifier", "load", "__version__"}
    for name in brain_tumor_tl.__all__:
        assert getattr(brain_tumor_tl, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = brain_tumor_tl.Nonsense
