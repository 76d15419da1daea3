from typing import Any

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor, nn

from brain_tumor_tl.model import fitting
from brain_tumor_tl.model.estimators import scaled
from brain_tumor_tl.model.fitting import Fitter, candidates, check_pairs, grouped_folds, require_scikit_learn
from brain_tumor_tl.model.heads import FITTED, KernelHead, make_head, membership

GRID = {
    "logistic": {"C": [0.01, 1.0]}, "lda": {"shrinkage": ["auto", 0.3]}, "svm": {"C": [1, 10], "gamma": 1.0},
    "knn": {"neighbors": [3, 1]},
}  # fmt: skip
WIDTHS = [7, 5]


def problem(classes: int, images: int = 90) -> tuple[Tensor, Tensor, Any]:
    """Return features of overlapping classes, their labels, and groups of three images of one class."""
    random = np.random.default_rng(classes)
    labels = np.repeat(np.arange(images // 3) % classes, 3)
    centres = random.normal(0, 1, (classes, sum(WIDTHS)))
    features = 5 + 3 * (centres[labels] + random.normal(0, 1.2, (images, sum(WIDTHS))))
    return torch.from_numpy(features).float(), torch.from_numpy(labels), np.arange(images) // 3


def fit(name: str, classes: int, **others: Any) -> tuple[nn.Module, Fitter]:
    features, labels, groups = problem(classes)
    head = make_head({"name": name}, features.shape[1], classes)
    settings = {"name": name, "grid": GRID[name], "folds": 3}
    fitter = Fitter(head, settings, WIDTHS, groups, [f"class {n}" for n in range(classes)], **others)
    logits = fitter.learn(features, labels)
    torch.testing.assert_close(logits, head(features))
    return head, fitter


def oracle(name: str, chosen: dict[str, Any], classes: int) -> tuple[Any, Any, Any]:
    """Return scikit-learn's own estimator, fitted, and what it takes of the training and of other images."""
    features, labels, _ = problem(classes)
    others = features + torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    scales = scaled(features.double(), torch.from_numpy(membership(WIDTHS)).double())
    rows, vectors = ((others.double() - scales.mean) / scales.std).numpy(), scales.vectors.numpy()
    lengths = [np.linalg.norm(rows[:, part], axis=1, keepdims=True) for part in (slice(0, 7), slice(7, 12))]
    unit = np.concatenate([rows[:, :7] / lengths[0], rows[:, 7:] / lengths[1]], 1) / np.sqrt(2)
    by_name = {
        "logistic": lambda: LogisticRegression(C=chosen["C"], max_iter=1000),
        "lda": lambda: LinearDiscriminantAnalysis("lsqr", shrinkage=chosen["shrinkage"]),
        "svm": lambda: SVC(C=chosen["C"], gamma=chosen["gamma"], decision_function_shape="ovo"),
        "knn": lambda: KNeighborsClassifier(chosen["neighbors"]),
    }
    inputs = (scales.rows.numpy(), rows) if name in ("logistic", "lda") else (vectors, unit)
    return by_name[name]().fit(inputs[0], labels.numpy()), others, inputs[1]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", FITTED)
def test_fitter__as_scikit_learn(name: str, classes: int) -> None:
    head, fitter = fit(name, classes)
    estimator, images, rows = oracle(name, fitter.about["chosen"], classes)
    with torch.no_grad():
        found = head(images)
    if name == "svm":
        assert isinstance(head, KernelHead)
        expected = estimator.decision_function(rows).reshape(len(rows), -1)
        np.testing.assert_allclose(head.margins(images).numpy(), expected, atol=2e-3)
        return
    expected = estimator.predict_proba(rows)
    if name == "knn":
        neighbors = fitter.about["chosen"]["neighbors"]
        expected = (expected * neighbors + 1 / classes) / (neighbors + 1)
    np.testing.assert_allclose(found.softmax(1).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_fitter__svm_predicts_as_its_margins_and_knows_how_often_it_is_right(classes: int) -> None:
    head, fitter = fit("svm", classes)
    estimator, images, rows = oracle("svm", fitter.about["chosen"], classes)
    with torch.no_grad():
        probabilities = head(images).softmax(1)
    labels = problem(classes)[1]
    assert (probabilities.argmax(1).numpy() == estimator.predict(rows)).mean() > 0.9
    right = (probabilities.argmax(1) == labels).float().mean()
    assert abs(float(probabilities.amax(1).mean() - right)) < 0.15


@pytest.mark.parametrize("name", FITTED)
def test_fitter__same_seed_same_head(name: str) -> None:
    first, second = (fit(name, 3)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["logistic", "svm"])
def test_fitter__weights_of_classes_move_predictions_to_the_heavy_class(name: str) -> None:
    features = problem(4)[0]
    counts = []
    for weights in (None, [1.0, 30.0, 1.0, 1.0]):
        head, _ = fit(name, 4, class_weights=weights)
        counts.append(int((head(features).argmax(1) == 1).sum()))
    assert counts[1] > counts[0]


def test_fitter__keeps_the_best_candidate_and_what_it_tried() -> None:
    _, fitter = fit("knn", 4)
    about = fitter.about
    assert [entry["neighbors"] for entry in about["tried"]] == [3, 1]
    assert about["accuracy"] == max(entry["accuracy"] for entry in about["tried"])
    assert {"neighbors": about["chosen"]["neighbors"], "accuracy": about["accuracy"]} in about["tried"]
    assert (about["name"], about["folds"], about["groups"]) == ("knn", 3, 30)


def test_fitter__accuracy_is_of_images_whose_group_was_left_out() -> None:
    """Every group is three copies with a label of its own: who has seen one copy knows the others."""
    random = np.random.default_rng(0)
    features = torch.from_numpy(np.repeat(random.normal(size=(40, 12)), 3, axis=0)).float()
    labels, groups = torch.from_numpy(np.repeat(random.permutation(np.arange(40) % 2), 3)), np.arange(120) // 3
    found = []
    for by in (groups, np.arange(120)):
        settings = {"name": "knn", "grid": {"neighbors": 1}, "folds": 5}
        fitter = Fitter(make_head({"name": "knn"}, 12, 2), settings, WIDTHS, by, ["a", "b"])
        fitter.learn(features, labels)
        found.append(fitter.about["accuracy"])
    assert found[0] < 0.75 < found[1]


def test_grouped_folds__divide_no_group_and_hold_every_image_once() -> None:
    random = np.random.default_rng(0)
    groups = random.integers(0, 60, 400)
    labels = groups % 4
    folds = grouped_folds(labels, groups, 5, 0, list("abcd"))
    assert len(folds) == 5
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
        assert set(labels[train]) == set(labels[held]) == {0, 1, 2, 3}
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(400))


def test_grouped_folds__too_few_groups_of_a_class() -> None:
    labels, groups = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 1, 2, 3, 4, 4, 5, 5])
    with pytest.raises(ValueError, match=r"head.folds=3 groups in every class.*got 2 of b. Give head.folds=2, or"):
        grouped_folds(labels, groups, 3, 0, ["a", "b"])
    with pytest.raises(ValueError, match=r"got 0 of c. Give more images, or head=linear"):
        grouped_folds(labels, groups, 2, 0, ["a", "b", "c"])


def test_candidates__single_values_need_no_list() -> None:
    assert candidates("svm", {"gamma": [1, 2], "C": 3}) == [{"C": 3, "gamma": 1}, {"C": 3, "gamma": 2}]


def test_check_pairs__too_many_images() -> None:
    check_pairs("svm", 3264)
    with pytest.raises(ValueError, match=r"10,000,000 images for head=svm would take .* GB. Give head=logistic"):
        check_pairs("svm", 10_000_000)


def test_require_scikit_learn__names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'brain_tumor_tl\[heads\]'"):
        require_scikit_learn("svm")
