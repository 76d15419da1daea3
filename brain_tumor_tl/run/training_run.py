"""Job: one training run, from its parts to its folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl import files
from brain_tumor_tl.cache import digest_of
from brain_tumor_tl.console import config_tree, console, log
from brain_tumor_tl.data.index import printable
from brain_tumor_tl.data.sources.phantom import NOTICE_FILE
from brain_tumor_tl.evaluation.calibration import run_probabilities
from brain_tumor_tl.evaluation.intervals import run_intervals
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.model.backbone import feature_count, state_digest
from brain_tumor_tl.model.classifier import Blocks
from brain_tumor_tl.model.features import load_features
from brain_tumor_tl.reporting import plots
from brain_tumor_tl.reporting.discover import SCHEMA
from brain_tumor_tl.reporting.predictions import common_groups, read_groups
from brain_tumor_tl.reporting.protocol_text import leakage_text
from brain_tumor_tl.reporting.study import row_for
from brain_tumor_tl.run import factory, hardware, record
from brain_tumor_tl.run.checkpoints import complete
from brain_tumor_tl.run.folder import config_digest, settings_with_effect
from brain_tumor_tl.run.recorder import EpochRecorder, log_final

# Images in a chunk of the feature pass. On a processor small ones stay in its cache: MobileNetV2 in bf16 on 2 cores
# did 112 images/s in chunks of 16, 90 in 32, 84 in 64 (2026-11-23). A GPU wants large ones.
CPU_CHUNK, GPU_CHUNK = 16, 256
THREADS = torch.get_num_threads()  # PyTorch's own choice, which a job before this one in the process may have changed


class Job:
    """One training run: builds its parts in order, fits them, and writes the run's folder."""

    def __init__(self, config: DictConfig, settings: Any, folder: Path, resume: bool = False) -> None:
        self.config, self.settings, self.folder, self.resume = config, settings, folder, resume
        self.started = time.time()
        torch.set_num_threads(config.trainer.num_threads or THREADS)
        self.plan = factory.make_plan(config)
        self.keeps_memory = self.plan.keeps_memory and hardware.keep_freed_memory()
        L.seed_everything(config.seed, verbose=False)
        self.data = factory.build_data(config, self.plan)
        self.model = factory.build_model(config, self.data.monitored)
        if self.plan.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.width = feature_count(config.model.name, self.model.backbone, config.data.image_size)
        factory.provide(config)
        self.data.setup()
        factory.weigh_classes(self.model, self.data, config.loss.class_weights)
        self.synthetic = (self.data.index.root / NOTICE_FILE).is_file()
        self.counts = {part: len(getattr(self.data.split, part)) for part in ("train", "val", "test")}
        note = "SYNTHETIC images" if self.synthetic else ""
        self.recorder = EpochRecorder(folder, self.data.monitored, self.model.classes, config.confusion_every, note)
        self.trainer = factory.build_trainer(config, self.plan, folder, self.recorder)
        if self.plan.accelerator == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # the next call needs it and does not do it
            torch.cuda.reset_peak_memory_stats(self.trainer.strategy.root_device)
        self.data.monitored_batch_size = factory.monitored_batch_size(config, self.plan, len(self.data.index))
        self.blocks = factory.takes_blocks(config, self.plan, self.trainer)
        if self.blocks:
            self.data.use_blocks()
            batch_size, graphs = config.data.batch_size, config.trainer.cuda_graphs
            steps = -(-self.counts["train"] // batch_size)
            self.model.learn_in_blocks(Blocks(batch_size, steps, self.data.prepared, graphs))
        self.features: dict[str, Any] = {"cached": False}
        self.weights_digest = state_digest(self.model.backbone)

    def describe(self) -> None:
        """Write the run's settings and surroundings to its folder, and say on the terminal what it will do."""
        if not self.trainer.is_global_zero:
            return
        if self.resume:
            refuse_other_inputs(self.folder / "environment.json", self.digests())
        files.write_text(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(self.settings)))
        files.write_json(self.folder / "environment.json", self.surroundings())
        files.write_csv(self.folder / "split.csv", self.data.split_rows())
        if self.data.index.bad:
            rows = [{"path": printable(path), "reason": reason} for path, reason in self.data.index.bad]
            files.write_csv(self.folder / "bad_files.csv", rows)
            log.warning(f"{len(rows)} file(s) left out, listed in {self.folder / 'bad_files.csv'}")
        console.print(config_tree(self.settings, f"{self.config.name}"))
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("config", f"```yaml\n{OmegaConf.to_yaml(self.config, resolve=True)}```")
        self.announce()

    def announce(self) -> None:
        """Say in four lines what the run works on."""
        images, learn = self.data.images, sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        source = "SYNTHETIC phantoms, which prove nothing about MRI" if self.synthetic else "images"
        parts = ", ".join(f"{count} {part}" for part, count in self.counts.items() if count)
        log.info(f"Data      {len(self.data.index)} {source} from {self.data.index.root}: {parts}")
        log.info(
            f"Cache     {images.megabytes():.0f} MB of decoded images "
            f"{'made in' if images.built else 'opened from'} {images.path}"
        )
        total = sum(p.numel() for p in self.model.parameters())
        log.info(f"Network   {self.config.model.name}, {total:,} parameters, {learn:,} of them learn")
        layout = ", channels last" if self.plan.channels_last else ""
        log.info(f"Device    {hardware.device_name(self.trainer.strategy.root_device)}, {self.plan.precision}{layout}")
        if self.config.method.freeze and not self.plan.cached:
            log.info("Features  not cached: the backbone passes over the images in every epoch")
        log.info(f"Protocol  {leakage_text(self.data.facts())}")
        if self.data.monitored == "test":
            log.info(
                "          the test part is monitored each epoch, as in the study: the best accuracy is optimistic"
            )

    def surroundings(self) -> dict[str, Any]:
        """Return what `environment.json` holds."""
        return {
            **record.environment(),
            "device": hardware.device_name(self.trainer.strategy.root_device),
            "accelerator": self.plan.accelerator,
            "precision": self.plan.precision,
            "channels_last": self.plan.channels_last,
            "threads": torch.get_num_threads(),
            "keeps_memory": self.keeps_memory,
            "digests": self.digests(),
        }

    def digests(self) -> dict[str, str]:
        """Return what identifies the run's settings and all that it reads."""
        return {
            "config": config_digest(self.settings),
            "data": self.data.index.digest(),
            "split": digest_of(self.data.split.part_names()),
            "weights": self.weights_digest,
        }

    def compute_features(self) -> dict[str, Any]:
        """Give the frozen backbone's features to the data, and return how they came about."""
        device, started = self.trainer.strategy.root_device, time.perf_counter()
        chunk = CPU_CHUNK if device.type == "cpu" else GPU_CHUNK
        key = digest_of(
            self.data.images.path.name, self.config.data.normalize, self.config.model.name,
            self.settings["model"]["options"], self.weights_digest, self.plan.precision, self.plan.channels_last,
            self.plan.accelerator, torch.__version__, *(["fused 1"] if self.plan.fuses_norms else []),
        )  # fmt: skip
        self.model.backbone.to(device)
        stored = load_features(
            self.model.backbone,
            lambda: self.data.all_images(device, chunk),
            len(self.data.index),
            self.width,
            key=key,
            cache_dir=Path(self.config.data.cache_dir),
            precision=self.trainer.precision_plugin.forward_context(),
            total=-(-len(self.data.index) // chunk),
            fuse=self.plan.fuses_norms,
        )
        self.data.use_features(torch.from_numpy(stored.array))
        seconds = time.perf_counter() - started
        log.info(
            f"Features  {'computed once' if stored.built else 'opened from the cache'} in {seconds:.1f} s, "
            f"{stored.megabytes():.0f} MB in {stored.path}"
        )
        return {"cached": True, "computed_now": stored.built, "seconds": seconds}

    def train(self) -> dict[str, Any]:
        """Describe the run, fit, test, and write the rest of the folder; `results.json` comes last."""
        self.describe()
        if self.plan.cached:
            self.features = self.compute_features()
        last = self.folder / "checkpoints" / "last.ckpt"
        if self.resume:
            log.info(f"Resume    from {last}")
            self.complete_checkpoints()
        try:
            self.trainer.fit(self.model, datamodule=self.data, ckpt_path=str(last) if self.resume else None)
            self.complete_checkpoints()
            seconds = self.test()
            validation = self.validation_outputs()
        except SystemExit as end:  # how Lightning passes on an interrupt, once it has closed loggers and processes
            raise KeyboardInterrupt from end
        summary = self.model.summarize("test")
        outputs = self.model.outputs("test")
        first = self.trainer.is_global_zero
        results = self.results(summary, seconds, self.uncertainty(outputs, validation) if first else {})
        if first:
            self.write_evidence(outputs, results)
            files.write_json(self.folder / "results.json", results)
        return results

    def complete_checkpoints(self) -> None:
        """Add the frozen backbone to the checkpoints, which a run that is under way leaves out of them."""
        if self.config.method.freeze and self.trainer.is_global_zero:
            for name in ("last.ckpt", "best.ckpt"):
                complete(self.folder / "checkpoints" / name, self.model.state_dict())
        self.trainer.strategy.barrier()

    def test(self) -> float:
        """Look at the test part with the weights that count; return the seconds it took.

        Those are the best validation epoch's, or the last where there is none; `protocol` says which.
        """
        best = self.folder / "checkpoints" / "best.ckpt"
        started = time.perf_counter()
        chosen = str(best) if self.data.monitored == "val" and best.is_file() else None
        kept = self.recorder.rows, self.recorder.seconds_before
        self.trainer.test(self.model, datamodule=self.data, ckpt_path=chosen, verbose=False)
        self.recorder.rows, self.recorder.seconds_before = kept  # a checkpoint brings those of its own epoch
        return time.perf_counter() - started

    def validation_outputs(self) -> tuple[Any, Any] | None:
        """Return logits and labels of the validation part by the weights that were tested, None where there is none.

        The pass costs about what an epoch's look at that part does. Only the temperature is fitted on it.
        """
        if self.data.monitored != "val":
            return None
        self.trainer.validate(self.model, datamodule=self.data, verbose=False)
        logits, labels, _ = (values.cpu().numpy() for values in self.model.outputs("val"))
        return logits, labels

    def uncertainty(self, outputs: Any, validation: tuple[Any, Any] | None) -> dict[str, Any]:
        """Return `intervals` and `probabilities` of `results.json`.

        Args:
            outputs: Logits, labels and positions of the test part.
            validation: Logits and labels of the validation part, where there is one.
        """
        logits, labels, positions = (values.cpu().numpy() for values in outputs)
        groups = common_groups(read_groups(self.folder), self.paths_of(positions))
        return {
            "intervals": run_intervals(labels, softmax(logits), self.model.classes, groups),
            "probabilities": run_probabilities(logits, labels, self.model.classes, validation),
        }

    def paths_of(self, positions: Any) -> list[str]:
        """Return the images' paths as files of a run's folder have them."""
        return [printable(self.data.index.paths[position]) for position in positions]

    def write_evidence(self, outputs: Any, results: Mapping[str, Any]) -> None:
        """Write predictions and figures."""
        logits, labels, positions = (values.cpu().numpy() for values in outputs)
        rows = record.prediction_rows(self.paths_of(positions), self.model.classes, softmax(logits), labels)
        files.write_csv(self.folder / "predictions.csv", rows)
        plots.save_run_figures(self.folder, results, self.recorder.rows, self.data.monitored)
        self.recorder.draw_confusion(self.trainer, self.model, "test", results["epochs"])
        for logger in self.trainer.loggers:
            if self.data.monitored == "val":
                values = {f"test/{name}": value for name, value in self.model.summarize("test").items()}
                logger.log_metrics(values, step=results["epochs"])
            if isinstance(logger, TensorBoardLogger):
                log_final(logger, settings_with_effect(self.settings), results)
            logger.finalize("success")

    def results(
        self, summary: Mapping[str, float], test_seconds: float, uncertainty: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what `results.json` holds."""
        config, rows, matrix = self.config, self.recorder.rows, self.model.confusion["test"]
        best, epoch = record.best_epoch(rows, self.data.monitored)
        trainer = self.settings["trainer"]
        return {
            "schema": SCHEMA,
            "name": config.name,
            "model": config.model.name,
            "method": config.method.name,
            "seed": config.seed,
            "accuracy": summary["accuracy"],
            "best_accuracy": best,
            "best_epoch": epoch,
            "epochs": len(rows),
            "balanced_accuracy": summary["balanced_accuracy"],
            "macro_f1": summary["macro_f1"],
            "loss": summary["loss"],
            "per_class": record.per_class(summary, self.model.classes, matrix),
            "confusion_matrix": matrix,
            "classes": self.model.classes,
            **uncertainty,
            "seconds_per_epoch": {
                "train": record.mean_of(rows, "seconds/train"),
                "test": record.mean_of(rows, "seconds/test") or test_seconds,
            },
            "seconds_total": self.recorder.seconds_before + time.time() - self.started,
            "features": self.features,
            "protocol": record.protocol(
                config.data.split, self.counts, self.data.monitored, config.data.stratify,
                synthetic=self.synthetic,
                limited=any(trainer[f"limit_{part}_batches"] is not None for part in ("train", "val", "test")),
                looked=best is not None,
                facts={**self.data.facts(), "nearest_neighbour": self.data.nearest_neighbour()},
            ),
            "study": row_for(config.model.name, config.method.name),
            "config": self.settings,
            "environment": self.surroundings(),
        }  # fmt: skip


def refuse_other_inputs(path: Path, digests: Mapping[str, str]) -> None:
    """Raise a ValueError where a cut run would go on with other images, another split or other weights.

    Args:
        path: `environment.json` of the cut run.
        digests: Those of the run that is to go on; a finetuned run's weights are those that it started from.
    """
    before = files.read_json(path)["digests"] if path.is_file() else {}
    changed = [name for name in ("data", "split", "weights") if before.get(name, digests[name]) != digests[name]]
    if changed:
        raise ValueError(
            f"The run in {path.parent} was cut, and its {' and '.join(changed)} changed since. "
            "Put back what it began with, or train anew with force=true."
        )
