"""Examine: a run answers a picture in memory as it answers the file."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brain_tumor_tl.data.formats import UnreadableError
from brain_tumor_tl.inference.explain import explain
from brain_tumor_tl.inference.overlay import sized
from brain_tumor_tl.inference.pictures import stacked
from brain_tumor_tl.inference.predict import predict_batch
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.overlay import overlay, to_image
from brain_tumor_tl.serve.examine import Examiner, check_single
from brain_tumor_tl.serve.upload import Upload
from tests.serve.conftest import png

Draw = Callable[..., Path]


def opened(content: bytes) -> Image.Image:
    """Return the image in the content of a PNG file."""
    return Image.open(io.BytesIO(content)).copy()


@pytest.fixture(scope="module", params=["frozen", "finetune"])
def run(request: pytest.FixtureRequest, finished_runs: dict[str, Path]) -> TrainedRun:
    """A finished run."""
    return TrainedRun(finished_runs[request.param], device="cpu")


@pytest.mark.parametrize(("mode", "name"), [("L", "slice.jpg"), ("RGB", "slice.png"), ("I;16", "slice.tif")])
def test_examiner__answers_as_the_file(run: TrainedRun, draw: Draw, tmp_path: Path, mode: str, name: str) -> None:
    path = draw(tmp_path / name, mode="RGB" if mode == "RGB" else "L", size=(90, 70))
    if mode == "I;16":
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 100).save(path)
    predicted = predict_batch([run], [path])
    (explained,) = explain(run, stacked([run.decode(path)]), run.classes)

    answer = Examiner(run)(Upload(name, path.read_bytes()))

    assert list(answer.probabilities) == list(run.classes)
    np.testing.assert_array_equal(list(answer.probabilities.values()), predicted.probabilities[0])
    assert answer.distance == predicted.distances[0, 0]
    assert run.reference is not None
    assert answer.unlike == (predicted.distances[0, 0] > run.reference.threshold)
    assert opened(answer.picture) == sized(to_image(run.decode(path)))
    assert {label: opened(content) for label, content in answer.maps.items()} == {
        label: overlay(opened(answer.picture), values, explained.scale)
        for label, values in zip(run.classes, explained.maps, strict=True)
    }
    assert len(answer.maps) == 4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", b"no picture", "not an image by its content"),
        ("empty.png", b"", "not an image by its content"),
        ("cut.png", png(64)[:900], "can't be decoded, truncated or damaged"),
        ("scan.nii.gz", b"\x1f\x8b", "a NIfTI volume, where a single one is expected"),
    ],
    ids=["text", "empty", "cut", "nifti"],  # several frames in a DICOM file: test_check_single
)
def test_examiner__says_why_a_picture_cannot_be_read(
    finished_runs: dict[str, Path], name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Examiner(TrainedRun(finished_runs["frozen"], device="cpu"))(Upload(name, content))


def test_examiner__refuses_more_pixels_than_pillows_limit(
    finished_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    with pytest.raises(ValueError, match="a decompression bomb, more than 1000 pixels"):
        Examiner(TrainedRun(finished_runs["frozen"], device="cpu"))(Upload("large.png", png(40)))


def test_examiner__a_run_without_reference_has_no_distance(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_runs["frozen"], folder, ignore=shutil.ignore_patterns("reference.npz"))
    answer = Examiner(TrainedRun(folder, device="cpu"))(Upload("slice.png", png()))

    assert (answer.distance, answer.threshold, answer.unlike) == (None, None, False)


def test_examiner__a_network_without_a_map_says_so(
    finished_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrainedRun(finished_runs["frozen"], device="cpu")
    for layer in run.backbone.modules():
        if isinstance(layer, torch.nn.Conv2d):  # as large as its stride: it cuts the image into patches
            monkeypatch.setattr(layer, "kernel_size", layer.stride)
    answer = Examiner(run)(Upload("slice.png", png()))

    assert answer.maps == {}
    assert answer.no_maps.startswith("Grad-CAM needs a convolutional feature map")
    assert len(answer.probabilities) == 4


def test_check_single__several_frames() -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom writes the file: pip install -e '.[dev]'")
    source = io.BytesIO()
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.Rows = data.Columns = 8
    data.NumberOfFrames = 3
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.save_as(source, enforce_file_format=True)

    with pytest.raises(UnreadableError, match="3 pictures in one file, where a single one is expected"):
        check_single("scan.dcm", source)
