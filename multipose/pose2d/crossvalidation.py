"""Cross-validation: every labelled picture is judged once, by a network that never saw it in any role.

The splits are nested: what stops a training early and calibrates it is held out inside the training part of the fold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.evaluation import Evaluation, evaluate, join_evaluations
from multipose.pose2d.training import TrainingResult
from multipose.progress import SILENT, Progress

Split = Literal["random", "blocks"]


def choose_folds(
    dataset: PoseDataset, folds: int = 5, split: Split = "random", seed: int = 0
) -> list[npt.NDArray[np.int64]]:
    """The pictures that each fold judges.

    Args:
        dataset: labelled pictures; neighbours in it are taken as neighbours in time.
        folds: how many.
        split: "random" deals the pictures out by chance; "blocks" cuts their sequence into contiguous pieces, so that
            the pictures next to a judged one are not learned from: the stricter figure for frames of one video.
        seed: of the chance.

    Raises:
        DataError: fewer than two folds, or more than there are pictures.
    """
    if split not in ("random", "blocks"):
        raise DataError(f"A split is 'random' or 'blocks', got {split!r}.")
    if not 2 <= folds <= len(dataset):
        raise DataError(f"{len(dataset)} labelled pictures can be split into 2 to {len(dataset)} folds, got {folds}.")
    order = np.arange(len(dataset))
    if split == "random":
        order = np.random.default_rng((seed, 0)).permutation(order)
    return [np.sort(part) for part in np.array_split(order, folds)]


def cross_validate(
    dataset: PoseDataset,
    fit: Callable[[PoseDataset, Path], TrainingResult],
    *,
    folds: int = 5,
    split: Split = "random",
    seed: int = 0,
    pictures: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> list[Evaluation]:
    """Train and judge once for each fold.

    Args:
        dataset: all labelled pictures.
        fit: trains on a part of them in a scratch folder, for example
            `lambda part, folder: train(part, folder, minutes=3)`.
        folds, split, seed: as for `choose_folds`.
        pictures: learn from so many of the pictures outside a fold, drawn at random; those of a smaller number are
            among those of a larger one. By default from all.
        threads, device: of the judging.
        progress: is told of every fold.

    Returns:
        One evaluation a fold; `join_evaluations` makes one of them.

    Raises:
        DataError: as of `choose_folds` and `train`, or fewer pictures are outside a fold than asked for.
    """
    parts: list[Evaluation] = []
    for number, judged in enumerate(choose_folds(dataset, folds, split, seed), start=1):
        learned = draw_pictures(dataset.subset(np.setdiff1d(np.arange(len(dataset)), judged)), pictures, seed)
        with tempfile.TemporaryDirectory(prefix="multipose_fold_") as scratch:
            result = fit(learned, Path(scratch))
        part = evaluate(result.model, dataset.subset(judged), threads=threads, device=device)
        parts.append(part)
        joined = join_evaluations(parts)
        progress.note(f"Fold {number} of {folds}: mean {part.mean_px:.2f} px; so far {joined.mean_px:.2f} px.")
    return parts


def draw_pictures(dataset: PoseDataset, pictures: int | None, seed: int) -> PoseDataset:
    """So many of the pictures, at random, in their order; all for None. Fewer are among more of the same seed."""
    if pictures is None:
        return dataset
    if not 2 <= pictures <= len(dataset):
        raise DataError(
            f"Outside a fold are {len(dataset)} pictures; a network can learn from 2 to {len(dataset)}, not {pictures}."
        )
    return dataset.subset(np.sort(np.random.default_rng((seed, 5)).permutation(len(dataset))[:pictures]))
