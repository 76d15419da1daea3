"""Dataclasses: those with arrays compare by identity, as the comparison of arrays has no truth value."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import brain_tumor_tl

PACKAGE = Path(brain_tumor_tl.__file__).parent
ARRAYS = {"NDArray", "Tensor", "Indices", "Pixels", "Values", "Labels", "Hits"}  # and the package's names for them
FUNCTION = re.compile(r"Callable\[\[[^\]]*\], \w+\]")


def dataclasses_of_the_package() -> dict[str, tuple[str, str]]:
    """Return decorator and types of the fields of each dataclass, by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", ())]
            if isinstance(node, ast.ClassDef) and decorators and decorators[0].startswith("dataclass"):
                fields = [ast.unparse(each.annotation) for each in node.body if isinstance(each, ast.AnnAssign)]
                found[node.name] = decorators[0], FUNCTION.sub("", ", ".join(fields))
    return found


def test_dataclasses__with_arrays_compare_by_identity() -> None:
    classes = dataclasses_of_the_package()
    holding: set[str] = set()
    while True:  # until no further one holds one that holds an array
        more = {name for name, (_, fields) in classes.items() if {*re.findall(r"\w+", fields)} & (ARRAYS | holding)}
        if more == holding:
            break
        holding = more

    assert len(classes) > 30
    assert {"Batches", "CacheEntry", "Index", "Relations"} <= holding
    assert [name for name in sorted(holding) if "eq=False" not in classes[name][0]] == []
