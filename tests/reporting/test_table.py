"""Table: the same table on a terminal and in Markdown; test_page shows it in HTML."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from brain_tumor_tl.reporting.table import Table, is_numeric, make_table

TABLE = Table("A [title]", ("run", "per|cent"), (("a<b", "97.86 ± 0.40"), ("[bold]c", "-")), ("a note",))


def printed(table: Table, width: int = 80) -> str:
    """Return a table as a terminal of some width shows it."""
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


def test_table__terminal_shows_text_as_text() -> None:
    text = printed(TABLE)

    for part in ("A [title]", "a<b", "[bold]c", "97.86 ± 0.40", "a note"):
        assert part in text


@pytest.mark.parametrize("width", [80, 40, 24])
def test_table__narrow_terminal_shows_every_number(width: int) -> None:
    text = printed(Table("", ("network", "accuracy"), (("shufflenet_v2_x1_0", "97.86 ± 0.40"),)), width)

    assert max(map(len, text.splitlines())) <= width
    assert "97.86 ± 0.40" in text
    assert "…" not in text


def test_markdown__escapes() -> None:
    assert TABLE.markdown().splitlines() == [
        "**A [title]**", "", r"| run | per\|cent |", "|---|--:|", "| a&lt;b | 97.86 ± 0.40 |", "| [bold]c | - |", "",
        "a note",
    ]  # fmt: skip


def test_table__uneven_row() -> None:
    with pytest.raises(ValueError, match=r"Expected 2 cells in every row of the table, got 1\."):
        Table("", ("a", "b"), (("only",),))


def test_make_table__any_values() -> None:
    assert make_table("", ["a", "b"], [[1, None], [0.5, "x"]]).rows == (("1", "-"), ("0.5", "x"))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "2.5"], True), (["-0.5%", "-"], True), (["97.86 +- 0.4", ""], True), (["1,234"], True),
        (["95.0 (93.1 to 96.9)"], True), (["87.85 to 92.39"], True), (["5 folds", "4/5 folds", "4/5", "1"], True),
        (["1.2 s"], False), (["v1"], False), ([], False), (["-"], False),
    ],
)  # fmt: skip
def test_is_numeric__kinds(cells: list[str], expected: bool) -> None:
    assert is_numeric(cells) is expected
