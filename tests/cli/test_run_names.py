"""Run names: they tell what differs from the defaults, the same settings have one name, and others find their place."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.cli import train
from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.command import checked_line
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.run_names import changes, choose_folder, is_default, origin_of
from brain_tumor_tl.run.folder import OtherRunError

README = Path(__file__).parents[2] / "README.md"
Compose = Callable[..., DictConfig]


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compose]:
    """Compose as Hydra does for a single run: `compose(*overrides, name="train")`; Hydra's settings included."""
    monkeypatch.chdir(tmp_path)
    settings = HydraConfig.instance()
    monkeypatch.setattr(settings, "cfg", settings.cfg)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        setup_globals()
        loader = GlobalHydra.instance().config_loader()

        def composed(*overrides: str, name: str = "train") -> DictConfig:
            config = loader.load_configuration(name, list(overrides), RunMode.RUN)
            HydraConfig.instance().set_config(config)
            return config

        yield composed


BASE = "resnet18-finetune-s0"
NAMES = {
    "": BASE,
    "optimizer.lr=1e-3 seed=0 model=resnet18 recipe=study": BASE,
    "trainer.max_epochs=4": BASE,
    "launcher.jobs=2 data.cache_dir=/somewhere force=true": BASE,
    "data.root=mri": f"{BASE}-root_mri",
    "data.root=./mri/": f"{BASE}-root_mri",
    "model=vgg16 method=frozen seed=3 recipe=onecycle optimizer.lr=0.1": "vgg16-frozen-s3-onecycle-lr0.1",
    "recipe=onecycle": f"{BASE}-onecycle",
    "recipe=onecycle trainer.max_epochs=20": f"{BASE}-onecycle-max_epochs20",
    "trainer=cpu trainer.precision=32-true": f"{BASE}-cpu-precision_32-true",
    "+optimizer.options.weight_decay=0.01": f"{BASE}-weight_decay0.01",
    "model.weights=/a/b.pt": f"{BASE}-weights_b.pt",
    "data.split=kfold data.fold=3 data.fold_by=series": f"{BASE}-series-f3",
    "experiment=crossval data.fold=1": f"{BASE}-grouped-f1-crossval",
    "name=mine optimizer.lr=0.1": "mine",
}


@pytest.mark.parametrize(("line", "name"), NAMES.items(), ids=list(NAMES))
def test_name__what_differs_from_the_defaults(line: str, name: str, compose: Compose) -> None:
    config = compose(*line.split())

    assert config.name == name
    assert config.hydra.run.dir == f"outputs/runs/{name}"
    assert is_default(config, "name") == ("name=" not in line)


def test_name__of_an_own_file_and_an_own_choice(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "mine" / "recipe").mkdir(parents=True)
    (tmp_path / "mine" / "recipe" / "gentle.yaml").write_text(
        "# @package _global_\ndefaults:\n  - study\noptimizer:\n  lr: 1e-5\n"
    )
    search = f"hydra.searchpath=[file://{tmp_path / 'mine'}]"

    assert compose("recipe=gentle", search).name == f"{BASE}-gentle"
    assert compose("recipe=gentle", "optimizer.lr=0.1", search).name == f"{BASE}-gentle-lr0.1"


def readme_lines() -> list[str]:
    """Return the overrides of README's single runs."""
    lines = re.findall(r"^brain-tumor-tl train ([^#\n]*)", README.read_text(), flags=re.MULTILINE)
    return list(dict.fromkeys(line.strip() for line in lines if "-m " not in line and "--config" not in line))


def leave_run(config: DictConfig) -> Path:
    """Write what a finished run leaves."""
    settings = settings_of(config)
    folder = Path(config.hydra.run.dir)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    (folder / "results.json").write_text(json.dumps({"config": settings}))
    return folder


def settings_of(config: DictConfig) -> dict[str, Any]:
    config = config.copy()
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))


def test_choose_folder__no_command_of_the_readme_is_refused_after_another(compose: Compose) -> None:
    lines = readme_lines()
    assert len(lines) > 6
    for line in lines:
        if "trainer.find_lr=true" in line:
            continue  # it makes no run
        config = compose(*checked_line(shlex.split(line)))
        folder, state = choose_folder(Path(config.hydra.run.dir), settings_of(config), is_default(config, "name"))
        assert state == "new", line
        leave_run(config)
        assert choose_folder(folder, settings_of(config), may_rename=True) == (folder, "done")


def test_choose_folder__beside_a_run_with_the_same_name_and_other_settings(compose: Compose) -> None:
    folder = leave_run(compose("trainer.max_epochs=9"))
    shorter, more = compose("trainer.max_epochs=2"), compose("trainer.max_epochs=20")

    beside = folder.with_name(f"{BASE}-max_epochs2")
    assert choose_folder(folder, settings_of(shorter), may_rename=True) == (beside, "new")
    assert choose_folder(folder, settings_of(more), may_rename=True) == (folder, "longer")
    with pytest.raises(OtherRunError, match=r"max_epochs: 9 -> 2"):
        choose_folder(folder, settings_of(shorter), may_rename=False)


def test_choose_folder__very_different_settings_get_a_digest(compose: Compose) -> None:
    folder = leave_run(compose())
    other = settings_of(compose("seed=1", "optimizer.lr=1", "data.image_size=64", "data.batch_size=4"))

    beside, _ = choose_folder(folder, other, may_rename=True)

    assert re.fullmatch(rf"{BASE}-[0-9a-f]{{8}}", beside.name)


def test_origin_of__choices_and_what_they_do_not_explain(compose: Compose) -> None:
    config = compose("recipe=onecycle", "trainer.max_epochs=20", "data.root=mri")

    assert changes(config) == ({"recipe": "onecycle"}, {"data.root": "mri", "trainer.max_epochs": 20})
    origin = origin_of(config)
    assert origin["choices"]["recipe"] == "onecycle"
    assert origin["choices"]["model"] == "resnet18"
    assert origin["changed"] == ["recipe", "data.root", "trainer.max_epochs"]
    assert "trial" not in origin
    assert origin_of(compose(name="search"))["trial"] == {"metric": "val/accuracy"}


def run_job(config: DictConfig) -> Any:
    """Start a run as Hydra does."""
    folder = Path(config.hydra.run.dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.set_readonly(config.hydra, False)
    OmegaConf.set_struct(config, False)
    config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    task = config.copy()
    OmegaConf.set_struct(task, False)
    del task["hydra"]
    return train.run(task)


FAULTS = {
    "value": (["optimizer.lr=-1"], "to be greater than 0"),
    "path": (["model.weights=null", "data.source=folder", "data.root=/no/such/folder"], "/no/such/folder"),
    "weights": (["model.weights=/no/such/file.pt"], "/no/such/file.pt"),
    "device": (["trainer.accelerator=mps"], "mps"),
}


@pytest.mark.parametrize(("line", "told"), FAULTS.values(), ids=FAULTS)
def test_run__a_refused_start_leaves_nothing(line: list[str], told: str, compose: Compose, tmp_path: Path) -> None:
    with pytest.raises(hydra.errors.CompactHydraException, match=told):
        run_job(compose("data.cache_dir=cache", *line))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("line", "told"), FAULTS.values(), ids=FAULTS)
def test_run__a_fault_is_told_before_another_run_of_the_name(line: list[str], told: str, compose: Compose) -> None:
    folder = leave_run(compose("name=mine"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(hydra.errors.CompactHydraException, match=r"mine holds a run with other settings \(data"):
        run_job(compose("name=mine", "data.batch_size=7"))

    with pytest.raises(hydra.errors.CompactHydraException, match=told):
        run_job(compose("name=mine", "data.batch_size=7", "data.cache_dir=cache", *line))

    assert {path: path.read_bytes() for path in before} == before


def test_run__why_a_run_failed_is_in_its_folder(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: dict[str, Any], folder: Path, origin: Any) -> Any:
        (folder / "config.yaml").write_text("seed: 0\n")
        raise RuntimeError("the power went")

    monkeypatch.setattr(train, "train", fail)
    with pytest.raises(RuntimeError):
        run_job(compose())

    assert (tmp_path / "outputs" / "runs" / BASE / "error.txt").read_text() == "the power went\n"


def test_run__beside_another_run(compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leave_run(compose("trainer.max_epochs=9"))
    begun: list[tuple[str, Path, str]] = []
    monkeypatch.setattr(
        train, "train", lambda settings, place, _: begun.append((settings["name"], place, HydraConfig.get().run.dir))
    )

    run_job(compose("trainer.max_epochs=2"))

    beside = folder.absolute().with_name(f"{BASE}-max_epochs2")
    assert begun == [(beside.name, beside, str(beside))], "Lightning hands Hydra's folder to the further processes"


def test_name__stays_when_the_classes_are_found(compose: Compose, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "mri" / name).mkdir(parents=True)
    for line, changed in {"": [], "data.classes=[a,b]": ["data.classes"]}.items():
        config = compose("data=folder", "data.root=mri", *line.split())
        before = config.name

        assert checked_settings(config)["data"]["classes"] == [["a"], ["b"], *([] if line else [["c"]])]

        assert config.name == before
        assert ("classes" in before) == bool(changed)
        assert [key for key in origin_of(config)["changed"] if "classes" in key] == changed


def test_choose_folder__the_last_checkpoint_is_missing(compose: Compose) -> None:
    folder = leave_run(compose("trainer.max_epochs=2"))
    (folder / "checkpoints" / "last.ckpt").unlink()

    with pytest.raises(OtherRunError, match=r"can't be resumed .*max_epochs: 2 -> 4.*last\.ckpt is missing"):
        choose_folder(folder, settings_of(compose("trainer.max_epochs=4")), may_rename=True)


def test_run__an_interrupt_of_the_imports_leaves_nothing(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "import_libraries", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_job(compose())

    assert list(tmp_path.iterdir()) == []
