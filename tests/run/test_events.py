"""Events: what TensorBoard reads of a run, by its own reader."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.util import tensor_util

from brain_tumor_tl.run import events
from brain_tumor_tl.run.events import Events

ROW = {
    "epoch": 3, "train/loss": 0.5, "train/accuracy": 0.75, "train/macro_f1": 0.7, "val/loss": 0.6, "val/accuracy": 0.5,
    "val/f1/glioma_tumor": 0.25, "seconds/val": 1.0, "learning_rate": 0.1, "seconds/train": 2.0,
    "images_per_second/train": 40.0, "memory_megabytes": 100.0,
}  # fmt: skip
TRAINING = {"learning_rate": 0.1, "seconds": 2.0, "images_per_second": 40.0, "memory_megabytes": 100.0}

METRICS = ("accuracy", "loss", "balanced_accuracy", "macro_f1")


def multiplexer(folder: Path) -> EventMultiplexer:
    """Return TensorBoard's reader of all runs below a folder."""
    return EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()


def test_epoch_values__splits_share_tags() -> None:
    found = {
        split: {value.tag: pytest.approx(value.simple_value) for value in values}
        for split, values in events.epoch_values(ROW, "val").items()
    }

    assert found == {
        "train": {"metrics/loss": 0.5, "metrics/accuracy": 0.75},
        "val": {"metrics/loss": 0.6, "metrics/accuracy": 0.5, "per_class/f1/glioma_tumor": 0.25},
        "test": {f"training/{name}": value for name, value in TRAINING.items()},
    }


def test_epoch_values__a_monitored_test_split_is_the_run_itself() -> None:
    row = {key.replace("val/", "test/").replace("/val", "/test"): value for key, value in ROW.items()}
    found = events.epoch_values(row, "test")

    assert sorted(found) == ["test", "train"]
    assert {value.tag for value in found["test"]} == {
        "metrics/loss", "metrics/accuracy", "per_class/f1/glioma_tumor", *(f"training/{name}" for name in TRAINING),
    }  # fmt: skip


def test_add__runs_are_named_as_their_folders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        written = Events(tmp_path / "sweep" / name)
        for split, values in events.epoch_values(ROW, "val").items():
            written.add(3, values, split)
        written.close()

    runs = multiplexer(tmp_path / "sweep").Runs()

    assert set(runs) == {"one", "one/train", "one/val", "two", "two/train", "two/val"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "events.out.tfevents" not in path.name]


def test_add__a_resumed_run_takes_back_later_epochs(tmp_path: Path) -> None:
    first = Events(tmp_path)
    for epoch in (1, 2, 3):
        first.add(epoch, [events.scalar("metrics/loss", epoch)])
    first.close()
    second = Events(tmp_path)
    second.resumed_after = 1
    second.add(2, [events.scalar("metrics/loss", 20)])
    second.close()

    found = EventAccumulator(str(tmp_path)).Reload().Scalars("metrics/loss")

    assert [(event.step, event.value) for event in found] == [(1, 1), (2, 20)]


def test_add__after_close(tmp_path: Path) -> None:
    written = Events(tmp_path)
    for epoch in (1, 2):
        written.add(epoch, [events.scalar("metrics/loss", epoch)])
        written.close()

    assert [event.step for event in EventAccumulator(str(tmp_path)).Reload().Scalars("metrics/loss")] == [1, 2]


def test_picture__the_pixels_come_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    written = Events(tmp_path)
    written.add(1, [events.picture("a", pixels)])
    written.close()

    (found,) = EventAccumulator(str(tmp_path)).Reload().Images("pictures/a")

    assert (found.width, found.height) == (9, 6)
    with Image.open(io.BytesIO(found.encoded_image_string)) as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_layout__its_charts_find_the_tags_of_a_run(tmp_path: Path) -> None:
    written = Events(tmp_path)
    written.add(0, [events.layout()])
    written.close()
    content = EventAccumulator(str(tmp_path)).Reload().Tensors("custom_scalars__config__")[0].tensor_proto
    charts = [chart for category in Layout.FromString(content.string_val[0]).category for chart in category.chart]
    row = {**ROW, "val/balanced_accuracy": 0.5, "val/precision/a": 0.5, "val/recall/a": 0.5}
    tags = {value.tag for values in events.epoch_values(row, "val").values() for value in values}

    assert len(charts) == 7
    for chart in charts:
        assert [tag for pattern in chart.multiline.tag for tag in tags if re.match(pattern, tag)], chart.title


def test_precision_recall__as_the_tab_reads_it(tmp_path: Path) -> None:
    labels, classes = np.array([0, 0, 1, 1]), ["a", "b", "without images"]
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.6, 0.4, 0]])
    written = Events(tmp_path)
    written.add(1, events.precision_recall(labels, probabilities, classes))
    written.close()
    read = EventAccumulator(str(tmp_path)).Reload()

    assert set(read.PluginTagToContent("pr_curves")) == {"a", "b"}
    *_, precision, recall = tensor_util.make_ndarray(read.Tensors("a")[0].tensor_proto)
    half = round(0.5 * (len(recall) - 1))  # the threshold 0.5 takes three images for a, two of them rightly
    assert (recall[half], precision[half]) == (1.0, pytest.approx(2 / 3))


def tensorboards_hparams(folder: Path) -> Any:
    """Return what TensorBoard's own tab HParams shows of all runs below a folder: its columns."""
    provider = MultiplexerDataProvider(multiplexer(folder), str(folder))
    context = Context(TBContext(data_provider=provider, logdir=str(folder)))
    request = RequestContext()
    found = (context.hparams_metadata(request, ""), context.hparams_from_data_provider(request, "", 100))
    return context.experiment_from_metadata(request, "", True, *found)


@pytest.mark.parametrize("first", ["with", "without"])
def test_session__the_columns_are_those_of_all_runs_P5(first: str, tmp_path: Path) -> None:
    own: dict[str, dict[str, Any]] = {"with": {"weight decay": 0.01}, "without": {}}
    order = [first, *(name for name in own if name != first)]
    for number, name in enumerate(order):  # whichever TensorBoard comes upon first
        written = Events(tmp_path / f"{number}-{name}")
        written.add(1, events.session({"model": "vgg16", "seed": number, **own[name]}))
        written.add(1, [events.scalar(f"metrics/{metric}", 0.5) for metric in METRICS])
        written.add(1, [events.scalar("training/seconds", 0.5)])
        written.close()

    shown = tensorboards_hparams(tmp_path)

    assert [(info.name, info.differs) for info in shown.hparam_infos] == [
        ("seed", True), ("model", False), ("weight decay", False),
    ]  # fmt: skip
    assert {info.name.tag for info in shown.metric_infos[:4]} == {f"metrics/{name}" for name in METRICS}
