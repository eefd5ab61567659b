"""The stage `evaluate`: how far the points of networks lie from labels that they never saw."""

from __future__ import annotations

import contextlib
import errno
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from multipose.documents import read_json
from multipose.errors import DataError, FormatError, ModelError, ProjectError
from multipose.files import check_schema, hash_value
from multipose.pipeline.label_files import find_pictures, read_label_file
from multipose.pipeline.labels import known_labels
from multipose.pipeline.plan import VERSIONS, is_network
from multipose.pipeline.provenance import Hashes
from multipose.pipeline.training import EVALUATION_FILE, HELD_OUT
from multipose.pipeline.training_data import load_dataset, load_second_labels, load_start, pictures_of
from multipose.pose2d import (
    RECIPE,
    Evaluation,
    PoseDataset,
    PoseModel,
    Split,
    TrainingResult,
    choose_folds,
    compare_evaluations,
    cross_validate,
    dataset_from_labels,
    describe_repeats,
    draw_pictures,
    evaluate,
    find_seen,
    join_evaluations,
    train,
)
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.skeleton import Skeleton
from multipose.sources import write_picture
from multipose.view import Page, comparison_page, evaluation_page, judged_picture

_WORST_END = "px.png"
_SPLITS = {
    "random": "drawn at random",
    "blocks": "contiguous blocks of each recording",
    "recording": "whole recordings",
}


def cross_validate_model(
    project: Project,
    name: str,
    hashes: Hashes,
    *,
    folds: int | None,
    split: Split,
    budget: dict[str, Any],
    seed: int,
    counts: Sequence[int | None] = (None,),
    labelled_again: Path | None = None,
    worst: int = 0,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """The error on the project's labels by cross-validation: each fold is judged by a network that never saw it.

    Finished folds are kept in models/<name>/folds until all are; an interrupted cross-validation goes on from there.

    Args:
        folds: how many; None for as many as there are recordings.
        counts: of pictures to learn from, None for all outside a fold; folds are trained anew for each, fewest first.
        labelled_again, worst: as of `evaluate_labels`.

    Returns:
        As `evaluate_labels`, of the most pictures, with the mean of each fold; for several counts also `label_curve`,
        the figures of each.
    """
    dataset = load_dataset(project, name, hashes, progress=progress)
    second = load_second_labels(project, dataset, labelled_again, progress=progress)
    counts = sorted(counts, key=lambda count: math.inf if count is None else count)
    folds = folds or max(2, len(set(dataset.groups)))
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

    for judged in choose_folds(dataset, folds, split, seed):  # what cannot be done is told before hours of training
        outside = dataset.subset(np.setdiff1d(np.arange(len(dataset)), judged))
        for count in counts:
            draw_pictures(outside, count, seed)
    made_by = [limits, seed, project.config.training.backbone, asdict(RECIPE), VERSIONS["train"]]
    kept = project.folder / "models" / name / "folds" / hash_value(made_by)[:16]
    figures: dict[str, Evaluation] = {}
    curve: dict[int, list[Evaluation]] = {}
    for count in counts:
        parts = cross_validate(
            dataset,
            fit,
            folds=folds,
            split=split,
            seed=seed,
            pictures=count,
            threads=threads,
            keep=kept,
            progress=progress,
        )
        figures[str(count or "all")] = evaluation = join_evaluations(parts)
        curve[count or round(float(np.mean([len(dataset) - len(part.names) for part in parts])))] = parts
    means = ", ".join(f"{part.mean_px:.2f}" for part in parts)
    judged_on = f"cross-validated, {folds} folds, {_SPLITS[split]}"
    if counts[-1] is not None:
        judged_on += f", each learned from {counts[-1]} pictures"
    stem = f"{'label_curve' if len(figures) > 1 else 'cross_validation'}_{split}"
    repeats = describe_repeats(dataset, second, evaluation) if second is not None else None
    result = _write(
        project.folder / "models" / name / f"{stem}.html",
        evaluation,
        dataset,
        repeats=repeats,
        worst=worst,
        progress=progress,
        title=f"Network {name}: cross-validation",
        notes=[f"{judged_on.capitalize()}; mean error of each (px): {means}."],
        further={f"{count} pictures": part for count, part in list(figures.items())[:-1]},
        curve=curve if len(curve) > 1 else None,
    )
    result |= {"judged_on": judged_on, "folds": [part.mean_px for part in parts]}
    if len(figures) > 1:
        result["label_curve"] = {count: part.to_dict() for count, part in figures.items()}
    shutil.rmtree(kept)
    with contextlib.suppress(OSError):  # folds of another cross-validation, which was interrupted, stay
        kept.parent.rmdir()
    return result


def evaluate_labels(
    project: Project,
    view: str,
    path: Path,
    hashes: Hashes,
    *,
    compare: str | None = None,
    unseen: bool = False,
    labelled_again: Path | None = None,
    worst: int = 0,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any] | None:
    """The error of a view's trained network on the labels in a file.

    Args:
        path: as for `read_label_file`; pictures that are not there are taken from the project's videos.
        compare: another network to compare with: its name in the project, or its folder.
        unseen: leave out the pictures that one of the networks has seen in training.
        labelled_again: second labels of some of the same frames; by default none.
        worst: write so many of the worst pictures as PNG files.

    Returns:
        As `Evaluation.to_dict`, judged_on, pictures_seen (in training; None if that is not known), the page written,
        `worst` (files), `label_noise` (as of `describe_repeats`) and `comparison`; None where the file has no labels of
        the view.

    Raises:
        FormatError: the file is no table of labels.
        LabelError: a picture cannot be found, or the key points are others.
        ModelError: a network to compare has seen some of the pictures, and `unseen` is not said.
        DataError: no picture is left.
    """
    dataset = _read_dataset(project, view, path, hashes, progress)
    if dataset is None:
        return None
    folder = project.model_folder(view)
    models = {folder.name: PoseModel.load(folder)}
    if compare is not None:
        models |= _load_other(project, compare, *models.items())
    if unseen:
        dataset = _leave_out_seen(dataset, models.values(), f"view {view} in {path}", progress)
    seen = {name: find_seen(model, dataset) for name, model in models.items()}
    warnings = [part.describe().replace("network", f"network {name}", 1) for name, part in seen.items()]
    warnings = [warning for warning in warnings if warning]
    if compare is not None and any(part.any.any() for part in seen.values()):
        raise ModelError(
            f"{' '.join(warnings)} A comparison on them would not be fair: leave them out (--unseen), or give labels "
            "of other pictures."
        )
    for warning in warnings:
        progress.note(warning)
    own = models[folder.name]
    evaluation = evaluate(own, dataset.with_skeleton(own.skeleton), threads=threads, progress=progress)
    second = load_second_labels(project, dataset, labelled_again, progress=progress) if labelled_again else None
    known = seen[folder.name]
    result = _write(
        folder / f"evaluation_{view}_{path.stem}.html",
        evaluation,
        dataset,
        repeats=describe_repeats(dataset, second, evaluation) if second is not None else None,
        worst=worst,
        progress=progress,
        title=f"Network {folder.name}, view {view}",
        notes=[f"Judged on the labels in {path}."],
        warnings=warnings,
    )
    result |= {"judged_on": f"labels in {path}", "pictures_seen": int(known.any.sum()) if known.known else None}
    if compare is not None:
        first, second_name = models
        other = models[second_name]
        rival = evaluate(other, dataset.with_skeleton(other.skeleton), threads=threads, progress=progress)
        comparison = compare_evaluations(evaluation, rival)
        page = folder / f"comparison_{view}_{path.stem}_{second_name}.html"
        compared = comparison_page(
            comparison,
            (first, second_name),
            pictures_of(dataset, evaluation),
            _part(dataset.skeleton, comparison.first.keypoints),
            title=f"Networks {first} and {second_name}, view {view}",
            notes=[f"Judged on the same labels, in {path}."],
            warnings=warnings,
        )
        result["comparison"] = {
            "first": first,
            "second": second_name,
            **comparison.to_dict(),
            **_save_page(compared, page, progress),
        }
    return result


def _load_other(project: Project, name: str, own: tuple[str, PoseModel]) -> dict[str, PoseModel]:
    """A network to compare with, of the project or of a folder, under a name other than that of the own."""
    other = load_start(project, name)
    if not is_network(project, name):
        name = Path(name).resolve().name
    if other.fingerprint() == own[1].fingerprint():
        raise ModelError(f"{name} is the network {own[0]} itself. Name another one to compare it with.")
    return {name if name != own[0] else f"other_{name}": other}


def _leave_out_seen(dataset: PoseDataset, models: Iterable[PoseModel], where: str, progress: Progress) -> PoseDataset:
    """The pictures that no network has seen in training."""
    kept = np.flatnonzero(~np.any([find_seen(model, dataset).any for model in models], axis=0))
    if not len(kept):
        raise DataError(f"Training has seen all {len(dataset)} pictures of {where}; none is left to judge by.")
    progress.note(f"{len(kept)} of {len(dataset)} pictures of {where} were not seen in training.")
    return dataset.subset(kept)


def _part(skeleton: Skeleton, keypoints: tuple[str, ...]) -> Skeleton:
    """Some of the key points, with their left/right pairs."""
    return Skeleton(keypoints, pairs=tuple(pair for pair in skeleton.pairs if set(pair) <= set(keypoints)))


def _write(
    page: Path,
    evaluation: Evaluation,
    dataset: PoseDataset,
    *,
    repeats: dict[str, Any] | None,
    worst: int,
    progress: Progress,
    **shown: Any,
) -> dict[str, Any]:
    """Write the page of an evaluation, and the worst pictures into a folder beside it; the figures and the paths."""
    picture = pictures_of(dataset, evaluation)
    shown_page = evaluation_page(evaluation, picture, dataset.skeleton, repeats=repeats, **shown)
    result = {**evaluation.to_dict(), **_save_page(shown_page, page, progress)}
    if repeats is not None:
        result["label_noise"] = repeats
    if worst:
        folder = page.with_name(f"worst_{page.stem}")
        for old in folder.glob(f"[0-9][0-9][0-9]_*{_WORST_END}"):
            old.unlink()
        result["worst"] = []
        for rank, item in enumerate(evaluation.ranked()[::-1][:worst].tolist(), start=1):
            name = evaluation.names[item].replace("/", "_")
            path = folder / f"{rank:03d}_{name}_{evaluation.picture_mean_px()[item]:.1f}{_WORST_END}"
            write_picture(path, judged_picture(evaluation, item, picture(item), dataset.skeleton))
            result["worst"].append(str(path))
    return result


def _save_page(page: Page, path: Path, progress: Progress) -> dict[str, str]:
    """Write a page and give its path as `page`; nothing, and a note, where the project may not be written."""
    try:
        page.save(path)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        progress.note(f"The page {path} is not written: {error.strerror}.")
        return {}
    return {"page": str(path)}


def _read_dataset(project: Project, view: str, path: Path, hashes: Hashes, progress: Progress) -> PoseDataset | None:
    """The labelled pictures of a view in a file; None where it has none."""
    read, beside = read_label_file(project, path, view)
    labels = known_labels(read)
    if not len(labels):
        return None
    pictures = find_pictures(project, labels, view, beside, hashes, progress=progress)
    return dataset_from_labels(labels, pictures, view, project.config.skeleton)


def held_out_figures(
    project: Project, name: str, hashes: Hashes, *, labelled_again: Path | None = None, progress: Progress = SILENT
) -> dict[str, Any]:
    """The error of a network on the pictures that its training held out (and stopped by), as training wrote it.

    Args:
        labelled_again: second labels of some of the frames; by default what multipose.toml names. `label_noise` then
            tells a person's repeat error, on all pictures labelled twice; the network's is left to the other figures.

    Raises:
        ProjectError: the network was not trained here yet.
    """
    path = project.folder / "models" / name / EVALUATION_FILE
    if not path.is_file():
        raise ProjectError(f"There is no {path}. Train the network with `multipose train`, or evaluate with --labels.")
    table = read_json(path)
    if not isinstance(table, dict):
        raise FormatError(f"{path} holds no evaluation of a network. Train it again, or evaluate with --labels.")
    check_schema(table.pop("schema_version", None), path)
    page = path.with_suffix(".html")
    result = {**table, "judged_on": HELD_OUT} | ({"page": str(page)} if page.is_file() else {})
    if labelled_again is not None or project.config.training.labelled_again is not None:
        dataset = load_dataset(project, name, hashes, progress=progress)
        second = load_second_labels(project, dataset, labelled_again, progress=progress)
        if second is not None:
            result["label_noise"] = describe_repeats(dataset, second)
    return result
