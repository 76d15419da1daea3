"""Copies: constructed copies are found, other heads are not taken for copies, and groups follow their rules."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies
from numpy.random import PCG64, RandomState
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.leakage import copies
from brain_tumor_tl.data.leakage.copies import Copies, Pair, find_copies, first_members, group_copies, near_pairs
from brain_tumor_tl.data.leakage.file_info import THUMBNAIL, load_file_info
from brain_tumor_tl.data.sources.phantom import CLASSES, draw_head
from brain_tumor_tl.data.splits.groups import groups_with_several, named_groups

Picture = Image.Image
HEADS = 4  # one of each class


@cache
def head(number: int) -> Picture:
    """Return one synthetic head of 160 pixels."""
    return Image.fromarray(draw_head(CLASSES[number % 4], 160, RandomState(PCG64([7, number]))))


def reencoded(picture: Picture) -> Picture:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    return Image.open(file).convert("L")


def cropped(picture: Picture, *margins: float) -> Picture:
    """Return a picture less shares of its size: left, upper, right, lower."""
    left, upper, right, lower = margins
    width, height = picture.size
    box = (round(left * width), round(upper * height), round((1 - right) * width), round((1 - lower) * height))
    return picture.crop(box)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "re-encoded": reencoded,
    "half the size": lambda picture: picture.resize((80, 80), Image.Resampling.BICUBIC),
    "twice the size": lambda picture: picture.resize((320, 320), Image.Resampling.BICUBIC),
    "other aspect": lambda picture: picture.resize((200, 140), Image.Resampling.BICUBIC),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "lifted": lambda picture: picture.point([min(255, value + 20) for value in range(256)]),
    "more contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(1.2),
    "cropped by 2 %": lambda picture: cropped(picture, 0.02, 0.0, 0.01, 0.02),
    "cropped by 4 %": lambda picture: cropped(picture, 0.04, 0.04, 0.0, 0.04),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned 90": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "turned 180": lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
    "turned 270": lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
    "transversed": lambda picture: picture.transpose(Image.Transpose.TRANSVERSE),
    "gamma 0.6": lambda picture: picture.point([round(255 * (value / 255) ** 0.6) for value in range(256)]),
    "gamma 1.8": lambda picture: picture.point([round(255 * (value / 255) ** 1.8) for value in range(256)]),
    "white clipped": lambda picture: ImageEnhance.Brightness(picture).enhance(1.8),
    "both clipped": lambda picture: picture.point([min(255, max(0, 2 * value - 60)) for value in range(256)]),
    "equalised": lambda picture: ImageOps.equalize(picture),
    "sharpened": lambda picture: picture.filter(ImageFilter.UnsharpMask(2, 150, 0)),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(0.6)),
    "cropped to its content": lambda picture: picture.crop(picture.point(lambda value: value > 40 and 255).getbbox()),
    "several at once": lambda picture: reencoded(cropped(picture.rotate(90), 0.02, 0.01, 0.01, 0.0).resize((130, 130))),
}  # fmt: skip


def stacked(pictures: list[Picture]) -> NDArray[np.uint8]:
    """Return pictures as the thumbnails that are searched."""
    size = (THUMBNAIL, THUMBNAIL)
    return np.stack([np.asarray(picture.resize(size, Image.Resampling.BILINEAR)) for picture in pictures])


def copies_among(pictures: list[Picture]) -> Copies:
    """Return the copies among pictures whose files and pixels count as different."""
    digests = [str(number) for number in range(len(pictures))]
    return group_copies(digests, digests, near_pairs(stacked(pictures), digests))


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_near_pairs__constructed_copy(change: Callable[[Picture], Picture]) -> None:
    heads = [head(number) for number in range(HEADS)]

    result = copies_among([*heads, *(change(picture) for picture in heads)])

    assert result.groups.tolist() == [*range(HEADS), *range(HEADS)]
    assert {pair[:2] for pair in result.pairs} == {(number, number + HEADS) for number in range(HEADS)}


def test_near_pairs__other_heads_are_no_copies() -> None:
    result = copies_among([head(number) for number in range(40)])

    assert result.groups.tolist() == list(range(40))
    assert result.pairs == ()


@given(strategies.lists(strategies.tuples(strategies.sampled_from("abc"), strategies.sampled_from("pq")), min_size=1))
def test_group_copies__each_level_is_as_fine_as_the_next(drawn: list[tuple[str, str]]) -> None:
    files = [pixel + file for file, pixel in drawn]  # equal bytes have equal pixels
    pixels = [pixel for _, pixel in drawn]
    pairs = [Pair(0, len(drawn) - 1, 0, 0.99, 0.99, 1.0)] if len(drawn) > 1 else []

    result = group_copies(files, pixels, pairs)

    for fine, coarse in ((result.files, result.pixels), (result.pixels, result.groups)):
        assert all(len(set(coarse[fine == group].tolist())) == 1 for group in np.unique(fine))
    for groups in (result.files, result.pixels, result.groups):
        firsts = [groups.tolist().index(group) for group in range(int(groups.max()) + 1)]
        assert firsts == sorted(firsts)
    assert result.groups[0] == result.groups[-1]


def test_near_pairs__is_deterministic() -> None:
    pictures = [head(number % 5) for number in range(9)]

    assert copies_among(pictures).pairs == copies_among(pictures).pairs != ()


def test_near_pairs__flat_pictures_and_few() -> None:
    flat = [Image.new("L", (50, 40), shade) for shade in (0, 0, 90)]

    result = group_copies(["a", "b", "c"], ["x", "x", "y"], near_pairs(stacked(flat), ["x", "x", "y"]))

    assert result.files.tolist() == [0, 1, 2]
    assert result.pixels.tolist() == result.groups.tolist() == [0, 0, 1]
    assert copies_among([head(0)]).groups.tolist() == [0]


def test_near_pairs__since_searches_from_the_later_ones_only() -> None:
    pictures = [head(0), reencoded(head(0)), head(1), reencoded(head(1))]
    digests = [str(number) for number in range(4)]

    pairs = near_pairs(stacked(pictures), digests, since=3)

    assert [pair[:2] for pair in pairs if pair.detail > 0.9] == [(2, 3)]


def test_group_copies__thresholds_and_levels() -> None:
    files, pixels = ["a", "a", "b", "c", "d"], ["p", "p", "p", "q", "r"]
    strong, weak = Pair(0, 3, 0, 0.99, 0.999, 1.0), Pair(3, 4, 0, 0.9, 0.99, 1.0)

    result = group_copies(files, pixels, [strong, weak])
    loose = group_copies(files, pixels, [strong, weak], detail=0.85)

    assert result.files.tolist() == [0, 0, 1, 2, 3]
    assert result.pixels.tolist() == [0, 0, 0, 1, 2]
    assert result.groups.tolist() == [0, 0, 0, 0, 1]
    assert (result.pairs, result.looser) == ((strong,), (weak,))
    assert loose.groups.tolist() == [0] * 5


@given(
    strategies.integers(1, 20).flatmap(
        lambda count: strategies.tuples(
            strategies.just(count),
            strategies.lists(strategies.tuples(*[strategies.integers(0, count - 1)] * 2), max_size=25),
        )
    )
)
def test_group_copies__against_the_closure_of_all_pairs(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = drawn
    reach = np.eye(count, dtype=bool)
    for one, other in pairs:
        reach[one, other] = reach[other, one] = True
    for _ in range(count):
        reach |= (reach.astype(int) @ reach.astype(int)) > 0
    digests = [str(number) for number in range(count)]

    groups = group_copies(digests, digests, [Pair(one, other, 0, 1.0, 1.0, 1.0) for one, other in pairs]).groups

    assert np.array_equal(groups[:, None] == groups[None], reach)
    assert groups[np.sort(np.unique(groups, return_index=True)[1])].tolist() == list(range(groups.max() + 1))


def test_first_members__of_each_group() -> None:
    groups = named_groups(["x", "y", "x", "z", "y"])

    assert groups.tolist() == [0, 1, 0, 2, 1]
    assert first_members(groups).tolist() == [0, 1, 3]


def test_find_copies__second_call_searches_nothing(
    tmp_path: Path, study_classes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    for number, (name, *_) in enumerate(study_classes):
        (folder / name).mkdir(parents=True)
        head(number).save(folder / name / "one.png")
        head(number).save(folder / name / "the same pixels.bmp")
        reencoded(head(number)).save(folder / name / "near.png")
    info = load_file_info(read_index(folder, study_classes), tmp_path / "cache")
    first = find_copies(info, tmp_path / "cache")
    monkeypatch.setattr(copies, "near_pairs", None)

    second = find_copies(info, tmp_path / "cache")

    assert len(np.unique(first.files)) == 12
    assert len(np.unique(first.pixels)) == 8
    assert len(np.unique(first.groups)) == 4
    assert np.array_equal(first.groups, second.groups)
    assert first.pairs == second.pairs


# Copies among the study's images that have two labels.
CONFLICTS = [
    ("Testing/glioma_tumor/image(2).jpg", "Training/meningioma_tumor/m1(123).jpg"),
    ("Testing/glioma_tumor/image(48).jpg", "Training/meningioma_tumor/m1(111).jpg"),
]


def conflicting_paths(result: Copies, index: Index) -> list[set[str]]:
    """Return the paths of each group of copies that has several labels."""
    groups = [np.flatnonzero(result.groups == group) for group in groups_with_several(result.groups, index.labels)]
    return [{index.paths[position] for position in group.tolist()} for group in groups]


@pytest.mark.real_data
def test_find_copies__among_some_of_the_studys_images(
    real_data: Path, tmp_path: Path, study_classes: list[list[str]]
) -> None:
    numbered = [f"Testing/glioma_tumor/image({number}).jpg" for number in range(1, 50)]
    numbered += [f"Training/meningioma_tumor/m1({number}).jpg" for number in range(100, 125)]
    for path in numbered:
        if (real_data / path).is_file():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).symlink_to(real_data / path)
    index = read_index(tmp_path, study_classes[2:])

    result = find_copies(load_file_info(index, tmp_path / "cache"), tmp_path / "cache")

    assert (len(index), len(np.unique(result.pixels)), len(np.unique(result.groups))) == (73, 69, 66)
    assert [tuple(sorted(paths)) for paths in conflicting_paths(result, index)] == CONFLICTS


@pytest.mark.slow
@pytest.mark.real_data
def test_find_copies__among_the_studys_images(
    real_data: Path, study_cache: Path, study_classes: list[list[str]]
) -> None:
    index = read_index(real_data, study_classes)

    result = find_copies(load_file_info(index, study_cache), study_cache)

    sizes = np.bincount(result.files)
    assert (len(index), int((sizes > 1).sum()), int(sizes[sizes > 1].sum())) == (3264, 166, 403)
    assert len(index) - len(np.unique(result.pixels)) == 394
    train, test = (np.array(index.official) == name for name in ("train", "test"))
    assert int(np.isin(result.pixels[test], result.pixels[train]).sum()) == 251
    assert all(any({*pair} <= paths for paths in conflicting_paths(result, index)) for pair in CONFLICTS)
    assert 2760 <= len(np.unique(result.groups)) <= 2790
