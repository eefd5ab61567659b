"""Train a pose network on a few labelled pictures, by the recipe of `recipe`.

Some of the labelled pictures are held out: they tell when to stop, and calibrate the outputs.
"""

from __future__ import annotations

import copy
import math
import os
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from multipose.errors import ModelError
from multipose.files import hash_value, write_text
from multipose.pose2d import runtime
from multipose.pose2d.augmentation import Augmentation, choose_augmentation, make_crops
from multipose.pose2d.backbones import DEFAULT_BACKBONE
from multipose.pose2d.batches import Batch, make_batches, split_held_out
from multipose.pose2d.calibration import fit_calibration, label_noise
from multipose.pose2d.checkpoints import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from multipose.pose2d.dataset import PoseDataset, ShrunkPictures, choose_scale
from multipose.pose2d.evaluation import Evaluation, evaluate
from multipose.pose2d.model import PoseModel
from multipose.pose2d.network import STRIDE, PoseNetwork
from multipose.pose2d.recipe import (
    RECIPE,
    Budget,
    TrainingSettings,
    find_inside,
    learning_rate_share,
    parameter_groups,
    pose_loss,
)
from multipose.pose2d.shape import fit_shape
from multipose.progress import SILENT, Progress
from multipose.skeleton import Skeleton

METRICS_FILE = "metrics.csv"
_DEFAULT_MINUTES = 10.0
_EVALUATIONS = 8  # of the held-out pictures, evenly over the budget ...
_FIRST_EVALUATION = 4  # ... from this one on; the network is too raw before
_WATCHED = 12  # held-out pictures looked at in each of them, at most: they cost time that training lacks
_PRESENCE_CROPS = 48  # of the held-out pictures, on which the confidence is calibrated
_PATIENCE = 3  # evaluations without a lower error until training stops
_FALL = 0.995  # an error counts as lower if it is at most this many times the lowest so far
_TOLERANCE = 1.02  # the later of two networks is kept if its held-out error is at most this many times the earlier's


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What training gives.

    Attributes:
        model: the best network, calibrated; also saved in the folder.
        history: one row an evaluation: step, seconds, cpu_seconds, learning_rate, loss, held_out_mean_px,
            held_out_median_px.
        held_out: the model on the pictures held out from training (which chose it, so it is a little flattered).
        minutes: wall time of training, without interruptions.
    """

    model: PoseModel
    history: pd.DataFrame
    held_out: Evaluation
    minutes: float


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
    resume: bool = False,
    threads: int | None = None,
    device: str = "auto",
    scale: float | None = None,
    augmentation: Augmentation | None = None,
    labelled_again: PoseDataset | None = None,
    settings: TrainingSettings = RECIPE,
    checkpoint_seconds: float = 30.0,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train a network and save it.

    It ends when the budget is used up, or when the error on the held-out pictures no longer falls. The folder gets the
    model, `metrics.csv`, and while training runs `checkpoint.pt`, from which a killed training can be resumed.

    Args:
        dataset: labelled pictures, at least two with positions.
        folder: where the model goes.
        minutes: budget of wall time; 10 if no budget is given at all.
        cpu_minutes: budget of this process's CPU time, over all threads.
        steps: budget of optimiser steps; with this alone the same seed and threads give the same network to the bit.
        seed: of all chance.
        backbone: as for `create_backbone`.
        pretrained: begin with ImageNet weights.
        start: begin with the weights of this network instead, and learn at half the rate; it must have the same
            backbone and key points.
        resume: go on from the folder's checkpoint, if there is one.
        threads: of the CPU; None for all.
        device: as for `runtime.choose_device`.
        scale: as of `PoseModel`; by default `choose_scale`.
        augmentation: by default `choose_augmentation`.
        labelled_again: some of the pictures with labels from a second time or hand: the noise of labels is estimated
            from them and taken off the network's covariances.
        settings: the recipe's numbers.
        checkpoint_seconds: wall time between checkpoints.
        progress: is told in percent of the budget.

    Raises:
        DataError: too few labelled pictures, or a key point of which nothing is labelled.
        ModelError: the checkpoint is damaged or belongs to another training, `start` does not fit, or the loss is no
            longer finite.
    """
    if minutes is None and cpu_minutes is None and steps is None:
        minutes = _DEFAULT_MINUTES
    budget = Budget(steps, minutes, cpu_minutes)
    if start is not None:
        settings = replace(settings, learning_rate=settings.learning_rate / 2)
    label_sd = label_noise(dataset, labelled_again) if labelled_again is not None else None
    fitted, held_out = split_held_out(dataset, settings.held_out, seed)
    scale = choose_scale(dataset) if scale is None else scale
    settings = replace(settings, target_px=max(float(STRIDE), settings.target_px * scale))
    augmentation = choose_augmentation(dataset, scale) if augmentation is None else augmentation
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    description = {
        "backbone": backbone,
        "pretrained": pretrained,
        "seed": seed,
        "scale": scale,
        "dataset": dataset.fingerprint(),
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
            _begin_with(network, start, backbone, dataset.skeleton)
        model = PoseModel(network, backbone, dataset.skeleton, scale, shape=fit_shape(fitted))
        run = _Run(model, held_out, budget, settings, workers, device)
        checkpoint = place / CHECKPOINT_FILE
        identity = hash_value(description)
        if resume and checkpoint.is_file():
            run.restore(load_checkpoint(checkpoint, identity))
            progress.note(f"Resumed after step {run.step}.")
        pictures = ShrunkPictures(fitted, scale)
        batches = make_batches(fitted, pictures, augmentation, settings.batch, seed, first=run.step)
        saved = time.monotonic()
        with progress.task("Training", 100) as task, closing(runtime.read_ahead(batches, depth=3)) as prepared:
            task.advance(int(100 * min(1.0, run.share)))  # what was done before an interruption
            for batch in prepared:
                before = int(100 * min(1.0, run.share))
                run.advance(batch)
                if run.due:
                    run.judge()
                    write_text(place / METRICS_FILE, run.history.to_csv(index=False, lineterminator="\n"))
                task.advance(int(100 * min(1.0, run.share)) - before, run.describe())
                if run.finished:
                    break
                if time.monotonic() - saved >= checkpoint_seconds:
                    save_checkpoint(checkpoint, identity, run.state())
                    saved = time.monotonic()
        result = _finish(run, description, len(fitted), held_out, augmentation, label_sd)
    result.model.save(place)
    checkpoint.unlink(missing_ok=True)
    return result


def _begin_with(network: PoseNetwork, start: PoseModel, backbone: str, skeleton: Skeleton) -> None:
    """Give a new network the weights of another one, or raise ModelError where it has another shape."""
    if start.backbone != backbone or start.skeleton.keypoints != skeleton.keypoints:
        raise ModelError(
            f"The network to begin with has the backbone {start.backbone} and the key points "
            f"{', '.join(start.skeleton.keypoints)}; expected {backbone} and {', '.join(skeleton.keypoints)}."
        )
    network.load_state_dict(start.network.state_dict())


class _Run:
    """A training under way: the network, its average, the optimiser, the clocks, and the best network so far."""

    def __init__(
        self,
        model: PoseModel,
        held_out: PoseDataset,
        budget: Budget,
        settings: TrainingSettings,
        workers: runtime.Workers,
        device: str,
    ) -> None:
        self._budget, self._settings = budget, settings
        self._watched = held_out.subset(np.unique(np.linspace(0, len(held_out) - 1, _WATCHED).round().astype(int)))
        self._workers, self._device = workers, device
        from lightning_fabric import Fabric  # here, for its 3 s of CPU time are of no use to predictions

        place = runtime.choose_device(device)
        self._fabric = Fabric(
            accelerator=place.type,
            devices=1 if place.index is None else [place.index],
            precision="bf16-mixed" if place.type == "cuda" and torch.cuda.is_bf16_supported() else "32-true",
        )
        network = model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.backbone.freeze(settings.frozen_levels)
        self._model = model
        self._average = replace(model, network=copy.deepcopy(network).to(place).requires_grad_(False))
        self._network, self._optimizer = self._fabric.setup(
            network, torch.optim.AdamW(parameter_groups(network, settings), fused=True)
        )
        self._learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._started = time.monotonic(), time.process_time()
        self.step, self._seconds, self._cpu_seconds = 0, 0.0, 0.0
        self._losses: list[float] = []
        self._rows: list[dict[str, float]] = []
        self._judged = _FIRST_EVALUATION - 1
        self._best: dict[str, Tensor] | None = None
        self._best_error, self._worse = math.inf, 0

    @property
    def clocks(self) -> tuple[float, float]:
        """Wall and CPU seconds spent on this training."""
        wall, cpu = self._started
        return self._seconds + time.monotonic() - wall, self._cpu_seconds + time.process_time() - cpu

    @property
    def share(self) -> float:
        """Share of the budget that is used up."""
        return self._budget.share(self.step, *self.clocks)

    @property
    def due(self) -> bool:
        """Whether the held-out pictures are to be looked at now."""
        return min(self.share, 1.0) * _EVALUATIONS >= self._judged + 1

    @property
    def finished(self) -> bool:
        """Whether the budget is used up or the held-out error no longer falls."""
        return self._judged >= _EVALUATIONS or self._worse >= _PATIENCE

    @property
    def history(self) -> pd.DataFrame:
        """Rows as of `TrainingResult.history`."""
        return pd.DataFrame(self._rows)

    def advance(self, batch: Batch) -> None:
        """One step of the optimiser."""
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * learning_rate_share(self.share)
        losses, gradients = zip(*self._workers.map(self._differentiate, self._parts(batch)), strict=True)
        self._losses.append(sum(losses))
        if not math.isfinite(self._losses[-1]):
            raise ModelError(
                f"The loss of step {self.step} is {self._losses[-1]}. Train with a lower learning rate than "
                f"{self._settings.learning_rate:g}."
            )
        for parameter, *shares in zip(self._learning, *gradients, strict=True):
            parameter.grad = reduce(torch.add, shares)
        self._fabric.clip_gradients(self._network, self._optimizer, max_norm=self._settings.max_gradient)
        self._optimizer.step()
        decay = min(self._settings.averaging, (1 + self.step) / (10 + self.step))
        averaged, current = (list(which.network.parameters()) for which in (self._average, self._model))
        get_ema_multi_avg_fn(decay)(averaged, current, self.step)  # type: ignore[no-untyped-call]
        self.step += 1

    def _parts(self, batch: Batch) -> list[tuple[Tensor, Tensor, Tensor, tuple[int, int]]]:
        """The batch cut up for the workers, with what the loss of the whole is divided by."""
        crops, points, known = batch
        counts = int(find_inside(points, crops.shape[1]).sum()), int(known.sum())
        cut = (tensor.chunk(self._workers.count) for tensor in (crops, points, known))
        return [(*part, counts) for part in zip(*cut, strict=True)]

    def _differentiate(self, part: tuple[Tensor, Tensor, Tensor, tuple[int, int]]) -> tuple[float, tuple[Tensor, ...]]:
        """A part's share of the loss, and of its gradient by each of the weights that learn."""
        crops, points, known, counts = part
        crops, points, known = self._fabric.to_device((crops, points, known))
        loss = pose_loss(self._network(crops), points, known, self._settings, counts)
        return float(loss.detach()), torch.autograd.grad(loss, self._learning, materialize_grads=True)

    def judge(self) -> None:
        """Look at the held-out pictures, keep the averaged network if it is the best, write a row of the history."""
        self._judged = int(min(self.share, 1.0) * _EVALUATIONS)
        evaluation = self.evaluate(self._average, self._watched)
        error = evaluation.typical_px
        if error <= _TOLERANCE * self._best_error:
            self._best = copy.deepcopy(self._average.network.state_dict())
        self._worse = 0 if error < _FALL * self._best_error else self._worse + 1
        self._best_error = min(self._best_error, error)
        seconds, cpu_seconds = self.clocks
        row = {
            "step": self.step,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "learning_rate": self._optimizer.param_groups[-1]["lr"],
            "loss": float(np.mean(self._losses)),
            "held_out_mean_px": evaluation.mean_px,
            "held_out_median_px": evaluation.median_px,
        }
        self._rows.append(row)
        self._losses.clear()

    def evaluate(self, model: PoseModel, pictures: PoseDataset) -> Evaluation:
        """A network on labelled pictures."""
        return evaluate(model, pictures, threads=self._workers.count, device=self._device)

    def best(self) -> PoseModel:
        """The best network so far, on the CPU."""
        if self._best is None:
            raise ModelError("No network was judged yet.")
        network = copy.deepcopy(self._average.network).cpu()
        network.load_state_dict(self._best)
        return replace(self._model, network=network.requires_grad_(True).eval())

    def describe(self) -> str:
        """One line for whoever waits."""
        seconds, _ = self.clocks
        left = max(0.0, seconds / max(self.share, 1e-9) - seconds)
        error = f", {self._rows[-1]['held_out_mean_px']:.2f} px held out" if self._rows else ""
        return f"step {self.step}{error}, {left:.0f} s left"

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        seconds, cpu_seconds = self.clocks
        return {
            "network": self._model.network.state_dict(),
            "average": self._average.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "best_error": self._best_error,
            "worse": self._worse,
            "judged": self._judged,
            "step": self.step,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "losses": self._losses,
            "rows": self._rows,
            "random": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._model.network.load_state_dict(state["network"])
        self._average.network.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self._best_error, self._worse = state["best"], state["best_error"], state["worse"]
        self._judged, self.step = state["judged"], state["step"]
        self._seconds, self._cpu_seconds = state["seconds"], state["cpu_seconds"]
        self._losses, self._rows = state["losses"], state["rows"]
        torch.set_rng_state(state["random"])


def _finish(
    run: _Run,
    description: dict[str, Any],
    n_fitted: int,
    held_out: PoseDataset,
    augmentation: Augmentation,
    label_sd: npt.NDArray[np.float64] | None,
) -> TrainingResult:
    """Calibrate the best network and describe how it came about."""
    raw = run.best()
    crops = make_crops(held_out, raw.scale, augmentation, _PRESENCE_CROPS, description["seed"])
    on_crops = run.evaluate(replace(raw, scale=1.0, shape=None), crops)
    model = replace(raw, calibration=fit_calibration(run.evaluate(raw, held_out), on_crops, label_sd))
    judged = run.evaluate(model, held_out)
    seconds, cpu_seconds = run.clocks
    training = description | {
        "steps": run.step,
        "minutes": seconds / 60,
        "cpu_minutes": cpu_seconds / 60,
        "pictures": n_fitted,
        "held_out_pictures": len(held_out),
        "held_out_mean_px": judged.mean_px,
        "held_out_median_px": judged.median_px,
        "label_sd_px": [] if label_sd is None else label_sd.tolist(),
    }
    return TrainingResult(replace(model, training=training), run.history, judged, seconds / 60)
