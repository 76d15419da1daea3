"""Index: layouts, aliases, names, digests and errors; bad files are in test_bad_files.py."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.layout import class_aliases, named_classes, plain, printable

Draw = Callable[..., Path]
Classes = Sequence[Sequence[str]]

CHECKOUT = Path(__file__).resolve().parents[2]
TWO = [["no_tumor", "notumor", "no"], ["tumor", "yes"]]
STUDY = ("no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor")
NPARVAR = ("notumor", "pituitary", "meningioma", "glioma")
BRISC = ("no_tumor", "pituitary", "meningioma", "glioma")


def fill(draw: Draw, root: Path, holders: Sequence[str], names: Sequence[str], count: int = 2) -> None:
    """Draw `count` images into each class folder of each holder."""
    seed = 0
    for holder in holders:
        for name in names:
            for number in range(count):
                draw(root / holder / name / f"{number}.png", seed=seed)
                seed += 1


LAYOUTS = {
    "Training and Testing": (("Training", "Testing"), STUDY, {"train": 8, "test": 8}),
    "train and test": (("train", "test"), STUDY, {"train": 8, "test": 8}),
    "TRAIN and Test": (("TRAIN", "Test"), STUDY, {"train": 8, "test": 8}),
    "Training alone": (("Training",), STUDY, {"train": 8}),
    "class folders": ((".",), STUDY, {"": 8}),
    "masoudnickparvar": (("Training", "Testing"), NPARVAR, {"train": 8, "test": 8}),
    "BRISC": (("train", "test"), BRISC, {"train": 8, "test": 8}),
}


@pytest.mark.parametrize(("holders", "names", "counts"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_read_index__layout(
    holders: Sequence[str],
    names: Sequence[str],
    counts: dict[str, int],
    tmp_path: Path,
    draw: Draw,
    study_classes: Classes,
) -> None:
    fill(draw, tmp_path, holders, names)

    index = read_index(tmp_path, study_classes)

    assert len(index) == 8 * len(holders)
    assert {split: index.official.count(split) for split in index.official} == counts
    assert index.classes == STUDY
    assert index.bad == ()
    for path, label, official in zip(index.paths, index.labels, index.official, strict=True):
        folders = path.split("/")[:-1]
        assert folders[-1] == names[label]
        assert not official or folders[0].lower().startswith(official)
        assert (index.root / path).is_file()


@pytest.mark.parametrize("inner", ["archive", "classification_task", "brain tumour (1)"])
def test_read_index__layout_one_folder_further_in(
    inner: str, tmp_path: Path, draw: Draw, study_classes: Classes
) -> None:
    fill(draw, tmp_path / inner, ("train", "test"), BRISC)
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / "papers").mkdir()

    index = read_index(tmp_path, study_classes)

    assert index.root == tmp_path / inner
    assert len(index) == 16


@pytest.mark.parametrize("holders", [("train", "test"), (".",)], ids=["splits", "class folders"])
def test_read_index__brisc_with_its_segmentation_task(
    holders: Sequence[str], tmp_path: Path, draw: Draw, study_classes: Classes
) -> None:
    fill(draw, tmp_path / "classification_task", holders, BRISC)
    fill(draw, tmp_path / "segmentation_task", ("train", "test"), ("images", "masks"))

    assert read_index(tmp_path, study_classes).root == tmp_path / "classification_task"


def test_read_index__br35h(tmp_path: Path, draw: Draw) -> None:
    classes = OmegaConf.load(CHECKOUT / "conf" / "data" / "br35h.yaml").classes
    fill(draw, tmp_path, (".",), ("yes", "no"), count=3)

    index = read_index(tmp_path, classes)

    assert index.classes == ("no_tumor", "tumor")
    assert index.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert index.paths[0] == "no/0.png"


@pytest.mark.parametrize("name", ["notumor", "no", "no_tumor", "No Tumor", "NO-TUMOR", "no__tumor", " Notumor"])
def test_read_index__class_alias(name: str, tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), (name, "yes"))

    index = read_index(tmp_path, TWO)

    assert [path.split("/")[0] for path in index.paths if path.startswith(name)] == [name] * 2
    assert sorted(index.labels.tolist()) == [0, 0, 1, 1]
    assert all(label == (path.split("/")[0] == "yes") for path, label in zip(index.paths, index.labels, strict=True))


def test_read_index__two_folders_of_one_class(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("no", "notumor", "yes"))

    assert read_index(tmp_path, TWO).labels.tolist() == [0, 0, 0, 0, 1, 1]


SUFFIXES = [".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".JPG", ".Jpeg", ".PNG", ".TIF", ".WebP"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_index__suffix(suffix: str, tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("no", "yes"))
    draw(tmp_path / "yes" / f"scan{suffix}")

    index = read_index(tmp_path, TWO)

    assert f"yes/scan{suffix}" in index.paths
    assert index.bad == ()


NAMES = {
    "spaces": b"Tr no 0010 copy.jpg",
    "parentheses": b"image(13) (2).jpg",
    "umlaut": "Gehirn\u00e4.jpg".encode(),
    "decomposed umlaut": "Gehirna\u0308.jpg".encode(),
    "Chinese": "\u8111\u7624.jpg".encode(),
    "emoji": "\U0001f9e0.jpg".encode(),
    "quotes": b'it\'s "one".jpg',
    "percent and hash": b"100%#1.jpg",
    "leading dash": b"-rf.jpg",
    "not UTF-8": b"gehirn\xe4.jpg",
}


def place(draw: Draw, folder: Path, name: bytes, seed: int = 99) -> Path:
    """Draw an image under a name given in bytes; skip where the file system refuses the name."""
    target = folder / os.fsdecode(name)
    content = draw(folder / "staging.jpg", seed=seed).read_bytes()
    (folder / "staging.jpg").unlink()
    try:
        target.write_bytes(content)
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system refuses the name {name!r}: {error}")
    return target


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_read_index__file_name(name: bytes, tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("no", "yes"))
    target = place(draw, tmp_path / "yes", name)

    index = read_index(tmp_path, TWO)

    row = [os.fsencode(path) for path in index.paths].index(b"yes/" + name)
    assert index.labels[row] == 1
    assert index.digests[row] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert len(index.digest()) == 64


def test_read_index__order_is_bytewise(tmp_path: Path, draw: Draw) -> None:
    names = [*NAMES.values(), b"a10.png", b"a2.png", b"B.png", b"a.png", b"A.PNG"]
    if sys.platform == "darwin":
        names.remove(NAMES["not UTF-8"])
    random.Random(1).shuffle(names)
    for seed, name in enumerate(names):
        draw(tmp_path / "no-tumor" / "x.png", seed=seed)
        (tmp_path / "no-tumor" / "x.png").rename(tmp_path / "no-tumor" / os.fsdecode(name))
    fill(draw, tmp_path, (".",), ("no", "yes"))

    paths = [os.fsencode(path) for path in read_index(tmp_path, [["no_tumor", "no"], ["yes"]]).paths]

    assert len(paths) == len(names) + 4
    assert paths == sorted(paths)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum of the GNU core utilities")
def test_read_index__digests_as_sha256sum(image_folder: Path, study_classes: Classes, draw: Draw) -> None:
    place(draw, image_folder / "Training" / "glioma_tumor", NAMES["not UTF-8"])

    index = read_index(image_folder, study_classes)

    lines = [f"{digest}  {path}\n" for digest, path in zip(index.digests, index.paths, strict=True)]
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet"],
        input=os.fsencode("".join(lines)),
        cwd=index.root,
        check=False,
    )
    assert len(lines) == 29
    assert check.returncode == 0


def test_read_index__clutter_is_passed_over(image_folder: Path, study_classes: Classes) -> None:
    folder = image_folder / "Training" / "glioma_tumor"
    clutter = (".DS_Store", "._glioma (0).png", "Thumbs.db", "desktop.ini", "THUMBS.DB")
    for name in (*clutter, "Icon\r", "ehthumbs.db", "Picasa.ini", ".picasa.ini"):  # D08
        (folder / name).write_bytes(b"clutter")
    for name in (".git", "__MACOSX"):
        (image_folder / "Training" / name / "glioma_tumor").mkdir(parents=True)
        (image_folder / name).mkdir()
        (folder / name).mkdir()

    index = read_index(image_folder, study_classes)

    assert len(index) == 28
    assert index.bad == ()


def test_read_index__linked_files_and_folders(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path / "store", (".",), ("first", "second"))
    (tmp_path / "set" / "no").mkdir(parents=True)
    (tmp_path / "set" / "no" / "link.png").symlink_to(tmp_path / "store" / "first" / "0.png")
    (tmp_path / "set" / "yes").symlink_to(tmp_path / "store" / "second")

    assert read_index(tmp_path / "set", TWO).paths == ("no/link.png", "yes/0.png", "yes/1.png")


def test_read_index__home_and_text(tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(draw, tmp_path / "set", (".",), ("no", "yes"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert read_index("~/set", TWO).root == tmp_path / "set"


def test_read_index__missing_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder of images at .*/absent, found nothing.*data\.root=PATH"):
        read_index(tmp_path / "absent", TWO)


def test_read_index__root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"set\.zip, found a file.*data\.root=PATH"):
        read_index(tmp_path / "set.zip", TWO)


@pytest.mark.parametrize("name", [b"nothing here", b"\xff\xfe"], ids=["plain name", "name not UTF-8"])
def test_read_index__no_layout(name: bytes, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(name)).mkdir()
    expected = re.escape(printable(os.fsdecode(name)))
    with pytest.raises(ValueError, match=rf"found {expected}\..*notumor.*data\.root=PATH.*data\.classes") as caught:
        read_index(tmp_path, TWO)
    str(caught.value).encode("utf-8")  # or no terminal could show it


def test_read_index__empty_root(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected Training/ and Testing/.* found no folder\."):
        read_index(tmp_path, TWO)


def test_read_index__two_layouts_inside(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, ("first", "second"), ("no", "yes"))
    with pytest.raises(ValueError, match=r"found first, second with class folders in each\..*Give data\.root=PATH"):
        read_index(tmp_path, TWO)


@pytest.mark.parametrize("clutter", [None, ".DS_Store", "Thumbs.db"])
def test_read_index__empty_class_folder(clutter: str | None, image_folder: Path, study_classes: Classes) -> None:
    for path in (image_folder / "Testing" / "glioma_tumor").iterdir():
        path.unlink()
    if clutter:
        (image_folder / "Testing" / "glioma_tumor" / clutter).write_bytes(b"clutter")
    with pytest.raises(ValueError, match=r"found none in Testing/glioma_tumor\. Fill or remove them"):
        read_index(image_folder, study_classes)


def test_read_index__absent_classes(tmp_path: Path, draw: Draw, study_classes: Classes) -> None:
    fill(draw, tmp_path, (".",), ("glioma",))
    expected = r"the 4 classes .* found none for no_tumor, pituitary_tumor, meningioma_tumor\..*data\.classes"
    with pytest.raises(ValueError, match=expected):
        read_index(tmp_path, study_classes)


@pytest.mark.parametrize("classes", [[], [["tumor"]]], ids=["none", "one"])
def test_read_index__single_class(classes: Classes, tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("tumor",))
    with pytest.raises(ValueError, match=rf"at least two classes, got {len(classes)}\..*data\.classes"):
        read_index(tmp_path, classes)


def test_read_index__unknown_classes(image_folder: Path, study_classes: Classes, draw: Draw) -> None:
    (image_folder / "Testing" / "glioma_tumor").rename(image_folder / "Testing" / "gliomma")
    draw(image_folder / "Testing" / "ependymoma" / "0.png")
    expected = (
        r"2 folder\(s\) .* no known class: Testing/ependymoma, Testing/gliomma\."
        r".* Known names are .*pituitary_tumor.*data\.classes"
    )
    with pytest.raises(ValueError, match=expected):
        read_index(image_folder, study_classes)


def test_read_index__a_mistyped_class(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"of no known class: c\. No folder is of d\. Known names are a, b, d\."):
        read_index(tmp_path, [["a"], ["b"], ["d"]])


def test_read_index__folders_of_no_class_are_left_out_D03(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("yes", "no"))
    fill(draw, tmp_path, ("Br35H-Mask-RCNN",), ("TRAIN", "VAL"))
    draw(tmp_path / "pred" / "pred0.jpg")

    index = read_index(tmp_path, TWO)

    assert len(index) == 4
    assert index.left_out == ("Br35H-Mask-RCNN", "pred")
    assert index.without([]).left_out == index.left_out


def test_read_index__another_data_set_may_lack_classes_and_have_others(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("b", "z"))
    (tmp_path / "a").mkdir()

    index = read_index(tmp_path, [["a"], ["b"], ["c"]], every_class=False)

    assert (index.classes, index.missing_classes()) == (("a", "b", "c"), ["a", "c"])
    assert (set(index.labels.tolist()), index.left_out) == ({1}, ("z",))
    for path in (tmp_path / "b").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"Expected images in every class folder of .*, found none in a, b"):
        read_index(tmp_path, [["a"], ["b"], ["c"]], every_class=False)


@pytest.mark.parametrize(
    ("around", "splits"),
    [
        ("archive/brain (1)", ("Training", "Testing")),
        ("archive/brain (1)/data", (".",)),
        (".", ("Training/Training", "Testing/Testing")),
        ("archive", ("Training/training", "Testing/Testing")),
    ],
    ids=["D06 two folders around splits", "D06 three around classes", "D05 doubled", "D05 doubled in an archive"],
)
def test_read_index__descends(
    around: str, splits: Sequence[str], tmp_path: Path, draw: Draw, study_classes: Classes
) -> None:
    fill(draw, tmp_path / around, splits, STUDY)
    (tmp_path / "papers").mkdir()

    index = read_index(tmp_path, study_classes)

    assert index.root == tmp_path / around
    assert len(index) == 8 * len(splits)
    assert set(index.official) == ({""} if splits == (".",) else {"train", "test"})


def test_read_index__patient_folders_D07(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path / "no", ("p1", "p2/series 1"), (".",), count=3)
    fill(draw, tmp_path / "yes", (".", "p1", "p3/masks"), (".",), count=2)
    for label, path in enumerate(("no/p2/series 1/0.png", "yes/0.png")):
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes() + bytes(label))

    index = read_index(tmp_path, TWO)

    paths = ("no/p1/0.png", "no/p1/1.png", "no/p1/2.png", "no/p2/series 1/0.png", "no/p2/series 1/1.png",
             "no/p2/series 1/2.png", "yes/0.png", "yes/1.png", "yes/p1/0.png", "yes/p1/1.png")  # fmt: skip
    assert index.paths == paths
    assert index.patients == ("p1",) * 3 + ("p2",) * 3 + ("", "") + ("p1",) * 2
    assert index.labels.tolist() == [0] * 6 + [1] * 4
    assert [path for path, _ in index.bad] == ["yes/p3/masks/0.png", "yes/p3/masks/1.png"]
    assert index.without([("no/p1/0.png", "truncated")]).patients == index.patients[1:]


def test_read_index__one_folder_inside_each_class_is_no_patient_D07(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, ("no", "yes"), ("images", "masks"))

    index = read_index(tmp_path, TWO)

    assert index.paths == ("no/images/0.png", "no/images/1.png", "yes/images/0.png", "yes/images/1.png")
    assert len(index.bad) == 4


NAMED = {
    "flat": (["cat", "dog"], [["cat"], ["dog"]]),
    "lists": ([["no_tumor", "no"], ["tumor"]], [["no_tumor", "no"], ["tumor"]]),
    "mixed": ([["no_tumor", "no"], "tumor"], [["no_tumor", "no"], ["tumor"]]),
    "numbers": ([0, 1], [["0"], ["1"]]),
}


@pytest.mark.parametrize(("classes", "expected"), NAMED.values(), ids=NAMED.keys())
def test_named_classes__X03(classes: Sequence[object], expected: Classes, tmp_path: Path) -> None:
    assert named_classes(classes, tmp_path / "absent") == expected


@pytest.mark.parametrize("classes", [[False, "yes"], [["no_tumor", False], ["tumor", True]]], ids=["flat", "lists"])
def test_named_classes__unquoted_no_X03(classes: Sequence[object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names in `data\.classes`, got False: YAML takes an unquoted no.*in quotes"):
        named_classes(classes, tmp_path)


def test_named_classes__no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names in `data\.classes`, got 1\.5"):
        named_classes([1.5, "cat"], tmp_path)


@pytest.mark.parametrize("holders", [(".",), ("train", "Test"), ("archive/pets/train",), ("a/b",)])
def test_named_classes__of_the_folders(holders: Sequence[str], tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, holders, ("dog", "Zebra", "cat", "\u00e4sche"))
    if len(holders) > 1:
        (tmp_path / "Test" / "dog").rename(tmp_path / "Test" / "DOG")

    classes = named_classes(None, tmp_path)

    first = "DOG" if len(holders) > 1 else "dog"  # the first spelling in bytewise order
    expected = sorted(["Zebra", "cat", first, "\u00e4sche"], key=str.encode)
    assert classes == [[name] for name in expected]
    assert read_index(tmp_path, classes).classes == tuple(expected)


def test_named_classes__one_folder(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path, (".",), ("dog",))
    with pytest.raises(ValueError, match=r"Expected a folder for each class below .*, found dog\."):
        named_classes(None, tmp_path)


def test_read_index__a_folder_around_the_classes_has_the_name_of_one(tmp_path: Path, draw: Draw) -> None:
    fill(draw, tmp_path / "tumor", (".",), ("healthy", "tumor"))

    classes = named_classes(None, tmp_path)

    assert classes == [["healthy"], ["tumor"]]
    assert read_index(tmp_path, classes).root == tmp_path / "tumor"


def test_named_classes__no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder of images at .*absent, found nothing"):
        named_classes(None, tmp_path / "absent")


def test_read_index__class_folder_beside_splits(image_folder: Path, study_classes: Classes, draw: Draw) -> None:
    draw(image_folder / "glioma" / "0.png")
    with pytest.raises(ValueError, match=r"inside Testing or Training, found glioma beside them\. Move"):
        read_index(image_folder, study_classes)


def test_class_aliases__name_of_two_classes() -> None:
    with pytest.raises(ValueError, match=r"each name in `data\.classes` once, got 'No-Tumor' for two classes"):
        class_aliases([["no_tumor"], ["tumor", "No-Tumor"]])


def test_class_aliases__class_without_name() -> None:
    with pytest.raises(ValueError, match=r"Expected a name .*got none for label 1"):
        class_aliases([["no_tumor"], []])


PLAIN = [("No  Tumor", "no_tumor"), ("no-_ tumor", "no_tumor"), (" Yes ", "yes"), ("GLIOMA", "glioma")]


@pytest.mark.parametrize(("name", "expected"), PLAIN, ids=[repr(name) for name, _ in PLAIN])
def test_plain__case_and_gaps(name: str, expected: str) -> None:
    assert plain(name) == expected


def test_printable__keeps_text_and_escapes_the_rest() -> None:
    assert printable("scan (1) \u8111.jpg") == "scan (1) \u8111.jpg"
    assert printable(os.fsdecode(b"scan\xff.jpg")) == r"scan\udcff.jpg"


@pytest.fixture
def small() -> Index:
    return Index(
        Path("set"),
        ("a.png", "b.png", "c.png"),
        np.array([0, 1, 1]),
        ("no_tumor", "tumor"),
        ("train", "train", "test"),
        ("1" * 64, "2" * 64, "3" * 64),
        (("x.png", "empty, 0 bytes"),),
    )


def test_without__rows_leave_together(small: Index) -> None:
    left = small.without([("b.png", "truncated")])

    assert len(left) == 2
    assert left.paths == ("a.png", "c.png")
    assert left.labels.tolist() == [0, 1]
    assert left.official == ("train", "test")
    assert left.digests == ("1" * 64, "3" * 64)
    assert left.bad == (("b.png", "truncated"), ("x.png", "empty, 0 bytes"))
    assert small.without([]).paths == small.paths


def test_missing_classes__of_all_or_some(small: Index) -> None:
    assert small.missing_classes() == []
    assert small.missing_classes(np.array([1, 2])) == ["no_tumor"]
    assert small.missing_classes(np.array([], dtype=np.int64)) == ["no_tumor", "tumor"]


def test_digest__oracle(small: Index) -> None:
    text = f"{'1' * 64}  a.png  0\n{'2' * 64}  b.png  1\n{'3' * 64}  c.png  1\n"
    assert small.digest() == hashlib.sha256(text.encode()).hexdigest()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "Training/no_tumor/no_tumor (0).png").write_bytes(b"other"),
    "name": lambda root: (root / "Training/no_tumor/no_tumor (0).png").rename(root / "Training/no_tumor/new.png"),
    "label": lambda root: (root / "Training/no_tumor/no_tumor (0).png").rename(
        root / "Training/glioma_tumor/no_tumor (0).png"
    ),
    "one file less": lambda root: (root / "Training/no_tumor/no_tumor (0).png").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_digest__changes_with_the_data(
    change: Callable[[Path], object], image_folder: Path, study_classes: Classes, tmp_path: Path
) -> None:
    before = read_index(image_folder, study_classes).digest()
    copy = tmp_path / "copied elsewhere"
    shutil.copytree(image_folder, copy)
    assert read_index(copy, study_classes).digest() == before

    change(copy)

    assert read_index(copy, study_classes).digest() != before


@pytest.mark.real_data
def test_read_index__real_data(real_data: Path, study_classes: Classes) -> None:
    index = read_index(real_data, study_classes)

    manifest = "".join(f"{digest}  {path}\n" for digest, path in zip(index.digests, index.paths, strict=True))
    assert (
        hashlib.sha256(manifest.encode()).hexdigest()
        == "c5c92df9510003a53455d2c487070e7c76764c2772a4811ff5da4e42c145636b"
    )
    assert len(index) == 3264
    assert np.bincount(index.labels).tolist() == [500, 901, 937, 926]
    assert (index.official.count("train"), index.official.count("test")) == (2870, 394)
    assert index.bad == ()
