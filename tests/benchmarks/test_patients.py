from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import patients
from brain_tumor_tl.data.splits.split import Split

Figures = Callable[..., list[dict[str, Any]]]
SMALL = (
    "data.image_size=32 data.normalize=unit model.name=shufflenet_v2_x0_5 model.weights=null trainer=cpu "
    "trainer.precision=32-true"
)


def test_main__every_way_to_keep_images_together(figures: Figures, image_folder: Path, tmp_path: Path) -> None:
    paths = sorted(path.relative_to(image_folder).as_posix() for path in image_folder.rglob("*.*g"))
    rows = "".join(f"{path},{path[9:14]}{number // 2}\n" for number, path in enumerate(paths) if number % 7)
    (tmp_path / "patients.csv").write_text(f"path,patient\n{rows}", encoding="utf-8")

    found = figures(
        patients.main,
        f"--data {image_folder} --seeds 1 --folds 2 --set {SMALL} data.patients={tmp_path / 'patients.csv'}",
    )

    assert len(paths) == 28
    assert [row["kept together"] for row in found] == patients.KEPT
    trained = [row["patient in training, %"] for row in found]
    assert trained[0] > 0
    assert trained[3:] == [0, 0]
    assert all(float(row["all images"].split()[0]) > 0 for row in found)


def test_main__no_patient_is_known(image_folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"Expected images of known patients in .*data\.patients=CSV"):
        patients.main(["--data", str(image_folder), "--set", *SMALL.split()])


def test_head_hits__by_hand() -> None:
    labels = np.arange(40) % 2
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    features[:, 1] += 10 * labels
    split = Split(np.repeat([0, 2], [30, 10]))

    assert patients.head_hits(features, labels, split).all()
    labels[35] = 1 - labels[35]
    assert patients.head_hits(features, labels, split).tolist() == [number != 5 for number in range(10)]
