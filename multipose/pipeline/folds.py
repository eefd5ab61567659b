"""Networks that each learned without a part of the labelled times: error bars from all labels where these are few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from multipose.errors import ProjectError
from multipose.pipeline.plan import is_network
from multipose.pipeline.training_data import labelled_times
from multipose.pose2d import Evaluation, PoseCalibration, PoseDataset, PoseModel, evaluate, join_evaluations, train
from multipose.pose2d.batches import Time, split_times
from multipose.pose2d.calibration import fit_calibration
from multipose.progress import Progress
from multipose.project import Project

FOLDER = "fold_networks"


@dataclass(frozen=True, eq=False)
class Fold:
    """A part of the labelled times, for a network that does not learn from them.

    place: the folder of the network; times: that it is judged on; begin: the network that it begins with, or None.
    """

    place: Path
    times: frozenset[Time]
    begin: PoseModel | None


def plan_folds(
    project: Project, name: str, folds: int, seed: int, start: str | None, begin: PoseModel | None
) -> list[Fold]:
    """The folds of a network, before anything is trained.

    Args:
        name: of the network.
        seed: of the draw.
        start: what the network begins with, as for `train_model`; begin: that network.

    Raises:
        ProjectError: `start` is a network of the project without networks for the same folds.
        DataError: there are too few labelled times.
    """
    parts = split_times(labelled_times(project), folds, seed)
    places = [project.folder / "models" / name / FOLDER / f"{number}_of_{folds}" for number in range(1, folds + 1)]
    return [
        Fold(place, times, _start_of_fold(project, start, begin, place.name))
        for place, times in zip(places, parts, strict=True)
    ]


def calibrate_on_folds(
    name: str,
    folds: Sequence[Fold],
    model: PoseModel,
    dataset: PoseDataset,
    *,
    options: Mapping[str, Any],
    device: str,
    progress: Progress,
) -> tuple[PoseModel, Evaluation]:
    """Calibrate a network's confidences and covariances on labels that networks trained like it never saw.

    The labelled times of the whole project are dealt out to folds; for each fold a network learns from all others, in
    models/<name>/fold_networks/<fold>_of_<folds>, and finds the points of this one. They stay, for networks that begin
    with this one are to begin with them in their folds.

    Args:
        name: of the network.
        folds: as of `plan_folds`.
        model: the one that learned from everything.
        dataset: all that it learned from and was judged by.
        options: of `train`.
        device: where to train.

    Returns:
        The network with its new calibration, and the points of all labelled pictures as the folds' networks find them.
    """
    seed = int(options["seed"])
    threads = options.get("threads")
    taken = list(zip(dataset.groups, dataset.moments, strict=True))
    found: list[tuple[PoseModel, PoseDataset]] = []
    for number, fold in enumerate(folds, start=1):
        judged = [item for item, time in enumerate(taken) if time in fold.times]
        if not judged or len(judged) == len(taken):
            continue
        progress.note(f"Network {name}, fold {number} of {len(folds)}")
        learned = dataset.subset(np.setdiff1d(np.arange(len(dataset)), judged))
        network = _finished(fold.place, learned, seed, fold.begin)
        if network is None:
            given = {**options, "start": fold.begin, "held_out": options["held_out"] - fold.times, "resume": True}
            network = train(learned, fold.place, device=device, **given).model
        found.append((network, dataset.subset(judged)))
    raw = [evaluate(_uncalibrated(network), part, threads=threads, device=device) for network, part in found]
    label_sd = model.training["label_sd_px"]
    calibration = fit_calibration(join_evaluations(raw), label_sd=np.array(label_sd) if label_sd else None)
    judged_again = [
        evaluate(replace(network, calibration=calibration), part, threads=threads, device=device)
        for network, part in found
    ]
    return replace(model, calibration=calibration), join_evaluations(judged_again)


def _start_of_fold(project: Project, start: str | None, begin: PoseModel | None, fold: str) -> PoseModel | None:
    """What the network of a fold begins with: nothing that learned from the fold's labels."""
    if start is None or begin is None or not is_network(project, start):
        return begin
    place = project.folder / "models" / start / FOLDER / fold
    if not (place / "model.toml").is_file():
        raise ProjectError(
            f"Network {start} has learned from all labels, so that what begins with it cannot be judged on them. "
            f"Train it with --folds {fold.rpartition('_')[2]} too, and then this one."
        )
    return PoseModel.load(place)


def _finished(place: Path, learned: PoseDataset, seed: int, begin: PoseModel | None) -> PoseModel | None:
    """The network of a fold where it was trained already."""
    if not (place / "model.toml").is_file():
        return None
    model = PoseModel.load(place)
    made_by = (learned.fingerprint(), seed, begin.fingerprint() if begin is not None else "")
    return model if tuple(model.training.get(key) for key in ("dataset", "seed", "start")) == made_by else None


def _uncalibrated(model: PoseModel) -> PoseModel:
    """The network as its training saw it: maps as they are, each point by itself."""
    return replace(model, calibration=PoseCalibration(), shape=model.shape and replace(model.shape, pull=0.0))
