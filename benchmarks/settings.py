"""Settings: the effect of the package's CPU settings on a plain PyTorch loop.

    python benchmarks/settings.py --steps 6 --json settings.json

Each variant is its own process with the same network. They take turns step by step, so that one computes at a time.
The variants are PyTorch's defaults, `trainer.channels_last` and `trainer.keep_memory` alone, both, and both with
bfloat16 if the CPU has instructions for it.
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
WARM_UP = 2  # first steps, which allocate memory, are dropped
STAGES = ("train", "test")


@dataclass(frozen=True)
class Variant:
    """How a process computes: layout, use of freed memory, precision."""

    channels_last: bool = False
    keep_memory: bool = False
    precision: str = "32-true"


VARIANTS = {
    "PyTorch's defaults": Variant(),
    "channels last": Variant(channels_last=True),
    "memory kept": Variant(keep_memory=True),
    "both": Variant(channels_last=True, keep_memory=True),
    "both, bfloat16": Variant(channels_last=True, keep_memory=True, precision="bf16-mixed"),
}


def serve(task: str) -> None:
    """For each line of standard input, the name of a stage, run one step and print its time and memory as JSON."""
    given = json.loads(task)
    variant = Variant(**given["variant"])
    if variant.keep_memory and not hardware.keep_freed_memory():
        raise RuntimeError("Expected glibc, whose allocator can be set to keep freed memory.")
    device, size, batch_size = torch.device("cpu"), given["image_size"], given["batch_size"]
    net = network(given["model"], device, variant.channels_last)
    loop = RawLoop(
        net,
        Adam(net.parameters(), fused=True),
        precision=variant.precision,
        shape=(batch_size, 3, size, size),
        channels_last=variant.channels_last,
    )
    for line in sys.stdin:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        seconds = loop.seconds(line.strip(), [batch_size])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        result = {"seconds": seconds, "faults": usage.ru_minflt - before, "peak": usage.ru_maxrss * 1024 / 1e6}
        print(json.dumps(result), flush=True)


class Server:
    """A process that runs a step on request.

    Args:
        model: Network of torchvision.
        variant: How it computes.
        options: The program's options.
    """

    def __init__(self, model: str, variant: Variant, options: Any) -> None:
        task = {
            "model": model,
            "variant": asdict(variant),
            "image_size": options.image_size,
            "batch_size": options.batch_size,
        }
        line = [sys.executable, "-c", SERVE, json.dumps(task)]
        self.process = subprocess.Popen(
            line, cwd=child.ROOT, env=child.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self, stage: str) -> dict[str, float]:
        """Run a step; return its seconds and page faults, and the process's peak memory in 10**6 bytes so far.

        Raises:
            RuntimeError: The process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(stage + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("A measuring process has ended; its error is shown above.")
        figures: dict[str, float] = json.loads(answer)
        return figures

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def compare(model: str, options: Any) -> list[dict[str, Any]]:
    """Return a network's rows, one per variant."""
    possible = hardware.computes_bfloat16("cpu")
    servers = {
        name: Server(model, variant, options)
        for name, variant in VARIANTS.items()
        if possible or variant.precision == "32-true"
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
    """Return the row of a variant; `given` has the steps by stage and variant, warm-up included."""
    row: dict[str, Any] = {"model": model, "variant": name}
    for stage, variants in given.items():
        seconds = {key: [step["seconds"] for step in steps[WARM_UP:]] for key, steps in variants.items()}
        row[f"{stage} s per step"] = measure.spread(seconds[name])
        row[f"{stage}, times as fast"] = measure.ratios(next(iter(seconds.values())), seconds[name])
    steps = given["train"][name][WARM_UP:]
    row["page faults per train step"] = measure.spread(step["faults"] for step in steps).median
    row["peak MB"] = max(step["peak"] for step in steps)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each network and print the table."""
    options = measure.options(
        __doc__, arguments, ("steps", 6, "steps of each variant and stage"),
        image_size=224, batch_size=32, models=measure.SEVEN,
    )  # fmt: skip
    environment = measure.environment()
    rows = [row for model in options.models for row in compare(model, options)]
    measure.report(f"Plain PyTorch, batches of {options.batch_size}", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
