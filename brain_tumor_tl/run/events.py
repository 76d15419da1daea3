"""Events: the files in a run's folder that TensorBoard reads, and what they hold."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.tensorboard import summary

Value = Any  # one value of a `Summary`, which has no type information
OF_TRAINING = ("accuracy", "loss")  # metrics of the training split that are drawn
FLUSH_SECONDS = 10  # until a page that is open shows what was added
# TensorBoard shows groups of tags in alphabetical order and opens the first two.
METRICS, CLASSES, PICTURES, TRAINING = "metrics", "per_class", "pictures", "training"
LAYOUT = {  # of the tab Custom Scalars: each chart has the tags that match one of its patterns, of all runs
    "Accuracy and loss": {
        "accuracy": ["Multiline", [f"{METRICS}/accuracy$"]],
        "loss": ["Multiline", [f"{METRICS}/loss$"]],
        "balanced accuracy, macro F1": ["Multiline", [f"{METRICS}/balanced_accuracy$", f"{METRICS}/macro_f1$"]],
    },
    "Classes": {
        "recall": ["Multiline", [f"{CLASSES}/recall/.*"]],
        "precision": ["Multiline", [f"{CLASSES}/precision/.*"]],
    },
    "Training": {
        "learning rate": ["Multiline", [f"{TRAINING}/learning_rate$"]],
        "images per second": ["Multiline", [f"{TRAINING}/images_per_second$"]],
    },
}


class Events:
    """The event files of a run: its own, and one in a folder for each split whose curves share charts with it.

    TensorBoard names a run after its folder, and draws the same tag of several runs in one chart. So the test split is
    the run itself, NAME, and the training and validation splits are NAME/train and NAME/val.

    Args:
        folder: The run's folder. Files are opened once something is added.

    Attributes:
        resumed_after: Epochs that a resumed run has behind it; TensorBoard leaves out what it has of later ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resumed_after = 0
        self._writers: dict[str, EventFileWriter] = {}

    def add(self, step: int, values: Iterable[Value], split: str = "test") -> None:
        """Add values of an epoch as one event.

        Args:
            step: The epoch, counted from 1.
            values: From `scalar`, `picture` and the like.
            split: The run that has them.
        """
        event = Event(step=step, wall_time=time.time(), summary=Summary(value=list(values)))
        self._writer(split).add_event(event)

    def close(self) -> None:
        """Write what is not yet written; more can be added later."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, split: str) -> EventFileWriter:
        if split not in self._writers:
            place = self.folder if split == "test" else self.folder / split
            self._writers[split] = EventFileWriter(str(place), flush_secs=FLUSH_SECONDS)
            if self.resumed_after:
                log = SessionLog(status=SessionLog.START)
                event = Event(step=self.resumed_after + 1, wall_time=time.time(), session_log=log)
                self._writers[split].add_event(event)
        return self._writers[split]


def epoch_values(row: Mapping[str, Any], monitored: str) -> dict[str, list[Value]]:
    """Return the values of an epoch by split: the run that TensorBoard draws them in.

    Args:
        row: The epoch's row of metrics.csv.
        monitored: The split evaluated after each epoch: "val" or "test".
    """
    speed = {"learning_rate": row["learning_rate"], "memory_megabytes": row["memory_megabytes"]}
    speed |= {"images_per_second": row["images_per_second/train"], "seconds": row["seconds/train"]}
    train = [scalar(f"{METRICS}/{name}", row[f"train/{name}"]) for name in OF_TRAINING]
    found = {"test": [scalar(f"{TRAINING}/{name}", value) for name, value in speed.items()], "train": train}
    start = f"{monitored}/"
    of_split = {key.removeprefix(start): value for key, value in row.items() if key.startswith(start)}
    found[monitored] = found.get(monitored, []) + [scalar(tag(name), value) for name, value in of_split.items()]
    return found


def tag(metric: str) -> str:
    """Return the tag of a metric, which begins with its group.

    >>> tag("accuracy"), tag("f1/glioma_tumor")
    ('metrics/accuracy', 'per_class/f1/glioma_tumor')
    """
    return f"{CLASSES if '/' in metric else METRICS}/{metric}"


def scalar(tag: str, value: float) -> Value:
    """Return a number."""
    return Summary.Value(tag=tag, simple_value=value)


def picture(name: str, pixels: NDArray[np.uint8]) -> Value:
    """Return a picture, uint8 `(H, W, 3)`."""
    content, (height, width) = io.BytesIO(), pixels.shape[:2]
    Image.fromarray(pixels).save(content, "PNG")
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content.getvalue())
    return Summary.Value(tag=f"{PICTURES}/{name}", image=image)


def text(tag: str, markdown: str) -> Value:
    """Return a text in Markdown."""
    return summary.text(tag, markdown).value[0]  # type: ignore[no-untyped-call]  # PyTorch's own, as the others


def layout() -> Value:
    """Return the charts of the tab Custom Scalars; those of all runs are the same, so a sweep shares them."""
    return summary.custom_scalars(LAYOUT).value[0]  # type: ignore[no-untyped-call]


def precision_recall(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> list[Value]:
    """Return the curve of each class that has images, for the tab PR Curves.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
    """
    known = [place for place in range(len(classes)) if (labels == place).any()]
    curves = [(classes[place], (labels == place).astype(int), probabilities[:, place]) for place in known]
    return [summary.pr_curve(name, *curve).value[0] for name, *curve in curves]  # type: ignore[no-untyped-call]


def session(settings: Mapping[str, Any]) -> list[Value]:
    """Return a run's settings for the tab HParams, which has the last value of every metric beside them.

    The message that names the columns is left out: TensorBoard 2.21 takes that of any one run for all, and hides what
    only others have. Without it the columns are those of all runs, what differs first
    (findings/tensorboard-hparams.sh).

    Args:
        settings: Numbers and texts by name.
    """
    _, *both = summary.hparams(dict(settings), {})  # type: ignore[no-untyped-call]
    return [value for each in both for value in each.value]
