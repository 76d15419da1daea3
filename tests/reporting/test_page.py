"""Page: the templates give well-formed, self-contained HTML that shows text as text."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import UndefinedError

from brain_tumor_tl.reporting.page import TEMPLATES, Drawing, Picture, Sections, render
from brain_tumor_tl.reporting.table import Table

EVIL = "<script>alert('x')</script> & \"quotes\""
VOID = {"meta", "img", "br"}
STYLES = TEMPLATES.get_template("page.css").render()
PNG = b"\x89PNG\r\n\x1a\n <the rest>"

WHOLE_PAGE = """
{% extends "page.html.j2" %}
{% import "macros.html.j2" as ui with context %}
{% block main %}
{% call ui.section("One", notes=[evil, "other"], notes_title=evil) %}
{{ ui.bullets([evil]) }}
{{ ui.notice(evil, "warning") }}
{% call ui.folded(evil) %}<pre>{{ evil }}</pre>{% endcall %}
{{ ui.table(table) }}
{{ ui.matrix([[3, 1], [0, 0]], ["no tumor", evil], evil) }}
<div class="beside">{{ ui.figure(picture) }}{{ ui.figure(picture._replace(width=300, caption="")) }}</div>
{% endcall %}
{% call ui.section("Two", notes=[evil]) %}{% endcall %}
{% call ui.section("Two") %}{% endcall %}
{% endblock %}
"""


class Reader(HTMLParser):
    """Notes elements with their attributes and texts, and fails if a closing tag doesn't match the open one."""

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
    """Return what a parser finds in a page or a part of one."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def part(call: str, **values: Any) -> Reader:
    """Return what a parser finds in the result of a macro."""
    source = f'{{% import "macros.html.j2" as ui with context %}}{{{{ ui.{call} }}}}'
    return read(TEMPLATES.from_string(source).render(sections=Sections(), **values))


def whole_page() -> str:
    """Return a page with one of everything."""
    table = Table(EVIL, ("run", EVIL), ((EVIL, "1.5"),), (EVIL,))
    values = {"title": EVIL, "subtitle": EVIL, "table": table, "picture": Picture(PNG, EVIL, EVIL)}
    return TEMPLATES.from_string(WHOLE_PAGE).render(sections=Sections(), evil=EVIL, **values)


def test_page__is_well_formed() -> None:
    found = read(whole_page())

    assert found.elements[0][0] == "html"
    assert [len(found.all(tag)) for tag in ("head", "body", "main", "h1", "section", "img")] == [1, 1, 1, 1, 3, 2]
    assert found.text_of("h2") == ["One", "Two", "Two"]


def test_page__shows_text_as_text() -> None:
    found = read(whole_page())

    assert found.all("script") == []
    for tag in ("title", "h1", "strong", "pre", "summary", "figcaption", "p", "th", "li"):
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
    found = read(whole_page())

    targets = [str(link["href"]).removeprefix("#") for link in found.all("a")]
    assert targets == [section["id"] for section in found.all("section")] == ["one", "two", "two-2"]


def test_page__same_content_same_bytes() -> None:
    assert whole_page() == whole_page()


def test_templates__escape_all_html_and_name_what_is_missing() -> None:
    names = [name for name in TEMPLATES.list_templates() if name.endswith(".html.j2")]

    assert len(names) >= 4
    assert callable(TEMPLATES.autoescape)
    assert [name for name in names if not TEMPLATES.autoescape(name)] == []
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render("page.html.j2")


def test_page__two_sections_need_no_links() -> None:
    source = WHOLE_PAGE.replace('{% call ui.section("Two") %}{% endcall %}', "")
    table = Table("", ("a",), ())
    html = TEMPLATES.from_string(source).render(
        sections=Sections(), title="", subtitle="", evil="", table=table, picture=Picture(PNG, "")
    )

    assert read(html).all("nav") == []


def test_section__one_note_is_a_line_and_several_are_a_list() -> None:
    found = read(whole_page())

    small = [name for name, attributes in found.elements if attributes.get("class") == "small"]
    assert small == ["div", "p"]


def test_table__numbers_to_the_right() -> None:
    rows = (("a", "97.86 ± 0.40", "x"), ("b", "-", "1"))
    found = part("table(table)", table=Table("", ("run", "accuracy", "note"), rows))

    assert [cell.get("class") for cell in found.all("td")] == ["number", None, "number", None]
    assert [cell.get("class") for cell in found.all("th")] == [None, "number", None, None, None]
    assert [cell.get("scope") for cell in found.all("th")] == ["col", "col", "col", "row", "row"]
    assert found.text_of("td") == ["97.86 ± 0.40", "x", "-", "1"]
    assert found.all("div")[0]["class"] == "scroll"


def test_table__head_without_rows() -> None:
    assert part("table(table)", table=Table("", ("a", "b"), ())).text_of("th") == ["a", "b"]


def test_figure__carries_the_bytes() -> None:
    (image,) = part("figure(picture)", picture=Picture(PNG, "alt")).all("img")

    assert base64.b64decode(str(image["src"]).partition(",")[2]) == PNG


@pytest.mark.parametrize("kind", ["note", "warning", "problem"])
def test_notice__kind_is_a_word_and_a_style(kind: str) -> None:
    assert part("notice('text', kind)", kind=kind).text_of("strong") == [f"{kind.capitalize()}:"]
    assert f".notice.{kind} " in STYLES


@pytest.mark.parametrize("rule", ["prefers-color-scheme: dark", "@media print", "overflow-x: auto"])
def test_styles__rules(rule: str) -> None:
    assert rule in STYLES


def test_styles__every_class_has_a_rule() -> None:
    names = {name for e in read(whole_page()).elements for name in str(e[1].get("class") or "").split()}

    assert {"scroll", "number", "notice", "warning", "beside", "subtitle", "caption", "matrix", "dark"} <= names
    assert [name for name in names if f".{name}" not in STYLES] == []


def test_matrix__counts_shares_and_shade() -> None:
    found = part("matrix([[3, 1], [0, 0]], names, title)", names=["no tumor", EVIL], title=EVIL)

    assert found.text_of("td") == ["3", "1", "0", "0"]
    assert found.text_of("small") == ["75.0%", "25.0%", "0.0%", "0.0%"]
    assert [cell["style"] for cell in found.all("td")][:2] == ["--share: 0.750", "--share: 0.250"]
    assert [cell.get("class") for cell in found.all("td")] == ["dark", None, None, None]
    assert found.text_of("th")[1:] == ["no tumor", EVIL, "no tumor", EVIL]
    assert found.text_of("p") == [EVIL]


def test_matrix__row_without_a_name() -> None:
    with pytest.raises(UndefinedError):
        part("matrix([[1], [2]], ['a'], '')")


def test_figure__a_drawing_is_part_of_the_page_with_a_text_for_those_who_cannot_see_it() -> None:
    found = part("figure(picture)", picture=Drawing("<svg><text>a &lt; b</text></svg>", EVIL, EVIL, width=300))

    assert found.all("script") == []
    (box,) = found.all("div")
    assert (box["role"], box["aria-label"]) == ("img", EVIL)
    assert found.text_of("text") == ["a < b"]
    assert found.text_of("figcaption") == [EVIL]


def test_figure__a_wide_drawing_scrolls_by_keyboard_too() -> None:
    drawing = Drawing("<svg></svg>", "curves", width=800)

    assert [box.get("tabindex") for box in part("figure(picture)", picture=drawing).all("div")] == ["0", None]


@pytest.mark.parametrize(("start", "kind"), [(b"\x89PNG", "png"), (b"\xff\xd8\xff\xe0", "jpeg")])
def test_figure__a_picture_says_what_it_is(start: bytes, kind: str) -> None:
    (image,) = part("figure(picture)", picture=Picture(start, "alt")).all("img")

    assert str(image["src"]).startswith(f"data:image/{kind};base64,")


@pytest.mark.parametrize(
    ("links", "texts"),
    [(((("run", "a%20b/report.html"),),), ["resnet18"]), (((("seed 0", "a"), ("seed 1", "b")),), ["seed 0", "seed 1"])],
    ids=["one-run", "several"],
)
def test_table__a_row_leads_to_its_runs(links: Any, texts: list[str]) -> None:
    found = part("table(table)", table=Table("", ("network", "accuracy"), (("resnet18", "90.00"),), links=links))

    assert [link["href"] for link in found.all("a")] == [address for _, address in links[0]]
    assert found.text_of("a") == texts
    assert [cell["scope"] for cell in found.all("th")] == ["col", "col", "row"]


def test_table__many_columns_are_narrow() -> None:
    narrow, wide = (
        part("table(table)", table=Table("", ("a",) * count, (("1",) * count,))).all("table")[0] for count in (11, 10)
    )

    assert (narrow.get("class"), wide.get("class")) == ("many", None)
