"""Train: configuration in, run folder out. Index, split, images, network, Trainer, record: each built in one step."""

from __future__ import annotations

import contextlib
import csv
import logging
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl import hardware
from brain_tumor_tl.config import check
from brain_tumor_tl.data.images import part_rows
from brain_tumor_tl.data.index import printable
from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.evidence import plots, record, tables
from brain_tumor_tl.evidence.console import config_tree, console, log, run_log
from brain_tumor_tl.evidence.progress import ProgressBar
from brain_tumor_tl.evidence.recorder import EpochRecorder
from brain_tumor_tl.evidence.study import row_for
from brain_tumor_tl.model.backbone import feature_count, state_digest
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.model.features import load_features
from brain_tumor_tl.store import digest_of
from brain_tumor_tl.sweep.folder import config_digest, inspect_folder

FEATURE_BATCH = 64  # images in a chunk of the feature pass


def run(config: DictConfig) -> dict[str, Any]:
    """Run one training job of the command line in Hydra's output folder, and turn a user's error into one message.

    Raises:
        CompactHydraException: With the message alone, where settings, files or the network don't fit.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    child = int(os.environ.get("LOCAL_RANK", "0")) > 0
    with run_log(None if child else folder / "train.log", quiet=child):
        try:
            check(config)
            return train(config, folder)
        except (ValueError, OSError, ImportError) as error:
            raise CompactHydraException(str(error)) from error


def train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Train as configured, and return what `results.json` holds.

    Args:
        config: The whole configuration, checked.
        folder: The run's folder.

    Raises:
        FileExistsError: The folder holds a run with other settings.
        ValueError: Data, network and settings do not fit each other.
    """
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    state = inspect_folder(folder, settings, config.force)
    if state == "done":
        log.info(f"{folder} is done already; force=true trains anew.")
        return show(record.read_json(folder / "results.json"), folder)
    job = Job(config, settings, folder)
    results = job.train(resume=state == "cut")
    return show(results, folder) if job.trainer.is_global_zero else results


@dataclass(frozen=True)
class Plan:
    """What a run computes on, once nothing is left to choose."""

    accelerator: str
    precision: str
    channels_last: bool
    cached: bool


class Job:
    """One training run: builds its parts in order, fits them, and writes the run's folder."""

    def __init__(self, config: DictConfig, settings: Any, folder: Path) -> None:
        self.config, self.settings, self.folder = config, settings, folder
        self.started = time.time()
        if config.trainer.num_threads:
            torch.set_num_threads(config.trainer.num_threads)
        self.plan = make_plan(config)
        L.seed_everything(config.seed, verbose=False)
        self.data = build_data(config, self.plan)
        self.model = build_model(config, self.data.watched)
        width = feature_count(config.model.name, self.model.backbone, config.data.image_size)
        provide(config)
        self.data.setup()
        weigh_classes(self.model, self.data, config.loss.class_weights)
        self.counts = {part: len(getattr(self.data.split, part)) for part in ("train", "val", "test")}
        self.recorder = EpochRecorder(
            folder, self.data.watched, self.counts, self.model.classes, config.confusion_every
        )
        self.trainer = build_trainer(config, self.plan, folder, self.recorder)
        self.features: dict[str, Any] = {"cached": False}
        self.weights_digest = state_digest(self.model.backbone)
        self.describe()
        if self.plan.cached:
            self.features = self.compute_features(width)

    def describe(self) -> None:
        """Write the run's settings and surroundings to its folder, and say on the terminal what it will do."""
        if not self.trainer.is_global_zero:
            return
        record.write_text(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(self.settings)))
        record.write_json(self.folder / "environment.json", self.surroundings())
        record.write_csv(self.folder / "split.csv", part_rows(self.data.index, self.data.split.part_names()))
        if self.data.index.bad:
            rows = [{"path": printable(path), "reason": reason} for path, reason in self.data.index.bad]
            record.write_csv(self.folder / "bad_files.csv", rows)
            log.warning(f"{len(rows)} file(s) left out, listed in {self.folder / 'bad_files.csv'}")
        console.print(config_tree(self.settings, f"{self.config.name}"))
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("config", f"```yaml\n{OmegaConf.to_yaml(self.config, resolve=True)}```")
        self.announce()

    def announce(self) -> None:
        """Say in four lines what the run works on."""
        images, learn = self.data.images, sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        source = "SYNTHETIC phantoms, which prove nothing about MRI" if self.config.data.source == "phantom" else "images"
        parts = ", ".join(f"{count} {part}" for part, count in self.counts.items() if count)
        log.info(f"Data      {len(self.data.index)} {source} from {self.data.index.root}: {parts}")
        log.info(
            f"Cache     {images.megabytes():.0f} MB of decoded images "
            f"{'made in' if images.built else 'opened from'} {images.path}"
        )
        total = sum(p.numel() for p in self.model.parameters())
        log.info(f"Network   {self.config.model.name}, {total:,} parameters, {learn:,} of them learn")
        layout = ", channels last" if self.plan.channels_last else ""
        log.info(f"Device    {hardware.device_name(self.plan.accelerator)}, {self.plan.precision}{layout}")
        if self.data.watched == "test":
            log.info("Protocol  the test part is watched each epoch, as in the study: the best accuracy is optimistic")

    def surroundings(self) -> dict[str, Any]:
        """Return what `environment.json` holds."""
        return {
            **record.environment(),
            "device": hardware.device_name(self.plan.accelerator),
            "accelerator": self.plan.accelerator,
            "precision": self.plan.precision,
            "channels_last": self.plan.channels_last,
            "threads": torch.get_num_threads(),
            "digests": {
                "config": config_digest(self.settings),
                "data": self.data.index.digest(),
                "split": digest_of(self.data.split.part_names()),
                "weights": self.weights_digest,
            },
        }

    def compute_features(self, width: int) -> dict[str, Any]:
        """Give the frozen backbone's features to the data, and return how they came about."""
        device, started = self.trainer.strategy.root_device, time.perf_counter()
        key = digest_of(
            self.data.images.path.name, self.config.data.normalize, self.config.model.name,
            self.settings["model"]["options"], self.weights_digest, self.plan.precision, self.plan.channels_last,
        )  # fmt: skip
        layout = torch.channels_last if self.plan.channels_last else torch.contiguous_format
        self.model.backbone.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # stubs lack it
        stored = load_features(
            self.model.backbone,
            lambda: self.data.all_images(device, FEATURE_BATCH),
            len(self.data.index),
            width,
            key=key,
            cache_dir=Path(self.config.data.cache_dir),
            precision=self.trainer.precision_plugin.forward_context(),
            total=-(-len(self.data.index) // FEATURE_BATCH),
        )
        self.data.use_features(torch.from_numpy(stored.array))
        seconds = time.perf_counter() - started
        log.info(
            f"Features  {'computed once' if stored.built else 'opened from the cache'} in {seconds:.1f} s, "
            f"{stored.megabytes():.0f} MB in {stored.path}"
        )
        return {"cached": True, "computed_now": stored.built, "seconds": seconds}

    def train(self, resume: bool) -> dict[str, Any]:
        """Fit, test, and write the rest of the folder; `results.json` comes last."""
        last = self.folder / "checkpoints" / "last.ckpt"
        if resume:
            log.info(f"Resume    from {last}")
        self.trainer.fit(self.model, datamodule=self.data, ckpt_path=str(last) if resume else None)
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        seconds = self.test()
        summary = self.model.summarize("test")
        outputs = self.model.outputs("test")
        results = self.results(summary, seconds)
        if self.trainer.is_global_zero:
            self.write_evidence(outputs, results)
            record.write_json(self.folder / "results.json", results)
        return results

    def test(self) -> float:
        """Look at the test part with the weights that count; return the seconds it took."""
        best = self.folder / "checkpoints" / "best.ckpt"
        started = time.perf_counter()
        chosen = str(best) if self.data.watched == "val" else None
        self.trainer.test(self.model, datamodule=self.data, ckpt_path=chosen, verbose=False)
        return time.perf_counter() - started

    def write_evidence(self, outputs: Any, results: Mapping[str, Any]) -> None:
        """Write predictions and figures."""
        record.write_csv(self.folder / "predictions.csv", prediction_rows(self.data, self.model.classes, *outputs))
        title = f"{results['name']}, test part" + (", SYNTHETIC images" if results["protocol"]["synthetic"] else "")
        matrix = results["confusion_matrix"]
        plots.save(plots.confusion_figure(matrix, self.model.classes, title), self.folder / "confusion_matrix.png")
        curves = plots.curves_figure(self.recorder.rows, self.data.watched, title)
        plots.save(curves, self.folder / "curves.png")
        self.recorder.draw_confusion(self.trainer, self.model, "test", results["epochs"])
        for logger in self.trainer.loggers:
            if self.data.watched == "val":
                values = {f"test/{name}": value for name, value in self.model.summarize("test").items()}
                logger.log_metrics(values, step=results["epochs"])
            logger.finalize("success")

    def results(self, summary: Mapping[str, float], test_seconds: float) -> dict[str, Any]:
        """Return what `results.json` holds."""
        config, rows, matrix = self.config, self.recorder.rows, self.model.confusion["test"]
        best, epoch = record.best_epoch(rows, self.data.watched)
        trainer = self.settings["trainer"]
        return {
            "schema": record.SCHEMA,
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
            "seconds_per_epoch": {
                "train": record.mean_of(rows, "seconds/train"),
                "test": record.mean_of(rows, "seconds/test") or test_seconds,
            },
            "seconds_total": time.time() - self.started,
            "features": self.features,
            "protocol": record.protocol(
                config.data.split, self.counts, self.data.watched, config.data.stratify,
                synthetic=config.data.source == "phantom",
                limited=any(trainer[f"limit_{part}_batches"] is not None for part in ("train", "val", "test")),
            ),
            "study": row_for(config.model.name, config.method.name),
            "config": self.settings,
            "environment": self.surroundings(),
        }  # fmt: skip


def make_plan(config: DictConfig) -> Plan:
    """Choose what the configuration leaves to the machine."""
    accelerator = hardware.resolve_accelerator(config.trainer.accelerator)
    precision = hardware.resolve_precision(config.trainer.precision, accelerator)
    channels_last = hardware.resolve_channels_last(config.trainer.channels_last, precision)
    cached = bool(config.method.freeze and config.method.cache_features in ("auto", True))
    return Plan(accelerator, precision, channels_last, cached)


def build_data(config: DictConfig, plan: Plan) -> TumorData:
    """Build the data module; nothing is read yet."""
    data = config.data
    return TumorData(
        Path(data.root).expanduser(),
        OmegaConf.to_container(data.classes),  # type: ignore[arg-type]  # a list of lists, by the schema
        image_size=data.image_size,
        batch_size=data.batch_size,
        normalize=data.normalize,
        cache_dir=Path(data.cache_dir).expanduser(),
        seed=config.seed,
        test_fraction=data.test_fraction,
        val_fraction=data.val_fraction,
        stratify=data.stratify,
        on_bad_file=data.on_bad_file,
        channels_last=plan.channels_last,
    )


def build_model(config: DictConfig, watched: str) -> TumorClassifier:
    """Build the network, its weights read or downloaded."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    weighted = plain["loss"]["class_weights"]
    classes = [names[0] for names in plain["data"]["classes"]]
    return TumorClassifier(
        plain["model"]["name"],
        classes,
        weights=plain["model"]["weights"],
        options=plain["model"]["options"],
        freeze=plain["method"]["freeze"],
        optimizer=plain["optimizer"]["name"],
        lr=plain["optimizer"]["lr"],
        optimizer_options=plain["optimizer"]["options"],
        scheduler=plain["scheduler"]["name"],
        scheduler_interval=plain["scheduler"]["interval"],
        scheduler_options=plain["scheduler"]["options"],
        class_weights=[1.0] * len(classes) if weighted == "balanced" else weighted,
        label_smoothing=plain["loss"]["label_smoothing"],
        watched=watched,
        seed=plain["seed"],
    )


def provide(config: DictConfig) -> None:
    """Make the images be there: download or draw them where the configuration says so and they are absent."""
    root = Path(config.data.root).expanduser()
    if root.exists() or config.data.source == "folder":
        return
    if config.data.source == "kaggle":
        from brain_tumor_tl.data.download import fetch

        fetch(root, config.data.url)
    else:
        from brain_tumor_tl.data.phantom import write_phantoms

        write_phantoms(root, config.data.phantoms_per_class, config.data.phantom_size, seed=0)


def weigh_classes(model: TumorClassifier, data: TumorData, weights: Any) -> None:
    """Set balanced class weights, images / (classes x images of the class), from the training part."""
    if weights != "balanced":
        return
    assert model.class_weights is not None
    counts = torch.bincount(data.labels[torch.from_numpy(data.split.train)], minlength=len(model.classes))
    if (counts == 0).any():
        raise ValueError(f"Expected every class in the training part for balanced weights, got {counts.tolist()} images.")
    model.class_weights.copy_(counts.sum() / (len(counts) * counts))


def build_trainer(config: DictConfig, plan: Plan, folder: Path, recorder: EpochRecorder) -> L.Trainer:
    """Build Lightning's Trainer with the run's callbacks and its TensorBoard log."""
    quiet_lightning()
    t = config.trainer
    callbacks: list[L.Callback] = [recorder, *checkpoints(folder / "checkpoints", recorder.watched)]
    if t.enable_progress_bar:
        callbacks.append(ProgressBar(recorder.watched, config.data.batch_size))
    trainer = L.Trainer(
        accelerator=plan.accelerator,
        devices=devices(t.devices),
        num_nodes=t.num_nodes,
        strategy=t.strategy,
        precision=plan.precision,  # type: ignore[arg-type]  # one of Lightning's names, by the schema
        max_epochs=t.max_epochs,
        max_steps=t.max_steps,
        max_time=t.max_time,
        limit_train_batches=t.limit_train_batches,
        limit_val_batches=t.limit_val_batches,
        limit_test_batches=t.limit_test_batches,
        gradient_clip_val=t.gradient_clip_val,
        gradient_clip_algorithm=t.gradient_clip_algorithm,
        accumulate_grad_batches=t.accumulate_grad_batches,
        check_val_every_n_epoch=t.check_val_every_n_epoch,
        sync_batchnorm=t.sync_batchnorm,
        deterministic=t.deterministic,
        benchmark=t.benchmark,
        log_every_n_steps=1,  # rows are written once an epoch; Lightning else warns of short epochs
        detect_anomaly=t.detect_anomaly,
        profiler=t.profiler,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    refuse_devices_in_process(trainer.num_devices)
    return trainer


def checkpoints(folder: Path, watched: str) -> list[L.Callback]:
    """Return what keeps `best.ckpt` and, after each epoch, `last.ckpt`.

    They are two callbacks, for one with `save_last` writes `last.ckpt` only when the best changes (Lightning 2.6.6).
    """
    each_epoch: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    best = ModelCheckpoint(folder, filename="best", monitor=f"{watched}/accuracy", mode="max", **each_epoch)
    return [best, ModelCheckpoint(folder, filename="last", **each_epoch)]


def quiet_lightning() -> None:
    """Keep what nobody can act on off the terminal: Lightning's greetings, and warnings about what is intended here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message="Found .* module.s. in eval mode")  # a frozen backbone is meant to be
    warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec.` is deprecated")  # Lightning's own call
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # there are none by design


def devices(setting: Any) -> Any:
    """Return `trainer.devices` for Lightning; `auto` is one device in a multirun that runs jobs in one process."""
    if setting == "auto" and in_process_multirun():
        return 1
    return OmegaConf.to_container(setting) if OmegaConf.is_config(setting) else setting


def in_process_multirun() -> bool:
    """Tell whether this job is one of a multirun whose jobs share this process."""
    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def refuse_devices_in_process(count: int) -> None:
    """Raise a ValueError where Lightning would start processes that each run the whole multirun."""
    if count > 1 and in_process_multirun():
        raise ValueError(
            f"Expected one device for a job of a multirun that shares its process with others, got {count}: "
            "the further processes would run the whole multirun. Give trainer.devices=1, or start the jobs one by one."
        )


def prediction_rows(data: TumorData, classes: list[str], logits: Any, labels: Any, positions: Any) -> list[dict[str, Any]]:
    """Return one row for each test image, in the order of the index: truth, prediction and probabilities."""
    order = positions.argsort()
    probabilities = torch.softmax(logits.float(), dim=1)[order].cpu()
    rows = []
    for position, label, values in zip(positions[order].tolist(), labels[order].tolist(), probabilities, strict=True):
        guess = int(values.argmax())
        row: dict[str, Any] = {
            "path": printable(data.index.paths[position]), "label": label, "class": classes[label],
            "predicted": classes[guess], "correct": int(guess == label),
        }  # fmt: skip
        row |= {f"probability/{name}": f"{value:.6f}" for name, value in zip(classes, values.tolist(), strict=True)}
        rows.append(row)
    return rows


def show(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Print a run's tables and what to do next."""
    console.print(tables.class_table(results))
    console.print(tables.summary_table([results]))
    console.print(results["protocol"]["text"], highlight=False, soft_wrap=True)
    with contextlib.suppress(ValueError):
        folder = folder.relative_to(Path.cwd())
    log.info(f"Done in {results['seconds_total']:.0f} s: {folder}")
    log.info(f"Next      tensorboard --logdir {folder.parent}")
    log.info(f"          brain-tumor-tl report {folder.parent}")
    return results


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file of a run folder."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
