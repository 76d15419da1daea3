"""Command line: `brain-tumor-tl VERB ...`, the same as `python -m brain_tumor_tl VERB ...`.

Each verb is a module of `cli/` with `main(arguments)`, which imports torch only once there is work to do, and a page
in `cli/help_pages/`.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

from brain_tumor_tl import __version__
from brain_tumor_tl.cli.signals import interrupt_on_signals, interrupted_status
from brain_tumor_tl.names import nearest

VERBS = {
    "train": "train a network on a folder of MRI slices, or sweep over many settings with -m",
    "audit": "find copies, conflicting labels, leaks and shortcuts in a data set, before training on it",
    "search": "find the best settings with Optuna, running many trials on the devices of this machine",
    "report": "show the results of runs beside the study's, on the terminal and as HTML, Markdown and CSV",
    "predict": "predict the class of pictures with finished runs, as a table, CSV or JSON lines",
    "evaluate": "evaluate finished runs on their test split again, or on another data set less what they have seen",
    "explain": "show where a finished run looks in pictures: Grad-CAM overlays, and how faithful they are",
    "export": "write a finished run as one file, ONNX or PyTorch, for programs without this package",
    "serve": "try a finished run in the browser: drop a picture, see probabilities, Grad-CAM and warnings",
}
SHELLS = ("bash", "zsh", "fish")
COMPLETED = ("train", "search")  # verbs whose keys Hydra completes


def main() -> int:
    """Run the command line, and return the exit status; an interrupt or a closed pipe, as of `| head`, is no error."""
    try:
        interrupt_on_signals()
        status = run_verb()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as interrupt:  # a run that has begun ends in its own words
        print("Interrupted; nothing was started.", file=sys.stderr)
        return interrupted_status(interrupt)


def run_verb() -> int:
    """Run the verb that the command line names, and return the exit status."""
    arguments = sys.argv[1:] or ["--help"]
    match arguments[0]:
        case "-h" | "--help":
            print(overview())
        case verb if verb == "--version" or (verb in VERBS and "--version" in arguments):
            print(f"brain-tumor-tl {__version__}")
        case "-sc" | "--shell-completion":
            return complete(arguments)
        case verb if verb in VERBS and {"-h", "--help"} & set(arguments):
            print(import_module("brain_tumor_tl.cli.help").help_page(verb))
        case verb if verb in VERBS:
            return int(import_module(f"brain_tumor_tl.cli.{verb}").main(arguments[1:]))
        case verb:
            hint = nearest(verb, VERBS)
            print(f"There is no verb `{verb}`.{hint} The verbs are {', '.join(VERBS)}.", file=sys.stderr)
            return 2
    return 0


def overview() -> str:
    """Return the help of the command itself."""
    verbs = "\n".join(f"  {name:<10}{meaning}" for name, meaning in VERBS.items())
    return (
        "brain-tumor-tl: transfer learning on brain MRI slices\n\n"
        f"usage: brain-tumor-tl VERB ...\n\n{verbs}\n\n"
        "brain-tumor-tl VERB --help explains every option.\n"
        'Tab completion: eval "$(brain-tumor-tl -sc install=bash)", or install=zsh; in fish\n'
        "brain-tumor-tl -sc install=fish | source"
    )


def complete(arguments: list[str]) -> int:
    """Answer the shell's request for completions: verbs first, then what Hydra offers; return the exit status."""
    task, _, shell = arguments[-1].partition("=")
    if task not in ("install", "query") or shell not in SHELLS:
        print(f"Expected -sc install= with one of {', '.join(SHELLS)}, got {arguments[-1]!r}.", file=sys.stderr)
        return 2
    if (task, shell) == ("install", "zsh"):
        print("autoload -Uz bashcompinit && bashcompinit")  # zsh then takes bash's functions
    words = os.environ.get("COMP_LINE", "").split(" ")
    if task == "query":
        if len(words) <= 2:
            print(("\n" if shell == "fish" else " ").join(VERBS))
            return 0
        if words[1] not in COMPLETED:
            return 0
        os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
    from brain_tumor_tl.cli.train import main as train

    return train(arguments)


if __name__ == "__main__":
    sys.exit(main())
