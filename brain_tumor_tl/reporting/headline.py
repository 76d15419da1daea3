"""Headline: what a run's accuracy is worth, in sentences that need no other page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brain_tumor_tl.evaluation.intervals import recommended
from brain_tumor_tl.reporting.leaderboard import between, percent

RESAMPLED = {"patient": "resampling whole patients", "group": "resampling whole groups of copies"}
Results = Mapping[str, Any]


def headline(results: Results) -> list[str]:
    """Return the sentences: accuracy with its interval, simple baselines, and what the split may have given away."""
    protocol = results["protocol"]
    sentences = [
        accuracy_sentence(results),
        baseline_sentence(results),
        copies_sentence(protocol),
        patients_sentence(protocol),
    ]
    if protocol.get("shuffled_labels"):
        sentences.append("The labels were permuted for this run, so it can only be as good as guessing.")
    return list(filter(None, sentences))


def count_images(results: Results) -> int:
    """Return the number of test images, 0 if it is not known."""
    rows = (results.get("per_class") or {}).values()
    return int(results["protocol"].get("test_images") or sum(row["support"] for row in rows))


def accuracy_sentence(results: Results) -> str:
    """Return the accuracy and its interval."""
    interval, unit = recommended(results.get("intervals") or {})
    how = f", {RESAMPLED[unit]}" if unit in RESAMPLED else ""
    known = f" (95 % interval {between(interval)} %{how})" if interval else ""
    return (
        f"It names the class of {percent(results['accuracy'])} % of {count_images(results)} test images rightly{known}."
    )


def baseline_sentence(results: Results) -> str:
    """Return what is reached without training a network: by guessing, and by the nearest image in small."""
    supports = [row["support"] for row in (results.get("per_class") or {}).values()]
    guess = max(supports) / sum(supports) if sum(supports) else None
    nearest = results["protocol"].get("nearest_neighbour")
    named = f"always naming the most frequent class gives {percent(guess)} %" if guess is not None else ""
    if nearest is None:
        return f"For comparison, {named}." if named else ""
    interval, _ = recommended(results.get("intervals") or {})
    low, high = interval or (results["accuracy"], results["accuracy"])
    verdict = "better than" if low > nearest else "worse than" if high < nearest else "not clearly different from"
    copied = (
        f"copying the label of the most similar training image in small (1-NN, no network) gives {percent(nearest)} %"
    )
    return f"That is {verdict} what needs no learning: {copied}{', and ' + named if named else ''}."


def copies_sentence(protocol: Mapping[str, Any]) -> str:
    """Return how many test images have a copy in the training split."""
    identical, near = protocol.get("identical_in_training"), protocol.get("copies_in_training")
    if identical is None:
        return "Nobody looked for copies of test images among the training images, so the accuracy may be inflated."
    found = near if near is not None else identical
    kind = "copy" if near is not None else "pixel-identical copy"
    if not found:
        return f"No test image has a {kind} in the training split."
    return f"{found} test images have a {kind} in the training split: their answers may be remembered."


def patients_sentence(protocol: Mapping[str, Any]) -> str:
    """Return how many test images are of patients that the run was trained on."""
    known, trained = protocol.get("known_patients"), protocol.get("patients_in_training")
    if not known:
        return "The patients of the images are not known, so the accuracy on new patients may be lower."
    if trained:
        of = f"{trained} of the {known} test images of known patients"
        return f"{of} are of a patient in the training split, so expect less on new patients."
    rest = protocol["test_images"] - known
    doubt = f"; of the other {rest} it is not known" if rest else ""
    return f"No test image of a known patient has its patient in the training split{doubt}."
