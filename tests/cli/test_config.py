"""Config: the schema and the YAML files hold the same keys; ranges, choices and wrong names are answered."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.__main__ import VERBS
from brain_tumor_tl.cli import config as config_module
from brain_tumor_tl.cli.checks import BOUNDS, checked_settings, violation
from brain_tumor_tl.cli.config import choices_of, conf_dir, config_groups
from brain_tumor_tl.cli.help import composed
from brain_tumor_tl.cli.keys import Key, declared, unknown_key
from brain_tumor_tl.cli.run_names import file_values

Compose = Callable[..., DictConfig]

KEYS = declared()
YAML_FILES = sorted(conf_dir().rglob("*.yaml"))
PRIMARY = [path for path in YAML_FILES if path.parent == conf_dir()]
HYDRAS_OWN = sorted((conf_dir() / "hydra").rglob("*.yaml"))  # its groups of launchers and sweepers
NEEDS_ROOT = ("folder", "br35h")
CHOICES = [(group, choice) for group in config_groups() for choice in choices_of(group)]


@pytest.fixture
def compose() -> Iterator[Compose]:
    """Compose as the command line does: `compose("seed=1", ..., name="train")`."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield lambda *overrides, name="train", **more: hydra.compose(name, list(overrides), **more)


@pytest.fixture(scope="module")
def defaults() -> DictConfig:
    """What `brain-tumor-tl train` uses when nothing is given."""
    return composed([])


def with_values(config: DictConfig, *values: str) -> DictConfig:
    """Return a copy with other values, such as `seed=1`; a tenth of what composing anew takes."""
    changed = OmegaConf.merge(config, OmegaConf.from_dotlist(list(values)))
    assert isinstance(changed, DictConfig)
    return changed


def choose(group: str, choice: str) -> list[str]:
    """Return the overrides that choose from a group, with a path where one has no value of its own."""
    root = ["data.root=PATH"] if group == "data" and choice in NEEDS_ROOT else []
    matlab = ["data.matlab=PATH"] if (group, choice) == ("data", "figshare") else []
    frozen = ["method=frozen"] if group == "head" else []  # on whose features most heads are fitted
    return [f"{group}={choice}", *root, *matlab, *frozen]


def leaves(content: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every value; an open table counts as one."""
    for name, value in content.items():
        path = prefix + name
        if isinstance(value, Mapping) and path not in KEYS:
            yield from leaves(value, path + ".")
        else:
            yield path


def problems(config: DictConfig) -> list[str]:
    """Return what `checked_settings` says, line by line."""
    with pytest.raises(ValueError) as caught:
        checked_settings(config)
    return str(caught.value).splitlines()


def test_conf_dir__holds_train_yaml() -> None:
    assert (conf_dir() / "train.yaml").is_file()
    assert len(YAML_FILES) >= 23
    assert {path.stem for path in PRIMARY} >= {"train", "grid", "demo"}
    assert len(CHOICES) == len(YAML_FILES) - len(PRIMARY) - len(HYDRAS_OWN)


def test_conf_dir__damaged_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "__file__", str(tmp_path / "package" / "cli" / "config.py"))

    with pytest.raises(FileNotFoundError, match=r"Expected the configuration in .*found neither.*Install"):
        conf_dir()


@pytest.mark.parametrize("folder", ["package/conf", "conf"], ids=["wheel", "checkout"])
def test_conf_dir__beside_or_inside_the_package(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "__file__", str(tmp_path / "package" / "cli" / "config.py"))
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "train.yaml").touch()

    assert conf_dir() == tmp_path / folder


def test_keys__are_the_leaves_of_the_composed_configuration(compose: Compose) -> None:
    composed = OmegaConf.to_container(compose(), resolve=False)

    assert isinstance(composed, dict)
    assert sorted(leaves(composed)) == sorted(KEYS)
    assert len(KEYS) > 50


@pytest.mark.parametrize("choice", choices_of("data"))
def test_keys__have_a_value_in_yaml(choice: str, compose: Compose) -> None:
    composed = compose(f"data={choice}")

    missing = [path for path in KEYS if OmegaConf.is_missing(*parent(composed, path))]
    assert missing == (["data.root"] if choice in NEEDS_ROOT else [])


def parent(config: DictConfig, path: str) -> tuple[DictConfig, str]:
    """Return the table that holds a key, and the key's name in it."""
    table, _, leaf = path.rpartition(".")
    return (OmegaConf.select(config, table) if table else config), leaf


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_keys__have_a_meaning(key: Key) -> None:
    meaning = key.rule["meaning"]

    assert len(meaning) > 8
    assert meaning == meaning.strip()
    assert not meaning.endswith(".")
    assert "\n" not in meaning


RULED = {path: key for path, key in KEYS.items() if key.rule["bounds"]}
CHOSEN = {path: key for path, key in KEYS.items() if key.rule["choices"]}


@pytest.mark.parametrize("key", RULED.values(), ids=RULED)
def test_violation__at_and_beyond_each_bound(key: Key) -> None:
    bounds = key.rule["bounds"]
    assert set(bounds) <= set(BOUNDS)
    inside = [bounds[name] for name in ("low", "high") if name in bounds]
    outside = [bounds[name] for name in ("above", "below") if name in bounds]
    outside += [bounds[name] + step for name, step in (("low", -1), ("high", 1)) if name in bounds]

    assert [violation(key, value) for value in inside] == [None] * len(inside)
    assert outside
    for value in outside:
        assert re.match(rf"Expected `{key.path}` to be .*, got {value}\.", violation(key, value) or "")


@pytest.mark.parametrize("key", CHOSEN.values(), ids=CHOSEN)
def test_violation__choices(key: Key) -> None:
    choices = key.rule["choices"]

    assert [violation(key, choice) for choice in choices] == [None] * len(choices)
    expected = ", ".join(map(str, choices))
    assert violation(key, "zzz") == f"Expected `{key.path}` to be one of {expected}, got 'zzz'."


def test_checked_settings__the_defaults_pass(defaults: DictConfig) -> None:
    checked_settings(defaults)


BAD_VALUES = {
    "seed-negative": ("seed=-1", "`seed` to be at least 0 and at most 4294967295, got -1"),
    "seed-too-large": ("seed=4294967296", "`seed` to be at least 0 and at most 4294967295, got 4294967296"),
    "source": ("data.source=fodler", r"`data.source` to be one of folder, .*'fodler'. Did you mean `folder`"),
    "image-too-small": ("data.image_size=7", "`data.image_size` to be at least 8 and at most 4096, got 7"),
    "image-too-large": ("data.image_size=4097", "`data.image_size` to be at least 8 and at most 4096"),
    "batch-empty": ("data.batch_size=0", "`data.batch_size` to be at least 1, got 0"),
    "split": ("data.split=randm", r"`data.split` to be one of .*Did you mean `random`"),
    "no-test-split": (
        "data.test_fraction=0",
        "`data.test_fraction` to be greater than 0 and less than 1, got 0.0",
    ),
    "all-test": (
        "data.test_fraction=1",
        "`data.test_fraction` to be greater than 0 and less than 1, got 1.0",
    ),
    "split-group": ("data.split=group", "`data.split` to be one of random, grouped, series.*Did you mean `grouped`"),
    "folds": ("data.folds=1", "`data.folds` to be at least 2, got 1"),
    "fold-negative": ("data.fold=-1", "`data.fold` to be at least 0, got -1"),
    "test-not-a-number": ("data.test_fraction=nan", "`data.test_fraction` to be greater than 0 .*got nan"),
    "val-negative": (
        "data.val_fraction=-0.1",
        "`data.val_fraction` to be at least 0 and less than 1, got -0.1",
    ),
    "bad-file": ("data.on_bad_file=ignore", "`data.on_bad_file` to be one of error, skip, got 'ignore'"),
    "features": (
        "method.cache_features=yes_please",
        "`method.cache_features` to be one of auto, True, False",
    ),
    "features-null": ("method.cache_features=null", "`method.cache_features` to be one of .*got None"),
    "lr": ("optimizer.lr=0", "`optimizer.lr` to be greater than 0, got 0.0"),
    "interval": ("scheduler.interval=epochs", "`scheduler.interval` to be one of epoch, step.*`epoch`"),
    "smoothing": ("loss.label_smoothing=1", "`loss.label_smoothing` to be at least 0 and less than 1"),
    "accelerator": (
        "trainer.accelerator=tpu",
        "`trainer.accelerator` to be one of auto, cpu, gpu, mps, cuda",
    ),
    "precision": (
        "trainer.precision=bf16-mix",
        "`trainer.precision` to be one of .*Did you mean `bf16-mixed`",
    ),
    "channels-null": ("trainer.channels_last=null", "`trainer.channels_last` to be one of .*got None"),
    "no-epoch": ("trainer.max_epochs=0", "`trainer.max_epochs` to be at least 1, got 0"),
    "clip": ("trainer.gradient_clip_val=0", "`trainer.gradient_clip_val` to be greater than 0, got 0.0"),
    "clip-by": (
        "trainer.gradient_clip_algorithm=l2",
        "`trainer.gradient_clip_algorithm` to be one of norm, value",
    ),
    "profiler": ("trainer.profiler=fast", "`trainer.profiler` to be one of simple, advanced, got 'fast'"),
}


@pytest.mark.parametrize(("override", "match"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_checked_settings__value_out_of_range(override: str, match: str, defaults: DictConfig) -> None:
    with pytest.raises(ValueError, match=match):
        checked_settings(with_values(defaults, override))


GOOD_VALUES = {
    "bounds": ["seed=4294967295", "data.image_size=8", "data.val_fraction=0", "trainer.max_steps=-1"],
    "nothing-optional": [
        "trainer.gradient_clip_val=null",
        "trainer.profiler=null",
        "trainer.num_threads=null",
    ],
    "validation-split": ["data.test_fraction=0.5", "data.val_fraction=0.499"],
    "folds": ["data.split=kfold", "data.fold=4", "data.test_fraction=0.9", "data.val_fraction=0.7"],
    "official": ["data.split=official", "data.find_copies=false", "data.val_fraction=0.9"],
    "hierarchy": ["data.hierarchy={tumor: [glioma_tumor, meningioma_tumor, pituitary_tumor]}"],
    "rates-by-module": ["optimizer.backbone_lr_factor={features.7: 0.1, features.14: 1}"],
    "weights": ["loss.class_weights=[1,2,0.5,1]"],
    "balanced": ["loss.class_weights=balanced"],
    "features": ["method.freeze=true", "method.cache_features=true"],
    "few-batches": [
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=0.5",
        "trainer.limit_test_batches=1.0",
    ],
    "seldom-monitored": ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=4"],
    "devices": ["trainer.devices=[0,2]"],
}


@pytest.mark.parametrize("values", GOOD_VALUES.values(), ids=GOOD_VALUES)
def test_checked_settings__values_in_range(values: list[str], defaults: DictConfig) -> None:
    checked_settings(with_values(defaults, *values))


PHANTOMS = ["data.source=phantom", "data.phantoms_per_class=150", "data.phantom_size=96"]
COMBINED = {
    "nothing-to-train-on": (
        ["data.test_fraction=0.6", "data.val_fraction=0.4"],
        "to leave images to train on, got 0.6",
    ),
    "no-such-fold": (
        ["data.split=kfold", "data.fold=5"],
        "`data.fold` from 0 to 4 for data.folds=5, got 5",
    ),
    "fold-and-validation": (
        ["data.split=kfold", "data.folds=2", "data.val_fraction=0.5"],
        "leave images to train on beside one fold of 2, got 0.5",
    ),
    "fold-without-folds": (["data.fold=1"], "`data.fold=1` needs data.split=kfold, got data.split=random"),
    "groups-nobody-looked-for": (
        ["data.split=kfold", "data.find_copies=false"],
        "A split of grouped images needs to know which images are copies. Give data.find_copies=auto",
    ),
    "conflicts-nobody-looked-for": (
        ["data.drop_conflicts=true", "data.find_copies=false"],
        "data.drop_conflicts=true needs to know which images are copies",
    ),
    "no-matlab-files": (["data.source=matlab"], r"`data\.matlab` has no value: folder of the \.mat files"),
    "one-class": (["data.classes=[[a]]"], "at least two `data.classes`, got 1"),
    "few-phantoms": (
        [*PHANTOMS, "data.phantoms_per_class=4"],
        "`data.phantoms_per_class` of at least 5 .* got 4 and 96",
    ),
    "small-phantoms": (
        [*PHANTOMS, "data.phantom_size=31"],
        "`data.phantom_size` of at least 32, got 150 and 31",
    ),
    "patience-by-the-test": (
        ["trainer.patience=3"],
        "`trainer.patience` needs a validation split.*val_fraction",
    ),
    "no-rate": (["optimizer.backbone_lr_factor=0"], "to be a positive number, .* got 0. .* give method=frozen"),
    "no-rate-of-a-module": (["optimizer.backbone_lr_factor={layer1: 0}"], "to be a positive number.*'layer1': 0"),
    "rate-in-words": (["optimizer.backbone_lr_factor=slow"], "to be a positive number.*got slow"),
    "hierarchy": (["data.hierarchy={tumor: [glioma]}"], "`data.hierarchy` to have classes of .* not glioma"),
    "three-weights": (["loss.class_weights=[1,1,1]"], "to be null, balanced or 4 numbers"),
    "unknown-weights": (["loss.class_weights=even"], "to be null, balanced or 4 numbers, got even"),
    "zero-weight": (
        ["loss.class_weights=[1,1,1,0]"],
        "every one of `loss.class_weights` to be a positive number",
    ),
    "text-weight": (
        ["loss.class_weights=[1,1,1,a]"],
        "every one of `loss.class_weights` to be a positive number",
    ),
    "name-with-slash": (["name=a/b"], "`name` to be the name of a folder, got 'a/b'"),
    "name-of-parent": (["name=.."], r"`name` to be the name of a folder, got '\.\.'"),
    "features-of-one-change": (
        ["method=frozen", "method.cache_features=true", "data.augment.flip=0.5"],
        r"images that stay the same, got data.augment.flip=0.5",
    ),
    "views-of-nothing": (
        ["method.freeze=true", "method.views=4"],
        "`method.views=4` needs a frozen part .*some data.augment",
    ),
    "views-of-all-layers": (["method.views=4", "data.augment.flip=0.5"], "`method.views=4` needs a frozen part"),
    "views-mixed": (
        ["method.freeze=true", "method.views=4", "data.augment.flip=0.5", "data.augment.mixup=0.2"],
        "`method.views=4` keeps the output for single images.*set both to 0",
    ),
    "place-and-stages": (
        ["method.freeze=true", "method.train_from=layer3", "method.stages=[[head,1]]"],
        "either `method.train_from` or `method.stages`",
    ),
    "place-of-finetune": (["method.train_from=layer3"], "need method.freeze=true, as method=partial and gradual"),
    "place-that-is-none": (["method.freeze=true", "method.train_from=true"], "the name of a module or a share"),
    "stages-of-names": (["method.freeze=true", "method.stages=[layer3]"], "to be a list of places, each with a number"),
    "stages-without-epochs": (
        ["method.freeze=true", "method.stages=[[head,null],[layer4,2]]"],
        "to be a list of places, each with a number",
    ),
    "features-that-change": (["method.cache_features=true"], "needs a frozen backbone.*method=frozen"),
    "no-batch": (["trainer.limit_test_batches=0"], "`trainer.limit_test_batches` to be null.*got 0"),
    "share-above-one": (["trainer.limit_train_batches=1.5"], "`trainer.limit_train_batches` .*got 1.5"),
    "batches-in-words": (["trainer.limit_val_batches=few"], "`trainer.limit_val_batches` .*got 'few'"),
    "infinite-weight": (
        ["loss.class_weights=[1,1,1,.inf]"],
        "every one of `loss.class_weights` to be a positive number",
    ),
    "copied-processes": (["trainer.strategy=ddp_spawn"], r"got ddp_spawn, whose .* Give trainer\.strategy=ddp\."),
    "no-step": (["trainer.max_steps=0"], "`trainer.max_steps` to be -1 or at least 1, got 0"),
    "never-monitored": (
        ["trainer.max_epochs=2", "trainer.check_val_every_n_epoch=3"],
        "`trainer.check_val_every_n_epoch` to be at most `trainer.max_epochs`, got 3 and 2",
    ),
}


@pytest.mark.parametrize(("values", "match"), COMBINED.values(), ids=COMBINED)
def test_checked_settings__values_that_do_not_fit_together(values: list[str], match: str, defaults: DictConfig) -> None:
    with pytest.raises(ValueError, match=match):
        checked_settings(with_values(defaults, *values))


def test_checked_settings__all_problems_at_once(compose: Compose) -> None:
    found = problems(compose("seed=-1", "data=folder", "data.batch_size=0", "trainer.profiler=fast"))

    assert [re.search("`(.+?)`", line).group(1) for line in found] == [  # type: ignore[union-attr]
        "seed", "data.root", "data.batch_size", "trainer.profiler",
    ]  # fmt: skip


def test_checked_settings__all_combined_problems_at_once(defaults: DictConfig) -> None:
    found = problems(with_values(defaults, "name=a/b", "trainer.max_steps=0", "loss.class_weights=even"))

    assert len(found) == 3


@pytest.mark.parametrize("choice", NEEDS_ROOT)
def test_checked_settings__no_folder_given(choice: str, compose: Compose) -> None:
    (problem,) = problems(compose(f"data={choice}"))

    assert re.match(r"`data.root` has no value: folder that .*\. Give data\.root=VALUE\.", problem)


SUGGESTIONS = {
    "trainer.max_epoch": r"`trainer.max_epoch`. Did you mean `max_epochs`.* `trainer` has: accelerator, ",
    "max_epochs": r"Did you mean `trainer.max_epochs`\?",
    "epochs": r"Give trainer\.max_epochs=NUMBER\.",
    "lr": r"Did you mean `optimizer.lr`\?",
    "data.batchsize": r"Did you mean `batch_size`\? `data` has: source",
    "optimiser.lr": r"Did you mean `optimizer.lr`",
    "models": r"Did you mean `model`",
    "model.option.dropout": r"Did you mean `model.options`",
    "hydra_x": r"no key `hydra_x`",
    "zzz": r"There are confusion_every, data, .*trainer\.",
}


@pytest.mark.parametrize(("path", "match"), SUGGESTIONS.items(), ids=SUGGESTIONS)
def test_unknown_key__nearest_right_names(path: str, match: str) -> None:
    assert re.search(match, unknown_key(path) or "")


KNOWN = [
    *KEYS, *config_groups(), "optimizer", "model@other", "model.options.dropout", "optimizer.options.betas",
    "scheduler.options.gamma", "hydra.run.dir", "hydra/launcher", "hydra",
]  # fmt: skip


@pytest.mark.parametrize("path", dict.fromkeys(KNOWN))
def test_unknown_key__known(path: str) -> None:
    assert unknown_key(path) is None


def opening_commands(path: Path) -> list[str]:
    """Return the commands in the comments that a YAML file opens with, without what is said beside them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = lines[1:] if lines[0].startswith("# @package") else lines
    found = [re.match(r"# (brain-tumor-tl \S+(?: \S+)*)", line) for line in lines[:2]]
    return [match.group(1) for match in found if match]


@pytest.mark.parametrize("path", YAML_FILES, ids=[str(path.relative_to(conf_dir())) for path in YAML_FILES])
def test_yaml__opens_with_the_command_that_uses_it(path: Path, compose: Compose, tmp_path: Path) -> None:
    if path.stem.startswith("slurm"):
        pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    commands = opening_commands(path)
    for name in ("cat", "dog"):  # classes for data=folder
        (tmp_path / name).mkdir()

    assert commands
    for command in commands:
        _, verb, *words = command.split(" ")
        assert verb in VERBS
        name = words.pop(words.index("--config-name") + 1) if "--config-name" in words else verb
        words = [word.replace("=PATH", f"={tmp_path}") for word in words if word not in ("--config-name", "-m")]
        one_run = [word.split(",")[0] for word in words]
        checked_settings(compose(*one_run, name=name))
    group = path.parent.relative_to(conf_dir()).as_posix()
    used = f"--config-name {path.stem}" if path in PRIMARY else f" {group}={path.stem}"
    assert path.stem == commands[0].split(" ")[1] or used in commands[0]


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["=".join(pair) for pair in CHOICES])
def test_yaml__each_choice_composes(group: str, choice: str, compose: Compose, tmp_path: Path) -> None:
    composed = compose(*choose(group, choice))
    if composed.data.classes is None:
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
        composed.data.root = str(tmp_path)

    checked_settings(composed)
    if group in ("model", "method"):
        assert composed[group].name == choice


@pytest.mark.parametrize("name", [path.stem for path in PRIMARY])
def test_yaml__each_primary_configuration_composes(name: str, compose: Compose) -> None:
    composed = compose(name=name, return_hydra_config=True)

    checked_settings(composed)
    swept = composed.hydra.sweeper.params or {}
    for group, values in swept.items():
        assert set(values.split(",")) <= set(choices_of(group))
    assert (str(composed.hydra.mode) == "RunMode.MULTIRUN") == bool(swept)


NAMES = {
    "resnet18-finetune-s0": [],
    "resnet18-finetune-s0-official_clean": ["data.split=official_clean"],
    "resnet18-finetune-s0-series-f3": ["data.split=kfold", "data.fold=3", "data.fold_by=series"],
    "resnet18-finetune-s0-shuffled": ["data.shuffle_labels=true"],
}


@pytest.mark.parametrize(("name", "overrides"), NAMES.items(), ids=list(NAMES))
def test_yaml__names_tell_the_split(name: str, overrides: list[str], compose: Compose) -> None:
    assert compose(*overrides).name == name


def test_yaml__crossval_sweeps_every_fold(compose: Compose) -> None:
    composed = compose("experiment=crossval", return_hydra_config=True)

    assert composed.hydra.sweeper.params == {"data.fold": "0,1,2,3,4"}
    assert len(composed.hydra.sweeper.params["data.fold"].split(",")) == composed.data.folds
    assert composed.sweep == "crossval-resnet18-finetune-grouped"
    assert str(composed.hydra.mode) != "RunMode.MULTIRUN", "each fold's own process composes this file too"


def test_yaml__the_grid_is_the_studys(compose: Compose) -> None:
    from brain_tumor_tl.reporting.study import table1

    swept = compose(name="grid", return_hydra_config=True).hydra.sweeper.params

    runs = {(model, method) for model in swept.model.split(",") for method in swept.method.split(",")}
    assert runs == set(table1())
    assert len(runs) == 14


def test_yaml__the_studys_recipe_is_the_default(compose: Compose) -> None:
    composed = compose()

    assert (composed.optimizer.name, composed.optimizer.lr) == ("Adam", 0.001)
    assert (composed.data.batch_size, composed.trainer.max_epochs) == (32, 100)
    assert (composed.data.normalize, composed.data.test_fraction) == ("unit", 0.2)
    assert [names[0] for names in composed.data.classes] == [
        "no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor",
    ]  # fmt: skip


@pytest.mark.parametrize("recipe", choices_of("recipe"))
def test_yaml__a_recipe_is_complete_and_names_the_run(recipe: str, compose: Compose) -> None:
    composed = compose(f"recipe={recipe}", return_hydra_config=True)

    study, own = (file_values("recipe", name, [conf_dir()]) for name in ("study", recipe))
    assert len(study) > 10
    assert {key.removesuffix(".") for key in study} - {"scheduler.options", "optimizer.options"} <= own.keys()
    assert composed.name == f"resnet18-{composed.method.name}-s0" + (f"-{recipe}" if recipe != "study" else "")
    checked_settings(composed)


USED_FLAGS = [
    "accelerator", "devices", "num_nodes", "strategy", "precision", "max_steps", "max_time",
    "limit_train_batches", "limit_val_batches", "limit_test_batches", "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches", "check_val_every_n_epoch", "sync_batchnorm", "deterministic", "benchmark",
    "detect_anomaly", "profiler", "enable_progress_bar",
]  # fmt: skip


@pytest.mark.parametrize("flag", USED_FLAGS)
def test_yaml__trainer_flags_stand_there(flag: str) -> None:
    assert flag in OmegaConf.load(conf_dir() / "trainer" / "auto.yaml")


def test_keys__trainer_keys_are_lightnings() -> None:
    import lightning as L

    own = {"channels_last", "num_threads", "tf32", "cuda_graphs", "keep_memory", "patience", "ema", "find_lr"}
    flags = {path.removeprefix("trainer.") for path in KEYS if path.startswith("trainer.")} - own
    assert len(flags) > 20
    assert flags <= set(inspect.signature(L.Trainer).parameters)


WRONG_TYPES = {
    "text-for-int": ("trainer.max_epochs=abc", "'abc' of type 'str' could not be converted to Integer"),
    "fraction-for-int": ("seed=1.5", "could not be converted to Integer"),
    "text-for-float": ("optimizer.lr=fast", "could not be converted to Float"),
    "text-for-bool": ("force=maybe", "is not a valid bool"),
    "null-for-int": ("data.batch_size=null", "'data.batch_size' is not Optional"),
    "null-for-folder": ("data.root=null", "'data.root' is not Optional"),
}


@pytest.mark.parametrize(("override", "match"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_compose__value_of_another_type(override: str, match: str, compose: Compose) -> None:
    with pytest.raises(ConfigCompositionException, match=f"Error merging override {override}") as caught:
        compose(override)
    assert re.search(match, str(caught.value.__cause__))


# Hydra itself takes `+trainer.max_epoch=5` as a new key; the command refuses it: test_command.py.
@pytest.mark.parametrize("override", ["trainer.max_epoch=5", "colour=red", "+trainer={max_epoch:5}"])
def test_compose__key_that_does_not_exist(override: str, compose: Compose) -> None:
    with pytest.raises(ConfigCompositionException, match=re.escape(override)):
        compose(override)


def test_compose__key_that_does_not_exist_in_a_file(tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntrainer:\n  max_epoch: 5\n")

    with pytest.raises(ConfigCompositionException, match="Key 'max_epoch' not in 'TrainerConfig'"):
        compose(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")


@pytest.mark.parametrize("table", ["model.options", "optimizer.options", "scheduler.options"])
def test_compose__open_table_takes_any_key(table: str, compose: Compose) -> None:
    composed = compose(f"+{table}.x=1")

    assert OmegaConf.select(composed, table) == {"x": 1}
    assert KEYS[table].open_table
    checked_settings(composed)


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("trainer.devices=0", "trainer.devices"),
        ("trainer.devices=two", "trainer.devices"),
        ("trainer.devices=[]", "trainer.devices"),
        ("trainer.max_time=abc", "DD:HH:MM:SS"),
        ("trainer.max_time='1:00:00'", "DD:HH:MM:SS"),
    ],
    ids=["none", "word", "empty", "time-word", "time-without-days"],
)
def test_checked_settings__devices_and_time(override: str, match: str, defaults: DictConfig) -> None:
    with pytest.raises(ValueError, match=match):
        checked_settings(with_values(defaults, override))


@pytest.mark.parametrize("devices", ["auto", "1", "-1", "[0,2]"])
def test_checked_settings__devices_that_lightning_takes(devices: str, defaults: DictConfig) -> None:
    checked_settings(with_values(defaults, f"trainer.devices={devices}"))
