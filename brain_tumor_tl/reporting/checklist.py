"""Checklist: which items of CLAIM 2024 and TRIPOD+AI a run answers by itself, and which only its author can.

Items are told in this project's own words; the lists themselves are CLAIM 2024 (Tejani et al., Radiology: Artificial
Intelligence 2024;6(4):e240300) and TRIPOD+AI (Collins et al., BMJ 2024;385:e078378).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from brain_tumor_tl.evaluation.intervals import recommended
from brain_tumor_tl.reporting.protocol_text import copies_text, nearest_neighbour_text, sides_text
from brain_tumor_tl.reporting.table import Table

Results = Mapping[str, Any]
AUTHOR = "left to the author"


class Item(NamedTuple):
    """One thing that a list asks for.

    Attributes:
        claim: Number in CLAIM 2024, empty where it has none.
        tripod: Number in TRIPOD+AI, empty where it has none.
        asked: What is asked for.
        known: Tells what a run knows of it; None where it knows nothing.
    """

    claim: str
    tripod: str
    asked: str
    known: Callable[[Results], str] | None = None


def checklist(results: Results) -> list[dict[str, str]]:
    """Return a row for each item: where it stands, what is asked, what the run knows or who has to answer.

    Args:
        results: Contents of `results.json`.

    >>> [row["claim"] for row in checklist({})][:3]
    ['1', '2', '3']
    """
    return [
        {"claim": item.claim, "tripod": item.tripod, "asked": item.asked, "known": answer(item, results)}
        for item in ITEMS
    ]


def answer(item: Item, results: Results) -> str:
    """Return what a run knows of an item; an older run that lacks a value leaves it to the author."""
    if item.known is None:
        return AUTHOR
    try:
        return item.known(results) or AUTHOR
    except (KeyError, TypeError, IndexError):
        return AUTHOR


def checklist_table(results: Results, runs: int = 1) -> Table:
    """Return the list of one run as a table.

    Args:
        results: Contents of `results.json`.
        runs: Number of runs that this one stands for.
    """
    rows = [(row["claim"] or "-", row["tripod"] or "-", row["asked"], row["known"]) for row in checklist(results)]
    open_items = sum(row[3] == AUTHOR for row in rows)
    others = f", the first of {runs} runs that differ in seed or fold" if runs > 1 else ""
    note = f"{len(rows) - open_items} of {len(rows)} items have an answer from the run, some in part; the others are "
    note += f"{AUTHOR}."
    title = f"CLAIM 2024 and TRIPOD+AI: {results['name']}{others}"
    return Table(title, ("CLAIM", "TRIPOD+AI", "asked for", "known"), tuple(rows), (note,))


def kind(run: Results) -> str:
    """Tell what was built."""
    return f"{run['model']}, a convolutional network transferred by {run['method']}; classes {listed(run['classes'])}"


def design(run: Results) -> str:
    """Tell that the images were there before the model."""
    return f"retrospective; the goal: {AUTHOR}"


def source(run: Results) -> str:
    """Tell which images, in a way that another can check."""
    made = "SYNTHETIC images" if run["protocol"]["synthetic"] else f"data.source={run['config']['data']['source']}"
    return f"{made}; digest of all images and labels {run['environment']['digests']['data'][:16]}"


def exclusions(run: Results) -> str:
    """Tell which images were left out."""
    left_out, data = run["protocol"].get("left_out", 0), run["config"]["data"]
    bad = "left out and listed in bad_files.csv" if data["on_bad_file"] == "skip" else "none, or the run had not begun"
    return f"by the split {left_out} image(s); unreadable files: {bad}. Who was scanned: {AUTHOR}"


def preprocessing(run: Results) -> str:
    """Tell what is done to pixels."""
    data = run["config"]["data"]
    scaled = "0..1" if data["normalize"] == "unit" else "0..1, then ImageNet's mean and standard deviation"
    return (
        f"resized to {data['image_size']} x {data['image_size']} whatever the aspect, antialiased; scaled to {scaled}"
    )


def labels(run: Results) -> str:
    """Tell where labels come from."""
    table = run["config"]["data"].get("labels")
    return f"{'data.labels, a table' if table else 'the folders of the data set'}; who labelled, and how: {AUTHOR}"


def partition(run: Results) -> str:
    """Tell how images were assigned to parts."""
    protocol, seed = run["protocol"], run["seed"]
    counts = ", ".join(f"{count} {part}" for part, count in protocol["counts"].items())
    strata = "stratified by class" if protocol["stratify"] else "not stratified"
    return f"{protocol.get('title', protocol['split'])}, seed {seed}, {strata}: {counts} (split.csv)"


def disjoint(run: Results) -> str:
    """Tell at which level parts are disjoint."""
    return f"{copies_text(run['protocol'])} {sides_text(run['protocol'])}"


def sizes(run: Results) -> str:
    """Tell how many images of each class were tested."""
    return "test images: " + ", ".join(f"{row['support']} {name}" for name, row in run["per_class"].items())


def network(run: Results) -> str:
    """Tell the network's input, output and settings."""
    size = run["config"]["data"]["image_size"]
    return f"torchvision {run['model']}, 3 x {size} x {size} in, {len(run['classes'])} logits out; config.yaml has all"


def software(run: Results) -> str:
    """Tell the versions of what it ran on."""
    environment = run["environment"]
    names = ("brain_tumor_tl", "torch", "torchvision", "lightning")
    versions = ", ".join(f"{name} {environment['packages'][name]}" for name in names)
    return f"{versions}; {environment['device']}, {environment['precision']}; commit {environment['git_commit']}"


def initial(run: Results) -> str:
    """Tell what the weights started from."""
    weights = run["config"]["model"]["weights"]
    return f"{weights or 'random'} (digest {run['environment']['digests']['weights'][:16]}); a new last layer"


def training(run: Results) -> str:
    """Tell how it was trained."""
    config = run["config"]
    optimizer, scheduler = config["optimizer"], config["scheduler"]["name"] or "held constant"
    augment = {key: value for key, value in (config["data"].get("augment") or {}).items() if value}
    return (
        f"{optimizer['name']}, learning rate {optimizer['lr']}, {scheduler}, {run['epochs']} epochs in batches of "
        f"{config['data']['batch_size']}, class weights {config['loss']['class_weights'] or 'none'}, "
        f"augmentation {listed([f'{key} {value}' for key, value in augment.items()]) or 'none'}"
    )


def selection(run: Results) -> str:
    """Tell which weights were tested, and whether the test part chose them."""
    protocol = run["protocol"]
    seen = " THE TEST PART WAS MONITORED DURING TRAINING." if protocol["monitored"] == "test" else ""
    return f"weights of the {protocol['accuracy_of']}; no ensemble.{seen}"


def performance(run: Results) -> str:
    """Tell the figures, with their intervals where they are known."""
    interval, unit = recommended(run.get("intervals") or {})
    how = "bootstrap by group of copies" if unit == "group" else "Wilson"
    between = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f}, {how})" if interval else " (no interval)"
    rest = ", ".join(f"{name} {run[name]:.4f}" for name in ("balanced_accuracy", "macro_f1"))
    return f"accuracy {run['accuracy']:.4f}{between}, {rest}; by class in results.json"


def probabilities(run: Results) -> str:
    """Tell what the probabilities are worth."""
    found = run["probabilities"]
    return f"AUROC {found['auroc']:.4f}, expected calibration error {found['calibration_error']:.4f}"


def baseline(run: Results) -> str:
    """Tell what a look-up alone reaches."""
    return nearest_neighbour_text(run["protocol"])


def failures(run: Results) -> str:
    """Tell where the wrong predictions are listed."""
    total = sum(map(sum, run["confusion_matrix"]))
    wrong = total - sum(row[i] for i, row in enumerate(run["confusion_matrix"]))
    return f"{wrong} of {total} wrong: confusion_matrix.png, predictions.csv (correct = 0). What they share: {AUTHOR}"


def internal(run: Results) -> str:
    """Tell that the test images are of the same set."""
    return "all figures are internal: test and training images are of one set"


def code(run: Results) -> str:
    """Tell how to repeat the run."""
    return "config.yaml and environment.json repeat it; weights in checkpoints/. Where they are published: " + AUTHOR


def listed(names: Sequence[str]) -> str:
    """Return names with commas between."""
    return ", ".join(names)


ITEMS = (
    Item("1", "1", "name the kind of model in the title", kind),
    Item("2", "2", "a structured abstract"),
    Item("3", "3a-3c", "background: intended use and users, what is known, inequalities in care"),
    Item("4", "4", "aims, and whether a model is developed, evaluated or both"),
    Item("5, 6", "5a", "design: retrospective or prospective, and the goal", design),
    Item("7", "5a, 5b, 6a", "where the data come from: sources, dates, sites", source),
    Item("8", "6b", "who was included and excluded, and why", exclusions),
    Item("9", "7", "what was done to the images before training", preprocessing),
    Item("10", "", "selection of subsets of the data", exclusions),
    Item("11", "", "how the data were de-identified"),
    Item("12", "11", "how missing data were handled", exclusions),
    Item("13", "9a", "how images were acquired: scanner, sequence, planes"),
    Item("14-16", "8a, 8b", "the reference standard: definition, reason, who labelled", labels),
    Item("17, 18", "8c", "labels of the test set, agreement between readers"),
    Item("19", "12a", "how images were assigned to parts", partition),
    Item("20", "12a", "the level at which parts are disjoint: image, study, patient, site", disjoint),
    Item("21", "10", "how the size of the test set was decided", sizes),
    Item("22", "12c, 22", "the model: inputs, outputs, layers", network),
    Item("23", "", "software, versions, hardware", software),
    Item("24", "12c", "what the weights started from", initial),
    Item("25", "12c, 13", "training: hyperparameters, augmentation, class imbalance", training),
    Item("26, 27", "12c", "how the final model was chosen; ensembles", selection),
    Item("28, 29", "12e, 23a", "metrics with intervals", performance),
    Item("28", "12e, 15", "quality and meaning of the probabilities", probabilities),
    Item("30", "12d, 23b", "robustness, heterogeneity between sites or groups of people"),
    Item("31", "", "explanations, and how they were validated"),
    Item("32", "16", "evaluation on internal data", internal),
    Item("33", "16", "evaluation on external data"),
    Item("34", "18d", "registration of a clinical trial or study"),
    Item("35", "20a, 21", "numbers of patients and images in and out of the study", partition),
    Item("36", "20b, 20c", "who the patients of each part are"),
    Item("37, 38", "23a", "performance of the final model on each part", performance),
    Item("", "", "what a look-up that learns nothing reaches on this split (asked by neither list)", baseline),
    Item("39", "", "analysis of wrong predictions", failures),
    Item("", "14", "fairness: what was done, and what was found"),
    Item("40", "26", "limitations"),
    Item("41", "25, 27a-27c", "what it means for practice, and what has to follow"),
    Item("42, 43", "18c, 18e, 18f", "protocol, code, model and data: where they are", code),
    Item("44", "17, 18a, 18b, 19", "funding, interests, ethics, involvement of patients"),
)  # fmt: skip
