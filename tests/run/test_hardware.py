"""Hardware: what "auto" becomes, which process is the first, and in which precision a forward pass computes."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Any

import lightning as L
import pytest
import torch

from brain_tumor_tl.run import hardware


@pytest.mark.parametrize(("flags", "expected"), [({"avx512_bf16"}, True), ({"amx_bf16"}, True), ({"avx2"}, False)])
def test_resolve_precision__follows_the_processor(
    flags: set[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: flags)
    precision = hardware.resolve_precision("auto", "cpu")
    assert precision == ("bf16-mixed" if expected else "32-true")
    assert hardware.resolve_precision("auto", "cpu", frozen=True) == "32-true"


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_computes_bfloat16__ampere_and_newer(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert hardware.computes_bfloat16("cuda") is expected


def test_resolve_precision__a_given_one_stays() -> None:
    assert hardware.resolve_precision("16-mixed", "cuda") == "16-mixed"
    assert hardware.resolve_precision("32-true", "cpu") == "32-true"
    assert hardware.resolve_precision("bf16-mixed", "cpu", frozen=True) == "bf16-mixed"


def test_resolve_precision__float16_on_a_processor_T07() -> None:
    with pytest.raises(ValueError, match=r"a GPU for trainer\.precision=16-mixed.*bf16-mixed, 32-true or auto"):
        hardware.resolve_precision("16-mixed", "cpu")


LAYOUTS = {
    "processor": ("auto", "32-true", "cpu", True),
    "gpu": ("auto", "32-true", "cuda", False),
    "gpu-bf16": ("auto", "bf16-mixed", "cuda", True),
    "told": (False, "bf16-mixed", "cpu", False),
}


@pytest.mark.parametrize(("setting", "precision", "accelerator", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_resolve_channels_last(setting: bool | str, precision: str, accelerator: str, expected: bool) -> None:
    assert hardware.resolve_channels_last(setting, precision, accelerator) is expected


PAGE_FAULTS = """
import resource, sys, torch
from brain_tumor_tl.run import hardware
if sys.argv[1] == "keep":
    assert hardware.keep_freed_memory()
network = torch.nn.Sequential(*(torch.nn.Conv2d(16, 16, 1) for _ in range(4)))
images = torch.rand(16, 16, 256, 256)  # 64 MiB, 16,384 pages of 4 KiB
for turn in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_keep_freed_memory__a_step_takes_what_the_last_one_freed() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", PAGE_FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("keep", "give back")
    }
    assert faults["keep"] < faults["give back"] / 4


def test_keep_freed_memory__other_c_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not hardware.keep_freed_memory()


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_resolve_accelerator__absent_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="PyTorch sees none"):
        hardware.resolve_accelerator(name)
    assert hardware.resolve_accelerator("auto") == "cpu"


def test_resolve_accelerator__auto_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hardware.resolve_accelerator("auto") == hardware.resolve_accelerator("gpu") == "cuda"


@pytest.mark.parametrize(
    ("fields", "expected"), [(["A Processor", "A Processor"], "A Processor"), ([], "x86_64")], ids=["linux", "other"]
)
def test_device_name__processor(fields: list[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_fields", lambda name: fields if name == "model name" else [])
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert hardware.device_name(torch.device("cpu")) == expected


PROCESSES = {
    "alone": ({}, False),
    "first-of-lightnings": ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, False),
    "second-of-lightnings": ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, True),
    "first-on-lightnings-second-node": ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, True),
    "second-of-torchruns": ({"RANK": "1", "GROUP_RANK": "0", "LOCAL_RANK": "1"}, True),
    "first-on-torchruns-second-node": ({"RANK": "2", "GROUP_RANK": "1", "LOCAL_RANK": "0"}, True),
    "first-of-slurms": ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, False),
    "second-of-slurms": ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, True),
    "lightnings-in-an-allocation": ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "LOCAL_RANK": "1"}, True),
    "alone-under-slurm": ({"SLURM_NTASKS": "1", "SLURM_PROCID": "3"}, False),
}


@pytest.mark.parametrize(("environment", "expected"), PROCESSES.values(), ids=PROCESSES)
def test_is_further_process__by_rank(environment: dict[str, str], expected: bool) -> None:
    assert hardware.is_further_process(environment) == expected


# In a notebook, and started by srun: whether Lightning is to take the allocation's tasks for further processes.
ALLOCATIONS = {
    "notebook": ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "jupyter"}, "interactive"),
    "srun": ({"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_NAME": "mine"}, "mine"),
    "one-task": ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "mine"}, "mine"),
    "elsewhere": ({}, None),
}


@pytest.mark.parametrize(("environment", "name"), ALLOCATIONS.values(), ids=ALLOCATIONS)
def test_leave_slurm__a_process_alone_in_an_allocation_S06(environment: dict[str, str], name: str | None) -> None:
    environment = dict(environment)

    hardware.leave_slurm(environment)

    assert environment.get("SLURM_JOB_NAME") == name


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_autocast__computes_as_lightning_does(precision: Any) -> None:
    """Features and training must be in the same precision, so the context is compared with Lightning's own, of 2.6."""
    trainer = L.Trainer(accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False)
    inputs, layer = torch.randn(3, 8), torch.nn.Linear(8, 4)
    with trainer.precision_plugin.forward_context():
        expected = layer(inputs)
    with hardware.autocast(torch.device("cpu"), precision):
        result = layer(inputs)
    assert L.__version__.startswith("2.6.")
    assert result.dtype == expected.dtype
    assert torch.equal(result, expected)


@pytest.mark.parametrize("setting", [True, False])
def test_set_tf32__of_the_whole_process(setting: bool) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        hardware.set_tf32({"tf32": setting, "deterministic": False})

        assert torch.backends.cudnn.allow_tf32 is setting
        assert torch.get_float32_matmul_precision() == ("high" if setting else "highest")
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
