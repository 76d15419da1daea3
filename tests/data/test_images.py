"""Images: the decoded cache against the uncached path."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data import images
from brain_tumor_tl.data.decode import DECODER, decode_image
from brain_tumor_tl.data.images import load_images
from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.intensity import Intensity
from brain_tumor_tl.files import file_digest

Draw = Callable[..., Path]
StartPython = Callable[..., "subprocess.Popen[str]"]
Classes = Sequence[Sequence[str]]
Pixels = NDArray[np.uint8]

SIZE = 16

SCRIPT = """
import json, os, sys
from pathlib import Path
from brain_tumor_tl.data import images
from brain_tumor_tl.data.index import read_index
from brain_tumor_tl.files import file_digest

root, cache, classes = sys.argv[1:]
index = read_index(root, json.loads(classes))
decode = images.decode_image

def halting(path, *how):
    if path == index.root / index.paths[-1]:
        os.write(1, b"decoding\\n")
        sys.stdin.readline()
    return decode(path, *how)

images.decode_image = halting
stored, _ = images.load_images(index, 16, Path(cache))
print("built" if stored.built else "found", file_digest(stored.path / "array.npy"), flush=True)
"""


def uncached(index: Index, channels: int = 1) -> Pixels:
    """Return the images decoded one after the other, without cache or threads: the oracle."""
    decoded = [decode_image(index.root / path, SIZE) for path in index.paths]
    return np.stack([np.broadcast_to(image, (channels, SIZE, SIZE)) for image in decoded])


def never(path: Path, *how: Any) -> Pixels:
    raise AssertionError(f"{path} was decoded again")


def resized(image: Image.Image, size: int = SIZE) -> Pixels:
    """Return what Pillow itself makes of a picture of 8 bits, `(C, H, W)`."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@pytest.fixture
def index(image_folder: Path, study_classes: Classes) -> Index:
    return read_index(image_folder, study_classes)


def test_load_images__grey_as_uncached(index: Index, tmp_path: Path) -> None:
    stored, usable = load_images(index, SIZE, tmp_path / "cache")

    assert stored.built
    assert stored.array.dtype == np.uint8
    assert stored.array.shape == (28, 1, SIZE, SIZE)
    assert np.array_equal(stored.array, uncached(index))
    assert len(np.unique(stored.array.reshape(28, -1), axis=0)) == 28  # or a wrong order would pass
    assert usable.paths == index.paths


@pytest.mark.parametrize("position", [0, 13, -1], ids=["first", "middle", "last"])
def test_load_images__one_in_colour_widens_all(
    position: int, index: Index, tmp_path: Path, draw: Draw, study_classes: Classes
) -> None:
    path = index.root / index.paths[position]
    draw(path, mode="RGB", seed=5)
    index = read_index(index.root, study_classes)

    stored, _ = load_images(index, SIZE, tmp_path / "cache")

    assert stored.array.shape == (28, 3, SIZE, SIZE)
    assert np.array_equal(stored.array, uncached(index, channels=3))
    coloured = [i for i, image in enumerate(stored.array) if not (image == image[0]).all()]
    assert coloured == [position % 28]
    assert sorted(file.name for file in stored.path.iterdir()) == ["about.json", "array.npy"]


def test_load_images__more_than_threads_decode_ahead(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for number in range(150):
        draw(tmp_path / "set" / ("no" if number % 2 else "yes") / f"{number}.png", seed=number, size=(12, 12))
    index = read_index(tmp_path / "set", [["no"], ["yes"]])

    assert np.array_equal(load_images(index, SIZE, tmp_path / "cache")[0].array, uncached(index))


def test_load_images__decodes_in_parallel(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, inside, most = threading.Lock(), 0, 0

    def counted(path: Path, *how: Any) -> Pixels:
        nonlocal inside, most
        with counting:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with counting:
            inside -= 1
        return decode_image(path, *how)

    monkeypatch.setattr(images, "decode_image", counted)
    assert load_images(index, SIZE, tmp_path / "cache")[0].array.shape == (28, 1, SIZE, SIZE)
    assert most > 1


def test_load_images__second_start_decodes_nothing(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = load_images(index, SIZE, tmp_path / "cache")
    monkeypatch.setattr(images, "decode_image", never)

    second, usable = load_images(index, SIZE, tmp_path / "cache")

    assert not second.built
    assert np.array_equal(second.array, first.array)
    assert len(usable) == 28


def test_load_images__moved_and_renamed_files_are_not_decoded_again(
    index: Index, tmp_path: Path, study_classes: Classes, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images(index, SIZE, tmp_path / "cache")
    moved = shutil.move(index.root, tmp_path / "elsewhere")
    (Path(moved) / "Training").rename(Path(moved) / "train")
    (Path(moved) / "Testing").rename(Path(moved) / "test")
    monkeypatch.setattr(images, "decode_image", never)

    assert not load_images(read_index(moved, study_classes), SIZE, tmp_path / "cache")[0].built


def test_load_images__other_size_is_another_entry(index: Index, tmp_path: Path) -> None:
    load_images(index, SIZE, tmp_path / "cache")

    other, _ = load_images(index, 2 * SIZE, tmp_path / "cache")

    assert other.built
    assert other.array.shape == (28, 1, 32, 32)


def test_load_images__other_content_is_another_entry(
    index: Index, tmp_path: Path, draw: Draw, study_classes: Classes
) -> None:
    first, _ = load_images(index, SIZE, tmp_path / "cache")
    draw(index.root / index.paths[3], seed=77)

    second, changed = load_images(read_index(index.root, study_classes), SIZE, tmp_path / "cache")

    assert second.built
    assert np.array_equal(second.array, uncached(changed))
    assert [i for i in range(28) if not np.array_equal(first.array[i], second.array[i])] == [3]


def test_load_images__swapped_files_are_another_entry(index: Index, tmp_path: Path, study_classes: Classes) -> None:
    load_images(index, SIZE, tmp_path / "cache")
    one, other = (index.root / index.paths[position] for position in (10, 20))
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)

    stored, changed = load_images(read_index(index.root, study_classes), SIZE, tmp_path / "cache")

    assert sorted(changed.digests) == sorted(index.digests)
    assert np.array_equal(stored.array, uncached(changed))


def test_load_images__other_decoder_is_another_entry_P6(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images(index, SIZE, tmp_path / "cache")
    assert not load_images(index, SIZE, tmp_path / "cache")[0].built
    assert DECODER[1] == version("pillow")
    monkeypatch.setattr("brain_tumor_tl.data.decode.DECODER", (DECODER[0], "12.3.0", *DECODER[2:]))

    assert load_images(index, SIZE, tmp_path / "cache")[0].built


def test_load_images__one_window_for_all_P10(tmp_path: Path) -> None:
    values = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) // 2  # up to 127
    (tmp_path / "set" / "no").mkdir(parents=True)
    (tmp_path / "set" / "yes").mkdir()
    for name, factor in (("no/dark.png", 1), ("yes/middle.png", 8), ("yes/bright.png", 32)):
        Image.fromarray(values * factor).save(tmp_path / "set" / name)
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "set" / "no" / "eight.png")
    index = read_index(tmp_path / "set", [["no"], ["yes"]])

    found, _ = load_images(index, SIZE, tmp_path / "cache")
    alone, _ = load_images(index, SIZE, tmp_path / "cache", intensity="file")

    assert found.about["intensity"]["window"] == [0, 127 * 32]
    assert alone.about["intensity"]["window"] is None
    assert index.paths == ("no/dark.png", "no/eight.png", "yes/bright.png", "yes/middle.png")
    for position, times in ((0, 1), (2, 32), (3, 8)):
        assert np.array_equal(found.array[position, 0], np.round(values * times * (255 / (127 * 32))))
        assert np.array_equal(alone.array[position, 0], np.round(values * (255 / 127)))
    known: Intensity = found.about["intensity"] | {"window": [0, 127]}
    of_another, _ = load_images(index, SIZE, tmp_path / "cache", intensity=known)
    assert np.array_equal(of_another.array[0, 0], np.round(values * (255 / 127)))
    assert (of_another.array[2, 0, -1] == 255).all(), "brighter than the window"
    assert np.array_equal(found.array[1, 0], values)
    assert np.array_equal(alone.array[1, 0], values)


def damage_array(entry: Path) -> None:
    content = bytearray((entry / "array.npy").read_bytes())
    content[len(content) // 2] ^= 0x40
    (entry / "array.npy").write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda entry: os.truncate(entry / "array.npy", 1000),
    "flipped byte": damage_array,
    "about.json gone": lambda entry: (entry / "about.json").unlink(),
    "about.json garbage": lambda entry: (entry / "about.json").write_bytes(os.urandom(200)),
    "bad files forged": lambda entry: (entry / "about.json").write_text(
        (entry / "about.json").read_text().replace('"bad": []', '"bad": [[0, "empty"]]')
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_load_images__damaged_cache_is_made_anew(
    damage: Callable[[Path], object], index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, _ = load_images(index, SIZE, tmp_path / "cache")
    before = stored.path.joinpath("about.json").read_bytes(), file_digest(stored.path / "array.npy")
    damage(stored.path)
    assert not (stored.path / "about.json").is_file() or before != (
        stored.path.joinpath("about.json").read_bytes(),
        file_digest(stored.path / "array.npy"),
    )

    with pytest.warns(UserWarning, match=r"images-\w+ is damaged .*rebuilt") as caught:
        again, usable = load_images(index, SIZE, tmp_path / "cache")

    assert len(caught) == 1
    assert again.built
    assert np.array_equal(again.array, uncached(index))
    assert len(usable) == 28
    monkeypatch.setattr(images, "decode_image", never)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not load_images(index, SIZE, tmp_path / "cache")[0].built


def test_load_images__two_processes_decode_once(
    index: Index, tmp_path: Path, study_classes: Classes, start_python: StartPython
) -> None:
    arguments = (SCRIPT, index.root.as_posix(), tmp_path / "cache", json.dumps(study_classes))
    first = start_python(*arguments)
    assert first.stdout is not None
    assert first.stdout.readline() == "decoding\n"
    second = start_python(*arguments)
    assert second.stdout is not None
    assert second.stdout.readline().startswith("Waiting for another run that holds ")

    said_first, _ = first.communicate("go\n", timeout=30)
    said_second, _ = second.communicate(timeout=30)

    built, found = said_first.split(), said_second.split()
    assert (built[0], found[0]) == ("built", "found")
    assert built[1] == found[1]
    assert np.array_equal(load_images(index, SIZE, tmp_path / "cache")[0].array, uncached(index))


def test_load_images__killed_in_the_middle(
    index: Index, tmp_path: Path, study_classes: Classes, start_python: StartPython
) -> None:
    first = start_python(SCRIPT, index.root.as_posix(), tmp_path / "cache", json.dumps(study_classes))
    assert first.stdout is not None
    assert first.stdout.readline() == "decoding\n"

    first.kill()
    first.wait(timeout=30)
    assert not [path for path in (tmp_path / "cache").iterdir() if re.fullmatch(r"images-\w+", path.name)]

    stored, _ = load_images(index, SIZE, tmp_path / "cache")
    assert stored.built
    assert np.array_equal(stored.array, uncached(index))
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".tmp"]


def test_load_images__D17_flat_images_have_no_class_yet(tmp_path: Path, draw: Draw) -> None:
    for number in range(3):
        draw(tmp_path / "flat" / f"{number}.png", seed=number)
    index = read_index(tmp_path / "flat", [["a"], ["b"]], by_table=True)

    stored, usable = load_images(index, SIZE, tmp_path / "cache")

    assert len(stored.array) == 3
    assert usable.labels.tolist() == [-1, -1, -1]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't take space ahead")
def test_load_images__full_disk(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match=r"Can't write images to .*cache: No space left on device.*data\.cache_dir=PATH"):
        load_images(index, SIZE, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.real_data
def test_load_images__real_data(
    real_data: Path, study_classes: Classes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = read_index(real_data, study_classes)

    stored, usable = load_images(index, SIZE, tmp_path / "cache")

    assert stored.array.shape == (3264, 1, SIZE, SIZE)
    assert usable.bad == ()
    for position in range(0, 3264, 163):
        with Image.open(real_data / index.paths[position]) as image:
            assert np.array_equal(stored.array[position], resized(image)[:1])
    monkeypatch.setattr(images, "decode_image", never)
    assert not load_images(index, SIZE, tmp_path / "cache")[0].built
