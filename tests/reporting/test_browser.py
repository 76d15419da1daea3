"""The pages in Chromium: no error, nothing off the page, nothing from elsewhere, at two widths in both schemes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.cli.report import main

pytest.importorskip("selenium", reason="Selenium drives the browser: pip install -e '.[dev]'")
from selenium import webdriver

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage")
SIZE_AND_OVERFLOW = "const page = document.documentElement; return [innerWidth, page.scrollWidth - page.clientWidth]"
# Texts and pictures that end beyond the page, though not in a box that scrolls.
CUT = """return [...document.querySelectorAll("p, li, h1, h2, h3, img, svg, summary")]
  .filter((each) => !each.closest(".scroll, pre, [aria-hidden] *") && each.getBoundingClientRect().right > innerWidth)
  .map((each) => each.outerHTML.slice(0, 80));"""
UNREACHABLE = """return [...document.querySelectorAll("*")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX === "auto")
  .filter((each) => each.tabIndex < 0).length"""
COLOURS = """const of = (each) => getComputedStyle(each);
return [of(document.body).backgroundColor, of(document.body).color, of(document.querySelector("svg")).color]"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    """Chromium without a window."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def pages(finished_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run with pictures, and that of a sweep."""
    sweep = tmp_path_factory.mktemp("sweep")
    for method, run in finished_runs.items():
        shutil.copytree(run, sweep / method)
    assert main([str(sweep / "frozen"), "--device=cpu"]) == 0
    assert main([str(sweep)]) == 0
    return {"run": sweep / "frozen" / "report.html", "sweep": sweep / "report.html"}


def opened(driver: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    """Open a page in a window of a width for a reader who likes a scheme."""
    for kind in ("performance", "browser"):
        driver.get_log(kind)  # type: ignore[no-untyped-call]  # of Selenium
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(page.as_uri())


def brightness(colour: str) -> float:
    """Return the mean of red, green and blue in a text such as rgb(1, 2, 3)."""
    values = [float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(values) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("name", ["run", "sweep"])
def test_page__fits(driver: webdriver.Chrome, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    opened(driver, pages[name], width, scheme)

    assert driver.execute_script(SIZE_AND_OVERFLOW) == [width, 0]
    assert driver.execute_script(CUT) == []
    assert driver.execute_script(UNREACHABLE) == 0, "what scrolls can be scrolled by keyboard"
    assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]
    paper, ink, drawing = driver.execute_script(COLOURS)
    assert (brightness(paper) > 200, brightness(ink) < 100) == (scheme == "light", scheme == "light")
    assert drawing == ink, "figures follow the scheme"


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_page__asks_for_nothing(driver: webdriver.Chrome, pages: dict[str, Path], name: str) -> None:
    opened(driver, pages[name], 1280, "light")

    logged: list[dict[str, Any]] = driver.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in logged]
    sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert sent
    assert {url for url in sent if not url.startswith("data:")} == {pages[name].as_uri()}


def test_page__the_accuracy_is_in_sight_in_a_narrow_window(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(driver, pages["sweep"], 420, "light")

    cell = """const cells = [...document.querySelectorAll("#table-1-accuracy-and-time th")];
    return cells.find((each) => each.textContent === "accuracy").getBoundingClientRect().right"""
    assert 0 < driver.execute_script(cell) < 420


def test_page__a_row_leads_to_its_run(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(driver, pages["sweep"], 1280, "light")

    links = driver.execute_script("return [...document.querySelectorAll('tbody th a')].map((each) => each.href)")
    assert sorted(links) == [(pages["sweep"].parent / each / "report.html").as_uri() for each in ("finetune", "frozen")]
    driver.get(links[0])
    assert driver.execute_script("return document.querySelector('h2').textContent") == "Result"


def test_page__pictures_have_loaded(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"], 1280, "light")

    script = "return [...document.images].map((each) => [each.naturalWidth, each.alt.length > 5])"
    pictures = driver.execute_script(script)
    assert len(pictures) > 4
    assert all(width == 224 and has_words for width, has_words in pictures)


def test_page__prints_dark_on_light(driver: webdriver.Chrome, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"], 1280, "dark")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})

    paper, ink, drawing = driver.execute_script(COLOURS)
    assert brightness(paper) > 250
    assert brightness(ink) < 50
    assert drawing == ink
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
