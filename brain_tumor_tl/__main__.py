"""Command line: `brain-tumor-tl VERB ...`, the same as `python -m brain_tumor_tl VERB ...`.

Nothing that imports torch is imported before a verb has work to do.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from brain_tumor_tl import __version__
from brain_tumor_tl.names import nearest

VERBS = {
    "train": "train a network on a folder of MRI slices, or sweep over many settings with -m",
    "audit": "find copies, conflicting labels, leaks and shortcuts in a data set, before training on it",
    "search": "look for the best settings with Optuna, many trials on the devices of this machine",
    "report": "show the results of runs beside the study's, on the terminal and as HTML, Markdown and CSV",
}


def main() -> None:
    """Run the verb that the command line names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return
    if arguments[0] == "--version":
        print(f"brain-tumor-tl {__version__}")
        return
    if arguments[0] in ("-sc", "--shell-completion"):
        complete(arguments)
        return
    verb, rest = arguments[0], arguments[1:]
    if verb == "train":
        from brain_tumor_tl.cli.command import run_train

        run_train(rest)
    elif verb == "audit":
        from brain_tumor_tl.cli.command import run_audit

        sys.exit(run_audit(rest))
    elif verb == "search":
        from brain_tumor_tl.cli.command import run_search

        run_search(rest)
    elif verb == "report":
        from brain_tumor_tl.cli.report import main as report

        sys.exit(report(rest))
    else:
        refuse(verb)


def overview() -> str:
    """Return the help of the command itself."""
    verbs = "\n".join(f"  {name:<10}{meaning}" for name, meaning in VERBS.items())
    return (
        "brain-tumor-tl: transfer learning on brain MRI slices\n\n"
        f"usage: brain-tumor-tl VERB ...\n\n{verbs}\n\n"
        "brain-tumor-tl VERB --help explains every option.\n"
        'Tab completion for bash: eval "$(brain-tumor-tl -sc install=bash)"'
    )


def refuse(verb: str) -> NoReturn:
    """End with the verbs that there are."""
    print(f"There is no verb `{verb}`.{nearest(verb, VERBS)} The verbs are {', '.join(VERBS)}.", file=sys.stderr)
    sys.exit(2)


def complete(arguments: list[str]) -> None:
    """Answer the shell's request for completions: verbs first, then what Hydra offers for the verb."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if any(argument.startswith("query") for argument in arguments):
        if len(words) <= 2:
            print(" ".join(VERBS))
            return
        if words[1] not in ("train", "search"):
            return
        os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
    from brain_tumor_tl.cli.command import run_train

    run_train(arguments)


if __name__ == "__main__":
    main()
