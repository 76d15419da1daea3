"""Audit page: the findings of an audit as an HTML page with pictures, and as the lines that the terminal shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brain_tumor_tl.reporting.page import Picture, render
from brain_tumor_tl.reporting.strip import Thumbnails, strip
from brain_tumor_tl.reporting.table import Table, make_table

Findings = Mapping[str, Any]
SHOWN = 32  # pictures of a series, and pairs of the overlap, that the page shows
PATIENTS = ("known_patients", "patients_in_training")


def audit_page(findings: Findings, thumbnails: Thumbnails, others: Thumbnails | None = None) -> str:
    """Return the page of an audit.

    Args:
        findings: Content of `audit.json`.
        thumbnails: A grey picture of each image, uint8 `(N, S, S)`, in the order of `findings["paths"]`.
        others: The same for the second data set, if there is one.
    """
    return render(
        "audit.html.j2",
        title="Audit of a data set",
        subtitle=f"{findings['root']}: {findings['contents']['images']} images",
        findings=findings,
        lines=summary_lines(findings),
        tables=tables(findings),
        pictures=pictures(findings, thumbnails, others),
    )


def summary_lines(findings: Findings) -> list[str]:
    """Return what an audit found, in a sentence each."""
    copies, contents, overlap = findings["copies"], findings["contents"], findings["overlap"]
    levels, across = copies["levels"], copies["across_official"]
    lines = [
        f"{contents['images']} images, {len(findings['unreadable'])} unreadable file(s), "
        f"{len(findings['stray'])} image(s) outside class folders, {contents['different_sizes']} different sizes.",
        f"{levels['identical files']['groups']} groups of identical files ({levels['identical files']['images']} "
        f"files). {levels['identical pixels']['further']} images have the same pixels as an earlier image; with near "
        f"copies, {levels['near copies']['further']} images are copies of an earlier one.",
    ]
    if across["near copies"]:
        lines.append(
            f"Of the {across['near copies']['test_images']} images in the test folder, "
            f"{across['identical pixels']['with_a_copy']} have a copy with identical pixels in the other folders, "
            f"{across['near copies']['with_a_copy']} a copy or near copy."
        )
    if intensity := findings["intensity"]["in_words"]:
        lines.append(f"{intensity[:1].upper()}{intensity[1:]}.")
    if folders := findings["folders_left_out"]:
        lines.append(f"{len(folders)} folder(s) of no class, which no run uses: {', '.join(folders)}.")
    if findings["conflicts"]:
        lines.append(f"{len(findings['conflicts'])} group(s) of copies have more than one label.")
    if patients := findings["patients"]:
        lines.append(
            f"The patient of {patients['images']} images is known, {patients['patients']} patients, from "
            f"{patients['source']}."
        )
    lines += [split_line(row) for row in findings["splits"] if "impossible" not in row]
    return lines + (overlap_lines(overlap) if overlap else [])


def overlap_lines(overlap: Findings) -> list[str]:
    """Return a sentence on the images that a second data set shares, and one on their patients where they are known."""
    lines = [f"{overlap['near copies']} of the {overlap['images']} images in {overlap['root']} have a copy here."]
    ours, theirs, images = overlap["patients"].values()
    if ours is not None:
        lines.append(f"They are of {ours} patients known here.")
    if theirs is not None:
        lines.append(f"By the second set's own patients they are of {theirs}, who have {images} images there.")
    return lines


def split_line(row: Findings) -> str:
    """Return a sentence on the copies, the nearest-neighbour baseline and the shortcuts of a split."""
    shortcuts = ""
    if row["shortcuts"]:
        together = percent(row["shortcuts"]["all of these"])
        shortcuts = f", a random forest on size, shape, border and brightness together {together} %"
    known, trained = (row[key] and number(row[key]) for key in PATIENTS)
    patients = f"{trained} of the {known} with a known patient have it in training" if known else "patients not known"
    return (
        f"data.split={row['split']}: {number(row['copies_in_training'])} of {number(row['test_images'])} test images "
        f"have a copy in training; {patients}; a 1-NN baseline reaches {percent(row['nearest_neighbour'])} %"
        f"{shortcuts}."
    )


def tables(findings: Findings) -> dict[str, Table]:
    """Return the tables of the page by name."""
    contents, copies = findings["contents"], findings["copies"]
    found = {
        "classes": class_table(contents),
        "sizes": make_table("The most frequent sizes", ("Pixels", "Images"), contents["sizes"].items()),
        "modes": make_table("", ("Mode and format", "Images"), (contents["modes"] | contents["formats"]).items()),
        "levels": make_table(
            "", ("Level, each with those before", "Groups", "Images in them", "Further copies"),
            [(name, row["groups"], row["images"], row["further"]) for name, row in copies["levels"].items()],
        ),
        "turns": make_table("", ("Orientation of the copy", "Near pairs"), copies["turns"].items()),
        "thresholds": make_table(
            f"Effect of the threshold; {copies['threshold']:.2f} is used",
            ("Minimum agreement of detail", "Near pairs", "Groups", "Further copies"),
            [(f"{row['detail']:.2f}", row["pairs"], row["groups"], row["further"]) for row in copies["thresholds"]],
        ),
        "splits": split_table(findings["splits"]),
    }  # fmt: skip
    found |= {key: pair_table(pairs, findings["paths"]) for key, pairs in findings["shown"].items()}
    if copies["across_official"]["near copies"]:
        found["across"] = across_table(copies["across_official"])
    if any(row.get("shortcuts") for row in findings["splits"]):
        found["shortcuts"] = shortcut_table(findings["splits"])
    if overlap := findings["overlap"]:
        levels = [(name, overlap[name]) for name in copies["levels"]]
        found["overlap"] = make_table(
            "", ("Level, each with those before", "Images of the second set with a copy"), levels
        )
        counts = [(name, *counts) for name, counts in overlap["classes"].items()]
        found["overlap_classes"] = make_table("", ("Class", "With a copy", "Images"), counts)
        headers = ("Image", "Class", "Image of the second set", "Its class", "Level", "Its orientation", "Detail")
        found["shared"] = make_table("", headers, [tuple(row.values()) for row in overlap["shared"]])
    return found


def class_table(contents: Findings) -> Table:
    """Return the number of images of each class, by folder."""
    official = contents["official_splits"]
    headers = [
        "Class",
        *(split or "no folder" for split in official),
        "All",
        f"Of {contents['most_frequent_size']} pixels",
    ]
    rows = [
        [name, *(counts[name] for counts in official.values()), total, contents["of_most_frequent_size"][name]]
        for name, total in contents["classes"].items()
    ]
    return make_table("Images of each class", headers, rows)


def across_table(across: Findings) -> Table:
    """Return how many images of each class in the test folder have a copy in the other folders."""
    headers = ["Class", *across, "Images in the test folder"]
    rows = [
        [name, *(level["classes"][name][0] for level in across.values()), images]
        for name, (_, images) in across["near copies"]["classes"].items()
    ]
    return make_table("Images in the test folder with a copy in the other folders", headers, rows)


def split_table(splits: Sequence[Findings]) -> Table:
    """Return the copies in training and the nearest-neighbour baseline of each split."""
    headers = (
        "Split", "Seeds or folds", "Test images", "Identical in training", "Copy in training", "Series in training",
        "Patient known", "Of these, patient in training", "1-NN accuracy, %", "Classes not tested",
    )  # fmt: skip
    counts = ("test_images", "identical_in_training", "copies_in_training", "series_in_training", *PATIENTS)
    rows = [
        (
            row["split"], row["repeats"], *(number(row[key]) if row[key] else None for key in counts),
            percent(row["nearest_neighbour"]), ", ".join(row["classes_absent_from_test"]) or None,
        )
        for row in splits if "impossible" not in row
    ]  # fmt: skip
    return make_table("Mean ± standard deviation over seeds or folds", headers, rows)


def shortcut_table(splits: Sequence[Findings]) -> Table:
    """Return the accuracy of a random forest on each kind of shortcut features."""
    measured = [row for row in splits if row.get("shortcuts")]
    headers = ["Split", *(name[:1].upper() + name[1:] for name in measured[0]["shortcuts"])]
    return make_table("", headers, [(row["split"], *map(percent, row["shortcuts"].values())) for row in measured])


def pair_table(pairs: Sequence[Findings], paths: Sequence[str]) -> Table:
    """Return the names of some pairs of images, and how well they agree."""
    measures = ("detail", "grey", "overlap")
    headers = ("Image", "Other image", "Orientation of the other", "Agreement of detail", "Of grey values", "Overlap")
    rows = [
        (paths[pair["first"]], pair["name"], pair["turn"], *(f"{pair[key]:.3f}" for key in measures)) for pair in pairs
    ]
    return make_table("", headers, rows)


def pictures(findings: Findings, thumbnails: Thumbnails, others: Thumbnails | None) -> dict[str, list[Picture]]:
    """Return the pictures of the page by name."""
    paths = findings["paths"]
    found: dict[str, list[Picture]] = {
        "conflicts": [
            strip(thumbnails[members], "the images of the group", names=labels_of(findings, members))
            for members in findings["conflicts"]
        ],
        "series": [],
        "overlap": [],
    }
    for key, pairs in findings["shown"].items():
        found[key] = [pair_strip(thumbnails, thumbnails, pairs)] if pairs else []
    for members in findings["series"]["longest"]:
        caption = f"{len(members)} images, {paths[members[0]]} to {paths[members[-1]]}"
        caption += f", the first {SHOWN}" if len(members) > SHOWN else ""
        found["series"].append(strip(thumbnails[members[:SHOWN]], "the images of a series", caption))
    if others is not None and findings["overlap"]["positions"]:
        pairs = [{"first": first, "second": second} for first, second in findings["overlap"]["positions"][:SHOWN]]
        found["overlap"] = [pair_strip(thumbnails, others, pairs)]
    return found


def pair_strip(thumbnails: Thumbnails, others: Thumbnails, pairs: Sequence[Findings]) -> Picture:
    """Return pairs of images, side by side, as one picture."""
    first, second = (one[[pair[key] for pair in pairs]] for one, key in ((thumbnails, "first"), (others, "second")))
    images = np.stack((first, second), axis=1).reshape(-1, *thumbnails.shape[1:])
    return strip(images, "pairs of images, four in a row", "Four pairs in a row.")


def labels_of(findings: Findings, members: Sequence[int]) -> list[str]:
    """Return the label of each of some images."""
    classes = list(findings["contents"]["classes"])
    return [classes[findings["labels"][member]] for member in members]


def number(value: Mapping[str, float]) -> str:
    """Return the mean of a count, with its standard deviation if it varies.

    >>> number({"mean": 112.25, "std": 9.0}), number({"mean": 394.0, "std": 0.0})
    ('112.2 ± 9.0', '394')
    """
    if value["std"] == 0 and value["mean"] == round(value["mean"]):
        return f"{value['mean']:.0f}"
    return f"{value['mean']:.1f} ± {value['std']:.1f}"


def percent(value: Mapping[str, float]) -> str:
    """Return the mean of a fraction in percent, with its standard deviation if it varies.

    >>> percent({"mean": 0.92051, "std": 0.0085}), percent({"mean": 0.764, "std": 0.0})
    ('92.05 ± 0.85', '76.40')
    """
    return f"{100 * value['mean']:.2f}" + (f" ± {100 * value['std']:.2f}" if value["std"] else "")
