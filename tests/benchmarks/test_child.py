from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import child


def test_run__wall_time_and_memory() -> None:
    seen: list[float] = []
    script = "import time; held = bytearray(b'x') * 80_000_000; time.sleep(0.3)"
    finished = child.run([sys.executable, "-c", script], seen.append)
    assert 0.3 <= finished.seconds < 30
    assert finished.peak_megabytes >= 80
    assert finished.own_megabytes is None or finished.own_megabytes >= 80
    assert seen == sorted(seen)
    assert seen[-1] == finished.seconds


def test_run__failure_shows_the_end_of_the_output() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 3.*the reason"):
        child.run([sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"])


def test_run__imports_this_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere" / "benchmarks").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    write = "import sys, benchmarks; open(sys.argv[1], 'w').write(str(benchmarks.__path__[0]))"

    child.run([sys.executable, "-c", write, str(tmp_path / "imported")])

    assert (tmp_path / "imported").read_text() == str(child.ROOT / "benchmarks")


def test_epochs__numbers_without_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,seconds/train,test/accuracy\n1,2.5,\n2,1.5,0.75\n", encoding="utf-8")
    rows = child.epochs(tmp_path)
    assert rows == [{"epoch": 1, "seconds/train": 2.5}, {"epoch": 2, "seconds/train": 1.5, "test/accuracy": 0.75}]
    assert child.steady(rows) == rows[1:]
    assert child.steady(rows[:1]) == rows[:1]
