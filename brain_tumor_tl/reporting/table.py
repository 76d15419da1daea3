"""Table: a table of texts for the terminal, for Markdown and, by templates/macros.html.j2, for HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

EMPTY = ("", "-")
CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\ufffd")  # shown, not sent to the terminal
NUMBER = re.compile(r"[-+−±]?\d[\d.,]*%?(/\d+)?(\s*(±|\+-|to|-)\s*[\d.,]+%?)?(\s+\([^)]*\)|\s+folds)?")


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: Text above the table, may be empty.
        headers: Name of each column.
        rows: Cells of each row, as many as headers.
        notes: Lines below the table.
        links: On a page, the name and the address of what each row leads to; empty for none.

    Raises:
        ValueError: A row has more or fewer cells than there are headers.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    links: tuple[tuple[tuple[str, str], ...], ...] = ()

    def __post_init__(self) -> None:
        uneven = [len(row) for row in self.rows if len(row) != len(self.headers)]
        if uneven:
            raise ValueError(f"Expected {len(self.headers)} cells in every row of the table, got {uneven[0]}.")

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds only numbers, and is therefore aligned to the right."""
        return [is_numeric([row[i] for row in self.rows]) for i in range(len(self.headers))]

    def __rich__(self) -> RichTable:
        """Return the table as Rich prints it; columns of words wrap if the terminal is narrow."""
        table = RichTable(
            title=escape(self.title.translate(CONTROLS)) or None, title_justify="left", box=box.SIMPLE_HEAD,
            padding=(0, 1) if len(self.headers) < 10 else 0, collapse_padding=True, pad_edge=False, show_edge=False,
            caption="\n".join(escape(note.translate(CONTROLS)) for note in self.notes) or None, caption_justify="left",
        )  # fmt: skip
        for header, numeric in zip(self.headers, self.numeric, strict=True):
            table.add_column(escape(header), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
        for row in self.rows:
            table.add_row(*(escape(cell.translate(CONTROLS)) for cell in row))
        return table

    def markdown(self) -> str:
        r"""Return the table in Markdown.

        >>> print(Table("T", ("run", "n"), (("a|b", "1"),)).markdown())
        **T**
        <BLANKLINE>
        | run | n |
        |---|--:|
        | a\|b | 1 |
        """
        alignment = "|".join("--:" if numeric else "---" for numeric in self.numeric)
        lines = [markdown_row(self.headers), f"|{alignment}|", *map(markdown_row, self.rows)]
        title = [f"**{markdown_text(self.title)}**"] if self.title else []
        return "\n\n".join([*title, "\n".join(lines), *map(markdown_text, self.notes)])


def make_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]], notes: Sequence[str] = ()) -> Table:
    """Return a table of values of any type; None becomes a dash."""
    cells = tuple(tuple("-" if value is None else str(value) for value in row) for row in rows)
    return Table(title, tuple(headers), cells, tuple(notes))


def compact_table(
    title: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    left_out: Sequence[str] = EMPTY[:1],
) -> Table:
    """Return a table without the columns in which all cells are empty; other empty cells become dashes.

    Args:
        title: Its title.
        headers: Name of each column.
        rows: Cells of each row.
        notes: Lines below it.
        left_out: Cells that count as empty.

    >>> compact_table("", ("run", "settings", "study"), [("a", "", "97"), ("b", "", "")]).rows
    (('a', '97'), ('b', '-'))
    """
    shown = [i for i in range(len(headers)) if any(row[i] not in left_out for row in rows)]
    cells = tuple(tuple(row[i] or "-" for i in shown) for row in rows)
    return Table(title, tuple(headers[i] for i in shown), cells, tuple(notes))


def is_numeric(cells: Sequence[str]) -> bool:
    """Return whether cells hold at least one number, and otherwise only dashes and empty cells.

    >>> is_numeric(["97.86 ± 0.40", "-"]), is_numeric(["+1.03"]), is_numeric(["resnet18", "1"]), is_numeric(["-"])
    (True, True, False, False)
    """
    filled = [cell for cell in cells if cell not in EMPTY]
    return bool(filled) and all(NUMBER.fullmatch(cell) for cell in filled)


def markdown_row(cells: Sequence[str]) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join(markdown_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def markdown_text(text: str) -> str:
    """Return a text on one line, with the characters escaped that would start HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
