"""Phantom: drawn head slices of the four classes, so that a first run needs no download.

A head is drawn in its own coordinates: x to the left and right of the midline, y from forehead (-1) to occiput (1),
both in half lengths of the head. Where a pixel lies in them gives its tissue, its lesion and its brightness. What
tells the classes apart is where the lesion lies, how its edge looks and what it is made of, never its mere brightness.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from brain_tumor_tl.store import locked

CLASSES = ("no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor")  # in the order of the labels
BRAIN = 0.88  # share of the head's radius that is inside the skull
NOTICE = (
    "The pictures in this folder are drawn by brain_tumor_tl.data.phantom ({per_class} a class, {size} pixels, seed\n"
    "{seed}). They are no MRI, come from no person and prove nothing about MRI: they only show that a program runs.\n"
)

Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """Where each pixel lies in the head; every array is `(size, size)`.

    Attributes:
        x: Right of the midline, in half lengths of the head.
        y: Behind the centre, in half lengths of the head.
        radius: Distance from the centre as a share of the scalp's distance in that direction.
        width: Half the head's width in half lengths of the head.
        pixel: Width of a pixel in half lengths of the head.
    """

    x: Plane
    y: Plane
    radius: Plane
    width: float
    pixel: float

    def within(self, distance: Plane) -> Plane:
        """Return 1 where a distance is negative, 0 where it is positive, and a share on the pixels of the edge."""
        return np.clip(0.5 - distance / self.pixel, 0.0, 1.0)

    def disc(self, x: float, y: float, radius: float, stretch: float = 1.0) -> Plane:
        """Return the share of each pixel in an ellipse `radius` wide and `stretch` times as long."""
        return self.within(np.hypot(self.x - x, (self.y - y) / stretch) - radius)


def write_phantoms(root: Path, per_class: int, size: int, seed: int) -> None:
    """Draw a data set into `root/<class>/`, unless `root` is there already; it appears whole or not at all.

    Image i of a class depends on the seed, the size, the class and i alone, so a smaller set is the start of a larger.

    Args:
        root: The data set's folder.
        per_class: Images of each class.
        size: Height and width of an image in pixels.
        seed: Seed of all that is drawn.

    Raises:
        ValueError: `per_class` is less than 1 or `size` less than 32.
    """
    if per_class < 1:
        raise ValueError(f"Expected `per_class` of at least 1, got {per_class}.")
    refuse_small(size)
    if root.exists():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with locked(root.with_name(root.name + ".lock")):
        if not root.exists():
            draw_set(root, per_class, size, seed)


def draw_set(root: Path, per_class: int, size: int, seed: int) -> None:
    """Draw a data set under a temporary name and rename it into place; the caller holds the lock."""
    temporary = root.with_name(root.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for kind in CLASSES:
            (temporary / kind).mkdir(parents=True)
        for number in track(range(4 * per_class), f"Drawing {4 * per_class} synthetic images", transient=True):
            label, i = number % 4, number // 4
            pixels = draw_head(CLASSES[label], size, np.random.default_rng([seed, label, i]))
            Image.fromarray(pixels).save(temporary / CLASSES[label] / f"synthetic-{CLASSES[label]}-{i + 1:04d}.png")
        notice = NOTICE.format(per_class=per_class, size=size, seed=seed)
        (temporary / "SYNTHETIC.txt").write_text(notice, encoding="utf-8")
        temporary.rename(root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_small(size: int) -> None:
    """Raise a ValueError where a head of `size` pixels would have no room for a lesion."""
    if size < 32:
        raise ValueError(f"Expected `size` of at least 32 pixels, got {size}.")


def draw_head(kind: str, size: int, rng: Generator) -> NDArray[np.uint8]:
    """Draw one head slice.

    Args:
        kind: Name of the class, one of `CLASSES`.
        size: Height and width in pixels.
        rng: Source of all that varies from head to head.

    Returns:
        Brightness, `(size, size)`.

    Raises:
        ValueError: `kind` is no class or `size` is less than 32.
    """
    refuse_small(size)
    if kind not in CLASSES:
        raise ValueError(f"Expected `kind` to be one of {', '.join(CLASSES)}, got {kind!r}.")
    head = place_head(size, rng)
    picture = paint_brain(head, rng)
    if kind == "pituitary_tumor":
        picture = paint_pituitary(picture, head, rng)
    elif kind == "meningioma_tumor":
        picture = paint_meningioma(picture, head, rng)
    elif kind == "glioma_tumor":
        picture = paint_glioma(picture, head, rng)
    return scan(paint_shell(picture, head, rng), head, rng)


def place_head(size: int, rng: Generator) -> Head:
    """Return a head somewhere in the picture: turned by up to 25 degrees, flipped or not, of any build."""
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    scale, turn = rng.uniform(0.82, 0.94), np.deg2rad(rng.uniform(-25, 25))
    down, right = np.meshgrid(axis - rng.uniform(-0.05, 0.05), axis - rng.uniform(-0.05, 0.05), indexing="ij")
    x = (right * np.cos(turn) + down * np.sin(turn)) * (rng.choice([-1, 1]) / scale)
    y = (down * np.cos(turn) - right * np.sin(turn)) / scale
    width, egg = rng.uniform(0.74, 0.88), rng.uniform(0.04, 0.16)
    lean = rng.uniform(-0.05, 0.05)
    radius = np.hypot((x - lean * y**2) / (width * (1 + egg * y)), y)
    return Head(x, y, radius * (1 + 0.015 * smooth_noise(size, 5, rng)), width, 2 / (size * scale))


def smooth_noise(size: int, cells: int, rng: Generator) -> Plane:
    """Return normal noise `(size, size)` that varies over a `cells`-th of the picture, about 0."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def paint(picture: Plane, share: Plane, brightness: float | Plane) -> Plane:
    """Return the picture with each pixel's `share` replaced by a brightness."""
    return picture + share * (brightness - picture)


def paint_brain(head: Head, rng: Generator) -> Plane:
    """Return grey and white matter, sulci, deep grey nuclei, ventricles, falx and vessels, 0 (black) to 1."""
    size = len(head.x)
    white = rng.uniform(0.42, 0.52)
    grey, fluid = white * rng.uniform(0.7, 0.82), white * rng.uniform(0.2, 0.4)
    depth = BRAIN - head.radius
    fold = np.abs(smooth_noise(size, 16, rng))
    cortex = np.clip((0.07 - depth) / 0.04, 0, 1) + np.clip(1.3 - fold / 0.4, 0, 1) * np.clip((0.24 - depth) / 0.06, 0, 1)
    picture = paint(np.full_like(head.x, white), np.clip(cortex, 0, 1), grey)
    sulci = np.clip(1.3 - fold / 0.15, 0, 1) * np.clip((0.17 - depth) / 0.06, 0, 1)
    picture = paint(picture, sulci, fluid)
    picture *= 1 + 0.05 * smooth_noise(size, 24, rng)
    spread = rng.uniform(0.2, 0.27)
    for side in (-1, 1):
        picture = paint(picture, 0.8 * head.disc(side * spread, 0.02, 0.085, 1.8), grey)
    picture = paint_ventricles(picture, head, fluid, rng)
    falx = head.within(np.abs(head.x) - 0.012) * np.clip((np.abs(head.y) - 0.3) / 0.1, 0, 1)
    picture = paint(picture, 0.7 * falx, fluid)
    return paint_vessels(picture, head, rng)


def paint_ventricles(picture: Plane, head: Head, fluid: float, rng: Generator) -> Plane:
    """Return the picture with two lateral ventricles, bent away from each other, and the third between them."""
    breadth, reach = rng.uniform(0.035, 0.075), rng.uniform(0.28, 0.42)
    bend, middle = rng.uniform(0.5, 1.1), rng.uniform(-0.08, 0.08)
    for side in (-1, 1):
        along = head.y - middle
        across = side * head.x - 0.09 - bend * along**2
        taper = np.sqrt(np.clip(1 - (along / reach) ** 2, 0, 1)) * (0.6 + 2.5 * np.abs(along))
        inside = head.within(np.abs(across) - breadth * taper) * head.within(np.abs(along) - reach)
        picture = paint(picture, inside * (side * head.x > 0), fluid)
    return paint(picture, head.disc(0, 0.05, 0.015, 6.0), fluid)


def paint_vessels(picture: Plane, head: Head, rng: Generator) -> Plane:
    """Return the picture with bright vessels, which every class has: a lesion is not just anything bright."""
    for _ in range(rng.integers(1, 4)):
        angle, far = rng.uniform(0, 2 * np.pi), BRAIN * np.sqrt(rng.uniform(0, 0.95))
        x, y = head.width * far * np.cos(angle), far * np.sin(angle)
        picture = paint(picture, head.disc(x, y, rng.uniform(0.012, 0.03), rng.uniform(0.6, 1.8)), rng.uniform(0.6, 0.8))
    return picture


def paint_pituitary(picture: Plane, head: Head, rng: Generator) -> Plane:
    """Return the picture with a small, round, bright lesion at the skull base's centre."""
    x, y, radius = rng.uniform(-0.05, 0.05), rng.uniform(-0.16, 0.1), rng.uniform(0.1, 0.16)
    return paint(picture, head.disc(x, y, radius, rng.uniform(0.85, 1.2)), rng.uniform(0.75, 1))


def paint_meningioma(picture: Plane, head: Head, rng: Generator) -> Plane:
    """Return the picture with a homogeneous bright lesion that sits broadly on the skull's inner edge."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.17, 0.3)
    far = BRAIN - rng.uniform(0.4, 0.8) * radius
    x, y = head.width * far * np.cos(angle), far * np.sin(angle)
    return paint(picture, head.disc(x, y, radius, rng.uniform(0.85, 1.2)), rng.uniform(0.75, 1))


def paint_glioma(picture: Plane, head: Head, rng: Generator) -> Plane:
    """Return the picture with an irregular bright ring around a dark core, in oedema, inside one hemisphere."""
    x, y = rng.choice([-1, 1]) * rng.uniform(0.24, 0.42), rng.uniform(-0.45, 0.45)
    radius = rng.uniform(0.15, 0.26)
    distance = np.hypot(head.x - x, head.y - y) - radius * (1 + 0.35 * smooth_noise(len(head.x), 10, rng))
    oedema = np.clip(1 - (distance + 0.1 * smooth_noise(len(head.x), 9, rng)) / (1.2 * radius), 0, 1)
    picture = paint(picture, 0.7 * oedema, picture.mean() * rng.uniform(0.5, 0.7))
    picture = paint(picture, head.within(distance), rng.uniform(0.75, 1))
    rim = rng.uniform(0.04, 0.07)
    return paint(picture, head.within(distance + rim), rng.uniform(0.1, 0.35))


def paint_shell(picture: Plane, head: Head, rng: Generator) -> Plane:
    """Return the picture with fluid, skull and scalp around the brain and air around the head."""
    shell = 0.055 + 0.015 * smooth_noise(len(head.x), 8, rng)
    picture = paint(picture, head.within(BRAIN - head.radius), 0.14)
    scalp = rng.uniform(0.5, 0.7) * (1 + 0.15 * smooth_noise(len(head.x), 6, rng))
    picture = paint(picture, head.within(BRAIN + shell - head.radius), scalp)
    return paint(picture, head.within(1 - head.radius), 0.02)


def scan(picture: Plane, head: Head, rng: Generator) -> NDArray[np.uint8]:
    """Return the picture as a scanner's coil sees it, uneven in brightness and with Rician noise, in 0..255.

    Noise of a magnitude image: Gudbjartsson and Patz (1995), doi:10.1002/mrm.1910340618.
    """
    tilt = rng.uniform(-0.18, 0.18, 2)
    field = 1 + tilt[0] * head.x + tilt[1] * head.y
    signal = rng.uniform(0.85, 1) * field * np.clip(picture, 0, 1) ** rng.uniform(0.9, 1.1)
    real, imaginary = rng.uniform(0.008, 0.022) * rng.standard_normal((2, *picture.shape))
    return np.round(np.clip(np.hypot(signal + real, imaginary), 0, 1) * 255).astype(np.uint8)
