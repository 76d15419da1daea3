"""Measure: options, clock, spread of repeats, facts about the machine, table and JSON of every benchmark."""

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
from brain_tumor_tl.run import hardware, record

T = TypeVar("T")
Row = Mapping[str, Any]

SEVEN = ["resnet18", "resnet50", "vgg16", "densenet121", "googlenet", "shufflenet_v2_x1_0", "mobilenet_v2"]
WIDE = 180  # characters of a line in a file or a pipe, where nothing need wrap
PEERS = ("timm", "rich")  # packages that the run's own record does not name


def absolute(text: str) -> Path:
    """Return a path that holds for child processes too, which run in the checkout."""
    return Path(text).expanduser().absolute()


HELP: dict[str, tuple[Callable[[str], Any], str]] = {
    "data": (
        absolute,
        "folder of images in any layout that data.root takes; without it phantoms are drawn",
    ),
    "images": (int, "phantoms to draw where --data is not given"),
    "image_size": (int, "height and width of an image in pixels"),
    "batch_size": (int, "images in an optimizer step"),
    "epochs": (int, "passes over the training part"),
    "repeats": (int, "how often everything is measured, taking turns"),
    "model": (str, "network of torchvision"),
    "models": (str, "networks of torchvision"),
    "methods": (str, "frozen, finetune or both"),
    "workers": (int, "worker processes or threads of what has them"),
    "set": (str, "further overrides of `brain-tumor-tl train`, KEY=VALUE"),
    "json": (absolute, "file to write all figures to"),
}


def options(
    description: str | None, arguments: Sequence[str] | None, *more: tuple[str, Any, str], **defaults: Any
) -> argparse.Namespace:
    """Parse a benchmark's command line.

    Args:
        description: The program's docstring; its first line opens the help.
        arguments: The command line; None for the process's own.
        more: Options of this program alone: name, default (which gives the type, a list its first value), meaning.
        defaults: Default of each option of `HELP` that the program has; one with a list takes several values.
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
    """Return the type of an option's value, or of each of its values."""
    kind: Callable[[str], Any] = type(default[0] if isinstance(default, list) else default)
    return kind


@dataclass(frozen=True)
class Spread:
    """Median of repeats with the least and the greatest."""

    median: float
    least: float
    most: float
    repeats: int

    def __str__(self) -> str:
        between = f" ({shown(self.least)}..{shown(self.most)})" if self.repeats > 1 else ""
        return f"{shown(self.median)}{between}"


def spread(values: Iterable[float]) -> Spread:
    """Return median, least and greatest of at least one value.

    >>> spread([3.0, 1.0, 2.0])
    Spread(median=2.0, least=1.0, most=3.0, repeats=3)
    """
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(above: Iterable[float], below: Iterable[float]) -> Spread:
    """Return the spread of ratios of pairs, each measured in one turn, so that the machine's drift cancels.

    >>> ratios([1.0, 4.0], [2.0, 4.0]).median
    0.75
    """
    return spread(a / b for a, b in zip(above, below, strict=True))


def taking_turns(ways: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Call each of several ways in turn, `repeats` times over, and return what each gave."""
    given: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            given[name].append(way())
    return given


def now() -> float:
    """Return seconds on a steady clock, once a GPU in use has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(action: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = now()
    action()
    return now() - started


def surroundings() -> dict[str, Any]:
    """Return machine, versions and date of a measurement."""
    facts = record.environment()
    facts["packages"] |= {name: record.installed_version(name) for name in PEERS}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "amx": "amx_bf16" in hardware.cpu_flags(),
        "load_before": os.getloadavg()[0],  # about 0 on a quiet machine
        **facts,
    }


def processor() -> str:
    """Return the processor's own name where Linux tells it, else its architecture."""
    return next(iter(hardware.cpu_fields("model name")), platform.machine())


def report(title: str, rows: Sequence[Row], options: argparse.Namespace, facts: Mapping[str, Any]) -> None:
    """Print a table of rows with the machine below it, and write everything as JSON where `--json` asks for it.

    Args:
        title: What the table shows.
        rows: Values by column; the first row's columns are the table's.
        options: The program's options, which stand in the JSON.
        facts: What `surroundings` gave before the measurement.
    """
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    table = Table(title=title, caption=caption(facts), caption_justify="left")
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(shown(row[column]) for column in rows[0]))
    console.print(table)
    if options.json is not None:
        chosen = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        content = {"title": title, "surroundings": facts, "options": chosen, "rows": [plain(row) for row in rows]}
        files.write_json(options.json, content)


def caption(facts: Mapping[str, Any]) -> str:
    """Return machine, versions and date in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    return (
        f"{facts['date']}, {facts['device']}, {facts['cores']} cores, load before {facts['load_before']:.1f}\n"
        f"Python {facts['python']}, {versions}"
    )


def shown(value: object) -> str:
    """Return a cell's text; a dash for None.

    >>> shown(0.12345), shown(None), shown(3264), shown(2611.4)
    ('0.123', '-', '3264', '2611')
    """
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "-" if value is None else str(value)


def plain(row: Row) -> dict[str, Any]:
    """Return a row as JSON values."""
    return {key: asdict(value) if isinstance(value, Spread) else value for key, value in row.items()}
