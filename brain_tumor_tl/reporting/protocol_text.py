"""Leakage: in words, what test and training images of a split have in common, and what a look-up alone reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]


def leakage_text(facts: Facts) -> str:
    """Return the sentences that stand beside every figure of a split.

    Args:
        facts: `protocol` of `results.json`, or what the data module tells of its split.
    """
    told = [f"{capitalized(facts['title'])}.", copies_text(facts), sides_text(facts), absent_text(facts)]
    told += [left_out_text(facts), nearest_neighbour_text(facts)]
    if facts.get("shuffled_labels"):
        told.append("CONTROL: trained on permuted labels, so accuracy must land at chance.")
    return " ".join(sentence for sentence in told if sentence)


def copies_text(facts: Facts) -> str:
    """Return how many test images have a copy in the training part."""
    total, identical, near = (facts.get(key) for key in ("test_images", "identical_in_training", "copies_in_training"))
    if identical is None:
        return "How many test images have a copy in the training part is not known (data.find_copies=true looks)."
    if near is None:
        return (
            f"{identical} of {total} test images have a twin of identical pixels in the training part; near copies "
            "were not looked for (data.find_copies=true looks)."
        )
    return (
        f"{identical} of {total} test images have a twin of identical pixels in the training part, {near} a copy, "
        "near ones included."
    )


def sides_text(facts: Facts) -> str:
    """Return how many groups of copies, and patients where they are known, are in more than one part."""
    groups, patients = facts.get("groups_on_two_sides"), facts.get("patients_on_two_sides")
    told = f"{groups} group(s) of copies are on two sides. " if groups else ""
    if patients is None:
        return told + "Patients are not known."
    return told + (f"{patients} patient(s) are on two sides." if patients else "No patient is on two sides.")


def absent_text(facts: Facts) -> str:
    """Return which classes a part has no image of, an empty string where there are none."""
    missing = facts.get("missing_classes") or {}
    return " ".join(f"There is no {' and no '.join(names)} in the {part} part." for part, names in missing.items())


def left_out_text(facts: Facts) -> str:
    """Return how many images are in no part, an empty string for none."""
    return f"{facts['left_out']} image(s) are left out." if facts.get("left_out") else ""


def nearest_neighbour_text(facts: Facts) -> str:
    """Return what a look-up of the nearest training image reaches, an empty string where that isn't known."""
    accuracy = facts.get("nearest_neighbour")
    if accuracy is None:
        return ""
    return f"A look-up of the nearest training thumbnail, which learns nothing, scores {100 * accuracy:.2f} %."


def capitalized(text: str) -> str:
    """Return a text with its first letter large and the others as they are."""
    return text[:1].upper() + text[1:]


def summary_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each kind of split among some runs: copies in training, and the look-up's accuracy.

    Args:
        runs: Contents of `results.json`.

    >>> facts = {"title": "random split", "test_images": 9, "copies_in_training": 3, "nearest_neighbour": 0.5}
    >>> summary_lines([{"protocol": facts}, {"protocol": facts | {"copies_in_training": 2}}])
    ['random split: 2 to 3 of 9 test images have a copy in training; nearest thumbnail 50.00 %']
    """
    kinds: dict[str, list[Facts]] = {}
    for run in runs:
        facts = run["protocol"]
        if "title" in facts:
            kinds.setdefault(facts["title"].partition(", fold ")[0], []).append(facts)
    return [f"{title}: {'; '.join(kind_texts(facts))}" for title, facts in kinds.items()]


def kind_texts(kind: Sequence[Facts]) -> list[str]:
    """Return what is told of runs with the same kind of split."""
    total = span([facts.get("test_images") for facts in kind], "d")
    near = span([facts.get("copies_in_training") for facts in kind], "d")
    if near is None:
        near = span([facts.get("identical_in_training") for facts in kind], "d")
        copies = f"{near} of {total} test images have a twin in training" if near else "copies were not looked for"
    else:
        copies = f"{near} of {total} test images have a copy in training"
    accuracies = [facts.get("nearest_neighbour") for facts in kind]
    lookup = span([None if value is None else 100 * value for value in accuracies], ".2f")
    missing = [(facts.get("missing_classes") or {}).get("test", []) for facts in kind]
    absent = ", ".join(sorted({name for names in missing for name in names}))
    told = [copies, f"nearest thumbnail {lookup} %" if lookup else "", f"no test image of {absent}" if absent else ""]
    told.append("CONTROL with permuted labels" if any(facts.get("shuffled_labels") for facts in kind) else "")
    return [text for text in told if text]


def span(values: Sequence[float | None], form: str) -> str | None:
    """Return the least and the greatest of the values that are there, one where they are equal, None for none.

    >>> span([1, None, 3], "d"), span([2.0], ".1f"), span([None], "d")
    ('1 to 3', '2.0', None)
    """
    there = [value for value in values if value is not None]
    if not there:
        return None
    low, high = format(min(there), form), format(max(there), form)
    return low if low == high else f"{low} to {high}"
