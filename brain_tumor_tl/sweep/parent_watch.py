"""Parent watch: a process that a sweep started ends when its parent is gone, even if that was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

PARENT = "BRAIN_TUMOR_TL_PARENT"  # environment variable: the id of the process to end with
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent() -> None:
    """End this process, and those that it starts with the same command, when its parent ends.

    Does nothing outside a sweep. On Linux the kernel sends the signal at once, whatever this process is doing. The
    thread is for other systems, and ends the whole process group.
    """
    expected = os.environ.get(PARENT, "")
    if not expected.isdigit():
        return
    os.environ[PARENT] = str(os.getpid())  # further processes of a run on several devices end with this one
    parent = int(expected)
    direct = os.getppid() == parent
    if direct and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, args=(parent, direct), daemon=True, name="parent-watch").start()


def watch(parent: int, direct: bool, seconds: float = 0.5) -> None:
    """Kill this process group once `parent` is gone.

    Args:
        parent: Process id.
        direct: Whether it is the parent itself, not the parent of a wrapper, whose end would mean nothing.
        seconds: Time between two checks.
    """
    while os.getppid() == parent if direct else exists(parent):
        time.sleep(seconds)
    os.killpg(0, signal.SIGKILL)


def exists(process: int, send: Callable[[int, int], None] = os.kill) -> bool:
    """Tell whether this user has a process with this id; with `send=os.killpg`, a process group."""
    try:
        send(process, 0)
    except (ProcessLookupError, PermissionError):  # macOS refuses if only zombies are left
        return False
    return True
