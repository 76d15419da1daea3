"""TensorBoard in Chromium, started on a finished sweep: every tab shows something of the runs by their names."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from brain_tumor_tl.files import read_csv

pytest.importorskip("selenium", reason="Selenium drives the browser: pip install -e '.[dev]'")
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000",
    "--enable-unsafe-swiftshader",  # WebGL on a processor, for the projector
)  # fmt: skip
PATIENCE = 90  # seconds until a page shows what is expected of it
# All text of the page, also of elements within others' shadow, in which TensorBoard's tabs are drawn.
TEXT = """
const words = [];
const visit = (node) => {
  if (node.nodeType === 3) words.push(node.textContent);
  if (["STYLE", "SCRIPT", "TEMPLATE", "DOM-MODULE"].includes(node.tagName)) return;
  if (node.shadowRoot) node.shadowRoot.childNodes.forEach(visit);
  if (node.tagName === "IFRAME" && node.contentDocument) visit(node.contentDocument.body);
  node.childNodes.forEach(visit);
};
visit(document.body);
return words.join(" ").replace(/\\s+/g, " ");
"""
SHOWN = {  # of each tab, beside the names of both runs
    "timeseries": ("metrics 4 cards", "metrics /accuracy", "metrics /loss"),
    "images": ("pictures/confusion_matrix", "step"),
    "custom_scalars": ("Accuracy and loss", "balanced accuracy, macro F1", "Matches"),
    "pr_curves": ("glioma_tumor", "no_tumor", "is at step"),
    "hparams": ("method", "finetune", "frozen", "metrics/accuracy", "metrics/loss"),
    "text": ("about/protocol", "test images rightly", "about/config", "about/environment"),
    "projector": ("1 tensor found test images",),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs chromium and chromedriver of Debian"),
]


class Board(NamedTuple):
    """A browser on a running TensorBoard.

    Attributes:
        driver: Of the browser.
        address: Of TensorBoard.
        names: Of the runs.
    """

    driver: webdriver.Chrome
    address: str
    names: list[str]


def free_port() -> int:
    """Return a port of this machine that nothing listens to."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for_runs(address: str) -> list[str]:
    """Wait until TensorBoard has read runs, and return their names."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/data/runs") as reply:
                if found := json.load(reply):
                    return sorted(found)
        except OSError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"TensorBoard read no runs within {PATIENCE} seconds.")


@pytest.fixture(scope="module")
def board(finished_runs: dict[str, Path]) -> Iterator[Board]:
    """TensorBoard on the folder of two finished runs."""
    port, folder = free_port(), finished_runs["frozen"].parent
    line = ["--logdir", str(folder), "--port", str(port), "--host", "127.0.0.1", "--load_fast", "false"]
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    with subprocess.Popen([sys.executable, "-m", "tensorboard.main", *line], stderr=subprocess.DEVNULL) as server:
        driver = None
        try:
            names = wait_for_runs(f"http://127.0.0.1:{port}")
            driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
            yield Board(driver, f"http://127.0.0.1:{port}", names)
        finally:
            if driver is not None:
                driver.quit()
            server.terminate()


def test_tensorboard__runs_have_the_users_names(board: Board, finished_runs: dict[str, Path]) -> None:
    names = [folder.name for folder in finished_runs.values()]

    assert board.names == sorted([*names, *(f"{name}/{split}" for name in names for split in ("train", "val"))])


@pytest.mark.parametrize("tab", SHOWN)
def test_tensorboard__tab_shows_the_runs(board: Board, finished_runs: dict[str, Path], tab: str) -> None:
    board.driver.get("about:blank")
    board.driver.get(f"{board.address}/#{tab}")
    names = [folder.name for folder in finished_runs.values()]
    expected = list(SHOWN[tab]) if tab == "hparams" else [*SHOWN[tab], *names]  # a table that cuts the names
    if tab == "projector":
        images = len(read_csv(finished_runs["frozen"] / "predictions.csv"))
        expected.append(f"test images {images}x{images}")  # and as many principal components

    def complete(driver: Any) -> bool:
        text = driver.execute_script(TEXT)
        return all(words in text for words in expected)

    WebDriverWait(board.driver, PATIENCE, 1).until(complete, message=f"{tab}: {expected}")
