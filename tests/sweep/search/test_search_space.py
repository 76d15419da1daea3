"""Space: what a trial suggests becomes text for a command line; extremes, and spaces that are none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from brain_tumor_tl.sweep.search.search_space import Parameter, corners, short, suggested

RATE = Parameter("optimizer.lr", "float", 1e-5, 1e-2, log=True)
DROPOUT = Parameter("+model.options.dropout", "float", 0, 0.5, step=0.1)
SIZE = Parameter("data.batch_size", "integer", 8, 64)
MODEL = Parameter("model", "choice", choices=("vgg16", "resnet18"))


class Fixed:
    """Stands for a trial: gives one number, or the last choice, and keeps what it was asked."""

    def __init__(self, number: float = 0) -> None:
        self.number = number
        self.asked: list[tuple[object, ...]] = []

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked.append((name, low, high, step, log))
        return self.number

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.asked.append((name, low, high, step, log))
        return int(self.number)

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        self.asked.append((name, *choices))
        return choices[-1]


SUGGESTED = {
    "powers": (RATE, 0.000316227766, "optimizer.lr=0.0003162", ("optimizer.lr", 1e-5, 1e-2, None, True)),
    "steps": (
        DROPOUT,
        0.30000000000000004,
        "+model.options.dropout=0.3",
        ("model.options.dropout", 0, 0.5, 0.1, False),
    ),
    "whole": (SIZE, 17, "data.batch_size=17", ("data.batch_size", 8, 64, 1, False)),
    "choice": (MODEL, 0, "model=resnet18", ("model", "vgg16", "resnet18")),
}


@pytest.mark.parametrize(("parameter", "number", "text", "asked"), SUGGESTED.values(), ids=SUGGESTED)
def test_suggested__overrides(parameter: Parameter, number: float, text: str, asked: tuple[object, ...]) -> None:
    trial = Fixed(number)

    assert suggested(trial, [parameter]) == [text]
    assert trial.asked == [asked]


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
    "reversed": (Parameter("a", "float", 1, 0), "the least value of `a` first, got 1 to 0"),
    "powers-of-nothing": (Parameter("a", "float", 0, 1, log=True), "`a` above 0, .* got 0"),
    "nothing": (Parameter("+a", "choice"), "Expected values of `a`, got none"),
}


@pytest.mark.parametrize(("parameter", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_problem__told(parameter: Parameter, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raise ValueError(parameter.problem())


@pytest.mark.parametrize("parameter", [RATE, DROPOUT, SIZE, MODEL], ids=lambda parameter: parameter.name)
def test_problem__none(parameter: Parameter) -> None:
    assert parameter.problem() is None
