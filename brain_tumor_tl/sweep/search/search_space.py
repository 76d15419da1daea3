"""Space: the keys that a search tries values of, and how a value is written on a command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

DIGITS = 4  # of a suggested fraction: enough to tell trials apart, and short in the names of folders


class Suggests(Protocol):
    """What an Optuna trial does here."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a fraction."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return a whole number."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """Return one of some texts."""


@dataclass(frozen=True)
class Parameter:
    """A key or group of a search, and the values it may take.

    Attributes:
        key: As it is typed, `+` included.
        kind: Whether values are fractions, whole numbers, or one of `choices`.
        low: The least value.
        high: The greatest value.
        step: Values are `low` and so many steps more; None for any value.
        log: Draw as evenly over powers of ten as else over the values.
        choices: The values, written as on the command line.
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

    def suggest(self, trial: Suggests) -> str:
        """Return the value that a trial is to have, written as on the command line."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, self.choices)
        if self.kind == "integer":
            step = int(self.step or 1)
            return str(trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log))
        value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return short(value, self.low, self.high) if self.step is None else f"{value:.12g}"

    def extremes(self) -> list[str]:
        """Return the least and the greatest value, or all choices, written as on the command line."""
        if self.kind == "choice":
            return list(dict.fromkeys(self.choices))
        return [str(int(value)) if self.kind == "integer" else f"{value:.12g}" for value in (self.low, self.high)]

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        if self.kind == "choice":
            return None if self.choices else f"Expected values of `{self.name}`, got none."
        if self.low > self.high:
            return f"Expected the least value of `{self.name}` first, got {self.low:g} to {self.high:g}."
        if self.log and self.low <= 0:
            return f"Expected values of `{self.name}` above 0, for they are drawn over powers of ten, got {self.low:g}."
        return None


def short(value: float, low: float, high: float) -> str:
    """Return a number in few digits that lies between two others, as the number itself does.

    >>> short(0.000316227766, 1e-5, 1e-2), short(0.99999, 0.5, 0.99999)
    ('0.0003162', '0.99999')
    """
    text = f"{value:.{DIGITS}g}"
    return text if low <= float(text) <= high else repr(value)


def suggested(trial: Suggests, space: Sequence[Parameter]) -> list[str]:
    """Return the overrides of a trial."""
    return [f"{parameter.key}={parameter.suggest(trial)}" for parameter in space]


def corners(space: Sequence[Parameter]) -> list[list[str]]:
    """Return overrides that hold every extreme value once, the others at their first, to see whether all can run."""
    first = {parameter.key: parameter.extremes()[0] for parameter in space}
    changed = [first | {parameter.key: value} for parameter in space for value in parameter.extremes()]
    lines = [[f"{key}={value}" for key, value in values.items()] for values in changed]
    return [line for number, line in enumerate(lines) if line not in lines[:number]]
