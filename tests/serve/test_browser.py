"""The page in Chromium: a picture chosen, dropped and sent without JavaScript; what other pages can't do."""

from __future__ import annotations

import base64
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import Client, Examiner, png

pytest.importorskip("selenium", reason="Selenium drives the browser: pip install -e '.[dev]'")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

Draw = Callable[..., Path]
Browse = Callable[..., webdriver.Chrome]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
)

DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
for (const name of arguments[1]) data.items.add(new File([bytes], name, {type: "image/png"}));
document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
"""


@pytest.fixture(scope="module")
def browse() -> Iterator[Browse]:
    """Open Chromium, once each way: `browse(javascript=True)` returns its driver."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    started: dict[bool, webdriver.Chrome] = {}

    def start(javascript: bool = True) -> webdriver.Chrome:
        if javascript in started:
            for kind in ("performance", "browser"):
                read_log(started[javascript], kind)  # that of earlier tests
            return started[javascript]
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        if not javascript:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        started[javascript] = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        return started[javascript]

    yield start
    for driver in started.values():
        driver.quit()


def read_log(driver: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Return what was added to a log of the browser since the last call."""
    found: list[dict[str, Any]] = driver.get_log(kind)  # type: ignore[no-untyped-call]  # of Selenium
    return found


def wait_for(driver: webdriver.Chrome, selector: str) -> str:
    """Wait until an element is on the page, and return its text."""
    WebDriverWait(driver, 30).until(lambda _: driver.find_elements(By.CSS_SELECTOR, selector))
    return driver.find_element(By.CSS_SELECTOR, selector).text


def requested(driver: webdriver.Chrome) -> set[str]:
    """Return the addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in read_log(driver, "performance")]
    sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
    return {message["params"]["request"]["url"].partition(",")[0] for message in sent}


@pytest.fixture(scope="module")
def address(finished_runs: dict[str, Path]) -> Iterator[str]:
    """The address that `brain-tumor-tl serve RUN` prints, of a finished run."""
    line = [sys.executable, "-m", "brain_tumor_tl", "serve", str(finished_runs["finetune"]), "--port=0", "--device=cpu"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = (re.search(r"http://127\.0\.0\.1:\d+/", text) for text in process.stdout)
        yield next(match[0] for match in found if match)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout.read().endswith("Stopped.\n")


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_page__a_real_run_answers_a_chosen_file(
    browse: Browse, address: str, draw: Draw, tmp_path: Path, javascript: bool
) -> None:
    driver = browse(javascript)
    driver.get(address)
    driver.find_element(By.ID, "picture").send_keys(str(draw(tmp_path / "slice 1.jpg", size=(90, 70))))
    if not javascript:
        driver.find_element(By.TAG_NAME, "button").click()

    wait_for(driver, "#answer")
    assert driver.find_element(By.CSS_SELECTOR, "#answer h2").text == "slice 1.jpg"
    rows = driver.find_elements(By.CSS_SELECTOR, ".probabilities tbody tr")
    bars = [row.find_element(By.CLASS_NAME, "bar").get_attribute("style") or "" for row in rows]
    assert len(bars) == 4
    assert sum(float(re.sub(r"[^\d.]", "", bar)) for bar in bars) == pytest.approx(1, abs=1e-3)
    for picture in driver.find_elements(By.CSS_SELECTOR, "#answer img"):
        assert driver.execute_script("return arguments[0].naturalWidth", picture) >= 64, "the picture is shown"
    assert requested(driver) <= {address, f"{address}drop.js", "data:image/png;base64", "data:"}
    assert read_log(driver, "browser") == []


def test_page__a_picture_is_dropped(browse: Browse, client: Client, examiner: Examiner) -> None:
    driver = browse()
    driver.get(f"http://localhost:{client.port}/")
    content = base64.b64encode(png()).decode()

    driver.execute_script(DROP, content, ["one.png", "two.png"])
    assert driver.find_element(By.ID, "state").text == "Expected one picture, got 2."
    driver.execute_script(DROP, content, ["slice.png"])

    wait_for(driver, "#answer")
    assert examiner.seen == [("slice.png", png())]


def test_page__a_file_that_is_too_large_is_not_sent(
    browse: Browse, client: Client, examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brain_tumor_tl.serve.page.LIMIT", 2**20)
    driver = browse()
    driver.get(f"http://127.0.0.1:{client.port}/")
    driver.execute_script(DROP, base64.b64encode(bytes(2 * 2**20)).decode(), ["large.png"])

    assert driver.find_element(By.ID, "state").text == "Expected a file of at most 1 MB, got 2 MB."
    assert examiner.seen == []


def test_page__fits_a_narrow_window(browse: Browse, client: Client) -> None:
    driver = browse()
    metrics = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get(f"http://127.0.0.1:{client.port}/")
    driver.execute_script(DROP, base64.b64encode(png()).decode(), [f"{'long name ' * 9}{'x' * 90}.png"])

    wait_for(driver, "#answer")
    script = "const page = document.documentElement; return [innerWidth, page.scrollWidth - page.clientWidth]"
    assert driver.execute_script(script) == [420, 0]
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


FOREIGN = """<form method="post" enctype="multipart/form-data" action="http://127.0.0.1:{port}/"><input name="picture">
</form><script>document.forms[0].submit()</script>"""


def test_page__a_form_of_another_page_is_refused(browse: Browse, client: Client, examiner: Examiner) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(FOREIGN.format(port=client.port).encode())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever).start()
        driver = browse()
        driver.get(f"http://127.0.0.1:{other.server_port}/")
        text = wait_for(driver, "pre")
        other.shutdown()

    assert text == f"Expected a picture from this page, the form was sent by http://127.0.0.1:{other.server_port}."
    assert examiner.seen == []


def test_page__another_name_for_this_machine_is_refused(browse: Browse, client: Client) -> None:
    driver = browse()
    driver.get(f"http://rebound.example:{client.port}/")

    host = f"rebound.example:{client.port}"
    assert wait_for(driver, "pre") == f"Expected a request to 127.0.0.1 or localhost, got one to {host}."
