"""Heads: what is wrong with the keys of `head.` is told before any work."""

from __future__ import annotations

import re
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.cli import heads
from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.config import choices_of
from brain_tumor_tl.cli.heads import HEADS, head_problems, whole_backbones
from brain_tumor_tl.cli.help import composed


@pytest.fixture(scope="module")
def bases() -> dict[str, DictConfig]:
    """The configuration of a frozen run with each head."""
    return {name: composed(["method=frozen", "data=phantom", f"head={name}"]) for name in HEADS}


def problems(base: DictConfig, *values: str) -> list[str]:
    loose = base.copy()
    OmegaConf.set_struct(loose, False)
    changed = OmegaConf.merge(loose, OmegaConf.from_dotlist(list(values)))
    assert isinstance(changed, DictConfig)
    return list(head_problems(changed))


def test_heads__each_has_a_file() -> None:
    assert set(choices_of("head")) == set(HEADS)


@pytest.mark.parametrize("name", HEADS)
def test_head_problems__none_by_default(bases: dict[str, DictConfig], name: str) -> None:
    settings = checked_settings(bases[name].copy())
    assert settings["head"]["name"] == name
    assert set(settings["head"]["grid"]) == set(HEADS[name])


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("svm", ["method.name=finetune", "method.freeze=false"], "got method=finetune. Give method=frozen"),
        ("svm", ["method.name=partial", "method.train_from=layer3"], "got method=partial"),
        ("svm", ["method.cache_features=false"], "cache_features=false. Leave it at auto"),
        ("lda", ["data.augment.flip=0.5"], "got data.augment.flip=0.5. Set these to 0"),
        ("knn", ["loss.label_smoothing=0.1"], "`loss.label_smoothing=0.1` has no meaning for head=knn"),
        ("knn", ["trainer.limit_train_batches=5"], "Give trainer.limit_train_batches=null"),
        ("lda", ["loss.class_weights=balanced"], "head=lda knows no weights of classes"),
        ("svm", ["head.grid.C=[]"], "at least one value of `head.grid.C`"),
        ("svm", ["head.grid.C=[1,-1]"], "`head.grid.C` to be a number above 0, got -1"),
        ("svm", ["head.grid.gama=1"], r"values of C and gamma, got \['C', 'gamma', 'gama'\]"),
        ("knn", ["head.grid.neighbors=1.5"], "a number of images, at least 1, got 1.5"),
        ("lda", ["head.grid.shrinkage=[auto,2]"], "auto or a number from 0 to 1, got 2"),
        ("linear", ["head.grid.C=1"], r"head=linear to be empty, got \['C'\]"),
        ("linear", ["head.backbones=[vgg16]"], "head=linear takes the features of one backbone"),
        ("svm", ["head.backbones=vgg16"], r"a list such as \[vgg16\], got 'vgg16'"),
        ("svm", ["head.backbones=[{name: vgg16, weigths: null}]"], "Did you mean|weights"),
        ("svm", ["head.backbones=[{weights: null}]"], "name: vgg16"),
    ],
)
def test_head_problems__one(bases: dict[str, DictConfig], name: str, values: list[str], words: str) -> None:
    (found,) = problems(bases[name], *values)
    assert re.search(words, found), found


@pytest.mark.parametrize("name", ["logistic", "svm"])
def test_head_problems__weights_of_classes_are_known(bases: dict[str, DictConfig], name: str) -> None:
    assert not problems(bases[name], "loss.class_weights=balanced")


def test_head_problems__missing_scikit_learn_names_the_extra(
    bases: dict[str, DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "find_spec", lambda name: None)
    assert problems(bases["knn"]) == [
        "head=knn is fitted by scikit-learn, which is missing: pip install 'brain_tumor_tl[heads]'."
    ]
    assert not problems(bases["linear"])


def test_whole_backbones__names_get_the_usual_weights() -> None:
    given: list[Any] = ["vgg16", {"name": "resnet18", "weights": None}]
    assert whole_backbones(given) == [
        {"name": "vgg16", "weights": "IMAGENET1K_V1", "options": {}},
        {"name": "resnet18", "weights": None, "options": {}},
    ]
