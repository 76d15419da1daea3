r"""Take the pictures of the pages in this folder, in headless Chromium, from runs on synthetic images.

    python docs/images/make.py RUN SWEEP

RUN is the folder of a run on phantoms of 224 pixels, SWEEP that of several runs on phantoms; report.png, errors.png,
sweep.png, serve.png and tensorboard.png are written here. It needs Chromium with its driver
(`apt-get install chromium chromium-driver`) and the extra dev. The present tensorboard.png shows curves alone, of two
runs on the study's images (recipe=fast). The runs of the others, with `$WEIGHTS` of MobileNetV2 and SqueezeNet:

    brain-tumor-tl train data=phantom data.phantoms_per_class=60 data.val_fraction=0.2 data.stratify=true \
        data.find_copies=true data.normalize=imagenet data.phantom_size=224 model.name=mobilenet_v2 \
        model.weights=$WEIGHTS method=frozen trainer.max_epochs=40
    brain-tumor-tl train -m ... data.image_size=96 data.phantom_size=96 method=frozen,finetune recipe=onecycle \
        trainer.max_epochs=8, for both networks
"""

from __future__ import annotations

import base64
import io
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from brain_tumor_tl.files import read_csv, read_json, write_bytes

HERE = Path(__file__).parent
LARGEST = 200_000  # bytes of a picture
WIDTH = 1000  # CSS pixels of the window


def main(arguments: list[str]) -> int:
    """Take the pictures; return the exit status."""
    run, sweep = (Path(argument).resolve() for argument in arguments)
    for folder in (run, *(path.parent for path in sweep.glob("*/results.json"))):
        if not read_json(folder / "results.json")["protocol"]["synthetic"]:
            raise SystemExit(f"error: expected runs on synthetic images, {folder} has others")
    for folder in (run, sweep):
        subprocess.run([sys.executable, "-m", "brain_tumor_tl", "report", str(folder)], check=True)
    with browser() as driver:
        take(driver, run / "report.html", "report", height=1180)
        take(driver, run / "report.html", "errors", height=620, scheme="dark", section="errors")
        take(driver, sweep / "report.html", "sweep", height=1130)
        with serving(run) as address:
            take_answer(driver, address, a_picture(run))
        with tensorboard(sweep) as address:
            take_curves(driver, address)
    return 0


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Start Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium") or shutil.which("google-chrome"))
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def take(
    driver: webdriver.Chrome, page: Path, name: str, height: int, scheme: str = "light", section: str = ""
) -> None:
    """Take a picture of a page from its top, or from a section on."""
    show(driver, page.as_uri(), height, scheme)
    if section:
        driver.execute_script(f"document.getElementById('{section}').scrollIntoView()")
    save(driver, name)


def show(driver: webdriver.Chrome, address: str, height: int, scheme: str) -> None:
    """Open an address in a window of a size, for a reader who likes a scheme."""
    metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(address)


def take_answer(driver: webdriver.Chrome, address: str, picture: Path) -> None:
    """Take a picture of the page of `serve` with its answer."""
    show(driver, address, 860, "light")
    driver.find_element(By.ID, "picture").send_keys(str(picture))
    WebDriverWait(driver, 60).until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#answer img"))
    driver.execute_script("document.getElementById('answer').scrollIntoView()")
    save(driver, "serve")


@contextmanager
def serving(run: Path) -> Iterator[str]:
    """Start `serve` and yield the address of its page."""
    line = [sys.executable, "-m", "brain_tumor_tl", "serve", str(run), "--port=0", "--device=cpu"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = (re.search(r"http://127\.0\.0\.1:\d+/", text) for text in process.stdout)
        yield next(match[0] for match in found if match)
        process.send_signal(signal.SIGINT)


@contextmanager
def tensorboard(sweep: Path) -> Iterator[str]:
    """Start TensorBoard and yield its address."""
    line = [sys.executable, "-m", "tensorboard.main", "--logdir", str(sweep), "--port=0", "--load_fast=false"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        found = (re.search(r"http://localhost:\d+/", text) for text in process.stderr)
        yield next(match[0] for match in found if match)
        process.terminate()


def take_curves(driver: webdriver.Chrome, address: str) -> None:
    """Take a picture of TensorBoard's first tab, once it has drawn its charts."""
    show(driver, f"{address}?darkMode=false#timeseries", 760, "light")
    WebDriverWait(driver, 120).until(lambda _: len(driver.find_elements(By.CSS_SELECTOR, "scalar-card")) >= 2)
    driver.find_element(By.XPATH, "//button[contains(., 'Settings')]").click()  # closes their pane
    time.sleep(10)  # the charts are drawn after the cards are there, without a sign that they are
    save(driver, "tensorboard")


def a_picture(run: Path) -> Path:
    """Return a test image with a tumour that the run predicts correctly."""
    rows = read_csv(run / "predictions.csv")
    path = next(row["path"] for row in rows if row["correct"] == "1" and row["class"] != "no_tumor")
    return Path(read_json(run / "results.json")["config"]["data"]["root"]).resolve() / path


def save(driver: webdriver.Chrome, name: str) -> None:
    """Write what the window shows as a small PNG file."""
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    file = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    if len(file.getvalue()) > LARGEST:
        raise SystemExit(f"error: expected at most {LARGEST} bytes for {name}.png, got {len(file.getvalue())}")
    write_bytes(HERE / f"{name}.png", file.getvalue())
    print(f"{name}.png: {image.width} x {image.height}, {len(file.getvalue()) // 1000} kB")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
