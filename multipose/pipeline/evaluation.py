"""The stage `evaluate`: how far the points of networks lie from labels that they never saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from multipose.errors import ProjectError
from multipose.files import check_schema
from multipose.pipeline.label_files import find_pictures, read_label_file
from multipose.pipeline.labels import known_labels
from multipose.pipeline.provenance import Hashes
from multipose.pipeline.training import EVALUATION_FILE, load_dataset, pictures_of
from multipose.pose2d import (
    Evaluation,
    PoseDataset,
    PoseModel,
    TrainingResult,
    cross_validate,
    dataset_from_labels,
    evaluate,
    join_evaluations,
    train,
)
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.view import evaluation_page

_SPLITS = {"random": "drawn at random", "blocks": "contiguous blocks of each recording"}


def cross_validate_model(
    project: Project,
    name: str,
    hashes: Hashes,
    *,
    folds: int,
    split: Literal["random", "blocks"],
    budget: dict[str, Any],
    seed: int,
    counts: Sequence[int | None] = (None,),
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """The error on the project's labels by cross-validation: each fold is judged by a network that never saw it.

    Args:
        counts: of pictures to learn from, None for all outside a fold; folds are trained anew for each.

    Returns:
        As `evaluate_labels`, of the last count, with the mean of each fold and the page written; for several counts
        also `label_curve`, the figures of each.
    """
    dataset = load_dataset(project, name, hashes, progress=progress)
    limits = {key: value for key, value in budget.items() if value is not None}

    def fit(part: PoseDataset, folder: Path) -> TrainingResult:
        return train(
            part,
            folder,
            seed=seed,
            backbone=project.config.training.backbone,
            threads=threads,
            progress=progress,
            **(limits or {"minutes": project.config.training.minutes}),
        )

    curve: dict[str, Evaluation] = {}
    for count in counts:
        parts = cross_validate(
            dataset, fit, folds=folds, split=split, seed=seed, pictures=count, threads=threads, progress=progress
        )
        curve[str(count or "all")] = evaluation = join_evaluations(parts)
    page = project.folder / "models" / name / f"{'label_curve' if len(curve) > 1 else 'cross_validation'}_{split}.html"
    means = ", ".join(f"{part.mean_px:.2f}" for part in parts)
    evaluation_page(
        evaluation,
        pictures_of(dataset, evaluation),
        dataset.skeleton,
        title=f"Network {name}: cross-validation",
        notes=[f"{folds} folds, {_SPLITS[split]}; mean error of each (px): {means}."],
        further={f"{count} pictures": part for count, part in list(curve.items())[:-1]},
    ).save(page)
    result = {**evaluation.to_dict(), "folds": [part.mean_px for part in parts], "page": str(page)}
    if len(curve) > 1:
        result["label_curve"] = {count: part.to_dict() for count, part in curve.items()}
    return result


def evaluate_labels(
    project: Project,
    view: str,
    path: Path,
    hashes: Hashes,
    *,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any] | None:
    """The error of a view's trained network on the labels in a file.

    Args:
        path: as for `read_label_file`; pictures that are not there are taken from the project's videos.

    Returns:
        mean_px, rmse_px, median_px, pck5, n, keypoints and the page written; None where the file has no labels of
        the view.

    Raises:
        FormatError: the file is no table of labels.
        LabelError: a picture cannot be found, or the key points are others.
    """
    read, beside = read_label_file(project, path, view)
    labels = known_labels(read)
    if not len(labels):
        return None
    pictures = find_pictures(project, labels, view, beside, hashes, progress=progress)
    dataset = dataset_from_labels(labels, pictures, view, project.config.skeleton)
    folder = project.model_folder(view)
    evaluation = evaluate(PoseModel.load(folder), dataset, threads=threads, progress=progress)
    page = folder / f"evaluation_{view}_{path.stem}.html"
    evaluation_page(
        evaluation,
        pictures_of(dataset, evaluation),
        dataset.skeleton,
        title=f"Network {folder.name}, view {view}",
        notes=[f"Judged on {path}."],
    ).save(page)
    return {**evaluation.to_dict(), "page": str(page)}


def held_out_figures(project: Project, name: str) -> dict[str, Any]:
    """The error of a network on the pictures that its training held out (and stopped by), as training wrote it.

    Raises:
        ProjectError: the network was not trained here yet.
    """
    path = project.folder / "models" / name / EVALUATION_FILE
    if not path.is_file():
        raise ProjectError(f"There is no {path}. Train the network with `multipose train`, or evaluate with --labels.")
    table = json.loads(path.read_text(encoding="utf-8"))
    check_schema(table.pop("schema_version", None), path)
    return {**table, "page": str(path.with_suffix(".html"))}
