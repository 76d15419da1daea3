"""Search: neighbours in every orientation, against all pairs; threads that don't change PyTorch's own number."""

from __future__ import annotations

import pytest
import torch
from numpy.random import PCG64, RandomState

from brain_tumor_tl.data.leakage import search
from brain_tumor_tl.data.leakage.search import TURNS, each_turned, in_threads, inverse, nearest, turned


@pytest.mark.parametrize("turn", range(len(TURNS)), ids=TURNS)
def test_inverse__undoes_a_turn(turn: int) -> None:
    picture = torch.arange(9.0).view(3, 3)

    assert torch.equal(turned(turned(picture, turn), inverse(turn)), picture)
    assert len({str(turned(picture, other)) for other in range(len(TURNS))}) == len(TURNS)


def test_nearest__against_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "NEAREST", 3)
    monkeypatch.setattr(search, "ROWS", 4)
    monkeypatch.setattr(search, "COLUMNS", 5)
    images = torch.from_numpy(RandomState(PCG64(1)).randn(13, 16, 16)).float()
    images[7:] = each_turned(images[:6], torch.arange(6)) + 0.5 * images[7:]  # 6 noisy copies in other orientations
    outlines = torch.nn.functional.normalize(images.flatten(1)).view_as(images)

    found = nearest(outlines)

    wanted = set()
    all_turns = torch.stack([outlines.flatten(1) @ turned(outlines, turn).flatten(1).T for turn in range(len(TURNS))])
    for one in range(13):
        for two in all_turns[:, one].amax(0).topk(4).indices.tolist():
            turn = int(all_turns[:, one, two].argmax())
            if one != two and all_turns[turn, one, two] > search.LEAST_SIMILARITY:
                wanted.add((one, two, turn) if one < two else (two, one, inverse(turn)))
    assert {tuple(row) for row in found.tolist()} == wanted
    assert {(one, one + 7, inverse(one)) for one in range(6)} <= wanted


def test_nearest__since_searches_among_the_earlier_ones() -> None:
    outlines = torch.nn.functional.normalize(torch.from_numpy(RandomState(PCG64(2)).randn(3, 256)).float())
    outlines = outlines[[0, 1, 2, 1, 1]].view(-1, 16, 16)

    assert nearest(outlines, since=3).tolist() == [[1, 3, 0], [1, 4, 0]]


def test_nearest__of_one_image_is_none() -> None:
    assert nearest(torch.ones(1, 16, 16) / 16).shape == (0, 3)


def test_in_threads__one_thread_of_pytorch_each_and_then_as_before() -> None:
    before = torch.get_num_threads()

    found = list(in_threads(lambda start: (start, torch.get_num_threads()), range(20), ""))

    assert found == [(start, 1) for start in range(20)]
    assert torch.get_num_threads() == before
