"""TrainingRun: one training run, from its settings to its folder."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from omegaconf import OmegaConf

from brain_tumor_tl import files
from brain_tumor_tl.cache import digest_of
from brain_tumor_tl.console import log
from brain_tumor_tl.data.batches import Batches, all_resident, monitored_batch_size
from brain_tumor_tl.data.hierarchy import superclasses
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.sources.phantom import NOTICE_FILE
from brain_tumor_tl.evaluation.calibration import run_probabilities
from brain_tumor_tl.evaluation.hierarchy import superclass_results
from brain_tumor_tl.evaluation.intervals import run_intervals
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.model.backbone import state_digest
from brain_tumor_tl.model.freezing import Freezing
from brain_tumor_tl.model.lightning_internals import resume_by_epochs
from brain_tumor_tl.reporting import plots
from brain_tumor_tl.reporting.predictions import read_units
from brain_tumor_tl.reporting.results import prediction_columns, prediction_rows
from brain_tumor_tl.run import batching, events, factory, hardware, record
from brain_tumor_tl.run.callbacks import EpochRecorder
from brain_tumor_tl.run.checkpoints import Checkpoints, complete
from brain_tumor_tl.run.evidence import TestOutputs, add_evidence, joined, spacing
from brain_tumor_tl.run.fitted import fit_by, make_fitter, trainer_settings
from brain_tumor_tl.run.folder import config_digest
from brain_tumor_tl.run.introduction import introduction
from brain_tumor_tl.run.kept import Kept, keep
from brain_tumor_tl.run.overfit import few_images, tell_whether_learnt
from brain_tumor_tl.run.projector import head_inputs
from brain_tumor_tl.run.reference import write_reference
from brain_tumor_tl.run.stopping import why_stopped

# What wrong settings, files or installations raise; their messages are enough for a user.
USER_ERRORS = (ValueError, OSError, ImportError, MisconfigurationException)


class TrainingRun:
    """One training run: its parts are built here, complete and in order; `train` fits them and writes the folder.

    Args:
        settings: The whole configuration, checked and resolved, as plain dicts and lists.
        folder: The run's folder.
        resume: Whether to resume from the folder's `last.ckpt`.
        origin: What results.json says of where the settings come from: `choices`, those of the config groups, and
            `changed`, the groups with another choice than by default and the keys with other values than their choices
            give; tables show a choice, such as `onecycle`, not the settings that it makes. And `trial` for one of a
            search, which goes by its `metric`.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        folder: Path,
        resume: bool = False,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings, self.folder, self.resume, self.started = settings, folder, resume, time.time()
        self.origin = dict(origin or {})
        self.compute = factory.set_up_compute(settings["trainer"], settings["method"], settings["data"]["augment"])
        self.data = factory.make_data(settings["data"], settings["seed"], self.compute.channels_last)
        # The seed's random numbers go to the network's weights, then the new head's: nothing may draw any in between.
        L.seed_everything(settings["seed"], verbose=False)
        network, self.width = factory.make_network(settings, self.data.monitored, self.compute.channels_last)
        self.freezing = Freezing(network.backbone, **factory.frozen_by(settings["method"]))
        weights_digest = state_digest(network.backbone)
        factory.provide(settings["data"])
        self.data.setup()
        if batches := settings["trainer"]["overfit_batches"]:
            self.data.split = few_images(self.data.split, batches * self.data.batch_size, settings["seed"])
        self.synthetic = (self.data.index.root / NOTICE_FILE).is_file()
        self.counts = {name: len(getattr(self.data.split, name)) for name in ("train", "val", "test")}
        classes, monitored = list(self.data.index.classes), self.data.monitored
        note = "SYNTHETIC images" if self.synthetic else ""
        every = settings["confusion_every"] * settings["evidence"]["confusion"]
        self.recorder = EpochRecorder(folder, monitored, classes, every, note)
        self.checkpoints = Checkpoints(folder / "checkpoints", f"{monitored}/accuracy", self.freezing.keys)
        parts = {"backbone": network.backbone, "head": network.head}
        steps = settings["trainer"]["max_steps"]
        done = self.checkpoints.epochs_saved(parts, monitored == "val", steps) if resume else 0
        callbacks = self.recorder, self.checkpoints
        self.trainer = factory.make_trainer(trainer_settings(settings), self.compute, folder, *callbacks, done)
        self.device = self.trainer.strategy.root_device
        devices = self.trainer.world_size
        self.freezing.require_one_device(devices)
        self.min_images = batching.images_needed(settings, self.freezing, self.counts["train"], devices)
        self.blocks = batching.make_blocks(settings, self.compute, self.freezing, self.data, devices, self.min_images)
        self.model = factory.make_model(settings, network, self.freezing, self.data, self.blocks)
        self.fitter = make_fitter(settings, self.model, self.data)
        if self.fitter is not None:
            fit_by(self.model, self.fitter)
        self.digests = {
            "config": config_digest(settings),
            "data": self.data.index.digest(),
            "split": digest_of(self.data.split.names()),
            "weights": weights_digest,
        }

    def train(self) -> dict[str, Any]:
        """Fit, test, and write the run's folder; `results.json` comes last. Return its contents."""
        if self.trainer.is_global_zero:
            self.describe()
        kept = keep(self) if self.compute.caches_features else None
        everything, training, monitored, test = self.sources(kept)
        last = self.checkpoints.last_path
        if self.resume:
            log.info(f"Resume    from {last}")
            resume_by_epochs(self.trainer)
            self.complete_checkpoints()
        try:
            self.trainer.fit(self.model, training, monitored, ckpt_path=str(last) if self.resume else None)
            self.complete_checkpoints()
            self.load_best_weights()
            started = time.perf_counter()
            every = spacing(self.counts["test"], self.settings["evidence"]["projector"])
            with head_inputs(self.model.head, every) as features:
                self.trainer.test(self.model, test, verbose=False)
            test_seconds = time.perf_counter() - started
            if self.data.monitored == "val":  # with the tested weights; only the temperature is fitted on it
                self.trainer.validate(self.model, monitored, verbose=False)
        except SystemExit as end:  # how Lightning passes on an interrupt, after it has closed loggers and processes
            raise KeyboardInterrupt from end
        if self.settings["trainer"]["overfit_batches"]:
            tell_whether_learnt(self.recorder.rows, self.counts["train"])
        if not self.trainer.is_global_zero:
            return {}
        write_reference(self, everything)
        about = {"cached": False} if kept is None else kept.about
        return self.finish(test_seconds, about, joined(features), every)

    def describe(self) -> None:
        """Write the run's settings and surroundings to its folder, and print what it will do."""
        if self.resume:
            check_same_inputs(self.folder / "environment.json", self.digests)
        text = OmegaConf.to_yaml(OmegaConf.create(dict(self.settings)))
        files.write_text(self.folder / "config.yaml", text)
        files.write_json(self.folder / "environment.json", self.environment())
        files.write_csv(self.folder / "split.csv", self.data.split_rows())
        if self.data.index.bad:
            rows = [{"path": printable(path), "reason": reason} for path, reason in self.data.index.bad]
            files.write_csv(self.folder / "bad_files.csv", rows)
            log.warning(f"{len(rows)} file(s) left out, listed in {self.folder / 'bad_files.csv'}")
        if self.settings["evidence"]["texts"]:
            self.recorder.events.add(0, [events.text("about/config", f"```yaml\n{text}```"), events.layout()])
        for title, sentence in introduction(self):
            log.info(f"{title:<10}{sentence}")

    def environment(self) -> dict[str, Any]:
        """Return the contents of `environment.json`."""
        device = {"device": hardware.device_name(self.device), "threads": torch.get_num_threads()}
        return {**record.environment(), **device, **vars(self.compute), "digests": self.digests}

    def sources(self, kept: Kept | None) -> tuple[Batches, Batches, Batches, Batches]:
        """Return all images, and the training, the monitored and the test split as the Trainer gets them.

        Args:
            kept: What the frozen part returns, to train on in place of images; None for images, augmented in training.
        """
        data, split = self.data, self.data.split
        images = Kept((data.pixels,), data.normalize, {}), data.prepare_training
        source, augment = images if kept is None else (kept, kept.prepare)
        inputs, *variants = all_resident(source.views, self.device)
        everything = data.batches(inputs, self.trainer, source.prepare, from_disk=inputs.ndim > 2)
        features, gpu = inputs.ndim == 2, self.compute.accelerator == "cuda"
        size = monitored_batch_size(self.settings["trainer"], data.batch_size, len(data.index), features, gpu)
        training = everything.of(
            split.train,
            prepare=None if self.blocks else augment,  # in blocks each optimizer step prepares its own images
            variants=tuple(variants),
            epoch=lambda: int(self.trainer.current_epoch),
            in_blocks=self.blocks is not None,
            min_images=self.min_images,
        )
        if self.fitter is not None:
            training = everything.of(split.train, batch_size=len(split.train))
        monitored = everything.of(getattr(split, data.monitored), batch_size=size)
        return everything, training, monitored, everything.of(split.test, batch_size=size)

    def complete_checkpoints(self) -> None:
        """Add what is frozen to the checkpoints, which leave it out during training."""
        if self.checkpoints.frozen and self.trainer.is_global_zero:
            for path in (self.checkpoints.last_path, self.checkpoints.best_path):
                complete(path, self.model.state_dict())
        self.trainer.strategy.barrier()

    def load_best_weights(self) -> None:
        """Give the model the best validation epoch's weights; without a validation split the last weights stay."""
        if self.data.monitored == "val" and self.checkpoints.best > -math.inf:
            content = torch.load(self.checkpoints.best_path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(content["state_dict"])

    def finish(
        self, test_seconds: float, about_features: Mapping[str, Any], features: NDArray[np.float32], every: int
    ) -> dict[str, Any]:
        """Write predictions, figures, TensorBoard's final values and `results.json`; return the contents of the last.

        Args:
            test_seconds: The time that the test took.
            about_features: `features` of `results.json`.
            features: What the head got for every n-th test image, `(M, D)`.
            every: That n.
        """
        monitored, classes = self.data.monitored, self.model.classes
        logits, labels, positions = self.outputs("test")
        probabilities, paths = softmax(logits), [printable(self.data.index.paths[position]) for position in positions]
        validation = self.outputs("val")[:2] if monitored == "val" else None
        if trial := self.origin.get("trial"):
            trial["value"] = record.best_value(self.recorder.rows, trial["metric"])
        self.digests["head"] = state_digest(self.model.head)  # by which the tested checkpoint is known again
        units = read_units(self.folder, paths)
        results = {
            **record.results(self, test_seconds, about_features),
            "intervals": run_intervals(labels, probabilities, classes, *units),
            "probabilities": run_probabilities(logits, labels, classes, validation),
        }
        if hierarchy := self.settings["data"]["hierarchy"]:
            members = superclasses(classes, hierarchy)
            results["superclasses"] = superclass_results(labels, probabilities, classes, members, *units)
        rows = prediction_rows(paths, classes, probabilities, labels)
        files.write_csv(self.folder / "predictions.csv", rows, prediction_columns(classes))
        plots.save_run_figures(self.folder, results, self.recorder.rows, monitored)
        add_evidence(self, results, TestOutputs(probabilities, labels, positions, features, every))
        self.recorder.events.close()
        files.write_json(self.folder / "results.json", results)
        return results

    @property
    def stopped_early(self) -> str | None:
        """Why the run stopped before its last epoch; None if it didn't."""
        return why_stopped(self.trainer)

    def outputs(self, stage: str) -> tuple[Any, Any, Any]:
        """Return logits, labels and positions of a stage's epoch as arrays."""
        logits, labels, positions = (values.cpu().numpy() for values in self.model.outputs(stage))
        return logits, labels, positions


def check_same_inputs(path: Path, digests: Mapping[str, str]) -> None:
    """Raise a ValueError if an interrupted run would resume with other images, another split or other weights.

    Args:
        path: `environment.json` of the interrupted run.
        digests: Those of the run that is to resume; a finetuned run's weights are those that it started from.
    """
    before = files.read_json(path).get("digests") if path.is_file() else {}
    if not isinstance(before, Mapping):
        raise ValueError(
            f"Expected the digests of images, split and weights in {path}, it has none. The run's other files are as "
            "they were. Put the file back if you have a copy, or remove it to resume without knowing that they are the "
            "same."
        )
    changed = [name for name in ("data", "split", "weights") if before.get(name, digests[name]) != digests[name]]
    if changed:
        raise ValueError(
            f"The run in {path.parent} can't be resumed, since its {' and '.join(changed)} changed. "
            "Restore what it began with, or train anew with force=true."
        )
