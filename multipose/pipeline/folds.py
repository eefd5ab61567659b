"""Networks that each learned without a part of the labelled times: error bars from all labels where these are few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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


def calibrate_on_folds(
    project: Project,
    name: str,
    folds: int,
    model: PoseModel,
    dataset: PoseDataset,
    *,
    start: str | None,
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
        model: the one that learned from everything.
        dataset: all that it learned from and was judged by.
        start: what it began with, as for `train_model`.
        options: of `train`.
        device: where to train.

    Returns:
        The network with its new calibration, and the points of all labelled pictures as the folds' networks find them.

    Raises:
        ProjectError: `start` is a network of the project without networks for the same folds.
        DataError: there are too few labelled times.
    """
    seed = int(options["seed"])
    parts = split_times(labelled_times(project), folds, seed)
    places = [project.folder / "models" / name / FOLDER / f"{number}_of_{folds}" for number in range(1, folds + 1)]
    begun = [_start_of_fold(project, start, options["start"], place.name) for place in places]
    threads = options.get("threads")
    taken = list(zip(dataset.groups, dataset.moments, strict=True))
    found: list[tuple[PoseModel, PoseDataset]] = []
    for number, (place, times, begin) in enumerate(zip(places, parts, begun, strict=True), start=1):
        judged = [item for item, time in enumerate(taken) if time in times]
        if not judged or len(judged) == len(taken):
            continue
        progress.note(f"Network {name}, fold {number} of {folds}")
        learned = dataset.subset(np.setdiff1d(np.arange(len(dataset)), judged))
        network = _finished(place, learned, seed, begin)
        if network is None:
            given = {**options, "start": begin, "held_out": _without(options["held_out"], times), "resume": True}
            network = train(learned, place, device=device, **given).model
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


def _without(times: Sequence[Time], fold: frozenset[Time]) -> frozenset[Time]:
    return frozenset(times) - fold
