"""Report pictures: the figures on the page of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.depth import depths
from brain_tumor_tl.reporting.page import Drawing


def tradeoff_pictures(groups: Sequence[RunGroup]) -> list[Drawing]:
    """Return a plot of accuracy against time for each method."""
    from brain_tumor_tl.reporting.svg import inline, svg_text  # matplotlib is slow to import
    from brain_tumor_tl.reporting.tradeoff import points, tradeoff_figure

    drawn = points(groups)
    note = ", SYNTHETIC images" if any(group.synthetic for group in groups) else ""
    alt = "Accuracy against seconds per epoch, {}; Table 1 has the numbers."
    titles = dict.fromkeys(point.panel for point in drawn)
    figures = [tradeoff_figure(drawn, title, note) for title in titles]
    return [
        Drawing(inline(svg_text(figure, f"tradeoff-{number}")), alt.format(title), width=560)
        for number, (title, figure) in enumerate(zip(titles, figures, strict=True))
    ]


def depth_pictures(groups: Sequence[RunGroup]) -> list[Drawing]:
    """Return a plot of accuracy and time against the share of layers that learn, for each network that has one."""
    from brain_tumor_tl.reporting.depth_figure import depth_figure  # matplotlib is slow to import
    from brain_tumor_tl.reporting.svg import inline, svg_text

    note = ", SYNTHETIC images" if any(group.synthetic for group in groups) else ""
    alt = "Accuracy and seconds per epoch of {} against the share of layers that learn; the table has the numbers."
    return [
        Drawing(inline(svg_text(depth_figure(found, note), f"depth-{number}")), alt.format(model), width=620)
        for number, (model, found) in enumerate(depths(groups).items())
    ]


def line_pictures(groups: Sequence[RunGroup]) -> dict[str, list[Drawing]]:
    """Return plots of learning curves and of reliability, one for each method that has any."""
    from brain_tumor_tl.reporting import sweep_figures as lines  # matplotlib is slow to import
    from brain_tumor_tl.reporting.svg import inline, svg_text

    kinds = {
        "curves": (lines.curve_lines, ("epoch", "accuracy on the monitored split"), False),
        "reliability": (lines.reliability_lines, ("confidence", "accuracy"), True),
    }
    alts = {
        "curves": "Accuracy on the monitored split over the epochs, {}; the page of each run has its own curves.",
        "reliability": "Accuracy over confidence, {}; the legend has the calibration errors.",
    }
    found: dict[str, list[Drawing]] = {kind: [] for kind in kinds}
    for number, (method, some) in enumerate(lines.by_method(groups).items()):
        for kind, (make, labels, square) in kinds.items():
            if drawn := make(some):
                figure = lines.lines_figure(drawn, method, labels, square)
                text = inline(svg_text(figure, f"{kind}-{number}"))
                found[kind].append(Drawing(text, alts[kind].format(method), width=530))
    return found
