import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from brain_tumor_tl.cli import heads as cli_heads
from brain_tumor_tl.model.estimators import GRIDS
from brain_tumor_tl.model.heads import (
    FITTED,
    HEADS,
    Backbones,
    FittedHead,
    KernelHead,
    NeighbourHead,
    directions,
    is_fitted,
    make_head,
    membership,
    parts_of,
)


def settings(name: str, **others: Any) -> dict[str, Any]:
    return {"name": name, "hidden": 8, "dropout": 0.0, "grid": {}, "folds": 2, "backbones": [], **others}


def test_heads__are_those_of_the_configuration() -> None:
    assert set(HEADS) == set(cli_heads.HEADS)
    assert {name: cli_heads.HEADS[name] for name in FITTED} == GRIDS


def test_is_fitted() -> None:
    assert is_fitted(settings("svm"))
    assert not is_fitted(settings("mlp"))
    assert not is_fitted(None)


def test_directions__products_are_mean_cosines_of_the_backbones() -> None:
    random = np.random.default_rng(0)
    features = torch.from_numpy(random.normal(3, 2, (6, 5)))
    mean, std = features.mean(0), features.std(0)
    found = directions(features, mean, std, torch.from_numpy(membership([2, 3])).double())
    rows = (features - mean) / std
    cosines = [nn.functional.cosine_similarity(part[:, None], part[None], -1) for part in (rows[:, :2], rows[:, 2:])]
    torch.testing.assert_close(found @ found.T, sum(cosines) / 2)


def test_directions__of_the_mean_is_finite() -> None:
    found = directions(torch.ones(1, 3), torch.ones(3), torch.ones(3), torch.ones(1, 3))
    assert found.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("name", HEADS)
def test_make_head__of_every_name(name: str) -> None:
    head = make_head(settings(name), 6, 3)
    if isinstance(head, FittedHead):
        assert {len(value.shape) for value in head.state_dict().values()} == {1}  # empty
    else:
        assert head(torch.zeros(2, 6)).shape == (2, 3)


def test_make_head__unknown_name() -> None:
    with pytest.raises(ValueError, match="one of linear, mlp, logistic, lda, svm, knn, got 'forest'"):
        make_head(settings("forest"), 6, 3)


def filled_kernel_head() -> KernelHead:
    head = KernelHead()
    vectors = nn.functional.normalize(torch.randn(7, 4))
    numbers = {
        "vectors": vectors,
        "gamma": torch.tensor(0.5),
        "coefficients": torch.randn(7, 3),
        "offsets": torch.randn(3),
    }
    scale = {"mean": torch.randn(4), "std": torch.ones(4), "parts": torch.ones(1, 4)}
    head.fill({**scale, **numbers, "weight": torch.randn(3, 3), "bias": torch.randn(3)})
    return head


@pytest.mark.parametrize("assign", [False, True])
def test_fitted_head__saved_without_pickle_and_loaded_into_an_empty_one(assign: bool) -> None:
    head, file = filled_kernel_head(), io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    with torch.device("meta" if assign else "cpu"):
        other = KernelHead()
    other.load_state_dict(torch.load(file, weights_only=True), assign=assign)
    inputs = torch.randn(5, 4)
    assert torch.equal(other(inputs), head(inputs))


def test_fitted_head__missing_numbers_are_an_error() -> None:
    state = filled_kernel_head().state_dict()
    del state["gamma"]
    with pytest.raises(RuntimeError, match="gamma"):
        KernelHead().load_state_dict(state)


def test_fitted_head__can_be_explained() -> None:
    inputs = torch.randn(5, 4, requires_grad=True)
    filled_kernel_head()(inputs)[:, 1].sum().backward()
    assert inputs.grad is not None
    assert (inputs.grad != 0).any()


def test_neighbour_head__votes_by_hand() -> None:
    head, known = NeighbourHead(), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    scale = {"mean": torch.zeros(2), "std": torch.ones(2), "parts": torch.ones(1, 2)}
    head.fill({**scale, "vectors": known, "classes": np.eye(3)[[0, 1, 2, 0]], "votes": np.ones(2)})
    found = head(torch.tensor([[2.0, 1.0]])).exp()[0]  # the two nearest are of classes 0 and 1
    torch.testing.assert_close(found, torch.tensor([4 / 3, 4 / 3, 1 / 3]) / 3)


def test_backbones__features_one_after_the_other() -> None:
    first, second = nn.Flatten(), nn.Sequential(nn.Flatten(), nn.ReLU())
    images = torch.randn(2, 3, 2, 2)
    both = Backbones([first, second])
    assert torch.equal(both(images), torch.cat([first(images), second(images)], 1))
    assert parts_of(both) == [first, second]
    assert parts_of(first) == [first]
