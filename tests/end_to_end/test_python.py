"""From Python: README's snippets as they stand there, and the checkpoints of the command line."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from brain_tumor_tl import TumorClassifier, TumorData

README = Path(__file__).resolve().parents[2] / "README.md"
PLAIN: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "use_distributed_sampler": False,
}  # fmt: skip


def readme_snippets() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_readme__a_finished_run(finished_runs: dict[str, Path]) -> None:
    snippet, *_ = readme_snippets()
    root = Path(yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text(encoding="utf-8"))["data"]["root"])
    picture = sorted(root.rglob("*.png"))[0]
    for old, new in {"outputs/runs/mobilenet_v2-frozen-s0": finished_runs["frozen"], "scan.jpg": picture}.items():
        assert snippet.count(old) == 1
        snippet = snippet.replace(old, str(new))
    snippet = snippet.replace("run.predict", "found = run.predict")
    values: dict[str, Any] = {"array": np.asarray(Image.open(picture))}

    exec(snippet, values)

    assert values["found"].shape == (2, len(values["run"].classes))
    np.testing.assert_allclose(values["found"][0], values["found"][1], atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:`isinstance", "ignore:Found .* in eval mode")
def test_readme__snippets(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, *snippets = readme_snippets()
    assert len(snippets) == 2
    changes = {
        '"PATH"': repr(str(image_folder)), "image_size=224": "image_size=32", '"resnet18"': '"shufflenet_v2_x0_5"',
        '"IMAGENET1K_V1"': "None", "max_epochs=10": "max_epochs=2, accelerator='cpu', enable_progress_bar=False",
    }  # fmt: skip
    for old, new in changes.items():
        assert snippets[0].count(old) == 1
        snippets[0] = snippets[0].replace(old, new)
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {}

    exec("\n".join(snippets), values)

    (tested,) = values["tested"]
    classes = values["model"].classes
    assert classes == sorted(path.name for path in (image_folder / "Training").iterdir())
    assert {"test/accuracy", "test/macro_f1", *(f"test/f1/{name}" for name in classes)} <= set(tested)
    # without a validation split there is nothing that could be called so
    metrics = values["trainer"].callback_metrics
    assert not [name for name in metrics if name.startswith("val/")]
    paths = [path for batch in values["batches"] for path in batch["paths"]]
    assert paths == list(values["data"].index.paths)
    assert len(paths) == 28
    assert values["model"].hparams["preprocessing"]["image_size"] == 32
    assert values["model"].hparams["weights"] is None


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_checkpoint__gives_the_predictions_of_its_run(
    method: str, finished_runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = finished_runs[method]
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["data"]
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        expected = {
            row["path"]: [float(value) for name, value in row.items() if name.startswith("probability/")]
            for row in csv.DictReader(file)
        }

    model = TumorClassifier.load_from_checkpoint(folder / "checkpoints" / "best.ckpt")
    prepared = model.hparams["preprocessing"]
    data = TumorData(
        settings["root"],
        settings["classes"],
        image_size=prepared["image_size"],
        normalize=prepared["normalize"],
        intensity=prepared["intensity"]["rule"],
        channels_last=prepared["channels_last"],
        batch_size=8,
        cache_dir=tmp_path,
        seed=0,
        find_copies=False,
    )
    batches: Any = L.Trainer(**PLAIN).predict(model, data)
    paths = [path for batch in batches for path in batch["paths"]]
    found = dict(zip(paths, torch.cat([batch["probabilities"] for batch in batches]).tolist(), strict=True))

    assert (model.classes, model.freezing.head_only) == ([names[0] for names in data.classes], method == "frozen")
    assert len(expected) >= 10
    for path, probabilities in expected.items():
        assert found[path] == pytest.approx(probabilities, abs=1e-5)
    last = TumorClassifier.load_from_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert last.hparams == model.hparams
