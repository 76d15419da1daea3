"""Page: one self-contained HTML page from headings, text, tables and pictures; no script, no link to elsewhere."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG = b"\x89PNG\r\n\x1a\n"
DASH = "–"
NUMBER = re.compile(r"[-+−±]?\d[\d.,]*%?(\s*(±|\+-|to|-)\s*[\d.,]+%?)?(\s+\([^)]*\))?")
# A browser then fetches nothing at all, whatever a run's name or log may hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Fragment(str):
    """HTML as it is. What the functions here return; a plain `str` that they take is text, and is escaped."""

    __slots__ = ()


Section = tuple[str, Sequence[Fragment]]


def page(title: str, sections: Sequence[Section], subtitle: str = "") -> str:
    """Return a whole HTML page.

    Args:
        title: What stands on top and in the browser's tab.
        sections: Heading and content of each; from three on, links to them stand on top.
        subtitle: One line below the title.
    """
    names = anchors([name for name, _ in sections])
    links = "".join(
        f'<a href="#{anchor}">{escape(name)}</a>' for anchor, (name, _) in zip(names, sections, strict=True)
    )
    navigation = f'<nav aria-label="Contents">{links}</nav>\n' if len(sections) > 2 else ""
    body = "\n".join(
        f'<section id="{anchor}">\n<h2>{escape(name)}</h2>\n{join(content)}\n</section>'
        for anchor, (name, content) in zip(names, sections, strict=True)
    )
    below = f'<p class="subtitle">{escape(subtitle)}</p>\n' if subtitle else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{stylesheet()}</style>\n</head>\n"
        f"<body>\n<header>\n<h1>{escape(title)}</h1>\n{below}{navigation}</header>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def stylesheet() -> str:
    """Return the style of every page."""
    return files("brain_tumor_tl.evidence").joinpath("page.css").read_text(encoding="utf-8")


def anchors(names: Sequence[str]) -> list[str]:
    """Return an identifier for each heading, all of them different.

    >>> anchors(["Table 1: accuracy", "Table 1, accuracy"])
    ['table-1-accuracy', 'table-1-accuracy-2']
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "section"
        count = sum(re.fullmatch(rf"{plain}(-\d+)?", other) is not None for other in found)
        found.append(f"{plain}-{count + 1}" if count else plain)
    return found


def join(fragments: Iterable[Fragment]) -> Fragment:
    """Return fragments one after the other."""
    return Fragment("\n".join(fragments))


def heading(text: str, level: int = 3) -> Fragment:
    """Return a heading inside a section; a section's own is level 2."""
    return Fragment(f"<h{level}>{escape(text)}</h{level}>")


def paragraph(*parts: str) -> Fragment:
    """Return a paragraph; parts that are fragments stay as they are, as `strong(...)` does."""
    return Fragment(f"<p>{''.join(cell_html(part) for part in parts)}</p>")


def strong(text: str) -> Fragment:
    """Return emphasised text."""
    return Fragment(f"<strong>{escape(text)}</strong>")


def code(text: str) -> Fragment:
    """Return a file's name or a value, as it is typed."""
    return Fragment(f"<code>{escape(text)}</code>")


def block(text: str) -> Fragment:
    """Return lines of a log or a command, in a box of its own that scrolls where they are long."""
    return Fragment(f'<pre tabindex="0">{escape(text)}</pre>')


def bullets(items: Iterable[str]) -> Fragment:
    """Return a list of points."""
    return Fragment(f"<ul>{''.join(f'<li>{cell_html(item)}</li>' for item in items)}</ul>")


def small(title: str, lines: Sequence[str]) -> Fragment:
    """Return lines in small type under a title, as they stand below a table; one line stands right after it."""
    if len(lines) == 1:
        return Fragment(f'<p class="small"><strong>{escape(title)}</strong>{cell_html(lines[0])}</p>')
    items = "".join(f"<li>{cell_html(line)}</li>" for line in lines)
    return Fragment(f'<div class="small"><strong>{escape(title)}</strong><ul>{items}</ul></div>')


def notice(text: str, kind: Literal["note", "warning", "problem"] = "note") -> Fragment:
    """Return a box that can't be overlooked; its kind stands in it as a word, not as a colour alone."""
    return Fragment(f'<p class="notice {kind}"><strong>{kind.capitalize()}:</strong> {cell_html(text)}</p>')


def folded(summary: str, *content: Fragment) -> Fragment:
    """Return content that shows when its summary is clicked, and always in print where the browser can."""
    return Fragment(f"<details><summary>{escape(summary)}</summary>\n{join(content)}\n</details>")


def side_by_side(*content: Fragment) -> Fragment:
    """Return content in columns, below each other where the window is narrow."""
    return Fragment(f'<div class="beside">{join(content)}</div>')


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Fragment:
    """Return a table that scrolls in a box of its own where the window is narrow.

    Args:
        headers: Name of each column.
        rows: Cells of each row. Text is escaped, a `Fragment` stays, None becomes a dash. A column of numbers alone
            is aligned to the right; the first column heads its row.
        caption: What stands above it.

    Raises:
        ValueError: A row has more or fewer cells than there are headers.
    """
    lines = [list(row) for row in rows]
    uneven = [len(row) for row in lines if len(row) != len(headers)]
    if uneven:
        raise ValueError(f"Expected {len(headers)} cells in every row of the table, got {uneven[0]}.")
    marks = [' class="number"' if numeric([row[i] for row in lines]) else "" for i in range(len(headers))]
    head = "".join(f'<th scope="col"{mark}>{cell_html(name)}</th>' for name, mark in zip(headers, marks, strict=True))
    body = "\n".join(f"<tr>{row_html(row, marks)}</tr>" for row in lines)
    return scrolling(f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>", caption)


def scrolling(content: str, caption: str) -> Fragment:
    """Return a table in a box of its own, its caption above the box, so that it doesn't scroll away."""
    above = f'<p class="caption">{escape(caption)}</p>\n' if caption else ""
    name = escape(caption or "table")
    return Fragment(f'{above}<div class="scroll" tabindex="0" role="region" aria-label="{name}">\n{content}\n</div>')


def row_html(row: Sequence[Any], marks: Sequence[str]) -> str:
    """Return the cells of a row, the first as its heading."""
    first, *others = (f"{mark}>{cell_html(cell)}" for cell, mark in zip(row, marks, strict=True))
    return f'<th scope="row"{first}</th>' + "".join(f"<td{other}</td>" for other in others)


def cell_html(content: Any) -> str:
    """Return what a cell holds as HTML.

    >>> cell_html("a < b"), cell_html(Fragment("<b>a</b>")), cell_html(None)
    ('a &lt; b', '<b>a</b>', '–')
    """
    if isinstance(content, Fragment):
        return content
    return DASH if content is None else escape(str(content))


def numeric(cells: Sequence[Any]) -> bool:
    """Return whether a column holds numbers: at least one, and besides them only dashes and empty cells.

    >>> numeric(["97.86 ± 0.40", "-"]), numeric(["+1.03"]), numeric(["resnet18", "1"]), numeric(["-"])
    (True, True, False, False)
    """
    texts = [re.sub(r"<[^>]*>", "", cell_html(cell)).strip() for cell in cells]
    filled = [text for text in texts if text not in ("", "-", DASH, "—")]
    return bool(filled) and all(NUMBER.fullmatch(text) for text in filled)


def matrix(counts: Sequence[Sequence[int]], names: Sequence[str], caption: str = "") -> Fragment:
    """Return a confusion matrix as a shaded table: count and, as shade and in words, the share of each true class.

    Args:
        counts: Images, row = true class, column = predicted class.
        names: Name of each class.
        caption: What stands above it.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(shaded(count, sum(row)) for count in row)}</tr>'
        for name, row in zip(names, counts, strict=True)
    )
    corner = '<th scope="col" class="corner">true \u2193 predicted \u2192</th>'
    return scrolling(
        f'<table class="matrix">\n<thead><tr>{corner}{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>', caption
    )


def shaded(count: int, total: int) -> str:
    """Return a cell of a confusion matrix."""
    share = count / total if total else 0.0
    dark = ' class="dark"' if share > 0.7 else ""
    return f'<td{dark} style="--share: {share:.3f}">{count}<small>{share:.1%}</small></td>'


def picture(image: bytes | Figure, alt: str, caption: str = "", width: int | None = None) -> Fragment:
    """Return a picture that the page itself carries.

    Args:
        image: A PNG file's bytes, or a matplotlib figure.
        alt: What it shows, for those who don't see it.
        caption: What stands below it.
        width: Most pixels of a window that it takes; None for as many as there are.

    Raises:
        ValueError: The bytes are no PNG.
    """
    content = image if isinstance(image, bytes) else png(image)
    if not content.startswith(PNG):
        raise ValueError(f"Expected the bytes of a PNG file, got {content[:8]!r}.")
    style = f' style="max-width: {width}px"' if width else ""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    source = base64.b64encode(content).decode("ascii")
    return Fragment(f'<figure{style}><img src="data:image/png;base64,{source}" alt="{escape(alt)}">{below}</figure>')


def png(figure: Figure, dots_per_inch: int = 144) -> bytes:
    """Return a figure as a PNG file that is sharp on dense screens too; the same figure gives the same bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return content.getvalue()
