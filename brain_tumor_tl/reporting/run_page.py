"""Run page: all evidence of one run on one page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from brain_tumor_tl.evaluation.intervals import Interval, recommended
from brain_tumor_tl.reporting.cases import Gallery, Rows, several_labels
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.document import MOST_IN_MATRIX, environment_table
from brain_tumor_tl.reporting.evaluations import evaluation_table, find_evaluations
from brain_tumor_tl.reporting.headline import count_images, headline
from brain_tumor_tl.reporting.leaderboard import DASH, between, in_percent, percent
from brain_tumor_tl.reporting.notice import NOTICE
from brain_tumor_tl.reporting.page import Drawing, render
from brain_tumor_tl.reporting.protocol_text import describe_means
from brain_tumor_tl.reporting.results import as_typed
from brain_tumor_tl.reporting.run_files import RunFiles
from brain_tumor_tl.reporting.table import Table, compact_table, make_table

SPLITS = ("train", "val", "test", "left_out")
MOST_COPIES = 20  # pictures under several labels that are listed
ALTS = {
    "curves": "Loss and accuracy over the epochs, of the training split and of {monitored}.",
    "roc": "ROC curve of each class against the rest; the table of classes has the areas, as AUROC.",
    "precision_recall": "Precision over recall of each class; the table of classes has the average precision.",
    "reliability": "Accuracy over confidence in bins; expected calibration error {error} %.",
}


def run_page(files: RunFiles, gallery: Gallery, drawn: Mapping[str, Drawing]) -> str:
    """Return the page.

    Args:
        files: The run.
        gallery: Its errors and most confident correct predictions.
        drawn: Its figures by name.
    """
    return render("run.html.j2", **content(files), gallery=gallery, figures=drawn, in_percent=in_percent)


def content(files: RunFiles) -> dict[str, Any]:
    """Return what the templates of the page and of the model card show."""
    results = files.results
    interval, _ = recommended(results.get("intervals") or {})
    evaluations, unevaluated = find_evaluations([Run(files.folder, results)])
    few = len(files.classes) <= MOST_IN_MATRIX
    return {
        "title": f"{results['model']}, {results['method']}, seed {results['seed']}",
        "subtitle": results["name"],
        "notice": NOTICE,
        "results": results,
        "accuracy": percent(results["accuracy"]),
        "interval": between(interval) if interval else "",
        "headline": headline(results),
        "lines": figure_lines(results),
        "names": [name.replace("_", " ") for name in files.classes],
        "matrix": results.get("confusion_matrix") if few else None,
        "confusions": [] if few else largest(results),
        "classes": class_table(results) if results.get("per_class") else None,
        "images": count_images(results),
        "several_labels": label_table(files),
        "searched": several_labels(files.split) is not None,
        "data": split_table(files) if files.split else None,
        "root": data_root(results),
        "evaluations": evaluation_table(evaluations) if evaluations else None,
        "unevaluated": unevaluated,
        "environment": environment_table([results.get("environment") or {}]),
        "digests": digest_table(results),
        "command": command_of(results),
    }


def figure_lines(results: Mapping[str, Any]) -> list[str]:
    """Return the figures of the whole test split but its accuracy, with the intervals that there are."""
    intervals, found = results.get("intervals") or {}, results.get("probabilities") or {}
    lines = []
    for key, title in (("balanced_accuracy", "balanced accuracy"), ("macro_f1", "macro F1"), ("auroc", "mean AUROC")):
        value, interval = found.get(key, results.get(key)), intervals.get(key)
        known = f" (95 % interval {between(interval)})" if interval else ""
        lines += [] if value is None else [f"{title} {percent(value)} %{known}"]
    if (error := found.get("calibration_error")) is not None:
        scaled = found.get("calibrated")
        after = f"; {percent(scaled['calibration_error'])} at temperature {found['temperature']:.2f}" if scaled else ""
        lines.append(f"expected calibration error {percent(error)} percentage points{after}")
    return [*lines, *filter(None, [describe_means(results) if results.get("classes") else ""])]


def alts(files: RunFiles) -> dict[str, str]:
    """Return what is seen on each figure, in words."""
    error = percent((files.results.get("probabilities") or {}).get("calibration_error"))
    return {name: text.format(monitored=f"the {files.monitored} split", error=error) for name, text in ALTS.items()}


def largest(results: Mapping[str, Any]) -> list[str]:
    """Return lines on the largest confusions, which take the place of a matrix that is too large for a page."""
    import numpy as np

    from brain_tumor_tl.reporting.plots import largest_confusions  # matplotlib is slow to import

    return largest_confusions(np.array(results["confusion_matrix"]), results["classes"])


def class_table(results: Mapping[str, Any]) -> Table:
    """Return a row for each class: its metrics in percent, each with its 95 % interval if it has one."""
    intervals = (results.get("intervals") or {}).get("per_class", {})
    areas = (results.get("probabilities") or {}).get("per_class", {})
    headers = [
        "class",
        "images",
        "precision",
        "95 %",
        "recall",
        "95 %",
        "F1",
        "95 %",
        "AUROC",
        "95 %",
        "avg. precision",
    ]
    rows = []
    for name, row in results["per_class"].items():
        values = {**{key: row[key] for key in ("precision", "recall", "f1")}, **areas.get(name, {})}
        cells = [name.replace("_", " "), str(row["support"])]
        for key in ("precision", "recall", "f1", "auroc"):
            cells += [filled(values.get(key)), short_interval((intervals.get(name) or {}).get(key))]
        rows.append([*cells, filled(values.get("average_precision"))])
    return compact_table("Test split, percent", headers, rows)


def filled(value: float | None) -> str:
    """Return a fraction as percent, an empty text for None."""
    return "" if value is None else percent(value)


def short_interval(interval: Interval | None) -> str:
    """Return an interval of fractions in percent with one digit, an empty text for None."""
    return "" if interval is None else f"{percent(interval[0], 1)} to {percent(interval[1], 1)}"


def label_table(files: RunFiles) -> Table | None:
    """Return the files of each picture that is filed under several labels; None if there is none, or nobody looked."""
    found = several_labels(files.split)
    if not found:
        return None
    predicted = {row["path"]: row.get("predicted", "") for row in files.predictions}
    rows = [
        (number, row["path"], row["class"], row["split"], predicted.get(row["path"], "not tested"))
        for number, copies in enumerate(found[:MOST_COPIES], start=1)
        for row in copies
    ]
    return make_table(label_sentence(found), ("picture", "file", "filed under", "split", "predicted"), rows)


def label_sentence(found: Sequence[Rows]) -> str:
    """Return how many pictures are filed under several labels, and whether the test saw them."""
    files = [row for rows in found for row in rows]
    tested = sum(row["split"] == "test" for row in files)
    seen = f"{tested} of their {len(files)} files are" if tested else f"none of their {len(files)} files is"
    more = f"; the first {MOST_COPIES} are listed" if len(found) > MOST_COPIES else ""
    return f"{len(found)} picture(s) filed under several labels; {seen} in the test split{more}"


def split_table(files: RunFiles) -> Table:
    """Return the number of images of each class in each split."""
    counts: dict[tuple[str, str], int] = {}
    for row in files.split:
        key = row.get("class", ""), row.get("split", "")
        counts[key] = counts.get(key, 0) + 1
    shown = [name for name in SPLITS if any(split == name for _, split in counts)]
    names = [name for name in files.classes if any(each == name for each, _ in counts)]
    rows = [[name.replace("_", " "), *(str(counts.get((name, split), 0)) for split in shown)] for name in names]
    total = ["all", *(str(sum(counts.get((name, split), 0) for name in names)) for split in shown)]
    return make_table("Images", ("class", *(name.replace("_", " ") for name in shown)), [*rows, total])


def digest_table(results: Mapping[str, Any]) -> Table:
    """Return the digests of what the run was made from."""
    digests = (results.get("environment") or {}).get("digests") or {}
    return make_table("", ("digest of the", "SHA-256"), [(name, value or DASH) for name, value in digests.items()])


def data_root(results: Mapping[str, Any]) -> str:
    """Return the folder of the images, an empty text if it is not known."""
    return str(((results.get("config") or {}).get("data") or {}).get("root") or "")


def command_of(results: Mapping[str, Any]) -> str:
    """Return the command that repeats a run, an empty text if it is not known.

    It is the run's own. A run of a multirun that Hydra started in its own process has that of all runs instead; then it
    is made from the choices and values that differ from the defaults.
    """
    line = list(map(str, (results.get("environment") or {}).get("command") or ()))[1:]
    if line[:1] == ["train"] and not {"-m", "--multirun"} & set(line):
        return shlex.join(["brain-tumor-tl", *line])
    if "changed" not in results:
        return ""
    return shlex.join(["brain-tumor-tl", "train", *(override(results, key) for key in results["changed"])])


def override(results: Mapping[str, Any], key: str) -> str:
    """Return a choice or a setting of a run as on the command line."""
    if key in (results.get("choices") or {}):
        return f"{key}={results['choices'][key]}"
    value: Any = results["config"]
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return f"{key}={as_typed(value)}"
