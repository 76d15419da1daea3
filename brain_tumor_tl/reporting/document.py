"""Document: the report as one HTML page and as Markdown, from gathered runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_tumor_tl.reporting import page
from brain_tumor_tl.reporting.aggregate import Group
from brain_tumor_tl.reporting.classes import class_tables, classes_of, matrices, summed
from brain_tumor_tl.reporting.discover import Gathered, Run, last_lines
from brain_tumor_tl.reporting.fold_table import fold_table
from brain_tumor_tl.reporting.leaderboard import leaderboard, notes
from brain_tumor_tl.reporting.method_comparison import conclusion, winner_table
from brain_tumor_tl.reporting.protocol_text import summary_lines
from brain_tumor_tl.reporting.significance import METHOD, Field, field_line, field_table
from brain_tumor_tl.reporting.study import CITATION
from brain_tumor_tl.reporting.table import Table, for_html, for_markdown, markdown_text
from brain_tumor_tl.reporting.tables import unfinished_table

FEW_FIELDS = 3  # tables that are shown without a click
BAD = ("failed", "unreadable", "missing")
SYNTHETIC = "SYNTHETIC images: the figures say nothing about MRI, and don't compare with the study's."


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        title: What it is a report of.
        gathered: All runs.
        groups: The finished ones, put together.
        again: Finished runs that repeat another's settings and seed, and are in no group.
        base: The folder that paths are written from.
        fields: Runs on the same test images, compared.
        uncompared: Why runs are not.
    """

    title: str
    gathered: Gathered
    groups: Sequence[Group]
    again: Sequence[Run]
    base: Path
    fields: Sequence[Field] = ()
    uncompared: Sequence[str] = ()

    def shown(self, path: Path) -> str:
        """Return a path from the report's base, as it is where there is none."""
        try:
            return os.path.relpath(path, self.base)
        except ValueError:
            return str(path)

    def warnings(self) -> list[str]:
        """Return what nobody may overlook."""
        found = [SYNTHETIC] if any(group.synthetic for group in self.groups) else []
        if self.again:
            names = ", ".join(self.shown(run.folder) for run in self.again)
            found.append(f"Left out, since another run has the same settings and seed (and fold): {names}.")
        return found

    def splits(self) -> list[str]:
        """Return what stands with every table: a line for each kind of split, on copies and the look-up's accuracy."""
        return summary_lines([run.results for group in self.groups for run in group.runs])

    def protocols(self) -> list[str]:
        """Return how the figures came about, each way once."""
        return list(dict.fromkeys(run.results["protocol"]["text"] for group in self.groups for run in group.runs))


def as_html(report: Report) -> str:
    """Return the report as one self-contained page."""
    sections: list[page.Section] = [("Summary", summary(report))]
    if report.groups:
        sections += [(name, [*content, *beside_tables(report)]) for name, content in result_sections(report)]
    if report.gathered.unfinished:
        sections.append(("Not finished", unfinished_section(report)))
    if report.groups:
        sections.append(("How the figures came about", origin(report)))
    return page.page(report.title, sections, report.gathered.state())


def result_sections(report: Report) -> list[page.Section]:
    """Return the sections that hold figures."""
    groups = report.groups
    sections: list[page.Section] = [
        ("Table 1: accuracy and time", [for_html(leaderboard(groups)), page.bullets(notes(groups))])
    ]
    if table := fold_table(groups):
        sections.append(("Cross-validation", [for_html(table)]))
    sections.append(("Which method wins", [for_html(winner_table(groups))]))
    if report.fields or report.uncompared:
        sections.append(("Which runs can't be told apart from the best", field_section(report)))
    return [
        *sections,
        ("Accuracy against time", tradeoff(groups)),
        ("Tables 2 to 7: each class", class_section(groups)),
        ("Confusion matrices", matrix_section(groups)),
    ]


def beside_tables(report: Report) -> list[page.Fragment]:
    """Return what stands with every table of figures: what test and training images have in common."""
    lines = report.splits()
    return [page.small("The split: ", lines)] if lines else []


def field_section(report: Report) -> list[page.Fragment]:
    """Return a table for each set of runs on the same test images, folded where there are many."""
    tables = [for_html(field_table(field)) for field in report.fields]
    parts = [page.paragraph(METHOD)] if tables else []
    if len(tables) > FEW_FIELDS:
        pairs = zip(report.fields, tables, strict=True)
        parts += [page.folded(field_line(field), table) for field, table in pairs]
    else:
        parts += tables
    return parts + [page.paragraph(text) for text in report.uncompared]


def summary(report: Report) -> list[page.Fragment]:
    """Return the warnings and the findings."""
    parts = [page.notice(text, "warning") for text in report.warnings()]
    if report.gathered.unfinished:
        failed = sorted(f"{run.name} ({run.state})" for run in report.gathered.unfinished if run.state in BAD)
        text = f"Without results: {', '.join(failed)}. " if failed else ""
        text += f"{report.gathered.state()}; the section Not finished lists them."
        parts.append(page.notice(text, "problem" if failed else "note"))
    if not report.groups:
        return [*parts, page.paragraph("No run is finished yet.")]
    return [*parts, page.bullets([best(report.groups), *conclusion(report.groups)])]


def best(groups: Sequence[Group]) -> str:
    """Return in words which group has the best accuracy."""
    first = max(groups, key=lambda group: group.accuracy.mean if group.accuracy else 0.0)
    cells = dict(zip(leaderboard([first]).headers, leaderboard([first]).rows[0], strict=True))
    settings = f" with {first.label}" if first.label else ""
    runs = f", mean of {len(first.runs)} runs" if len(first.runs) > 1 else ""
    if first.folds:
        runs = f", {first.repeats}{' joined' if first.folds.joined else ''}"
    elif interval := cells.get("95 % interval", "-").strip("-"):
        runs = f" (95 % interval {interval})"
    return f"Highest accuracy on the test part: {first.model}, {first.method}{settings}: {cells['accuracy']} %{runs}."


def tradeoff(groups: Sequence[Group]) -> list[page.Fragment]:
    """Return a plot for each method, on the same axes."""
    from brain_tumor_tl.reporting.tradeoff import points, tradeoff_figure  # matplotlib is slow to import

    drawn = points(groups)
    note = "SYNTHETIC images" if any(group.synthetic for group in groups) else ""
    titles = list(dict.fromkeys(point.panel for point in drawn))
    pictures = [
        page.picture(
            tradeoff_figure(drawn, title, note),
            f"Accuracy against seconds per epoch, {title}; the figures stand in Table 1.",
        )
        for title in titles
    ]
    if not pictures:
        return [page.paragraph("No run has a whole epoch.")]
    text = "Up and to the left is better. All plots have the same axes. Bars are one standard deviation over the runs."
    if any(point.study for point in drawn):
        text += " The study's seconds are of its author's machine, so only the order of its points in time compares."
    if not all(point.label for point in drawn):
        text += " There are too many settings to name the points."
    return [page.paragraph(text), page.side_by_side(*pictures)]


def class_section(groups: Sequence[Group]) -> list[page.Fragment]:
    """Return a table for each network."""
    parts = [page.paragraph("The study prints whole percent, and no such table of VGG16.")]
    if all(group.apart for group in groups):
        parts = []
    for model, table in class_tables(groups).items():
        parts += [page.heading(model), for_html(Table("", table.headers, table.rows))]
        if any(group.study and (group.model, group.method) == ("resnet50", "finetune") for group in groups) and (
            model == "resnet50"
        ):
            parts.append(
                page.paragraph("The study's F1 of glioma, fine-tuned, is as printed: its precision and recall give 90.")
            )
    return parts


def matrix_section(groups: Sequence[Group]) -> list[page.Fragment]:
    """Return a row for each network: the matrices of its methods side by side."""
    parts = [page.paragraph("Images of the test part, and their share of the true class; of several runs, their sum.")]
    methods = list(dict.fromkeys(group.method for group in groups))
    for model in dict.fromkeys(group.model for group in groups):
        shown = []
        for method in methods:
            own = [matrix(group) for group in groups if (group.model, group.method) == (model, method)]
            shown.append(page.join(own or [page.paragraph(f"{method}: no finished run.")]))
        parts += [page.heading(model), page.side_by_side(*(page.Fragment(f"<div>{each}</div>") for each in shown))]
    return parts


def matrix(group: Group) -> page.Fragment:
    """Return a group's confusion matrix."""
    counts, runs = summed(group), len(matrices(group))
    name = ", ".join(part for part in (group.method, group.label) if part)
    if counts is None:
        return page.paragraph(f"{name}: its results hold no confusion matrix.")
    names = [text.replace("_", " ") for text in classes_of(group)]
    what = "folds" if group.folds else "runs"
    return page.matrix(counts, names, name + (f", sum of {runs} {what}" if runs > 1 else ""))


def unfinished_section(report: Report) -> list[page.Fragment]:
    """Return the runs without results, and the last lines of the logs of those that failed."""
    table = unfinished_table(report.gathered.unfinished, report.shown)
    parts = [for_html(Table("", table.headers, table.rows))]
    for run in report.gathered.unfinished:
        lines = last_lines(run.log) if run.state == "failed" else ""
        if lines:
            parts.append(page.folded(f"{run.name}: the last lines of its log", page.block(lines)))
    return parts


def origin(report: Report) -> list[page.Fragment]:
    """Return protocol, machines, versions and sources."""
    environments = [run.results.get("environment") or {} for group in report.groups for run in group.runs]
    parts = [page.paragraph(text) for text in report.protocols()]
    facts: dict[str, list[Any]] = {
        "device": [env.get("device") for env in environments],
        "precision": [env.get("precision") for env in environments],
        "commit": [env.get("git_commit") for env in environments],
        "system": [env.get("system") for env in environments],
        "packages": [
            ", ".join(f"{name} {version}" for name, version in (env.get("packages") or {}).items() if version)
            for env in environments
        ],
    }
    known = {name: list(dict.fromkeys(str(value) for value in values if value)) for name, values in facts.items()}
    rows = [(name, "; ".join(values)) for name, values in known.items() if values]
    if rows:
        parts.append(page.table(("of the runs", ""), rows))
    return [*parts, page.paragraph(f"The study: {CITATION}.")]


def as_markdown(report: Report) -> str:
    """Return the report in Markdown: tables, without pictures."""
    parts = [f"# {report.title}", report.gathered.state() + "."]
    parts += [f"> **{text}**" for text in report.warnings()]
    if report.groups:
        board = leaderboard(report.groups)
        bullets = [best(report.groups), *conclusion(report.groups), *notes(report.groups)]
        parts += ["\n".join(f"- {text}" for text in bullets)]
        beside = ["\n".join(f"- {markdown_text(line)}" for line in report.splits())] if report.splits() else []
        parts += ["## Table 1: accuracy and time", for_markdown(board), *beside]
        if folds := fold_table(report.groups):
            parts += ["## Cross-validation", for_markdown(folds), *beside]
        parts += ["## Which method wins", for_markdown(winner_table(report.groups)), *beside]
        if report.fields or report.uncompared:
            parts += ["## Which runs can't be told apart from the best", *([METHOD] if report.fields else [])]
            parts += [for_markdown(field_table(field)) for field in report.fields]
            parts += [*map(markdown_text, report.uncompared), *beside]
        parts += ["## Tables 2 to 7: each class"]
        parts += [*(for_markdown(table) for table in class_tables(report.groups).values()), *beside]
    if report.gathered.unfinished:
        table = unfinished_table(report.gathered.unfinished, report.shown)
        parts += ["## Not finished", for_markdown(Table("", table.headers, table.rows))]
    if report.groups:
        parts += ["## How the figures came about", *report.protocols(), f"The study: {CITATION}."]
    return "\n\n".join(parts) + "\n"
