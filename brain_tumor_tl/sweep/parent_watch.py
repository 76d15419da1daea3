"""Guard: a process that a sweep started ends when the one that started it is gone, kill -9 included."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "BRAIN_TUMOR_TL_PARENT"  # in the environment: the process to end with
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent() -> None:
    """End this process, and those that it will start with the same command, together with its parent.

    Does nothing outside a sweep. Linux sends the signal itself, at once and whatever this process does; the thread
    is for other systems, and takes the whole process group along.
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
        direct: Whether it is the parent itself; else a wrapper stands between, whose end proves nothing.
        seconds: How often to look.
    """
    while os.getppid() == parent if direct else lives(parent):
        time.sleep(seconds)
    os.killpg(0, signal.SIGKILL)


def lives(process: int) -> bool:
    """Tell whether there is a process with this id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
