"""Hierarchy: classes of a superclass, and what a hierarchy can't be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from brain_tumor_tl.data.hierarchy import hierarchy_problem, superclasses

CLASSES = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]
TUMOR = {"tumor": ["glioma_tumor", "meningioma_tumor", "pituitary_tumor"]}


def test_superclasses__a_class_without_one_is_its_own() -> None:
    assert list(superclasses(CLASSES, TUMOR)) == ["no_tumor", "tumor"]
    found = superclasses(CLASSES, {"of_the_brain": ["glioma_tumor", "meningioma_tumor"]})
    assert list(found) == ["no_tumor", "pituitary_tumor", "of_the_brain"]
    assert found["of_the_brain"] == ["meningioma_tumor", "glioma_tumor"]


BAD = {
    "a-list": (["glioma_tumor"], "lists of classes by the name"),
    "a-word": ({"tumor": "glioma_tumor"}, "lists of classes by the name"),
    "unknown": ({"tumor": ["glioma"]}, "classes of the data set, no_tumor, .*, not glioma"),
    "twice": ({"a": ["glioma_tumor"], "b": ["glioma_tumor"]}, "glioma_tumor occurs 2 times"),
    "a-class": ({"no_tumor": ["glioma_tumor"]}, "no_tumor is a class"),
    "one": ({"head": CLASSES}, "at least two superclasses"),
}


@pytest.mark.parametrize(("hierarchy", "match"), BAD.values(), ids=BAD)
def test_hierarchy_problem(hierarchy: Any, match: str) -> None:
    assert re.search(match, hierarchy_problem(CLASSES, hierarchy) or "")


def test_hierarchy_problem__none() -> None:
    assert hierarchy_problem(CLASSES, TUMOR) is None
    assert hierarchy_problem(CLASSES, {"glioma_tumor": ["glioma_tumor"]}) is None
