"""Cross-validation: every labelled picture is judged once, by a network that never saw it in any role.

The splits are nested: what stops a training early and calibrates it is held out inside the training part of the fold.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError
from multipose.files import hash_value
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.evaluation import Evaluation, evaluate, join_evaluations, load_evaluation, save_evaluation
from multipose.pose2d.training import TrainingResult
from multipose.progress import SILENT, Progress

Split = Literal["random", "blocks", "recording"]


def choose_folds(
    dataset: PoseDataset, folds: int = 5, split: Split = "random", seed: int = 0
) -> list[npt.NDArray[np.int64]]:
    """The pictures that each fold judges; pictures of one instant, seen from several views, are in one fold.

    Args:
        dataset: labelled pictures.
        folds: how many.
        split: "random" deals the pictures out by chance. "blocks" cuts the recordings, one after the other, each in its
            order of time, into pieces of equal length, so that few pictures next to a judged one are learned from: the
            stricter figure for frames of one video. "recording" keeps each recording together, the strictest: how good
            is the network on a day, an animal or a light that it has not seen? With as many folds as recordings each
            is left out once; with fewer folds, groups of about equal size are.
        seed: of the chance.

    Raises:
        DataError: fewer than two folds, or more than there are pictures, instants or recordings.
    """
    if split not in ("random", "blocks", "recording"):
        raise DataError(f"A split is 'random', 'blocks' or 'recording', got {split!r}.")
    instants = list(zip(dataset.groups, dataset.moments, strict=True))
    if split == "recording":
        parts = _group_recordings(dataset, folds)
    else:
        distinct = list(dict.fromkeys(instants))
        if not 2 <= folds <= len(distinct):
            raise DataError(
                f"{len(dataset)} labelled pictures can be split into 2 to {len(distinct)} folds, got {folds}."
            )
        if split == "random":
            distinct = [distinct[place] for place in np.random.default_rng((seed, 0)).permutation(len(distinct))]
        else:
            groups = list(dict.fromkeys(dataset.groups))
            distinct.sort(key=lambda instant: (groups.index(instant[0]), instant[1]))
        parts = [{distinct[place] for place in part} for part in np.array_split(np.arange(len(distinct)), folds)]
    return [np.flatnonzero([instant in part for instant in instants]) for part in parts]


def _group_recordings(dataset: PoseDataset, folds: int) -> list[set[tuple[str, int]]]:
    """The instants of each fold, recordings whole: the largest first, each to the fold that has the fewest pictures."""
    sizes = Counter(dataset.groups)
    if len(sizes) < 2:
        raise DataError(
            f"All {len(dataset)} labelled pictures are of one recording, {next(iter(sizes))!r}; leaving out whole "
            "recordings needs at least two. Split it into contiguous blocks instead."
        )
    if not 2 <= folds <= len(sizes):
        raise DataError(f"{len(sizes)} labelled recordings can be split into 2 to {len(sizes)} folds, got {folds}.")
    fold_of: dict[str, int] = {}
    pictures = [0] * folds
    for name, size in sizes.most_common():
        fold_of[name] = pictures.index(min(pictures))
        pictures[fold_of[name]] += size
    instants = set(zip(dataset.groups, dataset.moments, strict=True))
    return [{instant for instant in instants if fold_of[instant[0]] == fold} for fold in range(folds)]


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
    keep: Path | None = None,
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
        keep: folder in which finished folds are kept, from which an interrupted cross-validation goes on; it must be of
            the same `fit`.
        progress: is told of every fold.

    Returns:
        One evaluation a fold; `join_evaluations` makes one of them.

    Raises:
        DataError: as of `choose_folds` and `train`, or fewer pictures are outside a fold than asked for.
    """
    parts: list[Evaluation] = []
    for number, judged in enumerate(choose_folds(dataset, folds, split, seed), start=1):
        learned = draw_pictures(dataset.subset(np.setdiff1d(np.arange(len(dataset)), judged)), pictures, seed)
        held = dataset.subset(judged)
        kept = None if keep is None else keep / f"{hash_value([learned.fingerprint(), held.fingerprint()])[:16]}.npz"
        if kept is not None and kept.is_file():
            part = load_evaluation(kept)
        else:
            with tempfile.TemporaryDirectory(prefix="multipose_fold_") as scratch:
                result = fit(learned, Path(scratch))
            part = evaluate(result.model, held, threads=threads, device=device)
            if kept is not None:
                save_evaluation(part, kept)
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
