"""Evaluations: what `evaluate` found of finished runs, in files, in sentences and as a table of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.evaluation.intervals import recommended
from brain_tumor_tl.files import file_digest, read_json, write_bytes, write_csv, write_json
from brain_tumor_tl.reporting.discover import EVALUATIONS, Run
from brain_tumor_tl.reporting.leaderboard import between, percent
from brain_tumor_tl.reporting.results import prediction_columns, prediction_rows
from brain_tumor_tl.reporting.table import Table, make_table

SCHEMA = 1  # of evaluation.json; raise it when a key changes its name or meaning
RESULTS, SEEN = "evaluation.json", "seen.csv"
SEEN_COLUMNS = ("path", "class", "run", "split", "copy", "class_of_copy", "level", "orientation", "detail")
LONGEST = 60  # characters of a run's name above a figure
SYNTHETIC = "SYNTHETIC images: the figures say nothing about MRI."


class Found(NamedTuple):
    """An evaluation in the folder of a run: the content of its evaluation.json."""

    run: Run
    results: Mapping[str, Any]


def save_evaluation(
    place: Path,
    results: Mapping[str, Any],
    paths: Sequence[str],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    seen: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Write the folder of an evaluation, `evaluation.json` last; return the names of its files.

    Args:
        place: The folder.
        results: The content of evaluation.json.
        paths: Path of each image.
        labels: True class of each image, `(N,)`.
        probabilities: Of each image, `(N, K)`.
        seen: Rows of seen.csv; the file is left out if another data set wasn't compared with the run's.
    """
    from brain_tumor_tl.reporting.plots import confusion_figure, png  # matplotlib is slow to import
    from brain_tumor_tl.reporting.plots_curves import reliability_figure

    place.mkdir(parents=True, exist_ok=True)
    (place / RESULTS).unlink(missing_ok=True)
    classes, note = results["classes"], ", SYNTHETIC images" if results["protocol"]["synthetic"] else ""
    rows = prediction_rows(paths, classes, probabilities, labels)
    write_csv(place / "predictions.csv", rows, prediction_columns(classes))
    (place / SEEN).unlink(missing_ok=True)
    if searched := bool(results["seen"] and results["seen"]["searched"]):
        write_csv(place / SEEN, seen, SEEN_COLUMNS)
    run, found = run_names(results), results["probabilities"]
    title = f"{results['name']}{note}\n{run if len(run) <= LONGEST else run[: LONGEST - 1] + '…'}"
    scaled = found["calibrated"] and found["calibrated"]["reliability"]
    figures = {
        "confusion_matrix.png": confusion_figure(results["confusion_matrix"], classes, title),
        "reliability.png": reliability_figure(found["reliability"], scaled, title),
    }
    for name, figure in figures.items():
        write_bytes(place / name, png(figure))
    write_json(place / RESULTS, results)
    return [RESULTS, "predictions.csv", *([SEEN] if searched else []), *figures]


def run_names(results: Mapping[str, Any]) -> str:
    """Return the name of the run of an evaluation, or how many runs it is the mean of."""
    names = [run["name"] for run in results["runs"]]
    return names[0] if len(names) == 1 else f"mean of {len(names)} runs"


def check_place(place: Path, root: Path) -> None:
    """Raise a ValueError if a folder holds the evaluation of another data set.

    Args:
        place: The folder.
        root: The images that are to be evaluated.
    """
    if not (place / RESULTS).is_file():
        return
    try:
        before = Path(read_json(place / RESULTS)["data_set"]["root"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"Expected an evaluation in {place / RESULTS}, it names no data set. Give --name NAME, or remove {place}."
        ) from error
    root = root.resolve()
    if root != before.resolve() and root not in before.resolve().parents:  # an index passes through folders
        raise ValueError(
            f"Expected a new name for the evaluation of {root}, {place} holds that of {before}. Give --name NAME."
        )


def sentences(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield titles and sentences on the images of an evaluation, which its figures are shown with."""
    images = results["data_set"]
    what = "the run's own test split" if images["own"] else "another data set than the run's"
    yield "Images", f"{images['evaluated']} of {images['images']} in {images['root']}: {what}"
    if results["protocol"]["synthetic"]:
        yield "Note", SYNTHETIC
    if absent := images["classes_without_images"]:
        yield "Classes", f"the set has no image of {', '.join(absent)}"
    unknown = [f"folder {name}" for name in images["folders_left_out"]]
    labels = images.get("labels_left_out") or {}
    unknown += [f"{n} images " + (f"labelled {name}" if name else "without a label") for name, n in labels.items()]
    if unknown and not images["own"]:
        yield "Left out", f"of no class of the run: {', '.join(unknown)}"
    if images["bad"]:
        yield "Left out", f"{len(images['bad'])} unreadable file(s), listed in {RESULTS}"
    if results["seen"]:
        yield from seen_sentences(results["seen"], images)
    if results["protocol"].get("nearest_neighbour") is not None:
        yield "Baseline", f"1-NN on thumbnails {percent(results['protocol']['nearest_neighbour'])} %"


def seen_sentences(seen: Mapping[str, Any], images: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is known of the images of another data set that the run knows.

    Args:
        seen: `seen` of evaluation.json.
        images: `data_set` of evaluation.json.
    """
    if not seen["searched"]:
        yield "Seen", "not known which images the run has seen (--unchecked): don't call this an external test"
        return
    used, total = seen["train"] + seen["val"], images["images"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in seen["kinds"].items() if count)
    part = f"{seen['train']} in training, {seen['val']} in validation" if used else "none"
    more = f" ({kinds}); {'kept' if seen['kept'] else 'left out'}, listed in {SEEN}" if used else ""
    yield "Seen", f"{used} of {total} images were seen: {part}{more}"
    if seen["other_label"]:
        yield "", f"{seen['other_label']} of these have another label in the run's data set"
    if same := seen["test"] + seen["left_out"]:
        yield "", f"{same} further images are in the run's own data set, outside training and validation"
    if used + same == total:
        yield "", "no image is new to the run's data set: this is no external test"
    if seen["patients"]:
        yield "", f"{seen['patients']} of the other images are of patients who have images that were seen"


def comparison_sentence(compared: Mapping[str, Any], count: int) -> str:
    """Return how an evaluation of the run's own test split differs from its results.json.

    Args:
        compared: `compared` of evaluation.json.
        count: Number of test images.
    """
    if not compared["figures"] and not compared["largest_difference"]:
        return "every figure is that of results.json, to the digit"
    changed = [
        f"{name} {percent(old)} then, {percent(new)} now"
        for name, (old, new) in compared["figures"].items()
        if name == "accuracy"
    ]
    text = "; ".join(
        [
            *(changed or ["the same accuracy as in results.json"]),
            f"{compared['predictions']} of {count} predictions differ, probabilities by at most "
            f"{compared['largest_difference']:.2g}",
        ]
    )
    then, now = (", ".join(str(compared[key][i]) for key in ("device", "precision")) for i in (0, 1))
    return text + (f"; computed on {then} then, on {now} now" if then != now else "; on the same kind of device")


def find_evaluations(runs: Sequence[Run]) -> tuple[list[Found], list[str]]:
    """Return the evaluations in the folders of finished runs, and why others are not shown."""
    found, problems = [], []
    for run in runs:
        digest = file_digest(run.folder / "results.json")
        for path in sorted((run.folder / EVALUATIONS).glob(f"*/{RESULTS}")):
            try:
                results = read_json(path)
                current = results["schema"] == SCHEMA and results["runs"][0]["results_sha256"] == digest
                if current:
                    evaluation_row(Found(run, results))  # an evaluation without some of its figures is damaged
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                problems.append(f"The evaluation {path.parent} can't be read: {error}")
                continue
            if current:
                found.append(Found(run, results))
            else:
                problems.append(f"The evaluation {path.parent} is of earlier weights or of another version: repeat it.")
    return found, problems


COLUMNS = (
    "run", "images of", "images", "seen by the run", "accuracy", "95 % interval", "1-NN", "balanced accuracy", "AUROC",
    "calibration error",
)  # fmt: skip
NARROW, WIDEST = 7, 20  # columns on the terminal, and characters of a run's name in the first of them


def evaluation_table(found: Sequence[Found], narrow: bool = False) -> Table:
    """Return a row for each evaluation; if narrow, without the last columns, and with long names of runs below."""
    rows = [evaluation_row(each) for each in found]
    notes = []
    if narrow:
        long = list(dict.fromkeys(row[0] for row in rows if len(row[0]) > WIDEST))
        rows = [(f"run {long.index(row[0]) + 1}" if row[0] in long else row[0], *row[1:NARROW]) for row in rows]
        notes += [f"run {number}: {name}" for number, name in enumerate(long, 1)]
    for _, results in found:
        if absent := set(results["classes"]) - set(results["classes_in_means"]):
            notes.append(f"{results['name']}: means without {', '.join(sorted(absent))}, of which it has no image.")
    if not narrow:
        notes.append(
            "95 % intervals: bootstrap of whole patients, or groups of copies, where they are known, else Wilson's. "
            "Calibration error after temperature scaling where the run has a temperature."
        )
    if any(results["protocol"]["synthetic"] for _, results in found):
        notes.append(SYNTHETIC)
    headers = COLUMNS[:NARROW] if narrow else COLUMNS
    return make_table("Evaluations, percent", headers, rows, list(dict.fromkeys(notes)))


def evaluation_row(found: Found) -> tuple[Any, ...]:
    """Return the cells of an evaluation, as many as `COLUMNS`."""
    run, results = found
    probabilities, alone = results["probabilities"], len(results["runs"]) == 1
    calibrated = probabilities["calibrated"] or probabilities
    return (
        run.results["name"] if alone else f"{run.results['name']}, mean of {len(results['runs'])} runs",
        results["name"],
        results["data_set"]["evaluated"],
        seen_cell(results["seen"]),
        percent(results["accuracy"]),
        between(recommended(results["intervals"])[0]),
        percent(results["protocol"].get("nearest_neighbour")),
        percent(results["balanced_accuracy"]),
        percent(probabilities["auroc"]),
        percent(calibrated["calibration_error"]),
    )


def seen_cell(seen: Mapping[str, Any] | None) -> str | None:
    """Return what became of the images that a run has seen, None for its own test split.

    >>> seen_cell({"searched": True, "train": 3, "val": 1, "kept": False}), seen_cell({"searched": False})
    ('4 left out', 'not known')
    """
    if seen is None:
        return None
    if not seen["searched"]:
        return "not known"
    used = seen["train"] + seen["val"]
    return f"{used} {'kept' if seen['kept'] else 'left out'}" if used else "0"
