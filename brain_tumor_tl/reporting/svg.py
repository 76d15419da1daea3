"""SVG: figures as files for a paper, and as parts of a page that follow its light or dark colours."""

from __future__ import annotations

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

from brain_tumor_tl.reporting.plots import literal

HEAD = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>\s*", re.DOTALL)
ARTIST_ID = re.compile(r' id="[\w.]+_\d+"')  # such as line2d_1: nothing refers to them, and every figure has the same
CLIP_ID = re.compile(r'<clipPath id="(\w+)"')
SIZE = re.compile(r'(<svg [^>]*?)width="[\d.]+pt" height="[\d.]+pt"')
INK = "#000000"  # of axes and text
EVERYTHING = "*{stroke-linejoin"  # the beginning of a rule that would also be one for the rest of a page


def svg_text(figure: Figure, name: str) -> str:
    """Return a figure as the content of an SVG file, always the same for the same figure; its text stays text.

    Args:
        figure: The figure; what is behind it shows through.
        name: What the ids in it are made from, so that two figures on one page have different ones.
    """
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        literal(figure).savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    for number, clip in enumerate(CLIP_ID.findall(text)):  # matplotlib makes these from places in memory
        text = text.replace(clip, f"{name}-clip-{number}")
    return text


def inline(text: str) -> str:
    """Return the content of an SVG file as an element of a page: as wide as its place, in the colour of its text."""
    text = ARTIST_ID.sub("", HEAD.sub("", text)).replace(EVERYTHING, "figure *{stroke-linejoin")
    return SIZE.sub(r'\1fill="currentColor" aria-hidden="true"', text).replace(INK, "currentColor").strip()
