"""Search: neighbours in every orientation, against all pairs; threads that don't change PyTorch's own number."""

from __future__ import annotations

import pytest
import torch
from numpy.random import PCG64, RandomState
from torch import Tensor

from brain_tumor_tl.data.leakage import search
from brain_tumor_tl.data.leakage.search import (
    TURNS,
    divide,
    each_turned,
    each_way,
    in_threads,
    inverse,
    nearest,
    turned,
)


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


def alike(count: int, kinds: int) -> Tensor:
    """Return outlines of some kinds in random orientations, `(N, 16, 16)`; the second half are copies of the first."""
    rng = RandomState(PCG64(3))
    shapes, half = torch.from_numpy(rng.randn(kinds, 16, 16)).float(), count // 2
    images = shapes[torch.from_numpy(rng.randint(kinds, size=half))] + torch.from_numpy(rng.randn(half, 16, 16)).float()
    images = images.repeat(2, 1, 1) + 0.1 * torch.from_numpy(rng.randn(count, 16, 16)).float()
    turned_images = each_turned(images, torch.from_numpy(rng.randint(len(TURNS), size=count)))
    return torch.nn.functional.normalize(turned_images.flatten(1)).view_as(images)


@pytest.mark.parametrize("since", [0, 200], ids=["one set", "two sets"])
def test_nearest__copies_in_cells(since: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "NEAREST", 2)
    outlines = alike(400, kinds=6)
    complete = {tuple(row) for row in nearest(outlines, since).tolist()}
    monkeypatch.setattr(search, "COMPARED", 60)
    monkeypatch.setattr(search, "PER_CELL", 10)
    compared = [len(divide(outlines, since).around(each_way(outlines[row : row + 1]))) for row in range(since, 400)]

    found = {tuple(row) for row in nearest(outlines, since).tolist()}

    assert min(compared) >= 60
    assert max(compared) < 150, "far fewer than all"
    copies = {row for row in complete if row[1] - row[0] == 200}
    assert len(copies) == 200
    assert copies <= found


def test_divide__each_outline_is_in_one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "COMPARED", 20)
    monkeypatch.setattr(search, "PER_CELL", 7)
    cells = divide(alike(100, kinds=4), since=60)

    assert sorted(torch.cat(cells.members).tolist()) == [*range(60)]
    assert len(cells.members) == len(cells.leaders) == 9
    later = cells.members_of(torch.arange(60, 100))
    assert sorted(torch.cat(later).tolist()) == [*range(60, 100)]
    assert all(len({*cells.of[own].tolist()}) == 1 for own in later)


def test_nearest__of_one_image_is_none() -> None:
    assert nearest(torch.ones(1, 16, 16) / 16).shape == (0, 3)


def test_in_threads__one_thread_of_pytorch_each_and_then_as_before() -> None:
    before = torch.get_num_threads()

    found = list(in_threads(lambda start: (start, torch.get_num_threads()), range(20), ""))

    assert found == [(start, 1) for start in range(20)]
    assert torch.get_num_threads() == before
