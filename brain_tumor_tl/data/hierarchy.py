"""Hierarchy: which classes are under which superclass, such as the kinds of tumour under tumour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Members = Mapping[str, Sequence[str]]


def superclasses(classes: Sequence[str], hierarchy: Members) -> dict[str, list[str]]:
    """Return the classes of each superclass; a class that the hierarchy doesn't name is a superclass of its own.

    Args:
        classes: Name of each class.
        hierarchy: Classes by the name of their superclass.

    >>> superclasses(["healthy", "glioma", "meningioma"], {"tumor": ["glioma", "meningioma"]})
    {'healthy': ['healthy'], 'tumor': ['glioma', 'meningioma']}
    """
    above = {name: parent for parent, names in hierarchy.items() for name in names}
    found: dict[str, list[str]] = {}
    for name in classes:
        found.setdefault(above.get(name, name), []).append(name)
    return found


def hierarchy_problem(classes: Sequence[str], hierarchy: Any) -> str | None:
    """Return what is wrong with a hierarchy, None if nothing is."""
    lists = isinstance(hierarchy, Mapping) and all(isinstance(names, Sequence) for names in hierarchy.values())
    if not lists or any(isinstance(names, str) for names in hierarchy.values()):
        return (
            "to be null or lists of classes by the name of their superclass, {tumor: [glioma_tumor, pituitary_tumor]}"
        )
    named = [name for names in hierarchy.values() for name in names]
    if unknown := [name for name in named if name not in classes]:
        return f"to have classes of the data set, {', '.join(classes)}, not {unknown[0]}"
    if twice := [name for name in named if named.count(name) > 1]:
        return f"to have each class once, but {twice[0]} occurs {named.count(twice[0])} times"
    if clash := [parent for parent, names in hierarchy.items() if parent in classes and parent not in names]:
        return f"to have names of its own for superclasses, but {clash[0]} is a class"
    if len(superclasses(classes, hierarchy)) < 2:
        return "to leave at least two superclasses, got one"
    return None
