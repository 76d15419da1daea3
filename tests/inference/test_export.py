"""Export: files that are loaded without the package, by the programs they are for, against the run's own results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brain_tumor_tl import __version__
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.inference import export as exporting
from brain_tumor_tl.inference.export import BATCH, CHECKED, compare, export, own_test, precision_line, reference_of
from brain_tumor_tl.inference.graph import FORMATS, Outputs
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.notice import NOTICE

CHECKOUT = Path(__file__).resolve().parents[2]

# What a program does that has the file and its metadata alone: it gets no package, and for ONNX no PyTorch either.
ELSEWHERE = """
import json, sys
import numpy as np
from PIL import Image

sys.modules["brain_tumor_tl"] = None  # importing it raises an ImportError
file, out, *paths = sys.argv[1:]
if file.endswith(".onnx"):
    sys.modules["torch"] = None
    import onnxruntime
    session = onnxruntime.InferenceSession(file)
    metadata = session.get_modelmeta().custom_metadata_map
    compute = lambda images: session.run(["logits", "probabilities"], {"images": images})
else:
    import torch
    extra = {"metadata.json": ""}
    module = torch.export.load(file, extra_files=extra).module()
    metadata = json.loads(extra["metadata.json"])
    compute = lambda images: [value.detach().numpy() for value in module(torch.from_numpy(images))]

size = int(metadata["image_size"])
pictures = [Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BILINEAR) for path in paths]
images = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])
together, one = compute(images), compute(images[:1])
np.savez(out, logits=together[0], probabilities=together[1], one=one[0], metadata=json.dumps(metadata))
"""


def use_elsewhere(file: Path, paths: list[Path], folder: Path) -> dict[str, NDArray[Any]]:
    """Return what a second process gets from a file for some images; it runs in another folder."""
    line = [sys.executable, "-c", ELSEWHERE, str(file), str(folder / "out.npz"), *map(str, paths)]
    subprocess.run(line, cwd=folder, check=True, timeout=120)
    with np.load(folder / "out.npz") as found:
        return dict(found)


def copy_with(folder: Path, place: Path, **changes: Any) -> Path:
    """Return a copy of a run whose results.json has other top-level values."""
    shutil.copytree(folder, place)
    results = read_json(place / "results.json")
    (place / "results.json").write_text(json.dumps(results | changes))
    return place


@pytest.mark.parametrize("file_format", FORMATS)
def test_export__is_used_without_the_package(file_format: str, finished_runs: dict[str, Path], tmp_path: Path) -> None:
    known = read_json(finished_runs["finetune"] / "results.json")["probabilities"]
    calibrated = {"temperature": 2.5, "calibrated": {"calibration_error": 0.1, "reliability": []}}
    folder = copy_with(finished_runs["finetune"], tmp_path / "run", probabilities=known | calibrated)
    rows = read_csv(folder / "predictions.csv")
    root = Path(read_json(folder / "results.json")["config"]["data"]["root"])

    exported = export(folder, file_format)
    found = use_elsewhere(exported.path, [root / row["path"] for row in rows], tmp_path)

    expected = [[float(value) for name, value in row.items() if name.startswith("probability/")] for row in rows]
    assert len(expected) >= 10
    np.testing.assert_allclose(softmax(found["logits"]), expected, atol=1e-5)  # as the run wrote them: uncalibrated
    np.testing.assert_allclose(found["probabilities"], softmax(found["logits"] / 2.5), atol=1e-6)
    np.testing.assert_allclose(found["one"], found["logits"][:1], atol=1e-5)
    assert exported.path == folder / FORMATS[file_format].file
    assert exported.images == exported.same_class == len(rows) <= CHECKED
    assert max(exported.probability_difference, exported.logit_difference) < 1e-5
    assert json.loads(str(found["metadata"])) == exported.metadata
    content = exported.path.read_bytes()
    assert [text for text in (str(CHECKOUT), "site-packages") if text.encode() in content] == []


def test_export__metadata(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    run = TrainedRun(finished_runs["frozen"], "cpu")
    known = exporting.metadata(run)

    assert json.loads(known["classes"]) == list(run.classes)
    assert (known["run"], known["image_size"], known["notice"]) == (run.name, "64", NOTICE)
    assert known["made_by"].startswith(f"brain_tumor_tl {__version__},")
    assert known["network"] == "shufflenet_v2_x0_5, frozen, weights of the best validation epoch"
    assert known["input"].startswith("images: uint8 (N, 3, 64, 64), RGB")
    assert known["normalization"] == f"inside: {exporting.NORMALIZATIONS[run.preprocessing.normalize]}"
    assert "Image.resize((64, 64), Image.Resampling.BILINEAR)" in known["resizing"]
    assert "synthetic" in known
    assert "intensity_window" not in known, "phantoms have 8 bits"

    run.temperature = None
    run.preprocessing.intensity["window"] = [0.0, 4095.0]
    other = exporting.metadata(run)

    assert other["temperature"] == "none: the probabilities are not calibrated"
    assert json.loads(other["intensity_window"]) == [0, 4095]


@pytest.mark.parametrize("off", [2e-4, float("nan")], ids=["differs", "is NaN"])
@pytest.mark.parametrize("place", [0, 1], ids=["logits", "probabilities"])
def test_compare__other_outputs_are_refused(off: float, place: int, finished_runs: dict[str, Path]) -> None:
    reference = reference_of(TrainedRun(finished_runs["finetune"], "cpu", "32-true"))
    outputs = [reference.logits.copy(), reference.probabilities.copy()]
    given: list[int] = []

    def compute(images: NDArray[np.uint8]) -> Outputs:
        start = sum(given)
        given.append(len(images))
        assert (images == reference.images[start : start + len(images)]).all()
        logits, probabilities = (value[start : start + len(images)] for value in outputs)
        return logits, probabilities

    assert compare(compute, reference, "a run") == (0, 0)
    assert given[0] == 1 < max(given) <= BATCH
    assert sum(given) == len(reference.images)

    given.clear()
    outputs[place][-1, 0] += off * (np.abs(reference.logits).max() if place == 0 else 1)
    with pytest.raises(ValueError, match=r"Expected outputs equal to those of a run .* Nothing was written"):
        compare(compute, reference, "a run")


def test_export__refused_file_is_not_written(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path) -> Any:
        assert path.parent == tmp_path
        assert path.is_file()
        return lambda images: (np.zeros((len(images), 4), np.float32), np.full((len(images), 4), 0.25, np.float32))

    other = FORMATS["torch_export"]._replace(write=lambda program, known, path: path.touch(), open=wrong)
    monkeypatch.setitem(FORMATS, "torch_export", other)
    monkeypatch.setattr(exporting, "traced", lambda run: None)

    with pytest.raises(ValueError, match="Nothing was written"):
        export(finished_runs["finetune"], "torch_export", tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_reference_of__own_test_images(finished_runs: dict[str, Path]) -> None:
    run = TrainedRun(finished_runs["frozen"], "cpu", "32-true")
    rows = read_csv(run.folder / "predictions.csv")

    found = reference_of(run)

    root = Path(run.results["config"]["data"]["root"])
    assert found.images.shape == (len(rows), 3, 64, 64)
    assert all((found.images[place] == run.decode(root / row["path"])).all() for place, row in enumerate(rows))
    assert found.same_class == len(rows)
    assert own_test(run) == {root / row["path"]: row["predicted"] for row in rows}


def test_reference_of__other_classes_than_in_the_run(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    results = read_json(finished_runs["frozen"] / "results.json")
    other = results["environment"] | {"precision": "bf16-mixed"}
    folder = copy_with(finished_runs["frozen"], tmp_path / "run", environment=other)
    run, text = TrainedRun(folder, "cpu", "32-true"), (folder / "predictions.csv").read_text(encoding="utf-8")
    header, first, *rest = text.splitlines()
    cells = first.split(",")
    cells[3] = next(name for name in run.classes if name != cells[3])
    (folder / "predictions.csv").write_text("\n".join([header, ",".join(cells), *rest]) + "\n", encoding="utf-8")

    found = reference_of(run)

    assert header.split(",")[3] == "predicted"
    assert found.same_class == len(rest)
    assert precision_line(run, found) == (
        f"float32; the run's figures are of bf16-mixed, which gives the same class for {len(rest)} of {len(rest) + 1}"
    )


def test_reference_of__random_images_if_the_own_are_gone(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    config = read_json(finished_runs["frozen"] / "results.json")["config"]
    gone = config | {"data": config["data"] | {"root": str(tmp_path / "gone")}}
    run = TrainedRun(copy_with(finished_runs["frozen"], tmp_path / "run", config=gone), "cpu", "32-true")

    found = reference_of(run)

    assert own_test(run) == {}
    assert (found.images.shape, found.same_class) == ((CHECKED, 3, 64, 64), None)
    assert 120 < found.images.mean() < 135
    assert precision_line(run, found) == "float32; the run's figures are of 32-true"


def test_own_test__at_most_a_number(finished_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run = TrainedRun(finished_runs["frozen"], "cpu")
    everything = list(own_test(run))
    monkeypatch.setattr(exporting, "CHECKED", 5)

    found = list(own_test(run))

    step = -(-len(everything) // 5)
    assert found == everything[::step]
    assert 3 <= len(found) <= 5


@pytest.mark.parametrize(
    ("file_format", "name", "message"),
    [
        ("onnx", "model.pt2", r"file that ends in \.onnx, as ONNX does, got .*model\.pt2"),
        ("torch_export", "model.onnx", r"file that ends in \.pt2, as an exported program of PyTorch does"),
        ("onnx", "folder.onnx", "Expected a file to write, .*folder.onnx is a folder"),
    ],
    ids=["onnx", "torch_export", "folder"],
)
def test_export__wrong_file(
    file_format: str, name: str, message: str, finished_runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "folder.onnx").mkdir()

    with pytest.raises(ValueError, match=message):
        export(finished_runs["frozen"], file_format, tmp_path / name)


def test_export__without_the_extra(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name.startswith("onnxr") else object())

    with pytest.raises(ImportError, match=r"ONNX files need onnxruntime: pip install 'brain_tumor_tl\[onnx\]'"):
        export(finished_runs["frozen"], "onnx", tmp_path / "model.onnx")


def test_export__too_large_for_onnx(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "ONNX_LIMIT", 1_000_000)

    with pytest.raises(ValueError, match=r"less than 2 GiB, .* shufflenet_v2_x0_5 has 0\.0 GiB\. Give --format torch"):
        export(finished_runs["frozen"], "onnx", tmp_path / "model.onnx")
