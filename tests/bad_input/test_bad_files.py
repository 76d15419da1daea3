"""Bad files: each kind is named with its reason, all in one error, or left out and listed."""

from __future__ import annotations

import errno
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from brain_tumor_tl.data import formats, images
from brain_tumor_tl.data.decode import decode_image
from brain_tumor_tl.data.images import load_images
from brain_tumor_tl.data.index import BadFilesError, Index, read_index

Draw = Callable[..., Path]
Make = Callable[[Path, Draw], object]

CLASSES = [["no_tumor", "no"], ["tumor", "yes"]]
SIZE = 16


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_black_png(path: Path, side: int) -> None:
    """Write a black square of 1 bit a pixel, row by row: a file of some kilobytes, whatever its size."""
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + (side + 7) // 8)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def cut(path: Path, draw: Draw, share: float = 0.6) -> None:
    """Draw an image and keep the first part of the file."""
    content = draw(path, seed=3, mode="RGB", size=(64, 64)).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def flip_in_the_middle(path: Path, draw: Draw) -> None:
    content = bytearray(draw(path, seed=3).read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def not_a_number(path: Path, draw: Draw) -> None:
    Image.fromarray(np.array([[0, np.nan], [1, 2]], np.float32)).save(path)


KINDS: dict[str, tuple[Make, str]] = {
    "empty.jpg": (lambda path, draw: path.touch(), r"empty, 0 bytes"),
    "truncated.jpg": (cut, r"can't be decoded, truncated or damaged: .*truncated"),
    "truncated.png": (cut, r"can't be decoded, truncated or damaged: .*truncated"),
    "truncated.bmp": (cut, r"can't be decoded, truncated or damaged: .*truncated"),
    "truncated.tif": (cut, r"can't be decoded, truncated or damaged|not an image by its content"),
    "truncated.webp": (cut, r"can't be decoded, truncated or damaged|not an image by its content"),
    "only a header.png": (
        lambda path, draw: path.write_bytes(draw(path).read_bytes()[:20]),
        r"can't be decoded, truncated or damaged|not an image by its content",
    ),
    "flipped bit.png": (flip_in_the_middle, r"can't be decoded, truncated or damaged: "),
    "not a number.tif": (not_a_number, r"can't be decoded, .*values that are not finite numbers"),
    "web page.jpg": (lambda path, draw: path.write_text("<html>404</html>"), r"not an image by its content"),
    "zeros.png": (lambda path, draw: path.write_bytes(bytes(5000)), r"not an image by its content"),
    "script.jpg": (
        lambda path, draw: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"),
        r"PostScript, a format that is not read; save each slice as PNG",
    ),
    "notes.txt": (
        lambda path, draw: path.write_text("a note"),
        r"not an image by its name; expected \.bmp \.jpeg",
    ),
    "no suffix": (lambda path, draw: path.write_text("?"), r"not an image by its name"),
    "report.dcm": (lambda path, draw: path.write_bytes(bytes(128) + b"DICM"), r"a DICOM file without an image"),
    "no DICOM.dcm": (lambda path, draw: path.write_bytes(bytes(200)), r"not DICOM by its content"),
    "no NIfTI.nii": (lambda path, draw: path.write_bytes(bytes(500)), r"not NIfTI by its content"),
    "no NIfTI.nii.gz": (lambda path, draw: path.write_bytes(bytes(500)), r"not NIfTI by its content"),
    "DICOM.png": (lambda path, draw: path.write_bytes(bytes(128) + b"DICM"), r"DICOM by its content; name it \.dcm"),
    "broken link.jpg": (
        lambda path, draw: path.symlink_to("absent.jpg"),
        r"a broken link to absent\.jpg",
    ),
    "link to itself.jpg": (
        lambda path, draw: path.symlink_to(path.name),
        r"a broken link to link to itself\.jpg",
    ),
    "link to a folder.jpg": (
        lambda path, draw: path.symlink_to(path.parent),
        r"a link to a folder inside a class folder",
    ),
    "pipe.png": (lambda path, draw: os.mkfifo(path), r"not a regular file"),
    "bomb.png": (
        lambda path, draw: write_black_png(path, 30000),
        r"a decompression bomb, more than \d+ pixels",
    ),
    "half a bomb.png": (
        lambda path, draw: write_black_png(path, 10000),
        r"a decompression bomb, more than \d+ pixels",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """Two classes of three good images each; the pair `0` comes before all bad files, `zz` after them."""
    root = tmp_path / "set"
    for label, name in enumerate(("no", "yes")):
        for number, stem in enumerate(("0", "m (1)", "zz")):
            draw(root / name / f"{stem}.png", seed=3 * label + number)
    return root


def good(index: Index) -> NDArray[np.uint8]:
    """Return the good images of `folder`, decoded one by one: the oracle."""
    names = ("0", "m (1)", "zz")
    return np.stack([decode_image(index.root / part / f"{name}.png", SIZE) for part in ("no", "yes") for name in names])


@pytest.mark.parametrize(("name", "kind"), KINDS.items(), ids=KINDS.keys())
def test_load_images__bad_file(name: str, kind: tuple[Make, str], folder: Path, draw: Draw, tmp_path: Path) -> None:
    make, reason = kind
    make(folder / "yes" / name, draw)
    expected = rf"(?s)1 file\(s\) below .*\n  yes/{re.escape(name)}: ({reason}).*data\.on_bad_file=skip"

    with pytest.raises(BadFilesError, match=expected) as caught:
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")

    assert [path for path, _ in caught.value.bad] == [f"yes/{name}"]
    assert len(str(caught.value).splitlines()) == 3  # the reason is one line


@pytest.fixture
def bad_folder(folder: Path, draw: Draw) -> Path:
    """`folder` with every kind of bad file, in both classes."""
    for number, (name, (make, _)) in enumerate(KINDS.items()):
        make(folder / ("no", "yes")[number % 2] / name, draw)
    return folder


def test_load_images__all_bad_files_in_one_error(bad_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadFilesError, match=rf"(?s)^{len(KINDS)} file\(s\) below .*Repair, convert or remove them"
    ) as caught:
        load_images(read_index(bad_folder, CLASSES), SIZE, tmp_path / "cache")

    reasons = {path.partition("/")[2]: reason for path, reason in caught.value.bad}
    assert sorted(reasons) == sorted(KINDS)
    for name, (_, expected) in KINDS.items():
        assert re.match(expected, reasons[name]), name
        assert f": {reasons[name]}\n" in str(caught.value)
        assert name in str(caught.value) or list(reasons.values()).count(reasons[name]) > 3


def test_load_images__skip_leaves_out_and_lists(bad_folder: Path, tmp_path: Path) -> None:
    index = read_index(bad_folder, CLASSES)

    stored, usable = load_images(index, SIZE, tmp_path / "cache", on_bad_file="skip")

    assert usable.paths == tuple(f"{part}/{stem}.png" for part in ("no", "yes") for stem in ("0", "m (1)", "zz"))
    assert usable.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(usable.digests) == len(usable.official) == 6
    assert stored.array.shape == (6, 1, SIZE, SIZE)
    assert np.array_equal(stored.array, good(usable))
    assert {path.partition("/")[2] for path, _ in usable.bad} == set(KINDS)
    assert sorted(path.name for path in stored.path.iterdir()) == ["about.json", "array.npy"]


def test_load_images__skip_in_colour(folder: Path, draw: Draw, tmp_path: Path) -> None:
    cut(folder / "no" / "a.jpg", draw)
    draw(folder / "no" / "b.png", mode="RGB", seed=9)
    cut(folder / "yes" / "c.jpg", draw)

    stored, usable = load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache", on_bad_file="skip")

    assert stored.array.shape == (7, 3, SIZE, SIZE)
    row = usable.paths.index("no/b.png")
    assert np.array_equal(stored.array[row], decode_image(folder / "no" / "b.png", SIZE))
    assert np.array_equal(np.delete(stored.array, row, axis=0), np.broadcast_to(good(usable), (6, 3, SIZE, SIZE)))


def test_load_images__bad_files_are_known_from_the_cache(
    bad_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = load_images(read_index(bad_folder, CLASSES), SIZE, tmp_path / "cache", on_bad_file="skip")

    def never(path: Path, *how: Any) -> NDArray[np.uint8]:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(images, "decode_image", never)
    stored, second = load_images(read_index(bad_folder, CLASSES), SIZE, tmp_path / "cache", on_bad_file="skip")
    assert not stored.built
    assert second.paths == first.paths
    assert second.bad == first.bad
    with pytest.raises(BadFilesError) as caught:
        load_images(read_index(bad_folder, CLASSES), SIZE, tmp_path / "cache")
    assert caught.value.bad == first.bad


def test_load_images__D15_many_files_without_their_reader(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)  # as if no extra were installed
    for number in range(120):
        (folder / "yes" / f"IM{number:04}").write_bytes(bytes(128) + b"DICM")

    with pytest.raises(BadFilesError) as caught:
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")

    _, told, _ = str(caught.value).splitlines()
    named = "  yes/IM0000, yes/IM0001, yes/IM0002 and 117 more"
    assert told == f"{named}: DICOM, which pydicom reads: pip install 'brain_tumor_tl[dicom]'"
    assert len(caught.value.bad) == 120


def test_bad_files_error__many_reasons() -> None:
    bad = [(f"{number}.jpg", f"truncated, {number} bytes left") for number in range(500)]

    lines = str(BadFilesError(Path("set"), bad)).splitlines()

    assert len(lines) == 33
    assert lines[-2] == "  and 470 more reasons"


def test_load_images__error_keeps_nothing(folder: Path, draw: Draw, tmp_path: Path) -> None:
    cut(folder / "yes" / "a.jpg", draw)
    with pytest.raises(BadFilesError):
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []

    (folder / "yes" / "a.jpg").unlink()
    assert load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")[0].array.shape[0] == 6


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_load_images__truncated_anywhere(suffix: str, share: float, folder: Path, draw: Draw, tmp_path: Path) -> None:
    cut(folder / "yes" / f"a{suffix}", draw, share)

    with pytest.raises(BadFilesError, match=rf"yes/a\{suffix}: (can't be decoded|not an image by its content)"):
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")


@pytest.mark.parametrize("side", [10000, 30000], ids=["above the limit", "far above the limit"])
def test_load_images__bomb_is_not_decoded(
    side: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_black_png(folder / "yes" / "bomb.png", side)
    assert (folder / "yes" / "bomb.png").stat().st_size < 1_000_000
    loaded: list[tuple[int, int]] = []
    load = ImageFile.ImageFile.load

    def recorded(self: ImageFile.ImageFile) -> object:
        loaded.append(self.size)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", recorded)
    with pytest.raises(BadFilesError, match=r"yes/bomb\.png: a decompression bomb, more than 89478485 pixels"):
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")

    assert set(loaded) == {(40, 32)}  # the good images went through here, the bomb did not


def test_load_images__largest_size_allowed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 32)

    assert load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")[0].array.shape[0] == 6


def test_write_black_png__is_an_image(tmp_path: Path) -> None:
    write_black_png(tmp_path / "square.png", 100)  # or the bombs above would be refused for another reason

    assert np.array_equal(decode_image(tmp_path / "square.png", SIZE), np.zeros((1, SIZE, SIZE)))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO], ids=["permission denied", "input/output error"])
def test_read_index__unreadable(code: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def guarded(path: Path, *arguments: Any, **keywords: Any) -> IO[Any]:  # since a superuser may read everything
        if path.name == "m (1).png":
            raise OSError(code, os.strerror(code))
        return cast("IO[Any]", opened(path, *arguments, **keywords))

    monkeypatch.setattr(Path, "open", guarded)
    index = read_index(folder, CLASSES)

    reason = f"can't be read: {os.strerror(code)}"
    assert index.bad == (("no/m (1).png", reason), ("yes/m (1).png", reason))
    assert len(index) == 4
    with pytest.raises(
        BadFilesError, match=rf"2 file\(s\) .*(?s:.)*no/m \(1\)\.png, yes/m \(1\)\.png: {re.escape(reason)}"
    ):
        load_images(index, SIZE, tmp_path / "cache")
    assert len(load_images(index, SIZE, tmp_path / "cache", on_bad_file="skip")[1]) == 4


def test_load_images__file_gone_since_the_index(folder: Path, tmp_path: Path) -> None:
    index = read_index(folder, CLASSES)
    (folder / "yes" / "0.png").unlink()

    with pytest.raises(BadFilesError, match=r"yes/0\.png: .*No such file"):
        load_images(index, SIZE, tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"not an image"], ids=["empty", "not images"])
def test_load_images__no_good_file_at_all(content: bytes, folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(content)

    with pytest.raises(BadFilesError, match=r"6 file\(s\)"):
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")
    with pytest.raises(ValueError, match=r"found none of no_tumor, tumor once 6 bad file\(s\) were left out"):
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache", on_bad_file="skip")


def test_load_images__class_lost_by_skipping(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "yes").iterdir():
        path.write_bytes(b"not an image")

    with pytest.raises(ValueError, match=r"found none of tumor once 3 bad file\(s\).*data\.classes"):
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache", on_bad_file="skip")


NAMES = {
    "spaces": b"Tr no (1) copy.jpg",
    "Unicode": "Gehirn \U0001f9e0 \u8111.jpg".encode(),
    "not UTF-8": b"gehirn\xe4.jpg",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_load_images__name_of_a_bad_file_can_be_shown(name: bytes, folder: Path, tmp_path: Path) -> None:
    try:
        (folder / "yes" / os.fsdecode(name)).write_bytes(b"not an image")
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system refuses the name {name!r}: {error}")

    with pytest.raises(BadFilesError) as caught:
        load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")

    shown = str(caught.value).encode("utf-8").decode("utf-8")  # or no terminal could show it
    assert f"yes/{name.decode('utf-8', 'surrogateescape').encode('utf-8', 'backslashreplace').decode()}:" in shown


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_load_images__good_file_of_that_name(name: bytes, folder: Path, draw: Draw, tmp_path: Path) -> None:
    path = folder / "yes" / os.fsdecode(name)
    draw(folder / "a.jpg", seed=8)
    try:
        (folder / "a.jpg").rename(path)
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system refuses the name {name!r}: {error}")

    stored, usable = load_images(read_index(folder, CLASSES), SIZE, tmp_path / "cache")

    row = usable.paths.index(f"yes/{path.name}")
    assert stored.array.shape == (7, 1, SIZE, SIZE)
    assert np.array_equal(stored.array[row], decode_image(path, SIZE))
