from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from torchvision.datasets import ImageFolder

from benchmarks import child, peers
from benchmarks.peer_scripts import lightning_script, shared, torchvision_loop

Draw = Callable[..., Path]
Figures = Callable[..., list[dict[str, Any]]]


def outcome(*accuracies: float, seconds: float = 10.0) -> peers.Outcome:
    rows = [{"seconds/train": 2.0, "seconds/test": 1.0, "test/accuracy": value} for value in accuracies]
    return peers.Outcome(rows, [float(3 + number) for number in range(len(rows))], seconds, {"train": 8, "test": 2})


def test_outcome__speed_and_accuracy() -> None:
    run = outcome(0.5, 0.75, 0.7)
    assert (run.speed("train"), run.speed("test"), run.best()) == (4.0, 2.0, 0.75)
    assert (run.seconds_to(0.7), run.seconds_to(0.8)) == (4.0, None)
    assert run.projected(13) == 40.0


def test_row_of__marks_a_projection() -> None:
    ours, theirs = outcome(0.5, 0.6, 0.7, seconds=10.0), outcome(0.5, 0.6, seconds=17.0)
    row = peers.row_of("frozen", "other", [theirs], [ours], 0.65)
    assert row["epochs"] == "3, PROJECTED"
    assert row["package, in total"].median == 2.0
    assert row["s to it"] is None
    assert peers.row_of("frozen", "ours", [ours], [ours], 0.65)["epochs"] == "3"


def test_arrivals__time_of_each_row(tmp_path: Path) -> None:
    arrivals = peers.Arrivals(tmp_path)
    arrivals(1.0)
    for number, seconds in ((1, 2.0), (2, 4.0)):
        shared.write(tmp_path, shared.Epoch(number, 1.0, 1.0, 0.5))
        arrivals(seconds)
        arrivals(seconds + 1)
    assert arrivals.at == [2.0, 4.0]


@pytest.fixture
def splits(tmp_path: Path, draw: Draw) -> Path:
    """The folder that `link_splits` makes of a data set nested in another folder."""
    lines = ["path,label,class,split"]
    for label, kind in enumerate(("b", "a")):
        for number, split in enumerate(("train", "train", "train", "train", "test", "test")):
            draw(tmp_path / "set" / "inner" / kind / f"{number}.png", seed=10 * label + number)
            lines.append(f"{kind}/{number}.png,{label},{kind},{split}")
    (tmp_path / "split.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    peers.link_splits(tmp_path / "split.csv", tmp_path / "set", tmp_path / "splits")
    return tmp_path / "splits"


def test_link_splits__labels_keep_their_order(splits: Path) -> None:
    train = ImageFolder(splits / "train")
    assert train.class_to_idx == {"0-b": 0, "1-a": 1}
    assert [label for _, label in train.samples] == [0] * 4 + [1] * 4
    assert len(list((splits / "test").rglob("*.png"))) == 4


def scripts() -> list[Any]:
    """Return the main function of every script that can run here."""
    mains = [torchvision_loop.main, lightning_script.main]
    if find_spec("timm"):
        from benchmarks.peer_scripts import timm_loop

        mains.append(timm_loop.main)
    return mains


@pytest.mark.parametrize("main", scripts(), ids=lambda main: main.__module__.rpartition(".")[2])
@pytest.mark.parametrize("more", [[], ["--frozen"], ["--bf16"]], ids=["finetune", "frozen", "bf16"])
def test_script__writes_one_row_per_epoch(main: Any, more: list[str], splits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["--data", str(splits), "--out", str(out), "--model", "resnet18", "--image-size", "32", "--batch-size", "4"]
    assert main([*line, "--epochs", "2", "--workers", "0", *more]) == 0
    rows = child.epochs(out)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(0 <= row["test/accuracy"] <= 1 and row["seconds/train"] > 0 for row in rows)


def test_network__frozen_trains_only_the_last_layer() -> None:
    net = shared.network("mobilenet_v2", 4, frozen=True)
    trainable = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert trainable == ["classifier.1.weight", "classifier.1.bias"]


@pytest.mark.benchmark
@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed; pip install -e '.[bench]'")
def test_main__every_contender(figures: Figures) -> None:
    line = "--model resnet18 --images 40 --image-size 32 --batch-size 8 --epochs 2 --repeats 1 --workers 1"
    rows = figures(peers.main, f"{line} --frozen-epochs 4 --measured-epochs 2 --set trainer=cpu")
    finetune, frozen = ["brain-tumor-tl", *peers.SCRIPTS], ["brain-tumor-tl", "plain Lightning"]
    assert [row["contender"] for row in rows] == finetune + frozen
    assert rows[-1]["epochs"] == "4, PROJECTED"
    assert all(row["s to it"]["median"] > 0 for row in rows), (
        "by default the target is an accuracy that all of them reach"
    )
