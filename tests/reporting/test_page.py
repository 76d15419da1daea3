"""Page: well-formed, self-contained HTML that shows text as text."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from matplotlib.figure import Figure

from brain_tumor_tl.reporting import page as pages
from brain_tumor_tl.reporting.page import (
    PNG,
    Fragment,
    anchors,
    block,
    bullets,
    code,
    folded,
    heading,
    matrix,
    notice,
    numeric,
    page,
    paragraph,
    picture,
    png,
    side_by_side,
    strong,
    stylesheet,
    table,
)

EVIL = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Notes elements with their attributes and texts, and fails where a tag is closed that is not the open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text_of(self, tag: str) -> list[str]:
        """Return the texts directly inside elements of a kind."""
        return [text for name, text in self.texts if name == tag]


def read(html: str) -> Reader:
    """Return what a parser finds in a whole page or a fragment."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def whole_page() -> str:
    """Return a page with one of everything."""
    figure = Figure(figsize=(1, 1))
    content = [
        heading(EVIL), paragraph("a ", strong("b"), EVIL), code(EVIL), block(EVIL), bullets([EVIL, strong("b")]),
        notice(EVIL, "warning"), folded(EVIL, paragraph("inside")), table(["run", EVIL], [[EVIL, 1.5]], EVIL),
        side_by_side(picture(figure, EVIL, EVIL), picture(png(figure), "other", width=300)),
    ]  # fmt: skip
    return page(EVIL, [("One", content), ("Two", []), ("Three", [])], EVIL)


def test_page__is_well_formed() -> None:
    found = read(whole_page())

    assert found.elements[0][0] == "html"
    assert [len(found.all(tag)) for tag in ("head", "body", "main", "h1", "section", "img")] == [1, 1, 1, 1, 3, 2]
    assert found.text_of("h2") == ["One", "Two", "Three"]


def test_page__shows_text_as_text() -> None:
    found = read(whole_page())

    assert found.all("script") == []
    for tag in ("title", "h1", "h3", "code", "pre", "summary", "figcaption", "p", "th", "li"):
        assert EVIL in found.text_of(tag), tag
    assert found.all("img")[0]["alt"] == EVIL


def test_page__needs_nothing_from_elsewhere() -> None:
    html = whole_page()
    found = read(html)

    addresses = [str(e[key]) for _, e in found.elements for key in ("src", "href", "action", "data") if key in e]
    assert len(addresses) == 5
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert found.all("link") == []
    assert not re.search(r"@import|url\(|https?:", html)
    assert "default-src 'none'" in str(found.all("meta")[1]["content"])


def test_page__links_lead_to_sections() -> None:
    found = read(page("t", [("A", []), ("A", []), ("B & C", [])]))

    targets = [str(link["href"]).removeprefix("#") for link in found.all("a")]
    assert targets == [section["id"] for section in found.all("section")] == ["a", "a-2", "b-c"]


def test_page__two_sections_need_no_links() -> None:
    assert read(page("t", [("A", []), ("B", [])])).all("nav") == []


def test_page__same_content_same_bytes() -> None:
    assert whole_page() == whole_page()


def test_anchors__nothing_to_name_it_by() -> None:
    assert anchors(["±", "±", ""]) == ["section", "section-2", "section-3"]


def test_table__numbers_to_the_right() -> None:
    found = read(table(["run", "accuracy", "note"], [["a", "97.86 ± 0.40", "x"], ["b", None, "1"]]))

    assert [cell.get("class") for cell in found.all("td")] == ["number", None, "number", None]
    assert [cell.get("class") for cell in found.all("th")] == [None, "number", None, None, None]
    assert found.text_of("td") == ["97.86 ± 0.40", "x", "–", "1"]
    assert found.all("div")[0]["class"] == "scroll"


def test_table__head_without_rows() -> None:
    assert read(table(["a", "b"], [])).text_of("th") == ["a", "b"]


def test_table__uneven_row() -> None:
    with pytest.raises(ValueError, match=r"Expected 2 cells in every row of the table, got 1\."):
        table(["a", "b"], [["only"]])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([1, 2.5], True), (["-0.5%", "–"], True), (["97.86 +- 0.4", ""], True), (["1,234"], True),
        ([Fragment("<strong>97.86</strong>")], True), (["95.0 (93.1 to 96.9)"], True),
        (["1.2 s"], False), (["v1"], False), ([], False), ([None], False),
    ],
)  # fmt: skip
def test_numeric__kinds(cells: list[Any], expected: bool) -> None:
    assert numeric(cells) is expected


def test_picture__carries_the_bytes() -> None:
    content = png(Figure(figsize=(2, 1)), dots_per_inch=50)

    (image,) = read(picture(content, "alt")).all("img")
    assert base64.b64decode(str(image["src"]).partition(",")[2]) == content
    assert content.startswith(PNG)
    assert int.from_bytes(content[16:20]) == 100


def test_picture__not_a_png() -> None:
    with pytest.raises(ValueError, match="Expected the bytes of a PNG file"):
        picture(b"GIF89a", "alt")


def test_small__one_line_or_a_list() -> None:
    assert pages.small("a: ", ["b < c"]) == '<p class="small"><strong>a: </strong>b &lt; c</p>'
    assert "<li>b</li><li>c</li>" in pages.small("a", ["b", "c"])


@pytest.mark.parametrize("kind", ["note", "warning", "problem"])
def test_notice__kind_is_a_word_and_a_style(kind: Any) -> None:
    found = read(notice("text", kind))

    assert found.text_of("strong") == [f"{kind.capitalize()}:"]
    assert f".notice.{kind} " in stylesheet() or kind == "note"


@pytest.mark.parametrize("rule", ["prefers-color-scheme: dark", "@media print", "overflow-x: auto"])
def test_stylesheet__rules(rule: str) -> None:
    assert rule in pages.stylesheet()


def test_stylesheet__every_class_has_a_rule() -> None:
    names = {name for e in read(whole_page()).elements for name in str(e[1].get("class") or "").split()}

    assert {"scroll", "number", "notice", "warning", "beside", "subtitle", "caption"} <= names
    assert [name for name in names if f".{name}" not in stylesheet()] == []


def test_matrix__counts_shares_and_shade() -> None:
    found = read(matrix([[3, 1], [0, 0]], ["no tumor", EVIL], EVIL))

    assert found.text_of("td") == ["3", "1", "0", "0"]
    assert found.text_of("small") == ["75.0%", "25.0%", "0.0%", "0.0%"]
    assert [cell["style"] for cell in found.all("td")][:2] == ["--share: 0.750", "--share: 0.250"]
    assert [cell.get("class") for cell in found.all("td")] == ["dark", None, None, None]
    assert found.text_of("th")[1:] == ["no tumor", EVIL, "no tumor", EVIL]
    assert found.text_of("p") == [EVIL]


def test_matrix__uneven() -> None:
    with pytest.raises(ValueError, match="zip"):
        matrix([[1]], ["a", "b"])
