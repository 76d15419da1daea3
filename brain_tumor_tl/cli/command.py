"""Command: the lines of `train` and `search` handed to Hydra, after a check of their keys; and their help pages."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from brain_tumor_tl.cli.config import Key, conf_dir, keys, unknown_key
from brain_tumor_tl.names import nearest
from brain_tumor_tl.sweep.parent_watch import end_with_parent

PATHS = (
    "data.root", "data.cache_dir", "data.url", "data.matlab", "data.labels", "data.patients", "model.weights",
    "hydra.run.dir", "hydra.sweep.dir",
)  # fmt: skip
GROUPS = {
    "data": "which images: the study's, any folder, Br35H, figshare's MATLAB files, or synthetic ones",
    "experiment": "settings of your own that belong together, as a file in conf/experiment/ or below --config-dir",
    "method": "how the network is transferred: only its new last layer learns, or all of it",
    "model": "which network, with its ImageNet weights",
    "recipe": "how it learns: the study's 100 epochs, or 14 with a one-cycle schedule",
    "trainer": "which devices",
}
FLAGS_WITH_VALUE = (
    "--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd",
    "--cfg", "-c", "--package", "-p", "--info", "-i",
)  # fmt: skip


def run_train(arguments: list[str]) -> None:
    """Check the overrides' keys, then let Hydra compose the configuration and run the job or jobs.

    Args:
        arguments: The command line after `brain-tumor-tl train`.
    """
    if "-h" in arguments or "--help" in arguments:
        print(help_page())
        return
    hand_to_hydra("train", arguments)


def run_search(arguments: list[str]) -> None:
    """Check the overrides' keys, then let Hydra compose the configuration and start the search.

    Args:
        arguments: The command line after `brain-tumor-tl search`.
    """
    if "-h" in arguments or "--help" in arguments:
        print(search_help())
        return
    # First, so that what is typed comes later and counts.
    hand_to_hydra("search", ["hydra.mode=MULTIRUN", "hydra/sweeper=search", *arguments])


def hand_to_hydra(config_name: str, arguments: list[str]) -> None:
    """Check the overrides' keys, then let Hydra do what the line says.

    Args:
        config_name: The file of `conf/` to start from where the line names no other.
        arguments: The command line after the verb.
    """
    arguments = [quoted_path(argument) for argument in arguments]
    whole, overrides = sys.argv, overrides_in(arguments)
    if not {"-sc", "--shell-completion"} & set(arguments):
        refuse_unknown_keys(arguments)
    end_with_parent()
    # Flags first: argparse refuses overrides on both sides of one.
    sys.argv = [whole[0], *(a for a in arguments if a not in overrides), *overrides]

    @hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base="1.3")
    def task(config: DictConfig) -> dict[str, Any]:
        sys.argv = whole  # Lightning starts further processes with the same command line
        run = imported_run()
        try:
            return run(config)
        except CompactHydraException as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the other jobs go on, and Hydra tells of this one at the end
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    task()


def imported_run() -> Callable[[DictConfig], dict[str, Any]]:
    """Return `train.run`; at its first import keep the garbage collector off what is there, then and afterwards.

    That is half a million objects, which stay to the end of the process: looking through them time and again, and once
    more at exit, takes as long as a good many epochs of a cached head.
    """
    first = "brain_tumor_tl.cli.train" not in sys.modules
    if first:
        gc.disable()
    try:
        from brain_tumor_tl.cli.train import run
    finally:
        if first:  # and not at a later job of this process, whose last one may have left garbage
            gc.freeze()
            gc.enable()
    return run


def quoted_path(argument: str) -> str:
    """Quote the path of an override such as `data.root=~/archive (1)`, which Hydra's grammar would refuse.

    >>> quoted_path("data.root=~/archive (1)")
    'data.root="~/archive (1)"'
    >>> quoted_path("data.root=/data/mri")
    'data.root=/data/mri'
    """
    key, sign, value = argument.partition("=")
    if not sign or key not in PATHS or value[:1] in ("'", '"'):
        return argument
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{key}="{escaped}"'
    return argument


def refuse_unknown_keys(arguments: Sequence[str]) -> None:
    """End with the nearest right names where overrides name keys that do not exist."""
    groups = config_groups()
    problems = []
    for argument in overrides_in(arguments):
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            continue  # Hydra words its own syntax errors well
        problem = unknown_key(override.key_or_group, groups)
        if not problem and override.key_or_group in groups and not own_folder(arguments):
            problem = unknown_choice(override)
        if problem:
            problems.append(problem)
    if problems:
        print("\n".join([*problems, "`brain-tumor-tl train --help` lists every key."]), file=sys.stderr)
        sys.exit(2)


def own_folder(arguments: Sequence[str]) -> bool:
    """Tell whether the line names a further folder of YAML files, whose choices are not known here."""
    return any(argument.split("=")[0] in ("--config-dir", "-cd", "--config-path", "-cp") for argument in arguments)


def unknown_choice(override: Override) -> str | None:
    """Return what is wrong with what a config group is set to, or None."""
    known = choices_of(override.key_or_group)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return None  # a pattern names only what is there
    values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    wrong = [str(value) for value in values if isinstance(value, str) and value not in known]
    if not wrong or not known or override.is_delete():
        return None
    extra = " Any other network of torchvision: model.name=NAME." if override.key_or_group == "model" else ""
    return (
        f"`{override.key_or_group}` can't be {wrong[0]!r}.{nearest(wrong[0], known)} "
        f"Expected one of {', '.join(known)}.{extra}"
    )


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are overrides rather than flags or values of flags."""
    return [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if not argument.startswith("-") and before not in FLAGS_WITH_VALUE
    ]


def config_groups() -> list[str]:
    """Return the names of the config groups; `hydra/` holds Hydra's own."""
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir() and folder.name != "hydra")


def choices_of(group: str) -> list[str]:
    """Return what a config group can be set to."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def help_page() -> str:
    """Return a sentence for every key, with its value when nothing is overridden, and for every group."""
    defaults = default_values()
    lines = [
        "brain-tumor-tl train [GROUP=CHOICE] [KEY=VALUE] ...: train one network, write its run folder",
        "brain-tumor-tl train -m KEY=VALUE,VALUE ...: train every combination",
        "",
        "Groups, sets of values chosen by name:",
    ]
    for group in config_groups():
        lines += [f"  {group}={'|'.join(choices_of(group)) or '...'}", f"      {GROUPS[group]}"]
    lines += ["", "Keys, with their values when nothing is given:"]
    lines += [line for key in keys() for line in key_lines(key, defaults)]
    lines += [
        "",
        "Hydra's own flags:",
        "  --config-name NAME      start from conf/NAME.yaml in place of conf/train.yaml",
        "  --config-dir PATH       look for further YAML files in a folder of your own",
        "  --cfg job               print the composed configuration and do nothing",
        "  --multirun, -m          run every combination of comma-separated values",
        "  -sc install=bash        print what makes Tab complete keys and values",
        "",
        "Examples:",
        "  brain-tumor-tl train model=mobilenet_v2 method=frozen data.root=PATH trainer.max_epochs=20",
        "  brain-tumor-tl train -m model=resnet18,resnet50 method=frozen,finetune seed=0,1,2",
        "  brain-tumor-tl train data=phantom model.weights=null",
    ]
    return "\n".join(lines)


def search_help() -> str:
    """Return what a search adds to `brain-tumor-tl train`."""
    defaults = default_values()
    lines = [
        "brain-tumor-tl search KEY=SPACE ... [GROUP=CHOICE] [KEY=VALUE] ...: find the best settings with Optuna",
        "",
        "Spaces, as in Hydra's multirun (quote parentheses for the shell):",
        "  KEY=VALUE,VALUE                     one of some values; of a group: model=resnet18,vgg16",
        "  'KEY=interval(0,0.3)'               any number between two",
        "  'KEY=tag(log,interval(1e-5,1e-2))'  the same, drawn over powers of ten",
        "  'KEY=int(interval(8,64))'           any whole number between two, both included",
        "  'KEY=range(16,65,16)'               16, 32, 48, 64",
        "",
        "Keys of a search, with their values when nothing is given:",
    ]
    lines += [line for key in keys() if key.path.startswith("search.") for line in key_lines(key, defaults)]
    lines += [
        "",
        "All groups, keys and flags of `brain-tumor-tl train --help` may be given too.",
        "",
        "Example:",
        "  brain-tumor-tl search method=frozen data.root=PATH data.val_fraction=0.1 model=resnet18,mobilenet_v2 \\",
        "      'optimizer.lr=tag(log,interval(1e-5,1e-2))' data.batch_size=16,32,64 search.trials=30",
    ]
    return "\n".join(lines)


def key_lines(key: Key, defaults: DictConfig) -> list[str]:
    """Return the help of one key."""
    value = OmegaConf.select(defaults, key.path, throw_on_missing=False)
    shown = "null" if value is None else str(value)
    choices = f" ({'|'.join(map(str, key.rule['choices']))})" if key.rule["choices"] else f" ({key.type_name})"
    return [f"  {key.path}={shown}{choices}", f"      {key.rule['meaning']}"]


def default_values() -> DictConfig:
    """Return the configuration that `brain-tumor-tl train` uses when nothing is overridden."""
    return composed([])


def composed(overrides: list[str]) -> DictConfig:
    """Return the configuration that `brain-tumor-tl train` would use, for verbs that train nothing.

    Raises:
        hydra.errors.HydraException: An override doesn't fit.
    """
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("train", overrides)


AUDIT_HELP = """\
brain-tumor-tl audit data.root=PATH [other=PATH] [out=PATH] [KEY=VALUE] ...: find what is wrong with a data set

It looks for copies (identical files, identical pixels, near copies), pictures under two labels, what each split would
leave in common, what size, border or brightness alone give away, and unreadable files; it trains nothing. What it finds
is no error: the exit status is 0 when it ran.

  data.root=PATH     folder that holds Training/ and Testing/, train/ and test/, or the class folders
  other=PATH         a second set of the same classes: which of its images have a copy in the first
  out=PATH           folder for audit.html, audit.json and duplicates.csv (outputs/audit)
  data.KEY=VALUE     any other key of `brain-tumor-tl train`, such as data.classes, data.cache_dir, data.test_fraction

Examples:
  brain-tumor-tl audit data.root=PATH
  brain-tumor-tl audit data=br35h data.root=PATH other=PATH out=audit-br35h"""


def run_audit(arguments: list[str]) -> int:
    """Check the overrides' keys, then audit the images that they name; return the exit status.

    Args:
        arguments: The command line after `brain-tumor-tl audit`.
    """
    if "-h" in arguments or "--help" in arguments:
        print(AUDIT_HELP)
        return 0
    own = {"other": "", "out": "outputs/audit"}
    overrides = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if sign and key in own:
            own[key] = value
        else:
            overrides.append(quoted_path(argument))
    refuse_unknown_keys(overrides)
    try:
        config = composed(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    from brain_tumor_tl.cli.audit import run

    return run(config, own["other"] or None, own["out"])
