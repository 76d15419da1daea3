"""Evidence: what a finished run adds for TensorBoard, so that a person can look at what its figures rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain_tumor_tl.console import log
from brain_tumor_tl.data.batches import order_of
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.model.seeds import epoch_seed
from brain_tumor_tl.reporting.headline import headline
from brain_tumor_tl.reporting.overlay import contact_sheet, to_image
from brain_tumor_tl.reporting.plots import pixels
from brain_tumor_tl.reporting.plots_curves import precision_recall_figure, reliability_figure, roc_figure
from brain_tumor_tl.reporting.results import as_typed
from brain_tumor_tl.run import events
from brain_tumor_tl.run.case_sheet import case_sheet
from brain_tumor_tl.run.folder import PATHS, flat
from brain_tumor_tl.run.projector import write_projector

if TYPE_CHECKING:
    from brain_tumor_tl.data.module import TumorData
    from brain_tumor_tl.run.training_run import TrainingRun

TILE, COLUMNS = 160, 8  # pixels of an image of the training batch, and images in a row
NAMES = {  # of settings in the tab HParams; other keys are named by their last word
    "optimizer.lr": "learning rate",
    "data.batch_size": "batch size",
    "data.image_size": "image size",
    "trainer.max_epochs": "epochs",
}


@dataclass(frozen=True, eq=False)
class TestOutputs:
    """What a run's test gave.

    Attributes:
        probabilities: `(N, K)`.
        labels: True class of each image, `(N,)`.
        positions: Of the images in the data set, `(N,)`.
        features: What the head got for every n-th image, `(M, D)`; `(0, 0)` if it was not kept.
        every: That n.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    positions: NDArray[np.int64]
    features: NDArray[np.float32]
    every: int = 1


def spacing(images: int, most: int) -> int:
    """Return which images the projector gets: every n-th, so that they are at most `most`; 0 for none.

    >>> spacing(653, 1000), spacing(653, 300), spacing(653, 0)
    (1, 3, 0)
    """
    return -(-images // most) if most else 0


def joined(features: Sequence[Tensor]) -> NDArray[np.float32]:
    """Return features of batches, `(b, D)` each, as one array."""
    return torch.cat(list(features)).numpy() if features else np.zeros((0, 0), np.float32)


def add_evidence(run: TrainingRun, results: Mapping[str, Any], outputs: TestOutputs) -> None:
    """Add to a run's event files what is known at its end; of a trial of a search only what the search goes by.

    Args:
        run: It has been tested.
        results: The contents of `results.json`.
        outputs: Of its test.
    """
    add, step = run.recorder.events.add, int(results["epochs"])
    add(step, events.session(hyperparameters(results)))
    if trial := results.get("trial"):  # the test is for the chosen one
        if trial["value"] is not None:
            add(step, [events.scalar(events.tag(trial["metric"].partition("/")[2]), trial["value"])])
        return
    if run.data.monitored == "val":
        summary = run.model.summarize("test")
        add(step, [events.scalar(events.tag(name), value) for name, value in summary.items()])
    wanted = run.settings["evidence"]
    if wanted["confusion"]:
        run.recorder.draw_confusion(step, run.model.confusion["test"], "test")
    if wanted["texts"]:
        add(step, texts(results))
    if wanted["curves"]:
        add(step, curves(results, outputs))
    kept = run.compute.caches_features
    if count := wanted["training_images"]:
        add(step, [events.picture("training_batch", training_sheet(run.data, run.settings["seed"], count, not kept))])
    add(step, cases(run, outputs))
    if len(outputs.features):
        project(run, outputs)


def hyperparameters(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a run differ from others, by readable names: values of TensorBoard's tab HParams.

    Args:
        results: The contents of `results.json`.

    >>> hyperparameters({"model": "vgg16", "method": "frozen", "seed": 1, "changed": ["optimizer.lr"],
    ...     "config": {"data": {"split": "random"}, "optimizer": {"lr": 0.1}}})
    {'model': 'vgg16', 'method': 'frozen', 'seed': 1, 'split': 'random', 'learning rate': 0.1}
    """
    settings, choices = flat(results["config"]), results.get("choices", {})
    known = {"model": results["model"], "method": results["method"], "seed": results["seed"]}
    known["split"] = settings.get("data.split", "")
    keys = dict.fromkeys([*results.get("changed", ()), *results.get("given", ())])
    values = {key: shown(key, choices.get(key, settings.get(key))) for key in keys if key in {**choices, **settings}}
    words = {key: NAMES.get(key, key.removesuffix(".name").rpartition(".")[2].replace("_", " ")) for key in values}
    counts = Counter(words.values())
    named = {word if counts[word] == 1 else key: values[key] for key, word in words.items()}
    return known | {name: value for name, value in named.items() if name not in known}


def shown(key: str, value: Any) -> Any:
    """Return a setting's value as TensorBoard can show it: numbers as they are, of paths the last part."""
    if key in PATHS and isinstance(value, str):
        return Path(value).name
    return value if type(value) in (int, float) else as_typed(value)


def texts(results: Mapping[str, Any]) -> Iterator[Any]:
    """Yield protocol and surroundings in Markdown."""
    protocol = results["protocol"]
    sentences = "\n\n".join([*headline(results), protocol["text"]])
    values = {key: value for key, value in protocol.items() if key != "text"}
    yield events.text("about/protocol", f"{sentences}\n\n{table(values)}")
    yield events.text("about/environment", table(results["environment"]))


def table(values: Mapping[str, Any]) -> str:
    """Return values as a table in Markdown, without those that are not known.

    >>> print(table({"split": "random", "fold": None, "counts": {"train": 8}}))
    | | |
    |---|---|
    | split | random |
    | counts.train | 8 |
    """
    known = {key: as_typed(value) for key, value in flat(values).items() if value is not None}
    rows = [(key, value.replace("|", "\\|").replace("\n", " ")) for key, value in known.items()]
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)])


def curves(results: Mapping[str, Any], outputs: TestOutputs) -> Iterator[Any]:
    """Yield ROC, precision-recall and reliability of the test split."""
    classes, note = results["classes"], ", SYNTHETIC images" if results["protocol"]["synthetic"] else ""
    known, title = (outputs.labels, outputs.probabilities, classes), f"{results['name']}, test split{note}"
    if not np.isfinite(outputs.probabilities).all():
        return
    yield from events.precision_recall(*known)
    found = results["probabilities"]
    scaled = found["calibrated"] and found["calibrated"]["reliability"]
    yield events.picture("roc", pixels(roc_figure(*known, title)))
    yield events.picture("precision_recall", pixels(precision_recall_figure(*known, title)))
    yield events.picture("reliability", pixels(reliability_figure(found["reliability"], scaled, title)))


def training_sheet(data: TumorData, seed: int, count: int, augmented: bool) -> NDArray[np.uint8]:
    """Return the first images of the first epoch as the network gets them, with their labels.

    Args:
        data: After `setup`.
        seed: The run's.
        count: Number of images.
        augmented: Whether that epoch's images were augmented; kept ones are so in later epochs alone.
    """
    order = order_of(len(data.split.train), seed, 0)[: max(count, data.batch_size)]
    positions = data.split.train[order]
    images = data.pixels[positions].cpu()
    if augmented and not data.augmentation.does_nothing:
        with torch.random.fork_rng():
            torch.manual_seed(epoch_seed(seed, 0))
            batches = torch.split(images, data.batch_size)  # each draws its random numbers together
            images = torch.cat([data.augmentation(batch) for batch in batches]).round().to(torch.uint8)
    images, positions = images[:count], positions[:count]
    tiles = [to_image(image).convert("RGB").resize((TILE, TILE)) for image in images.numpy()]
    labels = [[data.index.classes[label]] for label in data.labels[positions].tolist()]
    return np.asarray(contact_sheet(tiles, labels, COLUMNS))


def cases(run: TrainingRun, outputs: TestOutputs) -> Iterator[Any]:
    """Yield test images with their Grad-CAM: those with the highest loss, and the most confident right ones."""
    wanted, found = run.settings["evidence"], outputs.probabilities
    of_truth, predicted = found[np.arange(len(found)), outputs.labels], found.argmax(axis=1)
    right = np.flatnonzero(predicted == outputs.labels)
    chosen = {
        "highest_loss": np.argsort(of_truth, kind="stable")[: wanted["highest_loss"]],
        "confident_right": right[np.argsort(-of_truth[right], kind="stable")][: wanted["confident_right"]],
    }
    for name, which in chosen.items():
        if len(which):
            yield events.picture(name, case_sheet(run, outputs.positions[which], outputs.labels[which], found[which]))


def project(run: TrainingRun, outputs: TestOutputs) -> None:
    """Write the files of the tab Projector, unless the features are not those of the test images."""
    every, classes = outputs.every, run.model.classes
    positions, labels = outputs.positions[::every], outputs.labels[::every]
    if len(outputs.features) != len(positions) or not np.isfinite(outputs.features).all():
        log.debug(f"No projector: features of {len(outputs.features)} images, {len(positions)} were expected.")
        return
    predicted = outputs.probabilities[::every].argmax(axis=1)
    rows = [
        {
            "class": classes[label],
            "predicted": classes[guess],
            "right": "yes" if label == guess else "no",
            "path": printable(run.data.index.paths[position]),
        }
        for label, guess, position in zip(labels, predicted, positions, strict=True)
    ]
    write_projector(run.folder, outputs.features, run.data.pixels[positions].cpu().numpy(), rows)
