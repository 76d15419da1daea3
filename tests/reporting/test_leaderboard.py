"""Leaderboard: Table 1, with the study's figures for comparable runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.reporting.aggregate import RunGroup, Spread, group_runs
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.leaderboard import (
    fold_notes,
    interval_notes,
    leaderboard,
    notes,
    percent,
    study_difference,
)

MakeResults = Callable[..., dict[str, Any]]


def groups_of(*results: dict[str, Any]) -> list[RunGroup]:
    """Return the groups of some runs, their learning rate being all that their figures depend on."""
    runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
    return group_runs(runs, lambda content: {"optimizer.lr": content["config"]["optimizer"]["lr"]})[0]


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.8897, "88.97"), (639 / 653, "97.86"), (0.0, "0.00"), (1.0, "100.00"), (None, "-")],
)
def test_percent__two_digits(fraction: float | None, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("ours", "text"),
    [(0.90, "-7.86"), (0.98, "+0.14"), (0.9786, "+0.00"), (0.0, "-97.86"), (None, "-")],
)
def test_study_difference__percentage_points(ours: float | None, text: str, make_results: MakeResults) -> None:
    (group,) = groups_of(make_results())
    mean = None if ours is None else Spread(ours, None, 1)

    assert study_difference(group, mean, "accuracy") == text


def test_leaderboard__beside_the_study(make_results: MakeResults) -> None:
    table = leaderboard(groups_of(make_results()))

    assert dict(zip(table.headers, table.rows[0], strict=True)) == {
        "network": "resnet18", "method": "finetune", "runs": "1", "epochs": "100",
        "accuracy": "90.00", "study": "97.86", "difference": "-7.86",
        "best accuracy": "95.00", "study, best": "98.62", "difference, best": "-3.62",
        "seconds per epoch": "1.50", "study, seconds": "11.59",
    }  # fmt: skip
    assert "Kazemi 2023" in table.title


def test_leaderboard__mean_and_std_over_seeds(make_results: MakeResults) -> None:
    results = [make_results(f"resnet18-finetune-s{i}", a) for i, a in enumerate((0.9, 0.94))]
    row = dict(zip(*(lambda s: (s.headers, s.rows[0]))(leaderboard(groups_of(*results))), strict=True))

    assert (row["runs"], row["accuracy"], row["difference"]) == ("2", "92.00 ± 2.83", "-5.86")


def test_leaderboard__synthetic_images_are_not_compared(make_results: MakeResults) -> None:
    table = leaderboard(groups_of(make_results(synthetic=True)))

    assert not [header for header in table.headers if "study" in header or "difference" in header]
    assert "SYNTHETIC images" in table.title
    assert "not comparable with the study" in table.title


def test_leaderboard__dashes_for_synthetic_beside_real(make_results: MakeResults) -> None:
    table = leaderboard(groups_of(make_results(), make_results("vgg16-frozen-s0", synthetic=True)))
    study = table.headers.index("study")

    assert [row[study] for row in table.rows] == ["97.86", "-"]
    assert "SYNTHETIC" in table.title


@pytest.mark.parametrize("name", ["efficientnet_b0-finetune-s0", "resnet18-knn-s0"], ids=["model", "method"])
def test_leaderboard__not_in_the_study(name: str, make_results: MakeResults) -> None:
    table = leaderboard(groups_of(make_results(), make_results(name)))

    assert [row[table.headers.index("difference")] for row in table.rows] == ["-7.86", "-"]


def test_leaderboard__what_is_missing_is_a_dash(make_results: MakeResults) -> None:
    unknown = {"best_accuracy": None, "seconds_per_epoch": {"train": None, "test": 0.5}}
    table = leaderboard(groups_of(make_results(**unknown), make_results("resnet18-frozen-s0")))
    row = next(
        row for row in (dict(zip(table.headers, r, strict=True)) for r in table.rows) if row["method"] == "finetune"
    )

    assert (row["best accuracy"], row["difference, best"], row["seconds per epoch"]) == ("-", "-", "-")


def test_leaderboard__best_on_a_validation_split_is_not_compared(make_results: MakeResults) -> None:
    table = leaderboard(groups_of(make_results(protocol={"best_chosen_on": "val"})))

    assert "best accuracy" not in table.headers, "a column of dashes alone"
    assert "accuracy" in table.headers


def test_leaderboard__differing_settings_are_a_column_or_a_legend(make_results: MakeResults) -> None:
    groups = groups_of(make_results(), make_results(config={"optimizer": {"lr": 0.1}}))
    wide, narrow = leaderboard(groups), leaderboard(groups, narrow=True)

    assert [row[wide.headers.index("settings")] for row in wide.rows] == ["optimizer.lr=0.001", "optimizer.lr=0.1"]
    assert [row[narrow.headers.index("set")] for row in narrow.rows] == ["1", "2"]
    assert narrow.notes == ("set 1: optimizer.lr=0.001", "set 2: optimizer.lr=0.1")
    assert wide.notes == ()


INTERVALS = {"unit": "image", "accuracy": [0.8785, 0.9239], "accuracy_bootstrap": [0.87, 0.93]}


def test_leaderboard__interval_of_single_runs_std_of_several(make_results: MakeResults) -> None:
    groups = groups_of(
        make_results("resnet18-frozen-s0", intervals=INTERVALS),
        *(make_results(f"vgg16-frozen-s{seed}", 0.8 + seed / 10, intervals=INTERVALS) for seed in (0, 1)),
    )
    wide, narrow = leaderboard(groups), leaderboard(groups, narrow=True)

    assert [row[wide.headers.index("95 % interval")] for row in wide.rows] == ["87.85 to 92.39", "-"]
    assert [row[narrow.headers.index("sd, 95 %")] for row in narrow.rows] == ["87.8-92.4", "±7.07"]
    assert all(all(table.headers) for table in (wide, narrow))
    assert all(table.numeric[table.headers.index("accuracy") + 1] for table in (wide, narrow))


def test_interval_notes__which_kind(make_results: MakeResults) -> None:
    wilson = make_results("resnet18-frozen-s0", intervals=INTERVALS)
    bootstrap = make_results("vgg16-frozen-s0", intervals=INTERVALS | {"unit": "group"})
    patients = make_results("vgg19-frozen-s0", intervals=INTERVALS | {"unit": "patient"})

    assert "Wilson" in interval_notes(groups_of(wilson))[0]
    assert "bootstrap" not in interval_notes(groups_of(wilson))[0]
    assert "Wilson" not in interval_notes(groups_of(bootstrap))[0]
    assert "are known, else Wilson" in interval_notes(groups_of(wilson, bootstrap))[0]
    assert interval_notes(groups_of(patients))[0].startswith("95 % intervals: bootstrap of whole patients where they ")
    assert "patients where they are known, else bootstrap of wh" in interval_notes(groups_of(patients, bootstrap))[0]
    assert interval_notes(groups_of(make_results())) == []


def test_fold_notes__missing_folds_are_named(make_results: MakeResults) -> None:
    groups = groups_of(make_results(protocol={"fold": 1, "folds": 3}))

    assert fold_notes(groups)[1].startswith("resnet18, finetune: fold 0, 2 missing; its accuracy is the mean over")
    assert fold_notes(groups_of(make_results())) == []


def test_leaderboard__long_settings_are_cut_on_a_terminal(make_results: MakeResults) -> None:
    groups = groups_of(*(make_results(config={"optimizer": {"lr": f"{i} " + "long " * 99}}) for i in (0, 1)))
    wide, narrow = leaderboard(groups), leaderboard(groups, narrow=True)

    assert all(len(note) <= 300 and note.endswith(" ...") for note in narrow.notes)
    assert all(len(row[wide.headers.index("settings")]) > 400 for row in wide.rows)


def test_notes__what_has_to_be_known(make_results: MakeResults) -> None:
    other = {"device": "another processor"}
    text = "\n".join(
        notes(
            groups_of(
                make_results("resnet18-frozen-s0", epochs=3), make_results("resnet18-frozen-s1", environment=other),
                make_results("vgg16-frozen-s0", synthetic=True),
            )
        )
    )  # fmt: skip

    for part in ("synthetic images.", "sample standard deviation", "trained 100 epochs", "cached features",
                 "a processor; another processor", "author's machine"):  # fmt: skip
        assert part in text


def test_notes__nothing_to_say(make_results: MakeResults) -> None:
    assert notes(groups_of(make_results("resnet18-knn-s0"))) == []
