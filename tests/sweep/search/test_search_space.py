"""Search space: suggested values as overrides, extremes, and invalid spaces."""

from __future__ import annotations

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from brain_tumor_tl.sweep.search.search_space import Parameter, corners, short, suggested

RATE = Parameter("optimizer.lr", "float", 1e-5, 1e-2, log=True)
DROPOUT = Parameter("+model.options.dropout", "float", 0, 0.5, step=0.1)
SIZE = Parameter("data.batch_size", "integer", 8, 64)
MODEL = Parameter("model", "choice", choices=("vgg16", "resnet18"))


SUGGESTED: dict[str, tuple[Parameter, float | str, str, BaseDistribution]] = {
    "log": (RATE, 0.000316227766, "optimizer.lr=0.0003162", FloatDistribution(1e-5, 1e-2, log=True)),
    "steps": (DROPOUT, 0.30000000000000004, "+model.options.dropout=0.3", FloatDistribution(0, 0.5, step=0.1)),
    "integer": (SIZE, 17, "data.batch_size=17", IntDistribution(8, 64)),
    "choice": (MODEL, "resnet18", "model=resnet18", CategoricalDistribution(("vgg16", "resnet18"))),
}


@pytest.mark.parametrize(("parameter", "value", "text", "distribution"), SUGGESTED.values(), ids=SUGGESTED)
def test_suggested__overrides(
    parameter: Parameter, value: float | str, text: str, distribution: BaseDistribution
) -> None:
    trial = FixedTrial({parameter.name: value})

    assert suggested(trial, [parameter]) == [text]
    assert trial.distributions == {parameter.name: distribution}


@pytest.mark.parametrize("value", [1.00004e-5, 1e-5, 0.00999999, 0.01])
def test_short__stays_between_the_bounds(value: float) -> None:
    text = short(value, 1e-5, 1e-2)

    assert 1e-5 <= float(text) <= 1e-2
    assert float(text) == pytest.approx(value, rel=1e-3)


def test_corners__each_extreme_once() -> None:
    assert corners([RATE, MODEL]) == [
        ["optimizer.lr=1e-05", "model=vgg16"],
        ["optimizer.lr=0.01", "model=vgg16"],
        ["optimizer.lr=1e-05", "model=resnet18"],
    ]


PROBLEMS = {
    "reversed": (Parameter("a", "float", 1, 0), "the smallest value of `a` first, got 1 to 0"),
    "log-of-zero": (Parameter("a", "float", 0, 1, log=True), "`a` above 0 for .*, got 0"),
    "nothing": (Parameter("+a", "choice"), "Expected values of `a`, got none"),
}


@pytest.mark.parametrize(("parameter", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_problem__message(parameter: Parameter, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raise ValueError(parameter.problem())


@pytest.mark.parametrize("parameter", [RATE, DROPOUT, SIZE, MODEL], ids=lambda parameter: parameter.name)
def test_problem__none(parameter: Parameter) -> None:
    assert parameter.problem() is None
