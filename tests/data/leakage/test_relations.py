"""Relations: a quick scan of decoded images finds what reading the files finds, except near copies."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.cache import CacheEntry
from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.leakage import relations
from brain_tumor_tl.data.leakage.relations import Relations, find_relations, nearest_neighbour_accuracy, pooled
from brain_tumor_tl.data.splits.groups import Indices

ABOUT = {"intensity": {"rule": "auto", "window": None}}


def pictures(count: int = 12, channels: int = 1, size: int = 64) -> NDArray[np.uint8]:
    """Blurred noise, of which the fourth is the first again and the fifth nearly."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (count, channels, 8, 8), dtype=np.uint8)
    whole = small.repeat(size // 8, axis=2).repeat(size // 8, axis=3)
    whole[3] = whole[0]
    whole[4] = np.clip(whole[0].astype(int) + 3, 0, 255).astype(np.uint8)
    return whole


def scanned(images: NDArray[np.uint8], cache: Path, wanted: str | bool = "auto", needed: bool = False) -> Any:
    index = cast("Index", SimpleNamespace(paths=[f"{i}.png" for i in range(len(images))]))
    entry = cast(
        "CacheEntry",
        SimpleNamespace(array=images, about=ABOUT, path=Path(f"images-{images.shape}")),
    )
    return find_relations(index, entry, cache, None, wanted, needed)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_find_relations__a_quick_scan_finds_equal_images_and_no_near_ones(channels: int, tmp_path: Path) -> None:
    images = pictures(channels=channels)

    found = scanned(images, tmp_path)

    assert found.copies is None
    assert found.identical[3] == found.identical[0]
    assert len(set(found.identical.tolist())) == len(images) - 1
    assert found.known_groups("random").tolist() == found.identical.tolist()
    expected = images.mean(axis=1).reshape(len(images), 32, 2, 32, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(found.thumbnails, expected, atol=0.51)
    assert pooled(found.thumbnails).shape == (len(images), 32, 32)
    assert len([path for path in tmp_path.glob("quick_scan-*") if path.is_dir()]) == 1
    again = scanned(images, tmp_path)
    assert np.array_equal(again.identical, found.identical)


def test_find_relations__nothing_is_computed_if_not_wanted(tmp_path: Path) -> None:
    found = scanned(pictures(), tmp_path, wanted=False)

    assert (found.identical, found.copies, found.thumbnails) == (None, None, None)
    assert found.known_groups("random") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("wanted", "needed"), [("auto", True), (True, False)], ids=["needed", "wanted"])
def test_find_relations__near_copies_come_from_the_files(wanted: str | bool, needed: bool, tmp_path: Path) -> None:
    images = pictures()
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image[0]).save(tmp_path / "set" / "ab"[number % 2] / f"{number}.png")
    index = read_index(tmp_path / "set", [["a"], ["b"]])
    entry = cast("CacheEntry", SimpleNamespace(array=images, about=ABOUT, path=Path("images-x")))

    found = find_relations(index, entry, tmp_path / "cache", None, wanted, needed)

    place = {Path(path).stem: position for position, path in enumerate(index.paths)}
    assert found.copies is not None
    assert found.identical is not None
    assert found.copies[place["4"]] == found.copies[place["3"]] == found.copies[place["0"]]
    assert found.identical[place["4"]] != found.identical[place["3"]] == found.identical[place["0"]]


@pytest.mark.parametrize("known", [7, 1000], ids=["training images in chunks", "all at once"])
def test_nearest_neighbour_accuracy__as_numpy_correlates(known: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "TRAIN_ROWS", known)
    monkeypatch.setattr(relations, "TEST_ROWS", 3)
    generator = np.random.default_rng(1)
    thumbnails = generator.integers(0, 256, (40, 32, 32), dtype=np.uint8)
    labels, order = generator.integers(0, 3, 40), generator.permutation(40)
    train, test = order[:30], order[30:]
    thumbnails[test[0]] = thumbnails[train[29]]  # a copy in the last chunk

    likeness = np.asarray(np.corrcoef(thumbnails.reshape(40, -1)))[np.ix_(test, train)]
    expected = (labels[train[likeness.argmax(axis=1)]] == labels[test]).mean()

    assert train[likeness[0].argmax()] == train[29]
    assert nearest_neighbour_accuracy(thumbnails, labels, train, test) == pytest.approx(expected)
    assert 0 < expected < 1


def test_nearest_neighbour_accuracy__as_scikit_learn_on_pooled_thumbnails() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    generator = np.random.default_rng(2)
    labels = np.arange(60) % 3
    heads, noise = generator.integers(0, 120, (3, 64, 64)), generator.integers(0, 130, (60, 64, 64))
    thumbnails = (heads[labels] + noise).astype(np.uint8)
    order = generator.permutation(60)
    train, test = order[:36], order[36:]

    rows = thumbnails.reshape(60, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(60, -1)
    expected = (
        KNeighborsClassifier(1, metric="correlation").fit(rows[train], labels[train]).score(rows[test], labels[test])
    )

    assert nearest_neighbour_accuracy(thumbnails, labels, train, test) == pytest.approx(expected)
    assert expected > 0.5


def test_pooled__other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32 pixels, got 40"):
        pooled(np.zeros((2, 40, 40), dtype=np.uint8))


def related(**known: Any) -> Relations:
    """Four images: the first and last are copies; the last two are alike, and neighbours by number."""
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    pictures[3] = pictures[2]
    return Relations([f"{i}.png" for i in (1, 5, 7, 8)], thumbnails=pictures, **known)


COPIES, PATIENTS = np.array([0, 1, 2, 0]), np.array([7, 7, -1, -1])


def test_groups__each_kind() -> None:
    found = related(copies=COPIES, patients=PATIENTS)

    assert found.groups("random").tolist() == [0, 1, 2, 3]
    assert found.groups("grouped").tolist() == [0, 1, 2, 0]
    assert found.groups("series").tolist() == [0, 1, 0, 0]
    assert found.groups("patients").tolist() == [0, 0, 0, 0], "the third by its series, since its patient is not known"


def test_groups__series_join_only_images_of_unknown_patients() -> None:
    found = related(copies=np.arange(4), patients=np.array([0, 1, 2, -1]))

    assert found.groups("series").tolist() == [0, 1, 2, 2]
    assert found.groups("patients").tolist() == [0, 1, 2, 3]


def test_groups__no_patient_is_known() -> None:
    with pytest.raises(ValueError, match=r"patients of some images .* got none for 4 images\. Give data\.patients=CSV"):
        related(copies=COPIES).groups("patients")


def listed(groups: Indices | None) -> list[int]:
    assert groups is not None
    return [int(group) for group in groups]


def test_known_groups__patients_where_they_are_known() -> None:
    assert listed(related(patients=PATIENTS).known_groups("random")) == [0, 0, 1, 2]
    assert listed(related(identical=COPIES, patients=PATIENTS).known_groups("random")) == [0, 0, 1, 0]
    assert listed(related(copies=COPIES, patients=PATIENTS).known_groups("grouped")) == [0, 0, 1, 0]
    assert listed(related(copies=COPIES, patients=PATIENTS).known_groups("series")) == [0, 0, 0, 0]
    assert listed(related(copies=COPIES).known_groups("series")) == [0, 1, 0, 0]
