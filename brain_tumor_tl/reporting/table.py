"""Table: a table of texts, and how a terminal, Markdown and HTML show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from brain_tumor_tl.reporting import page


@dataclass(frozen=True)
class Table:
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


def for_terminal(table: Table) -> RichTable:
    """Return a table as the console prints it; where the terminal is narrow, columns of words fold."""
    shown = RichTable(
        title=table.title and escape(table.title), title_justify="left", box=box.SIMPLE_HEAD,
        padding=(0, 1) if len(table.headers) < 10 else 0, collapse_padding=True,
        pad_edge=False, show_edge=False, caption="\n".join(map(escape, table.notes)) or None, caption_justify="left",
    )  # fmt: skip
    for header, number in zip(table.headers, table.numbers(), strict=True):
        shown.add_column(escape(header), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown


def for_markdown(table: Table) -> str:
    r"""Return a table in Markdown.

    >>> print(for_markdown(Table("T", ("run", "n"), (("a|b", "1"),))))
    **T**
    <BLANKLINE>
    | run | n |
    |---|--:|
    | a\|b | 1 |
    """
    marks = ["--:" if number else "---" for number in table.numbers()]
    lines = [markdown_row(table.headers), f"|{'|'.join(marks)}|", *map(markdown_row, table.rows)]
    parts = [f"**{table.title}**"] if table.title else []
    return "\n\n".join([*parts, "\n".join(lines), *map(markdown_text, table.notes)])


def markdown_row(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(markdown_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def markdown_text(text: str) -> str:
    """Return a text on one line, without what would be read as HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")


def for_html(table: Table) -> page.Fragment:
    """Return a table as part of a page."""
    below = [page.paragraph(note) for note in table.notes]
    return page.join([page.table(table.headers, table.rows, table.title), *below])
