"""Predict: batches in order, whatever the threads; unreadable pictures beside others; bounded memory."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from brain_tumor_tl.inference.predict import BATCH, predict_all, predict_batches


class StandIn:
    """A run whose logits are the sums of the left and the right half of a picture, given as `(2, 2)` numbers."""

    classes = ("left", "right")
    reference: Any = None

    def __init__(self, size: int = 2, scale: float = 1.0) -> None:
        self.decoding, self.scale = size, scale
        self.decoded: list[Any] = []
        self.threads: set[tuple[str, int]] = set()
        self.prepared = False

    def pixels(self, source: Any) -> np.ndarray[Any, Any]:
        self.decoded.append(source)
        if isinstance(source, str):
            raise ValueError("no picture")
        return np.asarray(source, dtype=np.uint8)[None]

    def prepare_for_many(self) -> None:
        self.prepared = True

    def compute_fast(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        self.threads.add((threading.current_thread().name, torch.get_num_threads()))
        logits = pixels.sum(dim=(1, 2)).float() * self.scale
        return pixels.flatten(1).float(), logits

    def probabilities(self, logits: Tensor) -> np.ndarray[Any, Any]:
        return logits.softmax(1).numpy()


def pictures(count: int) -> list[Any]:
    """Return pictures that all differ."""
    return [[[number % 3, number // 3 % 5], [0, number % 7]] for number in range(count)]


@pytest.fixture
def two_threads() -> Any:
    """PyTorch with two threads, as before when the test ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_predict_batches__many_are_as_one_by_one() -> None:
    run: Any = StandIn()
    many = predict_all([run], pictures(5 * BATCH + 3))

    one: Any = StandIn()
    single = [predict_all([one], [picture]).probabilities[0] for picture in pictures(5 * BATCH + 3)]
    assert np.array_equal(many.probabilities, np.array(single))
    assert many.features.shape == (5 * BATCH + 3, 4)
    assert {threads for name, threads in run.threads if name != "MainThread"} == {1}
    assert {threads for name, threads in one.threads if name == "MainThread"} == {2}
    assert torch.get_num_threads() == 2
    assert (run.prepared, one.prepared) == (True, False), "a single batch isn't worth it"


@pytest.mark.usefixtures("two_threads")
def test_predict_batches__unreadable_pictures_have_problems_and_others_keep_their_order() -> None:
    sources = pictures(3 * BATCH)
    for place in (0, 5, BATCH, 2 * BATCH + 1):
        sources[place] = "bad"
    run: Any = StandIn()

    batches = list(predict_batches([run], sources))

    problems = [problem for batch in batches for problem in batch.problems]
    assert [place for place, problem in enumerate(problems) if problem] == [0, 5, BATCH, 2 * BATCH + 1]
    assert "no picture" in problems[0]
    good = [source for source in sources if source != "bad"]
    assert np.array_equal(np.concatenate([b.probabilities for b in batches]), predict_all([run], good).probabilities)


def test_predict_batches__of_unreadable_pictures_alone() -> None:
    run: Any = StandIn()
    (batch,) = predict_batches([run], ["bad", "worse"])

    assert (batch.probabilities.shape, len(batch.problems)) == ((0, 2), 2)
    assert list(predict_batches([run], [])) == []


@pytest.mark.usefixtures("two_threads")
def test_predict_batches__reads_little_ahead() -> None:
    run: Any = StandIn()
    batches = predict_batches([run], pictures(1000 * BATCH))
    next(batches)
    time.sleep(0.5)
    ahead = len(run.decoded)
    batches.close()
    closed = len(run.decoded)
    time.sleep(0.2)

    assert BATCH <= ahead < 200 * BATCH
    assert len(run.decoded) <= closed + 2 * BATCH, "an abandoned prediction ends"


def test_predict_batch__mirrored_is_the_mean_with_the_mirror_image() -> None:
    run: Any = StandIn()
    picture: Any = [[1, 2], [3, 5]]
    mirror: Any = [[2, 1], [5, 3]]
    plain, other = (predict_all([run], [each]).probabilities for each in (picture, mirror))

    mirrored = predict_all([run], [picture], mirrored=True)

    assert not np.allclose(plain, other)
    assert np.allclose(mirrored.probabilities, (plain + other) / 2)
    assert np.array_equal(mirrored.features, predict_all([run], [picture]).features)


def test_predict_batch__several_runs_decode_once_and_average() -> None:
    runs: Any = [StandIn(), StandIn(scale=0.1), StandIn(size=3)]
    each = [predict_all([run], pictures(4)).probabilities for run in runs]
    for run in runs:
        run.decoded.clear()

    together = predict_all(runs, pictures(4))

    assert np.allclose(together.probabilities, np.mean(each, axis=0))
    assert [len(run.decoded) for run in runs] == [4, 0, 4], "the first two take the same pixels"
    assert np.isnan(together.distances).all()


def test_predict_batch__distances_are_of_each_runs_own_features() -> None:
    runs: Any = [StandIn(), StandIn()]
    runs[1].reference = SimpleNamespace(distances=lambda features: features.sum(axis=1))

    distances = predict_all(runs, pictures(3)).distances

    assert np.isnan(distances[0]).all()
    assert distances[1].tolist() == [float(np.sum(picture)) for picture in pictures(3)]


def test_predict_all__names_the_picture_by_number_and_path() -> None:
    run: Any = StandIn()
    with pytest.raises(ValueError, match=r"Image 17 \(bad\) can't be used: .*no picture"):
        predict_all([run], [*pictures(17), "bad"])
    with pytest.raises(ValueError, match="at least one image"):
        predict_all([run], [])
