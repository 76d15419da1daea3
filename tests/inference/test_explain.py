"""Explain: maps of a run's own network, its probabilities, and how faithful the maps are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import brain_tumor_tl
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.inference.explain import Explanation, check_run
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.model.backbone import build_network


def pictures(folder: Path, most: int = 5) -> list[Path]:
    """Return some of a run's test images."""
    root = Path(read_json(folder / "results.json")["config"]["data"]["root"])
    return [root / row["path"] for row in read_csv(folder / "predictions.csv")[:most]]


def opened(folder: Path) -> TrainedRun:
    run = brain_tumor_tl.load(folder, device="cpu")
    assert isinstance(run, TrainedRun)
    return run


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_explain__sums_to_the_logits_of_the_run(finished_runs: Mapping[str, Path], method: str) -> None:
    run, paths = opened(finished_runs[method]), pictures(finished_runs[method])

    found = run.explain(paths, run.classes)

    assert len(found) == len(paths)
    assert np.allclose([one.probabilities for one in found], run.predict(paths), atol=1e-6)
    assert [one.predicted for one in found] == [run.classes[row.argmax()] for row in run.predict(paths)]
    _, logits = run.compute(torch.stack([torch.tensor(run.decode(path)) for path in paths]))
    expected = (logits - run.head.get_parameter("bias")).numpy()
    # Shufflenet has a map of 2 x 2 cells here, at pixels 0 and 32 of 64 in each direction.
    sums = [one.maps[:, ::32, ::32].sum((1, 2)) for one in found]
    assert found[0].maps.shape == (4, 64, 64)
    assert np.allclose(sums, expected, rtol=1e-3, atol=1e-3)


def test_explain__predicted_class_by_default(finished_runs: Mapping[str, Path]) -> None:
    run, paths = opened(finished_runs["finetune"]), 2 * pictures(finished_runs["finetune"], 9)

    found, every = run.explain(paths), run.explain(paths, run.classes)

    assert len(found) > 16, "more than a batch"
    for one, all_of_it in zip(found, every, strict=True):
        place = run.classes.index(one.predicted)
        assert one.classes == (one.predicted,)
        assert one.probabilities[0] == max(all_of_it.probabilities)
        assert np.allclose(one.maps[0], all_of_it.maps[place], atol=1e-5)
        assert all_of_it.scale == pytest.approx(max(float(all_of_it.maps.max()), 0))


def test_explain__takes_images_in_memory(finished_runs: Mapping[str, Path]) -> None:
    run, (path, *_) = opened(finished_runs["frozen"]), pictures(finished_runs["frozen"])
    with Image.open(path) as image:
        (of_image,) = run.explain(image.copy())

    (of_path,) = run.explain(path)
    assert np.array_equal(of_path.maps, of_image.maps)
    assert np.array_equal(of_path.pixels, run.decode(path))
    with torch.inference_mode():  # as a caller may have it
        assert np.array_equal(run.explain(path)[0].maps, of_path.maps)


def test_explain__faithfulness_on_request(finished_runs: Mapping[str, Path]) -> None:
    run, paths = opened(finished_runs["finetune"]), pictures(finished_runs["finetune"], 2)

    found = run.explain(paths, ["glioma_tumor", "no_tumor"], faithfulness=True)

    assert run.explain(paths)[0].scores is None
    for one in found:
        assert one.curves is not None
        assert one.curves.shape == (2, 2, 4)
        assert ((one.curves >= 0) & (one.curves <= 1)).all()
        assert one.scores == pytest.approx([float((least - most).mean()) for most, least in one.curves])
    again = run.explain(paths[1:], ["no_tumor"], faithfulness=True)
    assert again[0].scores == pytest.approx(found[1].scores[1:] if found[1].scores else None, abs=0.02)  # other noise


def test_explain__what_is_refused(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    run, paths = opened(finished_runs["frozen"]), pictures(finished_runs["frozen"])
    (tmp_path / "broken.png").write_bytes(b"no image")

    with pytest.raises(ValueError, match=r"Expected a class of the run, .* got 'glioma'. Did you mean `glioma_tumor`"):
        run.explain(paths, ["glioma"])
    with pytest.raises(ValueError, match=r"Expected a list of classes, such as \['all'\], got the text 'all'"):
        run.explain(paths, "all")
    with pytest.raises(ValueError, match="Expected images, each a path, an array, a tensor or of PIL, got int"):
        run.predict(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected at least one class to explain, got none"):
        run.explain(paths, [])
    with pytest.raises(ValueError, match=r"Image 1 \(.*broken.png\) can't be used: "):
        run.explain([paths[0], tmp_path / "broken.png"])


def test_check_run__refuses_tokens(finished_runs: Mapping[str, Path]) -> None:
    run = opened(finished_runs["frozen"])
    check_run(run, None)
    vit = build_network("vit_b_32", run.classes, None, {"image_size": 64}).backbone
    run.backbone = vit.requires_grad_(False).eval()

    with pytest.raises(ValueError, match="VisionTransformer computes with tokens"):
        check_run(run, None)
    with pytest.raises(ValueError, match="VisionTransformer computes with tokens"):
        run.explain(pictures(finished_runs["frozen"]))


def test_explain__one_scale_and_peaks() -> None:
    maps = np.zeros((2, 10, 20), np.float32)[:, :, :10]
    maps[0, 2, 7], maps[1, 9, 0], maps[1, 5, 5] = 3.0, 1.5, -4.0
    one = Explanation(np.zeros((1, 10, 10), np.uint8), "a", ("a", "b"), (0.9, 0.1), maps)

    assert one.scale == 3.0
    assert one.peaks == [(0.75, 0.25), (0.05, 0.95)]
    assert Explanation(one.pixels, "a", ("a",), (1.0,), -np.ones((1, 10, 10), np.float32)).scale == 0


def test_explain__in_float32_whatever_the_runs_precision(finished_runs: Mapping[str, Path]) -> None:
    (path, *_) = pictures(finished_runs["finetune"])
    exact = opened(finished_runs["finetune"])
    rounded = brain_tumor_tl.load(finished_runs["finetune"], device="cpu", precision="bf16-mixed")
    (found,), (expected,) = rounded.explain(path, rounded.classes), exact.explain(path, exact.classes)

    assert np.abs(found.maps - expected.maps).max() < 1e-4 * np.abs(expected.maps).max()
    assert np.allclose(found.probabilities, rounded.predict(path))  # those are of the run's precision
    assert not np.array_equal(found.probabilities, expected.probabilities)
