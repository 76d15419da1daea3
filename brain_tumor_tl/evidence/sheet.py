"""Sheet: a table of texts, and how a terminal, Markdown and HTML show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.markup import escape
from rich.table import Table

from brain_tumor_tl.evidence import page


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: What stands above it.
        headers: Name of each column.
        rows: Cells of each row, as many as headers.
        notes: What stands below it.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def numbers(self) -> list[bool]:
        """Return which columns hold numbers alone, and so stand to the right."""
        return [page.numeric([row[i] for row in self.rows]) for i in range(len(self.headers))]


def for_terminal(sheet: Sheet) -> Table:
    """Return a sheet as the console prints it; where the terminal is narrow, columns of words fold."""
    table = Table(
        title=sheet.title and escape(sheet.title), title_justify="left", box=box.SIMPLE_HEAD,
        padding=(0, 1) if len(sheet.headers) < 10 else 0, collapse_padding=True,
        pad_edge=False, show_edge=False, caption="\n".join(map(escape, sheet.notes)) or None, caption_justify="left",
    )  # fmt: skip
    for header, number in zip(sheet.headers, sheet.numbers(), strict=True):
        table.add_column(escape(header), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in sheet.rows:
        table.add_row(*map(escape, row))
    return table


def for_markdown(sheet: Sheet) -> str:
    r"""Return a sheet in Markdown.

    >>> print(for_markdown(Sheet("T", ("run", "n"), (("a|b", "1"),))))
    **T**
    <BLANKLINE>
    | run | n |
    |---|--:|
    | a\|b | 1 |
    """
    marks = ["--:" if number else "---" for number in sheet.numbers()]
    lines = [markdown_row(sheet.headers), f"|{'|'.join(marks)}|", *map(markdown_row, sheet.rows)]
    parts = [f"**{sheet.title}**"] if sheet.title else []
    return "\n\n".join([*parts, "\n".join(lines), *map(markdown_text, sheet.notes)])


def markdown_row(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(markdown_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def markdown_text(text: str) -> str:
    """Return a text on one line, without what would be read as HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def for_html(sheet: Sheet) -> page.Fragment:
    """Return a sheet as part of a page."""
    below = [page.paragraph(note) for note in sheet.notes]
    return page.join([page.table(sheet.headers, sheet.rows, sheet.title), *below])
