from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import start

Figures = Callable[..., list[dict[str, Any]]]


@pytest.mark.slow
def test_main__every_way(figures: Figures) -> None:
    line = "--model shufflenet_v2_x0_5 --images 40 --image-size 32 --repeats 1 --set trainer=cpu data.batch_size=8"
    rows = {row["what"]: row["seconds"]["median"] for row in figures(start.main, line)}
    assert list(rows)[-2:] == ["frozen, to its first step", "finetune, to its first step"]
    assert rows["Python alone"] < rows["train --help"] < rows["frozen, to its first step"]
    assert rows["train --help"] < rows["imports of a run"]  # a run's other seconds may drown in a machine's noise


def test_until_first_step__ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("benchmarks.start.os._exit", ended.append)
    start.EndAtFirstStep().on_train_batch_start(None, None, None, 0)  # type: ignore[arg-type]
    assert ended == [0]


def test_until_first_step__a_run_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "run_train", lambda arguments: None)
    with pytest.raises(RuntimeError, match="Expected a training step"):
        start.until_first_step([])
