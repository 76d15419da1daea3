"""Imports: who may import whom inside the package, and what importing it must not bring in."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import brain_tumor_tl

PACKAGE = Path(brain_tumor_tl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
DRAWING = PACKAGE.parent / "docs" / "architecture.md"

# A unit is a module of the package or one of its folders. docs/architecture.md draws this table.
ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli", "names"},
    "cli": {"run", "sweep", "reporting", "data", "cache", "console", "files", "names"},
    "run": {"reporting", "evaluation", "data", "model", "cache", "console", "files"},
    "sweep": {"reporting", "cache", "files"},
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
    """Return the units that each unit imports, itself left out."""
    found: dict[str, set[str]] = {}
    for path in FILES:
        unit = unit_of(path)
        found.setdefault(unit, set()).update(imported_units(path.read_text(encoding="utf-8")) - {unit})
    return found


def drawn(table: Mapping[str, set[str]]) -> str:
    """Return the lines that stand for a table in docs/architecture.md, `nothing` for an empty set."""
    return "\n".join(f"{unit} -> {', '.join(sorted(units)) or 'nothing'}" for unit, units in table.items())


def read_drawing(text: str) -> dict[str, set[str]]:
    """Return the table in the block of a Markdown text that starts with ```imports."""
    (block,) = re.findall(r"^```imports\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    rows = [line.partition("->") for line in block.splitlines() if line.strip()]
    return {unit.strip(): set(re.findall(r"\w+", units)) - {"nothing"} for unit, _, units in rows}


def test_imports__go_one_way() -> None:
    found = imports()

    assert len(FILES) >= 30
    assert found.pop("__init__") == {"data", "model"}, "the public names, imported on first use"
    beyond = {unit: units - ALLOWED.get(unit, set()) for unit, units in found.items()}
    assert {unit: units for unit, units in beyond.items() if units} == {}
    assert set(found) == set(ALLOWED), "every module and folder of the package has its row in ALLOWED"


def test_imports__no_row_allows_what_nobody_needs() -> None:
    found = imports()

    unused = {unit: units - found[unit] for unit, units in ALLOWED.items()}
    assert {unit: units for unit, units in unused.items() if units} == {}


RULES = {
    "nothing-below-knows-the-command-line": (set(ALLOWED) - {"__main__"}, {"cli"}),
    "reports-know-no-run-and-no-sweep": ({"reporting"}, {"run", "sweep", "model", "data"}),
    "evaluation-knows-arrays-alone": ({"evaluation"}, set(ALLOWED)),
    "model-and-data-meet-in-a-run": ({"model", "data"}, {"model", "data", "evaluation", "reporting", "sweep", "run"}),
    "leaves-import-nothing": ({"files", "console", "names"}, set(ALLOWED)),
}


@pytest.mark.parametrize(("units", "never"), RULES.values(), ids=RULES)
def test_imports__table_keeps_the_rules(units: set[str], never: set[str]) -> None:
    assert {unit: ALLOWED[unit] & never - {unit} for unit in units if ALLOWED[unit] & never - {unit}} == {}


def test_imports__are_drawn_in_the_architecture() -> None:
    if not DRAWING.is_file():
        pytest.skip(f"there is no {DRAWING.name} in docs/ yet")

    table = read_drawing(DRAWING.read_text(encoding="utf-8"))
    assert table == ALLOWED, f"the block ```imports of {DRAWING} should read\n{drawn(ALLOWED)}"


def test_read_drawing__reads_what_drawn_writes() -> None:
    text = f"# Architecture\n\n```imports\n{drawn(ALLOWED)}\n```\n\n```\nother -> block\n```\n"

    assert read_drawing(text) == ALLOWED


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


TORCH = ("torch", "torchvision", "lightning")
LIGHT = [
    "", ".data", ".model", ".cli.command", ".cli.config", ".cli.report", ".cli.launcher", ".cli.search", ".cache",
    ".files", ".names", ".console", ".run.folder", ".run.record", ".reporting.tables", ".reporting.study",
    ".reporting.predictions", ".reporting.plots", ".reporting.page", ".reporting.audit_page", ".reporting.document",
    ".reporting.discover", ".evaluation.calibration", ".sweep.search.trial_source",
]  # fmt: skip


@pytest.mark.parametrize("module", LIGHT, ids=lambda name: name or "package")
def test_import__brings_no_torch(module: str) -> None:
    script = f"import sys, brain_tumor_tl{module}; print([name for name in {TORCH} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert result.stdout == "[]\n"


def test_import__the_two_public_parts() -> None:
    from brain_tumor_tl.data import TumorData
    from brain_tumor_tl.model import TumorClassifier

    assert (TumorData.__name__, TumorClassifier.__name__) == ("TumorData", "TumorClassifier")


@pytest.mark.parametrize("package", ["data", "model"])
def test_import__no_such_part(package: str) -> None:
    module = importlib.import_module(f"brain_tumor_tl.{package}")

    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = module.Nonsense
