"""Hardware: device, precision and layout where the configuration says auto, and allocator settings for training."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

# Settings of <malloc.h>: free memory to keep at the end of the heap, -1 for all; and number of blocks to map.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def resolve_accelerator(accelerator: str) -> str:
    """Return "cuda", "mps" or "cpu" for Lightning's name of an accelerator.

    Raises:
        ValueError: The machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator in ("auto", "gpu"):
        wanted = next((name for name, there in available.items() if there), "cpu")
        if accelerator == "gpu" and wanted == "cpu":
            raise ValueError(
                "Expected a GPU for trainer.accelerator=gpu, PyTorch sees none. Give trainer=cpu or =auto."
            )
        return wanted
    if not available[accelerator]:
        raise ValueError(
            f"Expected a device for trainer.accelerator={accelerator}, PyTorch sees none. Give trainer=auto."
        )
    return accelerator


def is_further_process(environment: Mapping[str, str]) -> bool:
    """Tell whether this is a further process of a run on several devices, started by Lightning or by SLURM.

    Args:
        environment: The process's environment.
    """
    if is_slurm_task(environment):
        return int(environment.get("SLURM_PROCID") or 0) > 0
    return any(int(environment.get(rank) or 0) > 0 for rank in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def is_slurm_task(environment: Mapping[str, str]) -> bool:
    """Tell whether this process is one of several that srun started together."""
    return int(environment.get("SLURM_STEP_NUM_TASKS") or 1) > 1


def leave_slurm(environment: MutableMapping[str, str]) -> None:
    """Keep Lightning from waiting for the other tasks of a SLURM allocation if srun did not start this process.

    Lightning goes by the allocation's number of tasks, also in a notebook or a shell inside it, unless the job has this
    name.
    """
    if int(environment.get("SLURM_NTASKS") or 1) > 1 and not is_slurm_task(environment):
        environment["SLURM_JOB_NAME"] = "interactive"


def computes_bfloat16(accelerator: str) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware: AMX or AVX512-BF16, or an Ampere GPU or newer."""
    if accelerator == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    if accelerator == "cpu":
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())
    return False


def cpu_flags() -> set[str]:
    """Return the processor's feature flags as Linux names them; empty on other systems."""
    lines = cpu_fields("flags", "Features")
    return set(lines[0].split()) if lines else set()


def cpu_fields(*names: str) -> list[str]:
    """Return the values of fields of Linux's /proc/cpuinfo; none on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.split("\t")[0].strip() in names]


def resolve_precision(precision: str, accelerator: str, frozen: bool = False) -> str:
    """Return Lightning's precision, choosing it where `precision` is "auto".

    A frozen backbone computes in float32. The statistics of its BatchNorm layers are of float32, and in bfloat16
    MobileNetV2's features of the study's images are 7 to 13 % off (ImageNet weights, 2026-11-28): a head that is
    trained on these fits no machine that computes otherwise.

    Raises:
        ValueError: float16 on a CPU, where Lightning computes in bfloat16 whatever is set.
    """
    if precision == "16-mixed" and accelerator == "cpu":
        raise ValueError(
            "Expected a GPU for trainer.precision=16-mixed, training is on a CPU, which has no float16. Give "
            "trainer.precision=bf16-mixed, 32-true or auto."
        )
    if precision != "auto":
        return precision
    return "bf16-mixed" if computes_bfloat16(accelerator) and not frozen else "32-true"


def set_tf32(trainer: Mapping[str, Any]) -> None:
    """Allow TensorFloat-32 in this process's float32 products on a GPU, or don't, as a run's `trainer` says."""
    allowed = unless_deterministic(trainer["tf32"], trainer["deterministic"])
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def unless_deterministic(setting: bool | str, deterministic: bool) -> bool:
    """Return a setting that trades repeatability for speed; "auto" is true unless the run is to be deterministic."""
    return not deterministic if setting == "auto" else bool(setting)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context that Lightning's precision plugin runs a forward pass in."""
    if precision == "32-true":
        return nullcontext()
    return torch.autocast(device.type, torch.float16 if precision == "16-mixed" else torch.bfloat16)


def resolve_channels_last(setting: bool | str, precision: str, accelerator: str) -> bool:
    """Return whether images are laid out with channels last; "auto" chooses what is faster.

    That is channels last in 16-bit precisions, and also in float32 on processors: on two cores with AVX2 four of the
    study's networks trained 1.1 to 2 times as fast (benchmarks/README.md, Settings).
    """
    return precision != "32-true" or accelerator == "cpu" if setting == "auto" else bool(setting)


def keep_freed_memory() -> bool:
    """Make this process keep freed memory for later allocations; return whether the C library can.

    glibc maps each block above 32 MB anew and returns it when it is freed, and the system clears each of its pages at
    the first use. A training step on a processor frees and allocates gigabytes: half a million page faults in each step
    of MobileNetV2 at batch 32, which took longer than the arithmetic (benchmarks/README.md, Settings). mallopt(3)
    describes both settings. Fragmentation raises the peak by a few percent to a fifth.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(setting, value) == 1 for setting, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)))


def device_name(device: torch.device) -> str:
    """Return the device's own name, for records."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    names = cpu_fields("model name")
    return names[0] if names else platform.processor() or platform.machine()
