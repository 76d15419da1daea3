"""Search space: the keys that a search tries values of, and their values as written on a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from optuna.trial import BaseTrial  # Optuna is an optional dependency

DIGITS = 4  # of a float: enough for trials to differ, and short in folder names


@dataclass(frozen=True)
class Parameter:
    """A key or group of a search, and the values that it may take.

    Attributes:
        key: As typed, `+` included.
        kind: Whether values are floats, integers, or one of `choices`.
        low: The smallest value.
        high: The largest value.
        step: Distance between values, counted from `low`; None for any value.
        log: Whether to sample on a logarithmic scale.
        choices: The values, as written on the command line.
    """

    key: str
    kind: Literal["float", "integer", "choice"]
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The key without `+`."""
        return self.key.lstrip("+")

    def suggest(self, trial: BaseTrial) -> str:
        """Return a value for a trial, as written on the command line."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, self.choices)
        if self.kind == "integer":
            step = int(self.step or 1)
            return str(trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log))
        value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return short(value, self.low, self.high) if self.step is None else f"{value:.12g}"

    def extremes(self) -> list[str]:
        """Return the smallest and the largest value, or all choices, as written on the command line."""
        if self.kind == "choice":
            return list(dict.fromkeys(self.choices))
        return [str(int(value)) if self.kind == "integer" else f"{value:.12g}" for value in (self.low, self.high)]

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        if self.kind == "choice":
            return None if self.choices else f"Expected values of `{self.name}`, got none."
        if self.low > self.high:
            return f"Expected the smallest value of `{self.name}` first, got {self.low:g} to {self.high:g}."
        if self.log and self.low <= 0:
            return f"Expected values of `{self.name}` above 0 for a logarithmic scale, got {self.low:g}."
        return None


def short(value: float, low: float, high: float) -> str:
    """Return a number in few digits that is still between `low` and `high`.

    >>> short(0.000316227766, 1e-5, 1e-2), short(0.99999, 0.5, 0.99999)
    ('0.0003162', '0.99999')
    """
    text = f"{value:.{DIGITS}g}"
    return text if low <= float(text) <= high else repr(value)


def suggested(trial: BaseTrial, space: Sequence[Parameter]) -> list[str]:
    """Return the overrides of a trial."""
    return [f"{parameter.key}={parameter.suggest(trial)}" for parameter in space]


def corners(space: Sequence[Parameter]) -> list[list[str]]:
    """Return overrides with each extreme value once, all other keys at their first, to check that each can run."""
    first = {parameter.key: parameter.extremes()[0] for parameter in space}
    changed = [first | {parameter.key: value} for parameter in space for value in parameter.extremes()]
    lines = dict.fromkeys(tuple(f"{key}={value}" for key, value in values.items()) for values in changed)
    return [list(line) for line in lines]
