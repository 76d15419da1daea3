"""Failure: what stops a run from outside, as a full disk or memory, with what is safe and the way out."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from brain_tumor_tl.run.causes import causes
from brain_tumor_tl.run.checkpoints import epochs_in
from brain_tumor_tl.run.folder import OtherRunError, inspect_folder

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, in the quota, below the limit of a file
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
BROKEN = (errno.EIO, errno.EROFS)  # the disk fails or became read-only
NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUDNN_STATUS_ALLOC_FAILED", re.IGNORECASE
)
# What torch's means of communication say of a process that is gone.
LOST_PEER = re.compile(r"gloo/transport|NCCL|closed by (remote )?peer|reset by peer|ProcessGroup", re.IGNORECASE)


def explained(error: BaseException, folder: Path, settings: Mapping[str, Any]) -> OSError | None:
    """Return an error whose message is all that a user needs; None if nothing outside the run caused it.

    Args:
        error: What ended the run.
        folder: The run's folder.
        settings: The run's.
    """
    if any(map(is_out_of_memory, causes(error))):
        return OSError(out_of_memory(error, settings) + f" So far {kept(folder, settings)}.")
    if any(isinstance(each, RuntimeError) and LOST_PEER.search(str(each)) for each in causes(error)):
        return OSError(
            "Another process of this run on several devices has ended, and the others can't go on without it. What "
            f"ended it stands above, unless it was killed from outside; {kept(folder, settings)}."
        )
    failed = next((each for each in causes(error) if isinstance(each, OSError) and each.errno is not None), None)
    if failed is None or (failed is not error and isinstance(error, OSError)):  # explained where it was raised
        return None
    path = written(failed, folder)
    inside = path.is_relative_to(folder)
    if failed.errno in GONE and inside:
        gone = next((each for each in [*reversed(path.parents), path] if not each.exists()), path)
        return OSError(f"{gone} is gone: it was removed while the run was going on; {kept(folder, settings)}.")
    if failed.errno not in (*FULL, *BROKEN) and not (inside and failed.errno in (errno.EACCES, errno.EPERM)):
        return None
    way_out = "Make room there" if failed.errno in FULL else "Make it writable"
    why = os.strerror(failed.errno)
    return OSError(f"Can't write {path}: {why}. {way_out}, and try again: {kept(folder, settings)}.")


def written(error: OSError, folder: Path) -> Path:
    """Return what could not be written: the target of a rename, a file, or the folder if the error names none."""
    name = error.filename2 or error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else folder


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a processor's or a GPU's memory was too small.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("out of memory"))
    (True, False)
    """
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error))))


def out_of_memory(error: BaseException, settings: Mapping[str, Any]) -> str:
    """Return what did not fit into memory, how much more was asked for, and the way out."""
    text = next(str(each) for each in causes(error) if is_out_of_memory(each))
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
    asked = f" ({wanted[1]} more)" if wanted else ""
    device = "the GPU" if re.search("CUDA|MPS|HIP|cuDNN", text, re.IGNORECASE) else "this machine"
    data, name = settings["data"], settings["model"]["name"]
    return (
        f"{name} with data.batch_size={data['batch_size']} images of data.image_size={data['image_size']} pixels "
        f"needs more memory than {device} has free{asked}. Give a smaller data.batch_size, with several of them in a "
        "step by trainer.accumulate_grad_batches, smaller images, or method=frozen."
    )


def kept(folder: Path, settings: Mapping[str, Any]) -> str:
    """Return what a run that ended early leaves in its folder, in words."""
    try:
        if inspect_folder(folder, settings, force=False) == "done":
            return f"the run is done, and its results are in {folder}"
        epochs = epochs_in(folder / "checkpoints" / "last.ckpt")
    except OtherRunError as other:
        if "" in other.keys:  # its settings are gone
            return f"what is left in {folder} can't be resumed, and force=true trains anew in its place"
        return f"the other run in {folder} is as it was"
    if not epochs:
        return "no epoch is saved yet, so the same command starts anew"
    return f"the run is saved up to epoch {epochs}, and the same command resumes after it"
