"""A training under way: the step of the optimiser, the looks at the held-out pictures, and what resuming needs."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from multipose.errors import ModelError
from multipose.pose2d import runtime
from multipose.pose2d.batches import Batch
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.evaluation import Evaluation, evaluate, join_evaluations
from multipose.pose2d.model import PoseModel
from multipose.pose2d.ranks import ALONE, Ranks
from multipose.pose2d.recipe import (
    Budget,
    TrainingSettings,
    find_inside,
    learning_rate_share,
    parameter_groups,
    pose_loss,
)

_EVALUATIONS = 8  # of the held-out pictures, evenly over the budget ...
_FIRST_EVALUATION = 4  # ... from this one on; the network is too raw before
_ROWS = 40  # of the history, evenly over the budget, beside those of the evaluations
_WATCHED = 12  # held-out pictures (of each part) looked at in each of them, at most: they cost time that training lacks
_PATIENCE = 3  # evaluations without a lower error until training stops
_FALL = 0.995  # an error counts as lower if it is at most this many times the lowest so far
_TOLERANCE = 1.02  # the later of two networks is kept if its held-out error is at most this many times the earlier's


class TrainingRun:
    """A training under way: the network, its average, the optimiser, the clocks, and the best network so far.

    Held-out pictures in several parts (old ones, added ones) weigh equally as parts, however many each has.

    Args:
        model: at the start.
        held_out: the parts.
        budget: of all that is done, also before and after the steps.
        settings: the recipe's numbers.
        workers: threads.
        device: as for `runtime.choose_device`.
        ranks: which of several processes this is.
        began: `time.monotonic()` and `time.process_time()` when the work began; by default now.
        finishing: work after the last step, in pictures looked at; time for it is set aside once looks have shown
            what a picture takes.
    """

    def __init__(
        self,
        model: PoseModel,
        held_out: Sequence[PoseDataset],
        budget: Budget,
        settings: TrainingSettings,
        workers: runtime.Workers,
        device: str,
        ranks: Ranks = ALONE,
        *,
        began: tuple[float, float] | None = None,
        finishing: float = 0.0,
    ) -> None:
        self._budget, self._settings, self._ranks = budget, settings, ranks
        self._watched = [
            part.subset(np.unique(np.linspace(0, len(part) - 1, _WATCHED).round().astype(int))) for part in held_out
        ]
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
        self._started = began or (time.monotonic(), time.process_time())
        self._finishing, self._set_aside = finishing, (0.0, 0.0)
        self.step, self._seconds, self._cpu_seconds = 0, 0.0, 0.0
        self._losses: list[float] = []
        self._rows: list[dict[str, float]] = []
        self._judged, self._noted = _FIRST_EVALUATION - 1, 0
        self._best: dict[str, Tensor] | None = None
        self._best_error, self._worse = math.inf, 0
        self._tick()

    @property
    def clocks(self) -> tuple[float, float]:
        """Wall and CPU seconds spent on this training."""
        wall, cpu = self._started
        return self._seconds + time.monotonic() - wall, self._cpu_seconds + time.process_time() - cpu

    @property
    def share(self) -> float:
        """Share of the budget that was used up after the last step, the same for all ranks."""
        return self._share

    @property
    def due(self) -> bool:
        """Whether the held-out pictures are to be looked at now."""
        return min(self.share, 1.0) * _EVALUATIONS >= self._judged + 1

    @property
    def row_due(self) -> bool:
        """Whether the history is to get a row now."""
        return min(self.share, 1.0) * _ROWS >= self._noted + 1

    @property
    def finished(self) -> bool:
        """Whether the budget is used up or the held-out error no longer falls."""
        return self._judged >= _EVALUATIONS or self._worse >= _PATIENCE

    @property
    def history(self) -> pd.DataFrame:
        """Rows as of `TrainingResult.history`."""
        return pd.DataFrame(self._rows)

    def _tick(self) -> None:
        """Bring the share of the budget up to date, by the clocks of the first rank."""
        seconds, cpu_seconds = (spent + later for spent, later in zip(self.clocks, self._set_aside, strict=True))
        (self._share,) = self._ranks.agree([self._budget.share(self.step, seconds, cpu_seconds)], self._fabric.device)

    def advance(self, batch: Batch) -> None:
        """One step of the optimiser."""
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * learning_rate_share(self.share)
        done = list(self._workers.map(self._differentiate, self._parts(batch)))
        gradients = [reduce(torch.add, shares) for shares in zip(*(part for _, part in done), strict=True)]
        gradients = self._ranks.total(
            [*gradients, torch.tensor([sum(loss for loss, _ in done)], device=self._fabric.device)]
        )
        self._losses.append(float(gradients.pop()))
        if not math.isfinite(self._losses[-1]):
            raise ModelError(
                f"The loss of step {self.step} is {self._losses[-1]}. Train with a lower learning rate than "
                f"{self._settings.learning_rate:g}."
            )
        for parameter, gradient in zip(self._learning, gradients, strict=True):
            parameter.grad = gradient
        self._fabric.clip_gradients(self._network, self._optimizer, max_norm=self._settings.max_gradient)
        self._optimizer.step()
        decay = min(self._settings.averaging, (1 + self.step) / (10 + self.step))
        averaged, current = (list(which.network.parameters()) for which in (self._average, self._model))
        get_ema_multi_avg_fn(decay)(averaged, current, self.step)  # type: ignore[no-untyped-call]
        self.step += 1
        self._tick()

    def _parts(self, batch: Batch) -> list[tuple[Tensor, Tensor, Tensor, tuple[int, int]]]:
        """This rank's part of the batch cut up for the workers, with what the loss of the whole is divided by."""
        crops, points, known = batch
        counts = int(find_inside(points, crops.shape[1]).sum()), int(known.sum())
        first, last = (
            len(crops) * number // self._ranks.count for number in (self._ranks.number, self._ranks.number + 1)
        )
        cut = (tensor[first:last].chunk(self._workers.count) for tensor in (crops, points, known))
        return [(*part, counts) for part in zip(*cut, strict=True)]

    def _differentiate(self, part: tuple[Tensor, Tensor, Tensor, tuple[int, int]]) -> tuple[float, tuple[Tensor, ...]]:
        """A part's share of the loss, and of its gradient by each of the weights that learn."""
        crops, points, known, counts = part
        crops, points, known = self._fabric.to_device((crops, points, known))
        loss = pose_loss(self._network(crops), points, known, self._settings, counts)
        return float(loss.detach()), torch.autograd.grad(loss, self._learning, materialize_grads=True)

    def judge(self) -> None:
        """Look at the held-out pictures, keep the averaged network if it is the best, write a row."""
        self._judged = int(min(self.share, 1.0) * _EVALUATIONS)
        before = self.clocks
        parts = [self.evaluate(self._average, part) for part in self._watched]
        evaluation = join_evaluations(parts)
        pictures = self._finishing / len(evaluation.names)
        seconds, cpu_seconds = (pictures * (now - then) for now, then in zip(self.clocks, before, strict=True))
        self._set_aside = seconds, cpu_seconds
        found = float(np.expm1(np.mean([np.log1p(part.typical_px) for part in parts])))
        (error,) = self._ranks.agree([found], self._fabric.device)
        if error <= _TOLERANCE * self._best_error:
            self._best = copy.deepcopy(self._average.network.state_dict())
        self._worse = 0 if error < _FALL * self._best_error else self._worse + 1
        self._best_error = min(self._best_error, error)
        self.note(evaluation)

    def note(self, evaluation: Evaluation | None = None) -> None:
        """Write a row of the history; without an evaluation its errors are NaN."""
        self._noted = int(min(self.share, 1.0) * _ROWS)
        seconds, cpu_seconds = self.clocks
        row = {
            "step": self.step,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu_seconds, 2),
            "learning_rate": self._optimizer.param_groups[-1]["lr"],
            "loss": float(np.mean(self._losses)),
            "held_out_mean_px": math.nan if evaluation is None else evaluation.mean_px,
            "held_out_median_px": math.nan if evaluation is None else evaluation.median_px,
        }
        self._rows.append(row)
        self._losses.clear()

    def evaluate(self, model: PoseModel, pictures: PoseDataset) -> Evaluation:
        """A network on labelled pictures."""
        return evaluate(model, pictures, threads=self._workers.count, device=self._device)

    def evaluate_parts(self, model: PoseModel, held_out: Sequence[PoseDataset]) -> dict[str, Evaluation]:
        """A network on held-out old pictures, and on held-out added ones."""
        return {name: self.evaluate(model, part) for name, part in zip(("old", "added"), held_out, strict=True)}

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
        judged = [row["held_out_mean_px"] for row in self._rows if math.isfinite(row["held_out_mean_px"])]
        error = f", {judged[-1]:.2f} px held out" if judged else ""
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
            "noted": self._noted,
            "step": self.step,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "losses": self._losses,
            "rows": self._rows,
            "set_aside": self._set_aside,
            "random": torch.get_rng_state(),
        }

    @property
    def state_names(self) -> tuple[str, ...]:
        """What a state must have for `restore`."""
        return tuple(self.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._model.network.load_state_dict(state["network"])
        self._average.network.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self._best_error, self._worse = state["best"], state["best_error"], state["worse"]
        self._judged, self._noted, self.step = state["judged"], state["noted"], state["step"]
        self._seconds, self._cpu_seconds = state["seconds"], state["cpu_seconds"]
        self._losses, self._rows = state["losses"], state["rows"]
        self._set_aside = state["set_aside"]
        torch.set_rng_state(state["random"])
        self._tick()
