"""Page: self-contained HTML pages (no script, no external resource) and Markdown from the templates of this package."""

from __future__ import annotations

import base64
import re
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from brain_tumor_tl.reporting.table import markdown_text

JPEG = b"\xff\xd8"  # how such a file begins
WIDE = 600  # CSS pixels, from which a drawing is not squeezed into a narrow window


class Picture(NamedTuple):
    """A picture that is embedded in a page.

    Attributes:
        content: Content of a PNG or a JPEG file.
        alt: Text for readers who can't see it.
        caption: Text below it.
        width: Maximum width in CSS pixels; None for the full width.
    """

    content: bytes
    alt: str
    caption: str = ""
    width: int | None = None

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        kind = "jpeg" if self.content.startswith(JPEG) else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"

    @property
    def markup(self) -> Markup:
        """The picture as an element of a page."""
        return Markup('<img src="{}" alt="{}">').format(self.source, self.alt)


class Drawing(NamedTuple):
    """A figure that is an element of a page, in its light or dark colours.

    Attributes:
        svg: From `svg.inline`, whose text is escaped.
        alt: Text for readers who can't see it.
        caption: Text below it.
        width: Maximum width in CSS pixels; None for the full width.
    """

    svg: str
    alt: str
    caption: str = ""
    width: int | None = None

    @property
    def markup(self) -> Markup:
        """The figure as an element of a page; a wide one scrolls in a narrow window, where its text would be tiny."""
        box = Markup('<div class="drawing" role="img" aria-label="{}">{}</div>').format(self.alt, Markup(self.svg))
        wide = Markup('<div class="scroll wide" tabindex="0" role="region" aria-label="{}">{}</div>')
        return wide.format(f"figure: {self.alt}", box) if (self.width or 0) > WIDE else box


class Sections(dict[str, str]):
    """Titles of a page's sections by anchor, in the order of the page; the links at its top are made from them."""

    def add(self, title: str) -> str:
        """Add a section and return its anchor, which is unique on the page.

        >>> sections = Sections()
        >>> sections.add("Table 1: accuracy"), sections.add("Table 1, accuracy"), sections.add("±")
        ('table-1-accuracy', 'table-1-accuracy-2', 'section')
        """
        base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        anchor, count = base, 1
        while anchor in self:
            count += 1
            anchor = f"{base}-{count}"
        self[anchor] = title
        return anchor


TEMPLATES = Environment(
    loader=PackageLoader("brain_tumor_tl.reporting"),
    autoescape=select_autoescape(["html.j2"]),  # all that a template inserts; the Markdown escapes with its filter
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.filters["markdown"] = markdown_text


def render(template: str, **values: Any) -> str:
    """Return a template filled with values.

    Args:
        template: A file in `templates/`.
        values: What it shows.

    Raises:
        jinja2.UndefinedError: The template uses a value that is missing.
    """
    return TEMPLATES.get_template(template).render(sections=Sections(), **values)
