"""Train a pose network on a few labelled pictures, by the recipe of `recipe`.

Some of the labelled pictures are held out: they tell when to stop, and calibrate the outputs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from multipose.errors import DataError, ModelError
from multipose.files import hash_value, write_text
from multipose.pose2d import runtime
from multipose.pose2d.augmentation import Augmentation, choose_augmentation, make_crops
from multipose.pose2d.backbones import DEFAULT_BACKBONE
from multipose.pose2d.batches import Time, make_batches
from multipose.pose2d.calibration import fit_calibration
from multipose.pose2d.checkpoints import CHECKPOINT_FILE, load_checkpoint, noting_interrupts, save_checkpoint
from multipose.pose2d.dataset import PoseDataset, ShrunkPictures, choose_scale, join_datasets
from multipose.pose2d.evaluation import Evaluation, join_evaluations
from multipose.pose2d.familiarity import fit_familiarity
from multipose.pose2d.model import PoseModel
from multipose.pose2d.network import STRIDE, PoseNetwork
from multipose.pose2d.pictures_seen import describe_seen
from multipose.pose2d.ranks import ALONE, Ranks, run_ranks
from multipose.pose2d.recipe import RECIPE, Budget, TrainingSettings
from multipose.pose2d.refinement import Material, begin_with, choose_material
from multipose.pose2d.repeats import label_noise
from multipose.pose2d.shape import PULL, fit_shape
from multipose.pose2d.training_run import TrainingRun
from multipose.progress import SILENT, Progress

METRICS_FILE = "metrics.csv"
_DEFAULT_MINUTES = 10.0
REFINING_MINUTES = 3.0
_PRESENCE_CROPS = 48  # of the held-out pictures, on which the confidence is calibrated


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What training gives.

    Attributes:
        model: the best network, calibrated; also saved in the folder.
        history: step, seconds, cpu_seconds, learning_rate, loss (mean since the row before), held_out_mean_px and
            held_out_median_px, which are NaN in rows between two looks at the held-out pictures.
        held_out: the model on the pictures held out from training (which chose it, so it is a little flattered).
        minutes: wall time of training, without interruptions.
        parts: of a network that got added pictures, the same for "old" and "added" ones apart; else empty.
        before: and what the network that it began with did on them.
    """

    model: PoseModel
    history: pd.DataFrame
    held_out: Evaluation
    minutes: float
    parts: Mapping[str, Evaluation] = field(default_factory=dict)
    before: Mapping[str, Evaluation] = field(default_factory=dict)


def train(
    dataset: PoseDataset,
    folder: str | os.PathLike[str],
    *,
    minutes: float | None = None,
    cpu_minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    backbone: str = DEFAULT_BACKBONE,
    pretrained: bool = True,
    start: PoseModel | None = None,
    added: PoseDataset | None = None,
    resume: bool = False,
    threads: int | None = None,
    device: str = "auto",
    scale: float | None = None,
    augmentation: Augmentation | None = None,
    labelled_again: PoseDataset | None = None,
    held_out: Collection[Time] = (),
    settings: TrainingSettings = RECIPE,
    checkpoint_seconds: float = 30.0,
    watch: Callable[[pd.DataFrame], None] | None = None,
    ranks: Ranks = ALONE,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train a network and save it.

    It ends when the budget is used up, or when the error on the held-out pictures no longer falls. The folder gets the
    model, `metrics.csv`, and while training runs `checkpoint.pt`, from which a killed training can be resumed.

    Args:
        dataset: labelled pictures, at least two with positions.
        folder: where the model goes.
        minutes: budget of wall time for all of it, with reading pictures and calibration; 10 if no budget is given at
            all, 3 with added pictures.
        cpu_minutes: the same of this process's CPU time, over all threads.
        steps: budget of optimiser steps; with this alone the same seed and threads give the same network to the bit.
        seed: of all chance.
        backbone: as for `create_backbone`.
        pretrained: begin with ImageNet weights.
        start: begin with the weights of this network instead, and learn at a lower rate; it must have the same
            backbone. Maps of key points that it does not find are learned anew.
        added: pictures that `start` does not know, while it knows those of `dataset`. Each step shows some of both, so
            that the network learns the new and keeps the old; and both are judged. It stays at the scale of `start`.
        resume: go on from the folder's checkpoint, if there is one.
        threads: of the CPU; None for all.
        device: as for `runtime.choose_device`.
        scale: as of `PoseModel`; by default `choose_scale`.
        augmentation: by default `choose_augmentation`.
        labelled_again: some of the pictures with labels from a second time or hand: the noise of labels is estimated
            from them and taken off the network's covariances.
        held_out: times (group, moment) whose pictures are held out from training; by default a tenth is drawn.
        settings: the recipe's numbers.
        checkpoint_seconds: wall time between checkpoints.
        watch: is given the history so far whenever it has grown.
        ranks: which of several processes this is, of `train_on`.
        progress: is told in percent of the budget.

    Raises:
        DataError: too few labelled pictures, a key point of which nothing is labelled, or an impossible seed or scale.
        ModelError: the checkpoint is damaged or belongs to another training, `start` does not fit or is lacking, or
            the loss is no longer finite.
    """
    began = time.monotonic(), time.process_time()
    _check(seed, scale)
    if added is not None and start is None:
        raise ModelError("Pictures are added to what a trained network knows: say with which one to start.")
    if minutes is None and cpu_minutes is None and steps is None:
        minutes = _DEFAULT_MINUTES if added is None else REFINING_MINUTES
    budget = Budget(steps, minutes, cpu_minutes)
    if start is not None:
        settings = replace(settings, learning_rate=settings.learning_rate * settings.begun_rate)
    everything = dataset if added is None else join_datasets([dataset, added])
    label_sd = label_noise(everything, labelled_again) if labelled_again is not None else None
    material = choose_material(dataset, added, settings.held_out, seed, start, held_out)
    fitted = material.fitted
    if scale is None:
        scale = choose_scale(dataset) if added is None or start is None else start.scale
    seen = describe_seen(fitted, join_datasets(material.held_out), start)
    settings = replace(settings, target_px=max(float(STRIDE), settings.target_px * scale))
    augmentation = choose_augmentation(everything, scale) if augmentation is None else augmentation
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    description = {
        "backbone": backbone,
        "pretrained": pretrained,
        "seed": seed,
        "scale": scale,
        "dataset": dataset.fingerprint(),
        "pairs": [list(pair) for pair in dataset.skeleton.pairs],
        "added": added.fingerprint() if added is not None else "",
        "held_out": hash_value(sorted(name for part in material.held_out for name in part.names)),
        "settings": asdict(settings),
        "augmentation": asdict(augmentation),
        "start": start.fingerprint() if start is not None else "",
    }
    with (
        runtime.share_threads(threads, runtime.choose_device(device)) as workers,
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(seed)
        network = PoseNetwork(backbone, len(dataset.skeleton), pretrained=pretrained and start is None)
        if start is not None:
            changes = begin_with(network, start, backbone, dataset.skeleton)
            if changes:
                progress.note(f"Key points {changes}.")
        thorough = augmentation.whole
        model = PoseModel(network, backbone, dataset.skeleton, scale, shape=fit_shape(fitted), thorough=thorough)
        finishing = 2 * sum(map(len, material.held_out)) + _PRESENCE_CROPS / 2 + len(fitted) / 4
        run = TrainingRun(
            model, material.held_out, budget, settings, workers, device, ranks, began=began, finishing=finishing
        )
        begun = run.evaluate_parts(model, material.held_out) if added is not None else {}
        checkpoint = place / CHECKPOINT_FILE
        identity = hash_value(description)
        if resume and checkpoint.is_file():
            run.restore(load_checkpoint(checkpoint, identity, run.state_names))
            progress.note(f"Resumed after step {run.step}.")
        pictures = ShrunkPictures(fitted, scale)
        batches = make_batches(
            fitted,
            pictures,
            augmentation,
            settings.batch,
            seed,
            first=run.step,
            added=material.n_added,
            added_share=settings.added_share,
        )
        saved = time.monotonic()
        with (
            progress.task("Training", 100) as task,
            closing(runtime.read_ahead(batches, depth=3)) as prepared,
            noting_interrupts() as interrupted,
        ):
            task.advance(int(100 * min(1.0, run.share)))  # what was done before an interruption
            for batch in prepared:
                if run.finished:
                    break
                before = int(100 * min(1.0, run.share))
                run.advance(batch)
                if run.due or run.row_due:
                    run.judge() if run.due else run.note()
                    if ranks.leads:
                        write_text(place / METRICS_FILE, run.history.to_csv(index=False, lineterminator="\n"))
                    if watch is not None:
                        watch(run.history)
                task.advance(int(100 * min(1.0, run.share)) - before, run.describe())
                if ranks.leads and (interrupted() or time.monotonic() - saved >= checkpoint_seconds):
                    save_checkpoint(checkpoint, identity, run.state())
                    saved = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt
        result = _finish(run, description | seen, material, augmentation, label_sd, begun)
    if ranks.leads:
        result.model.save(place)
        checkpoint.unlink(missing_ok=True)
    return result


def _check(seed: int, scale: float | None) -> None:
    if not (isinstance(seed, int | np.integer) and 0 <= seed < 2**63):
        raise DataError(f"The seed of a training is a whole number from 0 to 2^63 - 1, got {seed!r}.")
    if scale is not None and not 0 < scale <= 1:
        raise DataError(f"Pictures are shrunk by a scale above 0 and at most 1, got {scale!r}.")


def train_on(
    devices: Sequence[str],
    dataset: PoseDataset,
    folder: str | os.PathLike[str],
    *,
    threads: int | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> TrainingResult:
    """`train` with one process for each device; every batch is shared out among them.

    The network is that of one process, up to the order in which gradients are summed.

    Args:
        devices: such as "cuda:0", "cuda:1"; "cpu" several times is for tests, since threads do as well there.
        dataset, folder, progress: as for `train`.
        threads: of the CPU, for all processes together.
        options: all others of `train`, but for device, ranks and watch.

    Raises:
        ModelError: there are more devices than crops in a batch, or a process was killed; else as of `train`.
    """
    batch = options.get("settings", RECIPE).batch
    if not 1 <= len(devices) <= batch:
        raise ModelError(f"A batch of {batch} crops can be shared by 1 to {batch} devices, got {len(devices)}.")
    for device in devices:
        runtime.choose_device(device)
    shared = max(1, runtime.thread_count(threads) // len(devices))
    given = {"dataset": dataset, "folder": folder, "threads": shared, **options}
    result: TrainingResult = run_ranks(train, devices, given, progress=progress)
    return result


def _finish(
    run: TrainingRun,
    description: dict[str, Any],
    material: Material,
    augmentation: Augmentation,
    label_sd: npt.NDArray[np.float64] | None,
    before: Mapping[str, Evaluation],
) -> TrainingResult:
    """Calibrate the best network and describe how it came about."""
    raw = run.best()
    held_out = join_datasets(material.held_out)
    crops = make_crops(held_out, raw.scale, augmentation, _PRESENCE_CROPS, description["seed"])
    on_crops = run.evaluate(replace(raw, scale=1.0, shape=None), crops)
    calibration = fit_calibration(run.evaluate(raw, held_out), on_crops, label_sd)
    shape = raw.shape and replace(raw.shape, pull=PULL)
    model = replace(raw, calibration=calibration, shape=shape)
    parts = run.evaluate_parts(model, material.held_out) if material.n_added else {}
    judged = join_evaluations(list(parts.values())) if parts else run.evaluate(model, held_out)
    model = replace(model, familiarity=fit_familiarity(model.network, join_datasets([material.fitted, held_out])))
    seconds, cpu_seconds = run.clocks
    training = description | {
        "steps": run.step,
        "minutes": seconds / 60,
        "cpu_minutes": cpu_seconds / 60,
        "pictures": len(material.fitted),
        "added_pictures": material.n_added,
        "held_out_pictures": len(held_out),
        "held_out_names": list(held_out.names),
        "held_out_mean_px": judged.mean_px,
        "held_out_median_px": judged.median_px,
        "parts": {
            name: {"n": len(part.names), "mean_px": part.mean_px, "before_px": before[name].mean_px}
            for name, part in parts.items()
        },
        "label_sd_px": [] if label_sd is None else label_sd.tolist(),
    }
    return TrainingResult(replace(model, training=training), run.history, judged, seconds / 60, parts, before)
