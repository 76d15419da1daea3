"""ResultsFile: what a results.json holds, checked before anything uses it, so that a damaged one is named as such."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.schema_1 import upgrade_results

SCHEMA = 2  # raise it when a key changes its name or meaning, and upgrade older files as schema_1.py does
REQUIRED = (
    "name", "model", "method", "seed", "epochs", "accuracy", "seconds_per_epoch", "protocol", "protocol.synthetic",
    "protocol.text",
)  # fmt: skip
# What a value must be, by its dotted key; `*` stands for every key of a table. All but the required may be absent or
# null, since runs of older versions lack some.
HOLDS = {
    "a text": (
        "name", "model", "method", "protocol.text", "protocol.title", "protocol.split", "protocol.accuracy_of",
        "protocol.monitored", "protocol.best_chosen_on", "choices.*", "trial.metric", "probabilities.no_temperature",
        "intervals.unit", "environment.device", "environment.precision", "environment.digests.*", "config.name",
        "config.data.root", "config.data.cache_dir", "config.data.labels", "config.data.normalize",
        "config.data.on_bad_file", "config.data.intensity", "config.model.name", "config.method.name", "learning.from",
    ),
    "a whole number": (
        "seed", "epochs", "best_epoch", "per_class.*.support", "protocol.counts.*", "protocol.fold", "protocol.folds",
        "protocol.test_images", "protocol.known_patients", "protocol.patients_in_training", "intervals.units",
        "config.data.image_size", "config.data.batch_size", "learning.parameters",
    ),
    "a number": (
        "accuracy", "best_accuracy", "balanced_accuracy", "macro_f1", "loss", "seconds_total", "seconds_per_epoch.*",
        "per_class.*.precision", "per_class.*.recall", "per_class.*.f1", "features.seconds", "study.accuracy",
        "trial.value", "protocol.nearest_neighbour", "probabilities.auroc", "probabilities.average_precision",
        "probabilities.brier", "probabilities.log_loss", "probabilities.calibration_error",
        "probabilities.calibrated.calibration_error", "intervals.level", "learning.layers",
    ),
    "a number above 0": ("probabilities.temperature",),
    "true or false": ("protocol.synthetic", "protocol.limited", "protocol.shuffled_labels", "features.cached"),
    "a list of texts": ("classes", "classes_in_means", "changed", "given"),
    "a list of lists of whole numbers": ("confusion_matrix",),
    "a list of two numbers": (
        "intervals.accuracy", "intervals.accuracy_bootstrap", "intervals.balanced_accuracy", "intervals.macro_f1",
        "intervals.auroc", "intervals.per_class.*.*",
    ),
    "a list of tables": ("probabilities.reliability", "probabilities.calibrated.reliability"),
    "a table": (
        "protocol", "seconds_per_epoch", "per_class", "per_class.*", "features", "study", "choices", "trial",
        "config", "config.data", "config.model", "config.method", "config.trainer", "config.scheduler",
        "config.optimizer", "config.loss", "environment",
        "environment.digests", "intervals", "intervals.per_class", "intervals.per_class.*", "probabilities",
        "probabilities.per_class", "probabilities.per_class.*", "probabilities.calibrated", "protocol.counts",
        "protocol.missing_classes", "learning", "superclasses", "head",
    ),
}  # fmt: skip

WHOLE = {  # what a table has, if it is there; null counts
    "per_class.*": ("precision", "recall", "f1", "support"),
    "trial": ("metric", "value"),
    "study": ("accuracy",),
    "probabilities": ("auroc", "calibration_error", "temperature", "calibrated"),
    "probabilities.calibrated": ("calibration_error",),
    "learning": ("from", "layers", "parameters"),
}


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number from 0 to the largest of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def all_are(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return the test of a list whose values all pass another test."""
    return lambda values: isinstance(values, list) and all(map(test, values))


TESTS: dict[str, Callable[[Any], bool]] = {
    "a text": lambda value: isinstance(value, str),
    "a whole number": is_whole,
    "a number": is_number,
    "a number above 0": lambda value: is_number(value) and value > 0,
    "true or false": lambda value: isinstance(value, bool),
    "a list of texts": all_are(lambda value: isinstance(value, str)),
    "a list of lists of whole numbers": all_are(all_are(is_whole)),
    "a list of two numbers": lambda value: all_are(is_number)(value) and len(value) == 2,
    "a list of tables": all_are(lambda value: isinstance(value, Mapping)),
    "a table": lambda value: isinstance(value, Mapping),
}


def read_results(path: Path, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content of a `results.json` in the current schema.

    Args:
        path: The file.
        needed: Dotted keys that must be there beside the required ones.

    Raises:
        ValueError: It can't be read, is of an unknown schema, lacks a key or has a wrong value; the message says what
            can be done.
    """
    try:
        results = read_json(path)
        check_results(results, needed)
    except ValueError as error:
        raise ValueError(
            f"{error} The run's other files are not affected. Put {path} back if you have a copy, or remove it and "
            "start the run again with the same settings: it is tested again, and trains no epoch that is saved."
        ) from error
    return {**upgrade_results(results), "schema": SCHEMA} if results["schema"] == 1 else results


def check_results(results: Mapping[str, Any], needed: Iterable[str] = ()) -> None:
    """Raise a ValueError that names every key which is absent or of a wrong kind; see `read_results`."""
    if results.get("schema") not in (1, SCHEMA):
        raise ValueError(
            f"results.json is of another version or program: expected schema {SCHEMA} or 1, got "
            f"{shown(results.get('schema'))}."
        )
    lacking = [key for key in (*REQUIRED, *needed) if not any(value is not None for _, value in found(results, key))]
    if lacking:
        raise ValueError(f"results.json lacks {', '.join(lacking)}.")
    lacking = [
        f"{place}.{name}"
        for key, names in WHOLE.items()
        for place, table in found(results, key)
        if isinstance(table, Mapping)
        for name in names
        if name not in table
    ]
    wrong = [
        f"{place} to be {kind}, got {shown(value)}"
        for kind, keys in HOLDS.items()
        for key in keys
        for place, value in found(results, key)
        if value is not None and not TESTS[kind](value)
    ]
    if lacking:
        raise ValueError(f"results.json lacks {', '.join(lacking[:5])}.")
    if wrong:
        raise ValueError(f"results.json is damaged: expected {'; '.join(wrong[:5])}.")


def found(table: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested tables that a dotted key with `*` stands for.

    >>> list(found({"a": {"x": {"n": 1}, "y": {}}}, "a.*.n"))
    [('a.x.n', 1)]
    """
    first, _, rest = key.partition(".")
    if isinstance(table, Mapping):
        for name in table if first == "*" else [first] if first in table else []:
            below = found(table[name], rest) if rest else [("", table[name])]
            yield from ((f"{name}.{place}".rstrip("."), value) for place, value in below)


def shown(value: Any) -> str:
    """Return a value of JSON as short text.

    >>> shown([1, 2]), shown("x" * 99)
    ('a list of 2', "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...")
    """
    if isinstance(value, list | Mapping):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
