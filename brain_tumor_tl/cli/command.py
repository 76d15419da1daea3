"""Command: the line of a verb, checked, brought up to date and handed to Hydra.

The only module that replaces `sys.argv`: `hydra.main` of Hydra 1.3 has no other way to take arguments.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from brain_tumor_tl.cli import run_names  # noqa: F401  # the resolvers of conf/train.yaml
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.mistakes import explain, mistakes
from brain_tumor_tl.cli.outcome import in_words
from brain_tumor_tl.cli.overrides import as_hydra_takes_it, overrides_in, quoted_text, upgraded
from brain_tumor_tl.run.causes import causes
from brain_tumor_tl.sweep.parent_watch import end_with_parent

FULL_ERROR = "HYDRA_FULL_ERROR"


def checked_line(arguments: Sequence[str]) -> list[str]:
    """Return a line as Hydra takes it: texts quoted, old names replaced, flags first; exit with 2 if it is wrong."""
    several = any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in arguments)
    arguments = [upgraded(quoted_text(argument, several)) for argument in arguments]
    overrides = overrides_in(arguments)
    completes = {"-sc", "--shell-completion"} & set(arguments)
    if found := [] if completes else mistakes(arguments):
        print("\n".join([*found, "`brain-tumor-tl train --help` lists every key."]), file=sys.stderr)
        sys.exit(2)
    # argparse rejects overrides on both sides of a flag.
    flags = [argument for argument in arguments if argument not in overrides]
    return [*flags, *(overrides if completes else map(as_hydra_takes_it, overrides))]


def run_hydra(config_name: str, arguments: Sequence[str], run: Callable[[DictConfig], dict[str, Any]]) -> None:
    """Let Hydra compose the configuration and run the job or jobs; exit with one message if they can't run.

    The exit status is 2 if an argument or a YAML file is wrong by itself, and 1 for any other error.

    Args:
        config_name: The file of `conf/` to start from if the line names no other.
        arguments: The command line after the verb.
        run: Runs one job.
    """
    line, shows_origin = checked_line(arguments), os.environ.get(FULL_ERROR) == "1"
    end_with_parent()

    @hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base="1.3")
    def task(config: DictConfig) -> dict[str, Any]:
        sys.argv = whole  # Lightning starts further processes with the same command line
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return run(config)  # the other jobs continue after an error, which Hydra hands on at the end
        try:
            return run(config)
        except CompactHydraException as error:
            refuse(str(error))
        except Exception as error:  # not the user's; Hydra would print the overrides, too
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            traceback.print_exc()
            sys.exit(1)

    whole, sys.argv = sys.argv, [sys.argv[0], *line]
    os.environ[FULL_ERROR] = "1"  # Hydra hands every error on instead of printing it
    try:
        task()
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        if shows_origin:
            raise
        if type(error) is CompactHydraException:
            refuse(str(error))
        refuse(explain(error), status=2)
    except BrokenPipeError:  # as of `| head`, which the command itself handles
        raise
    except OSError as error:  # of the folder that Hydra makes
        refuse(f"{in_words(error)} A run's folder is in outputs/ below where it starts, or hydra.run.dir=PATH.")
    finally:
        sys.argv = whole
        if not shows_origin:
            os.environ.pop(FULL_ERROR, None)


def was_interrupted(error: BaseException | None) -> bool:
    """Tell whether an interrupt caused an error, as in a class body or in a resolver of OmegaConf.

    >>> was_interrupted(KeyboardInterrupt()), was_interrupted(ValueError())
    (True, False)
    """
    return any(isinstance(each, KeyboardInterrupt) for each in causes(error))


def refuse(message: str, status: int = 1) -> NoReturn:
    """Print an error and exit."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
