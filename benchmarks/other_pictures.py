"""Other pictures: what is no slice of a head, by kind; drawn here, or from packages that ship them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]  # (H, W) or (H, W, 3)
SIDE = 224  # pixels of drawn pictures
# Of scikit-image: photographs and surfaces, and what is seen through a microscope or an ophthalmoscope.
PHOTOGRAPHS = (
    "astronaut", "camera", "chelsea", "coffee", "rocket", "coins", "moon", "hubble_deep_field", "brick", "grass",
    "gravel",
)  # fmt: skip
MICROSCOPY = ("retina", "immunohistochemistry", "cell", "microaneurysms")
# Of pydicom: CT of spine and head, MR of pelvis and abdomen, ultrasound, a scan of bones.
OTHER_SCANS = (
    "CT_small", "693_J2KI", "J2K_pixelrep_mismatch", "MR_small", "examples_overlay", "examples_jpeg2k",
    "examples_palette", "examples_rgb_color", "examples_ybr_color", "JPEG2000",
)  # fmt: skip


def photographs() -> Iterator[Picture]:
    """Yield photographs of scikit-learn and scikit-image, and the quarters of each."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    for name in PHOTOGRAPHS:
        yield from with_quarters(getattr(skimage.data, name)())
    for picture in load_sample_images().images:
        yield from with_quarters(picture)


def faces() -> Iterator[Picture]:
    """Yield a hundred faces of scikit-image, 25 x 25 pixels."""
    import skimage.data

    yield from to_bytes(skimage.data.lfw_subset()[:100])


def pages() -> Iterator[Picture]:
    """Yield pages of text of scikit-image, and the quarters of each."""
    import skimage.data

    yield from with_quarters(skimage.data.page())
    yield from with_quarters(skimage.data.text())


def microscopy() -> Iterator[Picture]:
    """Yield medical pictures of scikit-image that are no scans, and the quarters of each."""
    import skimage.data

    for name in MICROSCOPY:
        yield from with_quarters(getattr(skimage.data, name)())


def other_scans() -> Iterator[Picture]:
    """Yield scans of pydicom's test files, most of other organs than the brain, each with its own window."""
    import pydicom

    for name in OTHER_SCANS:
        values = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm").pixel_array
        yield to_bytes(values[0] if values.ndim == 4 else values)


def digits() -> Iterator[Picture]:
    """Yield a hundred written digits of scikit-learn, 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    yield from to_bytes(load_digits().images[:100])


def noise() -> Iterator[Picture]:
    """Yield uniform, black and white, bright and dark normal, and coarse noise."""
    random, shape = RandomState(0), (SIDE, SIDE)
    for turn in range(10):
        yield random.randint(0, 256, shape).astype(np.uint8)
        yield (random.randint(0, 2, shape) * 255).astype(np.uint8)
        for mean in (128, 0):
            yield np.clip(random.normal(mean, 10 + 5 * turn, shape), 0, 255).astype(np.uint8)
        coarse = random.randint(0, 256, (4 << turn % 4,) * 2).astype(np.uint8)
        yield np.asarray(Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC))


def blank() -> Iterator[Picture]:
    """Yield pictures of a single grey value."""
    for value in range(0, 256, 5):
        yield np.full((SIDE, SIDE), value, np.uint8)


def stripes() -> Iterator[Picture]:
    """Yield stripes, checks, waves and ramps."""
    down, across = np.mgrid[:SIDE, :SIDE]
    for width in (2, 4, 8, 16, 32, 56, 112):
        for position in (across // width, down // width, (across + down) // width, across // width + down // width):
            yield (position % 2 * 255).astype(np.uint8)
        yield (127.5 + 127.5 * np.sin(np.pi * across / width)).astype(np.uint8)
    for ramp in (across, down, across + down):
        yield to_bytes(ramp)


def with_quarters(picture: Picture) -> Iterator[Picture]:
    """Yield a picture and its four quarters."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    yield picture
    for rows in (slice(height), slice(height, None)):
        for columns in (slice(width), slice(width, None)):
            yield picture[rows, columns]


def to_bytes(values: NDArray[np.generic]) -> Picture:
    """Return intensities stretched to 0..255."""
    numbers = values.astype(np.float64)
    low, high = numbers.min(), numbers.max()
    stretched: Picture = ((numbers - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    return stretched


def inverted(picture: Picture) -> Picture:
    """Return a picture with dark and bright exchanged."""
    return 255 - picture


def scrambled(picture: Picture, tiles: int = 4) -> Picture:
    """Return a picture whose tiles are exchanged, `tiles` in a row."""
    height, width = picture.shape[0] // tiles, picture.shape[1] // tiles
    cut = [
        picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(tiles)
        for column in range(tiles)
    ]
    mixed = [cut[place] for place in RandomState(0).permutation(len(cut))]
    return np.concatenate([np.concatenate(mixed[row * tiles : (row + 1) * tiles], axis=1) for row in range(tiles)])


def upside_down(picture: Picture) -> Picture:
    """Return a picture turned by half a turn."""
    return picture[::-1, ::-1]


KINDS: dict[str, Callable[[], Iterator[Picture]]] = {
    "photographs": photographs,
    "faces": faces,
    "pages of text": pages,
    "digits": digits,
    "microscopy, retina": microscopy,
    "scans of other organs": other_scans,
    "noise": noise,
    "blank": blank,
    "stripes, checks": stripes,
}
CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "test images, scrambled": scrambled,
    "test images, inverted": inverted,
    "test images, upside down": upside_down,
}
