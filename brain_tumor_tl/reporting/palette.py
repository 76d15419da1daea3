"""Palette: colours that the colour-blind can tell apart, and line styles that nobody needs a colour for."""

from __future__ import annotations

from typing import TypedDict

# After Okabe and Ito, "Color Universal Design" (2008), in an order in which neighbours differ most; their yellow and
# black are left out, since one of them can't be seen on a light page and the other on a dark one.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":", "-.")


class LineStyle(TypedDict):
    """How a line is drawn, as keywords of matplotlib."""

    color: str
    linestyle: str


def line_style(place: int) -> LineStyle:
    """Return the style of the line at a place from 0: first the colours change, then the dashes.

    >>> line_style(0), line_style(7)
    ({'color': '#0072B2', 'linestyle': '-'}, {'color': '#D55E00', 'linestyle': '--'})
    """
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": DASHES[place // len(COLOURS) % len(DASHES)]}
