"""Phantom: drawn head slices of the four classes, so that a first run needs no download.

The classes differ in the lesion's place, edge and texture; everything else varies in the same way in all classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.random import PCG64, RandomState
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from brain_tumor_tl.cache import create_once
from brain_tumor_tl.files import write_text

CLASSES = ("no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor")  # in the order of the labels
BRAIN = 0.88  # share of the head's radius that is inside the skull
NOTICE_FILE = "SYNTHETIC.txt"  # beside the class folders; marks a data set as synthetic in every result
NOTICE = "Drawn, {} a class, {} px, seed {}: from no scanner and no person, they prove nothing about MRI.\n"
Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Head:
    """The position of each pixel in the head, in half lengths of the head; arrays `(size, size)`."""

    x: Plane  # distance from the midline, negative on one side
    y: Plane  # -1 at the forehead, 1 at the occiput
    radius: Plane  # distance from the centre as a share of the scalp's in that direction
    width: float  # half the head's width
    pixel: float  # a pixel's width

    def within(self, distance: Plane) -> Plane:
        """Return 1 at negative distances, 0 at positive ones, and a share at the edge."""
        return np.clip(0.5 - distance / (1.5 * self.pixel), 0.0, 1.0)

    def disc(self, x: float, y: float, radius: float, stretch: float = 1.0) -> Plane:
        """Return each pixel's share in an ellipse with half axes `radius` and `radius * stretch`."""
        return self.within(np.hypot(self.x - x, (self.y - y) / stretch) - radius)


def write_phantoms(root: Path, per_class: int, size: int, seed: int) -> None:
    """Draw a data set into `root/<class>/`, completely or not at all, unless `root` exists.

    Args:
        root: The data set's folder.
        per_class: Images of each class.
        size: Height and width of an image in pixels.
        seed: Seed of each image, with its class and number: a smaller set is the start of a larger one.

    Raises:
        ValueError: `per_class` is less than 1 or `size` less than 32.
    """
    if per_class < 1:
        raise ValueError(f"Expected `per_class` of at least 1, got {per_class}.")

    def write(folder: Path) -> None:
        images, count = product(CLASSES, range(per_class)), len(CLASSES) * per_class
        for kind, i in track(images, "Drawing images", count, transient=True):
            rng = RandomState(PCG64([seed, CLASSES.index(kind), i]))  # NumPy has frozen its streams (NEP 19)
            (folder / kind).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(draw_head(kind, size, rng))
            image.save(folder / kind / f"synthetic-{kind}-{i + 1:04d}.png")
        write_text(folder / NOTICE_FILE, NOTICE.format(per_class, size, seed))

    create_once(root, "synthetic images", write)


def draw_head(kind: str, size: int, rng: RandomState) -> NDArray[np.uint8]:
    """Draw a head slice of a class in `CLASSES`, uint8 `(size, size)`.

    Raises:
        ValueError: `kind` is not a class or `size` is less than 32 pixels.
    """
    if size < 32:  # a small lesion would be lost
        raise ValueError(f"Expected `size` of at least 32 pixels, got {size}.")
    head = place_head(size, rng)
    image = paint_lesion(paint_brain(head, rng), head, kind, rng)
    return scan(paint_shell(image, head, rng), head, rng)


def place_head(size: int, rng: RandomState) -> Head:
    """Return a head of random shape and place, rotated by up to 20 degrees, mirrored or not."""
    axis = (np.arange(size) + 0.5) * (2 / size) - 1
    down, right = np.meshgrid(axis - rng.uniform(-0.05, 0.05), axis - rng.uniform(-0.05, 0.05), indexing="ij")
    scale, turn = rng.uniform(0.82, 0.94), np.deg2rad(rng.uniform(-20, 20))
    x = (right * np.cos(turn) + down * np.sin(turn)) * (rng.choice([-1, 1]) / scale)
    y = (down * np.cos(turn) - right * np.sin(turn)) / scale
    width, egg, lean = rng.uniform(0.74, 0.88), rng.uniform(0.04, 0.16), rng.uniform(-0.05, 0.05)
    radius = np.hypot((x - lean * y**2) / (width * (1 + egg * y)), y)
    return Head(x, y, radius * (1 + 0.015 * smooth_noise(size, 5, rng)), width, 2 / (size * scale))


def smooth_noise(size: int, cells: int, rng: RandomState) -> Plane:
    """Return noise with mean 0, `(size, size)`, interpolated from `(cells, cells)` normal values."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def paint(image: Plane, share: Plane, brightness: float | Plane) -> Plane:
    """Return the image with each pixel's `share` replaced by a brightness from 0 (black) to 1."""
    return image + share * (brightness - image)


def paint_brain(head: Head, rng: RandomState) -> Plane:
    """Return cortex, deep grey nuclei, falx, ventricles and vessels, not yet cut off at the skull."""
    white = rng.uniform(0.37, 0.45)
    grey, fluid = white * rng.uniform(0.7, 0.82), white * rng.uniform(0.2, 0.4)
    nuclei = head.within(np.hypot(np.abs(head.x) - rng.uniform(0.2, 0.27), head.y / 1.8) - 0.085)
    falx = head.within(np.abs(head.x) - 0.012) * np.clip((np.abs(head.y) - 0.3) / 0.1, 0, 1)
    image = paint(paint_cortex(head, white, grey, fluid, rng), 0.8 * nuclei, grey)
    image = paint(image, np.maximum(0.7 * falx, ventricles(head, rng)), fluid)
    for _ in range(rng.choice([1, 2, 3])):  # bright vessels, so that not only lesions are bright
        x, y, radius = rng.uniform(-0.65, 0.65), rng.uniform(-0.8, 0.8), rng.uniform(0.012, 0.03)
        image = paint(image, head.disc(x, y, radius, rng.uniform(0.6, 1.8)), rng.uniform(0.6, 0.8))
    return image


def paint_cortex(head: Head, white: float, grey: float, fluid: float, rng: RandomState) -> Plane:
    """Return white matter in a ribbon of grey matter, folded along sulci at the zeros of a noise."""
    depth, fold = BRAIN - head.radius, np.abs(smooth_noise(len(head.x), 16, rng))
    ribbon = np.clip(1.3 - fold / 0.4, 0, 1) * np.clip((0.24 - depth) / 0.06, 0, 1)
    sulci = np.clip(1.3 - fold / 0.15, 0, 1) * np.clip((0.17 - depth) / 0.06, 0, 1)
    image = white * (1 + 0.05 * smooth_noise(len(head.x), 24, rng))
    image = paint(image, np.maximum(ribbon, np.clip((0.07 - depth) / 0.04, 0, 1)), grey)
    return paint(image, sulci, fluid)


def ventricles(head: Head, rng: RandomState) -> Plane:
    """Return each pixel's share in the lateral ventricles, which diverge at both ends."""
    breadth, reach, bend = rng.uniform(0.035, 0.075), rng.uniform(0.28, 0.42), rng.uniform(0.5, 1.1)
    along = np.abs(head.y - rng.uniform(-0.08, 0.08))
    across = np.abs(np.abs(head.x) - 0.09 - bend * along**2)
    taper = np.sqrt(np.clip(1 - (along / reach) ** 2, 0, 1)) * (0.6 + 2.5 * along)
    return head.within(across - breadth * taper) * head.within(along - reach)


def paint_lesion(image: Plane, head: Head, kind: str, rng: RandomState) -> Plane:
    """Return the image with the lesion of a class."""
    stretch, brightness = rng.uniform(0.85, 1.2), rng.uniform(0.75, 1)
    match kind:
        case "no_tumor":
            return image
        case "pituitary_tumor":  # small and round, at the centre of the skull's base
            x, y, radius = rng.uniform(-0.05, 0.05), rng.uniform(-0.16, 0.1), rng.uniform(0.1, 0.16)
        case "meningioma_tumor":  # homogeneous, broadly attached to the skull's inner edge
            radius, angle = rng.uniform(0.2, 0.32), rng.uniform(0, 2 * np.pi)
            far = BRAIN - rng.uniform(0.4, 0.8) * radius
            x, y = far * head.width * np.cos(angle), far * np.sin(angle)
        case "glioma_tumor":
            return paint_glioma(image, head, brightness, rng)
        case _:
            raise ValueError(f"Expected `kind` to be one of {', '.join(CLASSES)}, got {kind!r}.")
    return paint(image, head.disc(x, y, radius, stretch), brightness)


def paint_glioma(image: Plane, head: Head, brightness: float, rng: RandomState) -> Plane:
    """Return the image with an irregular ring around a dark core, in oedema, in one hemisphere."""
    x, y = rng.choice([-1, 1]) * rng.uniform(0.24, 0.42), rng.uniform(-0.45, 0.45)
    radius, rim, core = rng.uniform(0.15, 0.26), rng.uniform(0.04, 0.07), rng.uniform(0.1, 0.35)
    distance = np.hypot(head.x - x, head.y - y) - radius * (1 + 0.35 * smooth_noise(len(head.x), 10, rng))
    oedema = np.clip(1 - (distance + 0.1 * smooth_noise(len(head.x), 9, rng)) / (1.2 * radius), 0, 1)
    image = paint(image, 0.7 * oedema, image.mean() * rng.uniform(0.5, 0.7))
    return paint(paint(image, head.within(distance), brightness), head.within(distance + rim), core)


def paint_shell(image: Plane, head: Head, rng: RandomState) -> Plane:
    """Return the image with skull and scalp around the brain and air around the head."""
    skull = BRAIN + 0.055 + 0.015 * smooth_noise(len(head.x), 8, rng)
    scalp = rng.uniform(0.38, 0.54) * (1 + 0.15 * smooth_noise(len(head.x), 6, rng))
    for inner, brightness in ((BRAIN, 0.14), (skull, scalp), (1.0, 0.02)):
        image = paint(image, head.within(inner - head.radius), brightness)
    return image


def scan(image: Plane, head: Head, rng: RandomState) -> NDArray[np.uint8]:
    """Return the image as 0..255, with uneven intensity and Rician noise (doi:10.1002/mrm.1910340618)."""
    field = 1 + rng.uniform(-0.18, 0.18) * head.x + rng.uniform(-0.18, 0.18) * head.y
    signal = rng.uniform(0.85, 1) * field * np.clip(image, 0, 1) ** rng.uniform(0.9, 1.1)
    real, imaginary = rng.uniform(0.008, 0.022) * rng.standard_normal((2, *image.shape))
    magnitude = np.clip(np.hypot(signal + real, imaginary), 0, 1)
    return np.asarray(np.round(magnitude * 255), dtype=np.uint8)
