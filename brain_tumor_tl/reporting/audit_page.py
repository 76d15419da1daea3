"""Audit page: the findings of an audit as HTML with pictures, and as the few lines that a terminal shows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.reporting.page import (
    Fragment,
    Section,
    bullets,
    folded,
    heading,
    notice,
    page,
    paragraph,
    picture,
    strong,
    table,
)

Findings = Mapping[str, Any]
Pictures = NDArray[np.uint8]
GAP = 4  # pixels between the pictures of a strip
COLUMNS = 8  # pictures in a row of a strip


def audit_page(findings: Findings, pictures: Pictures, others: Pictures | None = None) -> str:
    """Return the page of an audit.

    Args:
        findings: What `audit.json` holds.
        pictures: One grey picture of each image, uint8 `(N, S, S)`, in the order of `findings["paths"]`.
        others: The same of the second set, where there is one.
    """
    sections: list[Section] = [
        ("In short", in_short(findings)),
        ("What is there", what_is_there(findings)),
        ("One picture under two labels", conflict_section(findings, pictures)),
        ("Copies", copy_section(findings, pictures)),
        ("What each split leaves in common", split_section(findings)),
        ("Shortcuts", shortcut_section(findings)),
        ("Runs of file numbers", run_section(findings, pictures)),
    ]
    if findings["overlap"] and others is not None:
        sections.append(("Overlap with a second set", overlap_section(findings["overlap"], pictures, others)))
    sections.append(("How it was measured", method()))
    return page("Audit of a data set", sections, f"{findings['root']}: {findings['contents']['images']} images")


def summary_lines(findings: Findings) -> list[str]:
    """Return what an audit found, a sentence each."""
    copies, contents = findings["copies"], findings["contents"]
    levels = copies["levels"]
    lines = [
        f"{contents['images']} images, {len(findings['unreadable'])} unreadable file(s), "
        f"{len(findings['stray'])} image(s) outside class folders, {contents['different_sizes']} different sizes.",
        f"{levels['identical files']['groups']} groups of identical files ({levels['identical files']['images']} "
        f"files); by pixels {levels['identical pixels']['further']} images are further copies of another, with near "
        f"copies {levels['near copies']['further']}.",
    ]
    across = copies["across_parts"]["near copies"]
    if across:
        same = copies["across_parts"]["identical pixels"]["with_a_copy"]
        lines.append(
            f"{same} of the {across['test_images']} images in the test folder have a pixel-identical copy in the "
            f"other folders, {across['with_a_copy']} a copy with near copies."
        )
    if findings["conflicts"]:
        lines.append(f"{len(findings['conflicts'])} picture(s) stand under more than one label.")
    lines += [split_line(row) for row in findings["splits"] if "impossible" not in row]
    if findings["overlap"]:
        other = findings["overlap"]
        lines.append(f"{other['near copies']} of the {other['images']} images in {other['root']} have a copy here.")
    return lines


def split_line(row: Findings) -> str:
    """Return in a sentence what a split leaves in common and what reaches how much on it."""
    blind = ""
    if row["shortcuts"]:
        blind = f"; a forest that sees no picture, {percent(max(seen_nothing(row), key=mean_of))} %"
    return (
        f"data.split={row['split']}: {number(row['copies_in_training'])} of {number(row['test_images'])} test images "
        f"have a copy in training; the nearest thumbnail scores {percent(row['nearest_neighbour'])} %{blind}."
    )


def seen_nothing(row: Findings) -> list[Mapping[str, float]]:
    """Return what each kind of shortcut reaches on a split, the constant guess left out."""
    return list(row["shortcuts"].values())[1:]


def mean_of(value: Mapping[str, float]) -> float:
    """Return a figure's mean."""
    return value["mean"]


def in_short(findings: Findings) -> list[Fragment]:
    """Return the summary, and what calls for a decision before training."""
    content = []
    if findings["synthetic"]:
        content.append(notice("These images are drawn. Nothing here says anything about MRI.", "warning"))
    content.append(bullets(summary_lines(findings)))
    if findings["conflicts"]:
        content.append(notice(
            "Some pictures stand under two labels: data.drop_conflicts=true leaves them out, data.labels=CSV corrects "
            "them.", "problem",
        ))  # fmt: skip
    if findings["copies"]["levels"]["near copies"]["further"]:
        content.append(notice(
            "A split of single images puts copies on both sides, so its accuracy is too high. data.split=grouped keeps "
            "copies together.", "warning",
        ))  # fmt: skip
    return content


def what_is_there(findings: Findings) -> list[Fragment]:
    """Return classes, folders, sizes, modes, and the files that no run would see."""
    contents = findings["contents"]
    parts = contents["parts"]
    rows = [
        [name, *(parts[part][name] for part in parts), total, contents["of_most_frequent_size"][name]]
        for name, total in contents["classes"].items()
    ]
    headers = ["Class", *(part or "no part" for part in parts), "All", f"Of {contents['most_frequent_size']} pixels"]
    content = [
        table(headers, rows, "Images of each class"),
        table(["Pixels", "Images"], list(contents["sizes"].items()), "The most frequent sizes"),
        table(["Mode and format", "Images"], [*contents["modes"].items(), *contents["formats"].items()]),
    ]
    for key, title in (("unreadable", "Files that can't be used"), ("stray", "Images outside class folders")):
        found = findings[key]
        content.append(heading(f"{title}: {len(found)}"))
        if found:
            lines = [
                " – ".join(entry) if isinstance(entry, Sequence) and not isinstance(entry, str) else entry
                for entry in found
            ]
            content.append(folded("Their names", bullets(lines)))
    return content


def conflict_section(findings: Findings, pictures: Pictures) -> list[Fragment]:
    """Return every group of copies that stands under more than one label."""
    if not findings["conflicts"]:
        return [paragraph("None was found.")]
    paths = findings["paths"]
    return [
        fragment
        for number_, members in enumerate(findings["conflicts"], 1)
        for fragment in (
            heading(f"Group {number_}: {len(members)} images"),
            picture(strip([pictures[i] for i in members]), "the pictures of the group", width=width_of(len(members))),
            bullets(paths[i] for i in members),
        )
    ]


def copy_section(findings: Findings, pictures: Pictures) -> list[Fragment]:
    """Return counts at each level, the threshold's effect, and the pairs on either side of the threshold."""
    copies = findings["copies"]
    rows = [[name, row["groups"], row["images"], row["further"]] for name, row in copies["levels"].items()]
    content = [
        table(["Level, each with those before", "Groups", "Images in them", "Further copies"], rows),
        table(["Laid over each other", "Near pairs"], list(copies["turns"].items())),
    ]
    across = copies["across_parts"]
    if across["near copies"]:
        classes = across["near copies"]["classes"]
        content.append(table(
            ["Class", *across, "Images in the test folder"],
            [[name, *(across[level]["classes"][name][0] for level in across), classes[name][1]] for name in classes],
            "Images in the test folder with a copy in the other folders",
        ))  # fmt: skip
    content.append(table(
        ["Least agreement of detail", "Near pairs", "Groups", "Further copies"],
        [[f"{row['detail']:.2f}", row["pairs"], row["groups"], row["further"]] for row in copies["thresholds"]],
        f"The threshold's effect; {copies['threshold']:.2f} is used",
    ))  # fmt: skip
    for key, title in (
        ("least", "Near copies that agree least"),
        ("not_quite", "Pairs that agree most and are no copies"),
    ):
        if findings["shown"][key]:
            content.append(heading(title))
            content.append(pair_strip(findings["shown"][key], findings["paths"], pictures, pictures))
    return content


def pair_strip(pairs: Sequence[Findings], paths: Sequence[str], ours: Pictures, theirs: Pictures) -> Fragment:
    """Return pairs side by side in one picture, and a list of their names."""
    shown = [side for pair in pairs for side in (ours[pair["first"]], theirs[pair["second"]])]
    rows = [[paths[pair["first"]], pair["name"], pair["turn"], f"{pair['detail']:.3f}"] for pair in pairs]
    return Fragment(
        picture(strip(shown), "pairs of pictures, four in a row", "Four pairs in a row.", width_of(COLUMNS))
        + folded("Their names, in the same order", table(["Image", "Other image", "The other is", "Detail"], rows))
    )


def split_section(findings: Findings) -> list[Fragment]:
    """Return what each split leaves in common, and what a look-up reaches on it."""
    rows, impossible = [], []
    for row in findings["splits"]:
        if "impossible" in row:
            impossible.append(f"{row['split']}: {row['impossible']}")
            continue
        rows.append([
            row["split"], row["seeds"], number(row["test_images"]), number(row["identical_in_training"]),
            number(row["copies_in_training"]), number(row["run_in_training"]), percent(row["nearest_neighbour"]),
            ", ".join(row["classes_absent_from_test"]) or None,
        ])  # fmt: skip
    headers = [
        "Split", "Seeds", "Test images", "Identical in training", "Copy in training", "Run in training",
        "Nearest, %", "Not tested",
    ]  # fmt: skip
    words = (
        "The last but one column is the accuracy of giving each test image the label of the training thumbnail most "
        "like it. It learns nothing: a network has to beat it before it has shown anything."
    )
    titles = [f"{row['split']}: {row['title']}" for row in findings["splits"]]
    content = [paragraph(words), table(headers, rows, "Mean ± standard deviation over seeds"), bullets(titles)]
    return content + ([heading("Splits that this set does not allow"), bullets(impossible)] if impossible else [])


def shortcut_section(findings: Findings) -> list[Fragment]:
    """Return what a random forest reaches from what has nothing to do with a tumour."""
    rows = [row for row in findings["splits"] if row.get("shortcuts")]
    if not rows:
        return [notice("Not measured: it needs scikit-learn, pip install 'brain_tumor_tl[audit]'.")]
    names = list(rows[0]["shortcuts"])
    words = (
        "Accuracy in percent of a random forest that sees no picture: only its size, the file's, its border or how "
        "bright it is. Where it is far above always guessing the most frequent class, a network can be right for the "
        "wrong reason."
    )
    lines = [[row["split"], *(percent(row["shortcuts"][name]) for name in names)] for row in rows]
    return [paragraph(words), table(["Split", *(name[:1].upper() + name[1:] for name in names)], lines)]


def run_section(findings: Findings, pictures: Pictures) -> list[Fragment]:
    """Return runs of neighbouring file numbers, and the longest of them."""
    runs = findings["runs"]
    words = (
        f"{runs['groups']} runs of neighbouring file numbers whose pictures look alike hold {runs['images']} images. "
        "They are mostly neighbouring slices of one patient. It is a "
    )
    content = [
        paragraph(words, strong("proxy"), ": whose slices they are is known only where a set names its patients.")
    ]
    for members in runs["longest"]:
        first, last = (findings["paths"][members[place]] for place in (0, -1))
        caption = f"{len(members)} images, {first} to {last}" + (", the first 32" if len(members) > 32 else "")
        shown = strip([pictures[i] for i in members[:32]])
        content.append(picture(shown, "the pictures of a run", caption, width_of(len(members))))
    return content


def overlap_section(overlap: Findings, pictures: Pictures, others: Pictures) -> list[Fragment]:
    """Return which images of a second set have a copy in the first."""
    rows = [[name, overlap[name]] for name in ("identical files", "identical pixels", "near copies")]
    kind = "problem" if overlap["near copies"] else "note"
    words = f"{overlap['near copies']} of {overlap['images']} images of {overlap['root']} have a copy in the first set."
    classes = [[name, *counts] for name, counts in overlap["classes"].items()]
    content = [
        notice(words, "problem" if kind == "problem" else "note"),
        table(["Level, each with those before", "Images of the second set with a copy in the first"], rows),
        table(["Class", "With a copy", "Images"], classes),
    ]
    sides = [side for one, two in overlap["pairs"][:32] for side in (pictures[one], others[two])]
    return content + ([picture(strip(sides), "pairs, four in a row", width=width_of(COLUMNS))] if sides else [])


def method() -> list[Fragment]:
    """Return how the figures come about."""
    return [bullets([
        "Identical files have the same bytes. Identical pixels are the same once decoded, whatever the file's format.",
        "A near copy, laid over the other picture after any of 8 turns and mirrorings, with each axis scaled and "
        "shifted, agrees in its fine detail. Neighbouring slices of one head agree in outline, not in detail. "
        "docs/audit.md has recall and precision against constructed copies.",
        "Copies form groups: whoever is a copy of a member is a member.",
        "The nearest thumbnail is the one of 32 x 32 grey values with the highest correlation.",
        "Shortcuts: scikit-learn's random forest.",
    ])]  # fmt: skip


def strip(pictures: Sequence[Pictures]) -> bytes:
    """Return grey pictures, `(S, S)` each, in rows of eight, as a PNG file."""
    size, columns = pictures[0].shape[0], min(COLUMNS, len(pictures))
    rows, step = -(-len(pictures) // columns), size + GAP
    table = np.full((rows * step - GAP, columns * step - GAP), 255, dtype=np.uint8)
    for place, shown in enumerate(pictures):
        top, left = place // columns * step, place % columns * step
        table[top : top + size, left : left + size] = shown
    content = io.BytesIO()
    Image.fromarray(table).save(content, "PNG", optimize=True)
    return content.getvalue()


def width_of(count: int) -> int:
    """Return the pixels of a window that a strip of some pictures takes."""
    return min(COLUMNS, max(count, 1)) * 136


def number(value: Mapping[str, float]) -> str:
    """Return a count's mean and standard deviation, the latter where it is not 0.

    >>> number({"mean": 112.25, "sd": 9.0}), number({"mean": 394.0, "sd": 0.0})
    ('112.2 ± 9.0', '394')
    """
    if value["sd"] == 0 and value["mean"] == round(value["mean"]):
        return f"{value['mean']:.0f}"
    return f"{value['mean']:.1f} ± {value['sd']:.1f}"


def percent(value: Mapping[str, float]) -> str:
    """Return a share's mean and standard deviation in percent.

    >>> percent({"mean": 0.92051, "sd": 0.0085}), percent({"mean": 0.764, "sd": 0.0})
    ('92.05 ± 0.85', '76.40')
    """
    return f"{100 * value['mean']:.2f}" + (f" ± {100 * value['sd']:.2f}" if value["sd"] else "")
