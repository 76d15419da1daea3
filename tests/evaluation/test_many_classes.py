"""Many classes: what a run computes, writes and draws of its test split stays within time and memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

StartPython = Callable[..., "subprocess.Popen[str]"]

SCRIPT = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from brain_tumor_tl.evaluation.calibration import run_probabilities
from brain_tumor_tl.evaluation.intervals import run_intervals
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.files import write_csv
from brain_tumor_tl.reporting.plots import save_run_figures
from brain_tumor_tl.reporting.results import prediction_columns, prediction_rows

size, folder = int(sys.argv[1]), Path(sys.argv[2])
generator, classes = np.random.default_rng(0), [f"class_{number}" for number in range(size)]
labels = np.arange(3000) % size
logits = generator.normal(size=(3000, size))
logits[np.arange(3000), labels] += 4
started = time.process_time()
shares = softmax(logits)
matrix = np.zeros((size, size), dtype=int)
np.add.at(matrix, (labels, shares.argmax(axis=1)), 1)
results = {
    "name": "many", "classes": classes, "confusion_matrix": matrix.tolist(), "protocol": {"synthetic": False},
    "intervals": run_intervals(labels, shares, classes, labels // 2, "patient"),
    "probabilities": run_probabilities(logits, labels, classes, (logits, labels)),
}
paths = [f"{number}.png" for number in range(len(labels))]
write_csv(folder / "predictions.csv", prediction_rows(paths, classes, shares, labels), prediction_columns(classes))
save_run_figures(folder, results, [], "val")
print(json.dumps({
    "seconds": time.process_time() - started,
    "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    "macro_f1": results["intervals"]["macro_f1"], "auroc": results["probabilities"]["auroc"],
}))
"""


@pytest.mark.parametrize("size", [300, 1000])
def test_run_of_many_classes__seconds_and_memory(size: int, tmp_path: Path, start_python: StartPython) -> None:
    told, _ = start_python(SCRIPT, size, tmp_path).communicate()

    found = json.loads(told)
    assert found["seconds"] < 20
    assert found["gigabytes"] < 2
    assert 0.3 < found["macro_f1"][0] < found["macro_f1"][1] < 0.95
    assert found["auroc"] > 0.98
