"""Table: the same table on a terminal, in Markdown and in HTML."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from brain_tumor_tl.reporting.table import Table, for_html, for_markdown, for_terminal

SHEET = Table("A [title]", ("run", "per|cent"), (("a<b", "97.86 ± 0.40"), ("[bold]c", "-")), ("a note",))


def printed(table: Table, width: int = 80) -> str:
    """Return a table as a terminal of some width shows it."""
    file = io.StringIO()
    Console(file=file, width=width).print(for_terminal(table))
    return file.getvalue()


def test_for_terminal__shows_text_as_text() -> None:
    text = printed(SHEET)

    for part in ("A [title]", "a<b", "[bold]c", "97.86 ± 0.40", "a note"):
        assert part in text


@pytest.mark.parametrize("width", [80, 40, 24])
def test_for_terminal__narrow_shows_every_number(width: int) -> None:
    text = printed(Table("", ("network", "accuracy"), (("shufflenet_v2_x1_0", "97.86 ± 0.40"),)), width)

    assert max(map(len, text.splitlines())) <= width
    assert "97.86 ± 0.40" in text
    assert "…" not in text


def test_for_markdown__escapes() -> None:
    lines = for_markdown(SHEET).splitlines()

    assert lines == [
        "**A [title]**", "", r"| run | per\|cent |", "|---|--:|", "| a&lt;b | 97.86 ± 0.40 |", "| [bold]c | - |", "",
        "a note",
    ]  # fmt: skip


def test_for_html__title_rows_and_notes() -> None:
    html = for_html(SHEET)

    for part in ("A [title]", "a&lt;b", "<p>a note</p>", '<td class="number">97.86 ± 0.40</td>'):
        assert part in html
