"""Config of the data: the typed schema of `data.` and `data.augment.`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brain_tumor_tl.cli.option import AUTO, option

INTENSITIES = ("auto", "range", "percentile", "file")


@dataclass
class AugmentConfig:
    """Random changes of the training images; 0 turns one off."""

    flip: float = option("probability of mirroring a training image left to right", low=0, high=1)
    degrees: float = option("rotate training images by up to this many degrees in either direction", low=0, high=180)
    translate: float = option("shift training images by up to this fraction of their size", low=0, below=1)
    scale: float = option("enlarge or shrink training images by up to this fraction", low=0, below=1)
    brightness: float = option("change the brightness of training images by up to this fraction", low=0, below=1)
    contrast: float = option("change the contrast of training images by up to this fraction", low=0, below=1)
    gamma: float = option(
        "raise the intensities of training images to a power between 1 / (1 + gamma) and 1 + gamma", low=0, high=4
    )
    noise: float = option("add Rician noise of a deviation up to this fraction of full intensity", low=0, below=1)
    mixup: float = option("MixUp of training images and labels: alpha of its Beta distribution", low=0, high=10)
    cutmix: float = option("CutMix of training images and labels: alpha of its Beta distribution", low=0, high=10)


@dataclass
class DataConfig:
    """Where the images are, how they are read and how they are split."""

    source: str = option(
        "if data.root is absent, `kaggle` downloads, `matlab` converts and `phantom` draws the images; `folder` stops",
        choices=("folder", "kaggle", "matlab", "phantom"),
    )
    root: str = option("folder that holds Training/ and Testing/, train/ and test/, or the class folders")
    url: str | None = option("zip archive that data=kaggle downloads if data.root is absent")
    matlab: str | None = option("folder of the .mat files that data=figshare converts if data.root is absent")
    classes: Any = option("classes in label order: names, [cat,dog], or lists of a folder's names; null: all folders")
    hierarchy: Any = option(
        "superclasses to report too: lists of classes by their name, {tumor: [glioma_tumor, ...]}, or null"
    )
    image_size: int = option("height and width in pixels to which images are resized", low=8, high=4096)
    batch_size: int = option("images per optimizer step, over all devices together", low=1)
    drop_last: Any = option(
        "leave out an epoch's last batch if it is not full; auto: only if its one image would stop a BatchNorm layer",
        choices=AUTO,
    )
    normalize: str = option(
        "`unit` scales pixels to 0..1 as in the study, `imagenet` also standardizes them", choices=("unit", "imagenet")
    )
    split: str = option(
        "how images are split: `random` as in the study; `grouped` keeps copies together, `series` also neighbouring "
        "file numbers, `patients` copies and a patient's images; `official` follows the data set's own folders, "
        "`official_clean` without the images that leak; `kfold` tests on one fold (docs/protocols.md)",
        choices=("random", "grouped", "series", "patients", "official", "official_clean", "kfold"),
    )
    fold: int = option("with split=kfold, the fold that is the test split, from 0; -m data.fold=0,1,2,3,4", low=0)
    folds: int = option("with split=kfold, the number of folds", low=2)
    fold_by: str = option(
        "with split=kfold, what stays in one fold", choices=("random", "grouped", "series", "patients")
    )
    test_fraction: float = option("fraction of images in the test split, if it is drawn", above=0, below=1)
    val_fraction: float = option(
        "fraction of images in the validation split; 0: evaluate the test split each epoch", low=0, below=1
    )
    stratify: bool = option("give each split the same fraction of every class; a split by patients always does")
    labels: str | None = option("CSV file with `path`, `label` and maybe `patient`, instead of the folders' labels")
    patients: str | None = option(
        "whose images they are: CSV file with `path` and `patient`; auto: the table of data.labels or the package's own"
    )
    unknown_patients: str = option(
        "in a split by patients, `group` unknown ones by copies and series, `train_only` or `drop` their images",
        choices=("group", "train_only", "drop"),
    )
    merge_scans: bool = option("take patients whose names differ only in one last letter as one")
    drop_conflicts: bool = option("leave out images that occur under two labels, with all their copies")
    shuffle_labels: bool = option("control experiment: train on permuted labels; accuracy must drop to chance")
    find_copies: Any = option(
        "look for copies; auto: near ones, in a minute, only if the split needs them", choices=AUTO
    )
    augment: AugmentConfig = option("")
    on_bad_file: str = option(
        "if files can't be read: `error` stops, `skip` lists them in bad_files.csv", choices=("error", "skip")
    )
    slices: str = option(
        "slices of a DICOM or NIfTI volume: all, middle, numbers from 0 (40-110), part of its height (30%-70%); "
        "perhaps with /3 for every third"
    )
    intensity: str = option("rule for images of more than 8 bits (docs/data.md)", choices=INTENSITIES)
    cache_dir: str = option("folder of decoded images, features, downloads and phantoms, shared by all runs")
    phantoms_per_class: int = option("number of synthetic images that data=phantom draws per class", low=0)
    phantom_size: int = option("height and width in pixels of a synthetic image", low=0)
