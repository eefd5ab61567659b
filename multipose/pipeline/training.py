"""The stage `train`: labels and pictures -> a network with its figures, in models/<view>/."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multipose.errors import ProjectError
from multipose.files import SCHEMA_VERSION, hash_value, write_text
from multipose.labels import Labels
from multipose.pipeline.labels import extract_labelled, known_labels, load_labels
from multipose.pipeline.plan import hash_rows, label_rows, model_product, views_of
from multipose.pipeline.provenance import Hashes, is_made, making, resumable
from multipose.pose2d import Evaluation, PoseDataset, PoseModel, dataset_from_labels, relabel, train
from multipose.progress import SILENT, Progress
from multipose.project import SHARED_MODEL, Project
from multipose.view import evaluation_page, training_page

EVALUATION_FILE = "evaluation.json"
TRAINING_PAGE = "training.html"
HELD_OUT = "held out from training, but told it when to stop"
_PAGE_SECONDS = 20.0  # between two pages of a training under way; one costs about 0.1 s of CPU time


def train_model(
    project: Project,
    name: str,
    hashes: Hashes,
    *,
    budget: dict[str, Any] | None = None,
    seed: int | None = None,
    start: str | None = None,
    resume: bool | None = None,
    labelled_again: Path | None = None,
    keep: bool = False,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train one network: of a view, or the shared one.

    Args:
        budget: minutes, cpu_minutes, steps; instead of the configuration's minutes, this once.
        seed: instead of the configuration's, this once.
        start: name of a trained network of the project to begin with, instead of ImageNet weights.
        resume: go on with a training that was interrupted; by default where it was the same one.
        labelled_again: second labels of some of the same frames, instead of the configuration's, this once.
        keep: do nothing where the same training has been finished.

    Returns:
        model, minutes, held_out_mean_px and the paths written.

    Raises:
        ProjectError: there is no such network, there are no labels for it, or `start` is not trained.
        DataError: the labels do not suffice.
    """
    product = model_product(project, name)
    given = {key: value for key, value in (budget or {}).items() if value is not None}
    begin = None if start is None else load_model(project, start)
    overrides = {
        "budget": given or None,
        "seed": seed,
        "start": None if begin is None else {"network": start, "weights": begin.fingerprint()},
        "labelled_again": None if labelled_again is None else _describe_second(labelled_again, views_of(project, name)),
    }
    folder = product.path.parent
    if keep and is_made(product, hashes, overrides):
        progress.note(f"Network {name} is trained already.")
        return _describe(PoseModel.load(folder), folder)
    if resume is None:
        resume = resumable(product, hashes, overrides)
    with making(product, hashes, overrides):
        dataset = load_dataset(project, name, hashes, progress=progress)
        limits: dict[str, Any] = given or dict(product.parameters["budget"])
        with _training_page(folder, name) as watch:
            result = train(
                dataset,
                folder,
                minutes=limits.get("minutes"),
                cpu_minutes=limits.get("cpu_minutes"),
                steps=limits.get("steps"),
                seed=product.parameters["seed"] if seed is None else seed,
                backbone=product.parameters["backbone"],
                start=begin,
                resume=resume,
                labelled_again=load_second_labels(project, dataset, labelled_again, progress=progress),
                threads=threads,
                watch=watch,
                progress=progress,
            )
        page = evaluation_page(
            result.held_out,
            pictures_of(dataset, result.held_out),
            dataset.skeleton,
            title=f"Network {name}: pictures held out",
            metrics=result.history,
            notes=[
                f"{HELD_OUT.capitalize()}. These figures flatter the network a little. Fair ones come from "
                "labels that training never saw (evaluate --labels) or from cross-validation (evaluate --folds)."
            ],
        )
        page.save((folder / EVALUATION_FILE).with_suffix(".html"))
        figures = {"schema_version": SCHEMA_VERSION, **result.held_out.to_dict()}
        write_text(folder / EVALUATION_FILE, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    return _describe(result.model, folder)


@contextmanager
def _training_page(folder: Path, name: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """What writes the page of a training under way, at most every so many seconds, and once more at its end."""
    seen: list[pd.DataFrame] = []
    written = -math.inf

    def save(running: bool) -> None:
        training_page(seen[-1], title=f"Training of network {name}", running=running).save(folder / TRAINING_PAGE)

    def watch(history: pd.DataFrame) -> None:
        nonlocal written
        seen[:] = [history]
        if time.monotonic() - written >= _PAGE_SECONDS:
            save(running=True)
            written = time.monotonic()

    try:
        yield watch
    finally:
        if seen:
            save(running=False)


def _describe_second(path: Path, views: Iterable[str]) -> dict[str, str]:
    """Second labels as provenance records them: the file and what it says."""
    rows = label_rows(path, views)
    return {"file": str(path), "labels": hash_value([hash_rows(rows, view) for view in views])}


def load_second_labels(
    project: Project, dataset: PoseDataset, path: Path | None = None, *, progress: Progress = SILENT
) -> PoseDataset | None:
    """The pictures of a dataset that were labelled again, with these labels; None where no second labels are known.

    Args:
        path: of a table as labels.csv; by default what multipose.toml names.

    Raises:
        FormatError: the file is no table of labels.
        DataError: it speaks of none of the pictures of a view that it has labels of.
    """
    if path is None:
        configured = project.config.training.labelled_again
        if configured is None:
            return None
        path = project.path(configured)
    labels = known_labels(Labels.load(path, project.config.skeleton.keypoints))
    if not set(labels.views) & set(dataset.views):
        progress.note(f"{path} has no second labels of {', '.join(dict.fromkeys(dataset.views))}.")
        return None
    return relabel(dataset, labels)


def _describe(model: PoseModel, folder: Path) -> dict[str, Any]:
    return {
        "model": str(folder),
        "minutes": model.training["minutes"],
        "held_out_mean_px": model.training["held_out_mean_px"],
        "page": str((folder / EVALUATION_FILE).with_suffix(".html")),
    }


def load_dataset(project: Project, name: str, hashes: Hashes, *, progress: Progress = SILENT) -> PoseDataset:
    """The labelled pictures of one network; pictures that are not there yet are extracted."""
    labels = known_labels(load_labels(project))
    views = [view for view in views_of(project, name) if view in labels.views]
    for view in views:
        extract_labelled(project, labels.select(view=view), hashes, progress=progress)
    return dataset_from_labels(labels, project.frames_folder, views, project.config.skeleton)


def load_model(project: Project, name: str) -> PoseModel:
    """A trained network of the project.

    Raises:
        ProjectError: there is no such network, or it is not trained yet.
    """
    views_of(project, name)
    folder = project.folder / "models" / name
    if not (folder / "model.toml").exists():
        raise ProjectError(
            f"There is no trained network in {folder}. Train it first: multipose train "
            + ("--shared" if name == SHARED_MODEL else f"--view {name}")
        )
    return PoseModel.load(folder)


def pictures_of(dataset: PoseDataset, evaluation: Evaluation) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Gives the picture of a place in an evaluation of a part of the dataset."""
    places = {name: place for place, name in enumerate(dataset.names)}
    return lambda item: dataset.picture(places[evaluation.names[item]])
