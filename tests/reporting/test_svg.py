"""SVG: figures are the same each time, and don't disturb the page that they are in."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from brain_tumor_tl.reporting.plots import curves_figure
from brain_tumor_tl.reporting.svg import inline, svg_text

ROWS = [{"epoch": epoch, "train/loss": 1 / epoch, "train/accuracy": 0.5} for epoch in range(1, 6)]


@pytest.fixture(scope="module")
def curves() -> str:
    """The SVG file of a figure."""
    return svg_text(curves_figure(ROWS, "val", "a <run> & more"), "curves")


def test_svg_text__is_the_same_each_time(curves: str) -> None:
    assert curves == svg_text(curves_figure(ROWS, "val", "a <run> & more"), "curves")


def test_svg_text__its_text_stays_text(curves: str) -> None:
    assert ">accuracy</text>" in curves
    assert ">a &lt;run&gt; &amp; more</text>" in curves


def test_svg_text__two_figures_share_no_id(curves: str) -> None:
    others = svg_text(curves_figure(ROWS, "val", ""), "others")
    ids = [set(re.findall(r' id="([^"]+)"', inline(text))) for text in (curves, others)]

    assert len(ids[0]) > 3
    assert not ids[0] & ids[1]


def test_inline__every_reference_has_its_target(curves: str) -> None:
    text = inline(curves)
    references = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))

    assert references
    assert {a or b for a, b in references} <= set(re.findall(r' id="([^"]+)"', text))


def test_inline__is_one_element_that_follows_the_page(curves: str) -> None:
    text = inline(curves)
    root = ElementTree.fromstring(text)

    assert root.attrib["fill"] == "currentColor"
    assert "width" not in root.attrib
    assert root.attrib["viewBox"].startswith("0 0 ")
    assert "#000000" not in text
    assert "metadata" not in text
    assert "#ffffff" not in text, "a light area on a dark page"
