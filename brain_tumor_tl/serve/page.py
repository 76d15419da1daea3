"""Page: a run, and what it says about a picture, as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brain_tumor_tl.reporting.leaderboard import in_percent
from brain_tumor_tl.reporting.notice import NOTICE
from brain_tumor_tl.reporting.page import Picture, render
from brain_tumor_tl.reporting.tables import run_table
from brain_tumor_tl.serve.answer import MOST, Answer
from brain_tumor_tl.serve.upload import FIELD, LIMIT

Results = Mapping[str, Any]
WIDTH = 320  # of a picture, in CSS pixels


def page(results: Results, name: str = "", answer: Answer | None = None, problem: str = "") -> str:
    """Return the page.

    Args:
        results: Content of the run's results.json.
        name: Name of the picture's file; empty if there is none.
        answer: What the run says about it.
        problem: Why there is no answer.
    """
    return render(
        "serve.html.j2",
        title=f"Try {results['model']}, {results['method']}",
        subtitle=", ".join(results["classes"]),
        notice=NOTICE,
        run=results["name"],
        synthetic=results["protocol"]["synthetic"],
        quality=run_table(results) if "per_class" in results else None,
        protocol=results["protocol"]["text"],
        calibration=describe_calibration(results.get("probabilities") or {}),
        name=name,
        answer=answer,
        ranked=ranked(answer.probabilities) if answer else [],
        pictures=pictures(answer) if answer else [],
        problem=problem,
        field=FIELD,
        limit=LIMIT,
    )


def describe_calibration(probabilities: Mapping[str, Any]) -> str:
    """Return whether a run's probabilities are calibrated, and if not why.

    >>> describe_calibration({"temperature": None, "no_temperature": "there is no validation split"})
    'The probabilities are not calibrated: there is no validation split.'
    """
    if (temperature := probabilities.get("temperature")) is not None:
        return f"The probabilities are calibrated with temperature {temperature:.2f}, fitted on the validation split."
    reason = probabilities.get("no_temperature") or "the run is of an earlier version"
    return f"The probabilities are not calibrated: {reason}."


def ranked(probabilities: Mapping[str, float]) -> list[tuple[str, float, str]]:
    """Return class, probability and its text, the most probable `MOST` of them."""
    pairs = sorted(probabilities.items(), key=lambda pair: -pair[1])
    return [(name, probability, in_percent(probability)) for name, probability in pairs[:MOST]]


def pictures(answer: Answer) -> list[Picture]:
    """Return the picture and its maps, that of the most probable class first."""
    seen = Picture(answer.picture, "the picture", "The picture as the network gets it", WIDTH)
    names = [name for name, _, _ in ranked(answer.probabilities) if name in answer.maps]
    return [seen, *(Picture(answer.maps[name], f"Grad-CAM of {name}", f"Grad-CAM: {name}", WIDTH) for name in names)]
