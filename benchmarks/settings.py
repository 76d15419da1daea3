"""Settings: what the package's choices for a processor are worth in a plain PyTorch loop, whoever writes it.

    python benchmarks/settings.py --steps 6 --json settings.json

Each way is a process of its own with the same network; they take turns step by step, so that one computes at a time.
The ways are what PyTorch does when nothing is said, each of `trainer.channels_last` and `trainer.keep_memory` alone,
both, and bfloat16 besides where the processor multiplies it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch.optim import Adam

from benchmarks import child, measure
from benchmarks.raw import RawLoop, network
from brain_tumor_tl.run import hardware

SERVE = "import sys; from benchmarks import settings; settings.serve(sys.argv[1])"
WARM_UP = 2  # steps that take memory for the first time
STAGES = ("train", "test")


@dataclass(frozen=True)
class Way:
    """How a process computes: layout, what becomes of freed memory, precision."""

    channels_last: bool = False
    keep_memory: bool = False
    precision: str = "32-true"


WAYS = {
    "PyTorch as it is": Way(),
    "channels last": Way(channels_last=True),
    "memory kept": Way(keep_memory=True),
    "both": Way(channels_last=True, keep_memory=True),
    "both, bfloat16": Way(channels_last=True, keep_memory=True, precision="bf16-mixed"),
}


def serve(task: str) -> None:
    """Answer each line of standard input, a stage's name, with what one of its steps took, as JSON."""
    given = json.loads(task)
    way = Way(**given["way"])
    if way.keep_memory and not hardware.keep_freed_memory():
        raise RuntimeError("Expected glibc, whose allocator can be told to keep memory.")
    device, size, batch_size = torch.device("cpu"), given["image_size"], given["batch_size"]
    net = network(given["model"], device, way.channels_last)
    loop = RawLoop(
        net,
        Adam(net.parameters(), fused=True),
        precision=way.precision,
        shape=(batch_size, 3, size, size),
        channels_last=way.channels_last,
    )
    for line in sys.stdin:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        seconds = loop.seconds(line.strip(), [batch_size])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        told = {"seconds": seconds, "faults": usage.ru_minflt - before, "peak": usage.ru_maxrss * 1024 / 1e6}
        print(json.dumps(told), flush=True)


class Server:
    """A process that takes a step when it is told to.

    Args:
        model: Network of torchvision.
        way: How it computes.
        options: The program's options.
    """

    def __init__(self, model: str, way: Way, options: Any) -> None:
        task = {"model": model, "way": asdict(way), "image_size": options.image_size, "batch_size": options.batch_size}
        line = [sys.executable, "-c", SERVE, json.dumps(task)]
        self.process = subprocess.Popen(
            line, cwd=child.ROOT, env=child.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self, stage: str) -> dict[str, float]:
        """Return what a step took: seconds, page faults, and the process's peak memory in 10**6 bytes so far.

        Raises:
            RuntimeError: The process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(stage + "\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline()
        if not told:
            raise RuntimeError("A process that was to take steps has ended; its error stands above.")
        figures: dict[str, float] = json.loads(told)
        return figures

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def compare(model: str, options: Any) -> list[dict[str, Any]]:
    """Return a network's rows, one a way."""
    possible = hardware.computes_bfloat16("cpu")
    servers = {
        name: Server(model, way, options) for name, way in WAYS.items() if possible or way.precision == "32-true"
    }
    try:
        given = {
            stage: measure.taking_turns(
                {name: partial(server.step, stage) for name, server in servers.items()}, options.steps + WARM_UP
            )
            for stage in STAGES
        }
    finally:
        for server in servers.values():
            server.close()
    return [row_of(model, name, given) for name in servers]


def row_of(model: str, name: str, given: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> dict[str, Any]:
    """Return the row of a way; `given` has its steps by stage and way, those that warm up included."""
    row: dict[str, Any] = {"model": model, "way": name}
    for stage, ways in given.items():
        seconds = {way: [step["seconds"] for step in steps[WARM_UP:]] for way, steps in ways.items()}
        row[f"{stage} s a step"] = measure.spread(seconds[name])
        row[f"{stage}, times as fast"] = measure.ratios(next(iter(seconds.values())), seconds[name])
    steps = given["train"][name][WARM_UP:]
    row["page faults a train step"] = measure.spread(step["faults"] for step in steps).median
    row["peak MB"] = max(step["peak"] for step in steps)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each network, print the table."""
    options = measure.options(
        __doc__, arguments, ("steps", 6, "steps of each way and stage"),
        image_size=224, batch_size=32, models=measure.SEVEN,
    )  # fmt: skip
    facts = measure.surroundings()
    rows = [row for model in options.models for row in compare(model, options)]
    measure.report(f"Plain PyTorch, batches of {options.batch_size}", rows, options, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
