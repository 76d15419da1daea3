"""Measure: command-line options, clock, spread of repeats, environment, table and JSON of every benchmark."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from brain_tumor_tl import files
from brain_tumor_tl.cache import installed_version
from brain_tumor_tl.run import hardware, record

T = TypeVar("T")
Row = Mapping[str, Any]

SEVEN = ["resnet18", "resnet50", "vgg16", "densenet121", "googlenet", "shufflenet_v2_x1_0", "mobilenet_v2"]
WIDE = 180  # characters a line where the output is a file or a pipe
PEERS = ("timm", "rich")  # packages that a run's own record leaves out


def absolute(text: str) -> Path:
    """Return an absolute path, since child processes run in the checkout."""
    return Path(text).expanduser().absolute()


HELP: dict[str, tuple[Callable[[str], Any], str]] = {
    "data": (
        absolute,
        "folder of images in any layout that data.root accepts; phantoms are drawn if it is not given",
    ),
    "images": (int, "phantoms to draw if --data is not given"),
    "image_size": (int, "height and width of an image in pixels"),
    "batch_size": (int, "images in an optimizer step"),
    "epochs": (int, "passes over the training split"),
    "repeats": (int, "how often everything is measured; the measurements alternate"),
    "model": (str, "torchvision network"),
    "models": (str, "torchvision networks"),
    "methods": (str, "frozen, finetune or both"),
    "workers": (int, "worker processes or threads, where they are used"),
    "set": (str, "further overrides of `brain-tumor-tl train`, KEY=VALUE"),
    "json": (absolute, "file for all results"),
}


def options(
    description: str | None, arguments: Sequence[str] | None, *more: tuple[str, Any, str], **defaults: Any
) -> argparse.Namespace:
    """Parse a benchmark's command line.

    Args:
        description: The program's docstring; its first line is the description in the help.
        arguments: The command line; None reads the process's.
        more: Options of this program alone: name, default (whose type, or first element's type, is the option's), help.
        defaults: Defaults of the options of `HELP` that the program has; a list means several values.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    known = [(name, default, *HELP[name]) for name, default in {**defaults, "set": [], "json": None}.items()]
    own = [(name, default, kind_of(default), text) for name, default, text in more]
    for name, default, kind, text in [*known, *own]:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=default,
            nargs="*" if isinstance(default, list) else None,
            help=f"{text} (default: {default})",
        )
    return parser.parse_args(arguments)


def kind_of(default: Any) -> Callable[[str], Any]:
    """Return the type of a default, or of its first element."""
    kind: Callable[[str], Any] = type(default[0] if isinstance(default, list) else default)
    return kind


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of repeats."""

    median: float
    least: float
    most: float
    repeats: int

    def __str__(self) -> str:
        between = f" ({shown(self.least)}..{shown(self.most)})" if self.repeats > 1 else ""
        return f"{shown(self.median)}{between}"


def spread(values: Iterable[float]) -> Spread:
    """Return median, minimum and maximum of at least one value.

    >>> spread([3.0, 1.0, 2.0])
    Spread(median=2.0, least=1.0, most=3.0, repeats=3)
    """
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(above: Iterable[float], below: Iterable[float]) -> Spread:
    """Return the spread of ratios of pairs, each measured in the same turn, so that drift of the machine cancels.

    >>> ratios([1.0, 4.0], [2.0, 4.0]).median
    0.75
    """
    return spread(a / b for a, b in zip(above, below, strict=True))


def taking_turns(functions: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Call several functions in turn, `repeats` times over, and return the results of each."""
    results: dict[str, list[T]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            results[name].append(function())
    return results


def now() -> float:
    """Return seconds on a monotonic clock, after a GPU in use has finished its work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(action: Callable[[], object]) -> float:
    """Return the duration of a call in seconds."""
    started = now()
    action()
    return now() - started


def environment() -> dict[str, Any]:
    """Return machine, versions and date for the table and the JSON."""
    found = record.environment()
    found["packages"] |= {name: installed_version(name) for name in PEERS}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "amx": "amx_bf16" in hardware.cpu_flags(),
        "load_before": os.getloadavg()[0],  # about 0 on a quiet machine
        **found,
    }


def processor() -> str:
    """Return the processor's name on Linux, elsewhere its architecture."""
    return next(iter(hardware.cpu_fields("model name")), platform.machine())


def report(title: str, rows: Sequence[Row], options: argparse.Namespace, environment: Mapping[str, Any]) -> None:
    """Print a table with the environment below it, and write everything as JSON if `--json` names a file.

    Args:
        title: Title of the table.
        rows: Values by column; the first row has the table's columns.
        options: The program's options; they go into the JSON.
        environment: The result of `environment()` before the measurement.
    """
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    table = Table(title=title, caption=caption(environment), caption_justify="left")
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(shown(row[column]) for column in rows[0]))
    console.print(table)
    if options.json is not None:
        chosen = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        content = {"title": title, "environment": environment, "options": chosen, "rows": [plain(row) for row in rows]}
        files.write_json(options.json, content)


def caption(environment: Mapping[str, Any]) -> str:
    """Return machine, versions and date in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
    return (
        f"{environment['date']}, {environment['device']}, {environment['cores']} cores, "
        f"load before {environment['load_before']:.1f}\n"
        f"Python {environment['python']}, {versions}"
    )


def shown(value: object) -> str:
    """Return the text of a cell, a dash for None.

    >>> shown(0.12345), shown(None), shown(3264), shown(2611.4)
    ('0.123', '-', '3264', '2611')
    """
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "-" if value is None else str(value)


def plain(row: Row) -> dict[str, Any]:
    """Return a row as JSON values."""
    return {key: asdict(value) if isinstance(value, Spread) else value for key, value in row.items()}
