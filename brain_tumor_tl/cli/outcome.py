"""Outcome: how a verb ends, as an exit status and one line for what went wrong."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable

from brain_tumor_tl.cli.signals import interrupted_status
from brain_tumor_tl.console import run_log

TEMPORARY = re.compile(r"(?<=/)\.(.+)\.\d+\.tmp$|\.tmp$")  # what files.replacing adds to a name
PERMISSION = "Change its permissions, or give another path."
SPACE = "Free some space, or give a path on another disk, and start again."
WAYS_OUT = {
    errno.EACCES: PERMISSION, errno.EPERM: PERMISSION, errno.EROFS: "Give a path that can be written to.",
    errno.ENOSPC: SPACE, errno.EDQUOT: SPACE, errno.EISDIR: "Move away the folder that has the name of a file.",
    errno.ENOTDIR: "Move away the file that has the name of a folder.", errno.EMFILE: "Raise the limit, `ulimit -n`.",
    errno.EEXIST: "Move away what has its name.", errno.ENAMETOOLONG: "Give a shorter name.",
}  # fmt: skip


def in_words(error: Exception) -> str:
    """Return an error's message; of the system's own, such as `[Errno 13]`, the file, what happened and the way out.

    >>> in_words(IsADirectoryError(errno.EISDIR, "Is a directory", "/runs/.a.csv.12.tmp", None, "/runs/a.csv"))
    "Can't use /runs/a.csv: Is a directory. Move away the folder that has the name of a file."
    """
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    name = error.filename if error.filename2 is None else error.filename2
    path = "a file" if name is None else TEMPORARY.sub(r"\1", os.fsdecode(name))
    return f"Can't use {path}: {error.strerror}. {WAYS_OUT.get(error.errno, '')}".rstrip()


def exit_status(work: Callable[[], int], interrupted: str = "Interrupted.") -> int:
    """Do a verb's work and return the exit status.

    Args:
        work: Returns the status if it ends by itself. What users can cause it raises as ValueError, OSError or
            ImportError, whose message is all that they need.
        interrupted: What an interrupt leaves behind, in words.
    """
    with run_log(None):
        try:
            return work()
        except BrokenPipeError:  # as of `| head`, which the command itself handles
            raise
        except (ValueError, OSError, ImportError) as error:
            print(f"error: {in_words(error)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as interrupt:
            print(interrupted, file=sys.stderr)
            return interrupted_status(interrupt)
