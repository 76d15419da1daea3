"""Protocol text: in words, what test and training images have in common, and how well 1-NN does on the split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Protocol = Mapping[str, Any]  # `protocol` of results.json, or the part of it that describes the split
COPIES = ("identical_in_training", "copies_in_training")
PATIENTS = ("patients_in_training", "known_patients")


def describe_protocol(protocol: Protocol) -> str:
    """Return the sentences on a split that every result on it is shown with."""
    title = str(protocol["title"])
    sentences = [f"{title[:1].upper()}{title[1:]}.", describe_copies(protocol), describe_groups(protocol)]
    missing = protocol.get("missing_classes") or {}
    sentences += [f"The {name} split has no image of {' or '.join(classes)}." for name, classes in missing.items()]
    sentences += [f"{protocol['left_out']} image(s) are left out."] if protocol.get("left_out") else []
    sentences.append(describe_baseline(protocol))
    if protocol.get("shuffled_labels"):
        sentences.append("CONTROL: trained on permuted labels, so accuracy must be at chance level.")
    return " ".join(filter(None, sentences))


def describe_copies(protocol: Protocol) -> str:
    """Return how many test images have a copy in the training split."""
    total, identical, near = (protocol.get(key) for key in ("test_images", *COPIES))
    if identical is None:
        return "Copies of test images in the training split were not searched for (data.find_copies=true does)."
    first = f"{identical} of {total} test images have a pixel-identical copy in the training split"
    if near is None:
        return f"{first}; near copies were not searched for (data.find_copies=true does)."
    return f"{first}, {near} an identical or near copy."


def describe_groups(protocol: Protocol) -> str:
    """Return how many groups of copies are in several splits, and how many test images have their patient in training.

    >>> describe_groups({"test_images": 9, "known_patients": 5, "patients_in_training": 4})
    '4 of the 5 test images of known patients have their patient in the training split; of the other 4 it is not known.'
    """
    groups = protocol.get("groups_in_several_splits")
    return (f"{groups} group(s) of copies are in several splits. " if groups else "") + describe_patients(protocol)


def describe_patients(protocol: Protocol) -> str:
    """Return how many test images have their patient in training, of how many whose patient is known."""
    total, known, trained, divided = (
        protocol.get(key)
        for key in ("test_images", "known_patients", "patients_in_training", "patients_in_several_splits")
    )
    if known is None:  # schema 2 had only the last of them at first
        if divided is None:
            return "Patients are not known."
        return f"{divided} patient(s) are in several splits." if divided else "No known patient is in several splits."
    if known == 0:
        return "The patient of no test image is known."
    if divided == 0 and protocol["images_without_patient"] == 0:
        return "No patient is in several splits."
    rest = "" if known == total else f"; of the other {total - known} it is not known"
    return f"{trained} of the {known} test images of known patients have their patient in the training split{rest}."


def describe_means(results: Mapping[str, Any]) -> str:
    """Return over which classes a run's means are, an empty string if over all of them or if it is not known.

    >>> describe_means({"classes": ["a", "b", "c"], "classes_in_means": ["a", "b"]})
    'means over the 2 of 3 classes with test images, without c'
    """
    classes, used = results.get("classes") or [], results.get("classes_in_means")
    absent = [] if used is None else [name for name in classes if name not in used]
    if not absent:
        return ""
    count = len(classes) - len(absent)
    return f"means over the {count} of {len(classes)} classes with test images, without {', '.join(absent)}"


def describe_baseline(protocol: Protocol) -> str:
    """Return the accuracy of the nearest-neighbour baseline, an empty string if it is not known."""
    found = protocol.get("nearest_neighbour")
    return "" if found is None else f"A nearest-neighbour (1-NN) baseline on thumbnails scores {100 * found:.2f} %."


def summarize_splits(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each kind of split of some runs: copies and patients in training, and the 1-NN baseline.

    Args:
        runs: Contents of `results.json`.

    >>> protocol = {"title": "random split", "test_images": 9, "copies_in_training": 3, "nearest_neighbour": 0.5}
    >>> summarize_splits([{"protocol": protocol}, {"protocol": protocol | {"copies_in_training": 2}}])
    ['random split: 2 to 3 of 9 test images have a copy in training; patients not known; 1-NN baseline 50.00 %']
    """
    kinds: dict[str, list[Protocol]] = {}
    for protocol in (run["protocol"] for run in runs):
        if "title" in protocol:
            kinds.setdefault(protocol["title"].partition(", fold ")[0], []).append(protocol)
    return [f"{title}: {summarize_kind(protocols)}" for title, protocols in kinds.items()]


def summarize_kind(protocols: Sequence[Protocol]) -> str:
    """Return the line on runs with the same kind of split."""
    total, identical, near = (span([one.get(key) for one in protocols]) for key in ("test_images", *COPIES))
    parts = ["copies were not searched for"]
    if near or identical:
        kind = "a copy in training" if near else "a pixel-identical copy in training (near copies not searched)"
        parts = [f"{near or identical} of {total} test images have {kind}"]
    trained, known = (span([one.get(key) for one in protocols]) for key in PATIENTS)
    of_known = f"{trained} of the {known} with a known patient have it in training"
    parts.append("patients not known" if known in (None, "0") else of_known)
    accuracy = span([one.get("nearest_neighbour") for one in protocols], lambda fraction: f"{100 * fraction:.2f}")
    missing = {name for one in protocols for name in (one.get("missing_classes") or {}).get("test", [])}
    parts += [f"1-NN baseline {accuracy} %"] if accuracy else []
    parts += [f"no test image of {', '.join(sorted(missing))}"] if missing else []
    parts += ["CONTROL with permuted labels"] if any(one.get("shuffled_labels") for one in protocols) else []
    return "; ".join(parts)


def span(values: Sequence[float | None], text: Callable[[float], str] = str) -> str | None:
    """Return the smallest and largest known value as text, one if they are equal, None if none is known.

    >>> span([1, None, 3]), span([2, 2]), span([None])
    ('1 to 3', '2', None)
    """
    known = [value for value in values if value is not None]
    return " to ".join(dict.fromkeys((text(min(known)), text(max(known))))) if known else None
