"""The stage `train`: labels and pictures -> a network with its figures, in models/<view>/."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from multipose.errors import ProjectError
from multipose.files import SCHEMA_VERSION, write_text
from multipose.pipeline.labels import extract_labelled, known_labels, load_labels
from multipose.pipeline.plan import model_product, views_of
from multipose.pipeline.provenance import Hashes, is_made, making, resumable
from multipose.pose2d import Evaluation, PoseDataset, PoseModel, dataset_from_labels, train
from multipose.progress import SILENT, Progress
from multipose.project import SHARED_MODEL, Project
from multipose.view import evaluation_page

EVALUATION_FILE = "evaluation.json"


def train_model(
    project: Project,
    name: str,
    hashes: Hashes,
    *,
    budget: dict[str, Any] | None = None,
    seed: int | None = None,
    start: str | None = None,
    resume: bool | None = None,
    keep: bool = False,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train one network: of a view, or one that views share.

    Args:
        budget: minutes, cpu_minutes, steps; instead of the configuration's minutes, this once.
        seed: instead of the configuration's, this once.
        start: name of a trained network of the project to begin with, instead of ImageNet weights.
        resume: go on with a training that was interrupted; by default where it was the same one.
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
    }
    for warning in unflipped_mirrors(project, name):
        progress.note(warning)
    folder = product.path.parent
    if keep and is_made(product, hashes, overrides):
        progress.note(f"Network {name} is trained already.")
        return _describe(PoseModel.load(folder), folder)
    if resume is None:
        resume = resumable(product, hashes, overrides)
    with making(product, hashes, overrides):
        dataset = load_dataset(project, name, hashes, progress=progress)
        limits: dict[str, Any] = given or dict(product.parameters["budget"])
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
            threads=threads,
            progress=progress,
        )
        page = evaluation_page(
            result.held_out,
            pictures_of(dataset, result.held_out),
            dataset.skeleton,
            title=f"Network {name}",
            metrics=result.history,
            notes=["Judged on labelled pictures that were held out from training, but told it when to stop."],
        )
        page.save((folder / EVALUATION_FILE).with_suffix(".html"))
        figures = {"schema_version": SCHEMA_VERSION, **result.held_out.to_dict()}
        write_text(folder / EVALUATION_FILE, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    return _describe(result.model, folder)


def _describe(model: PoseModel, folder: Path) -> dict[str, Any]:
    return {
        "model": str(folder),
        "minutes": model.training["minutes"],
        "held_out_mean_px": model.training["held_out_mean_px"],
        "page": str((folder / EVALUATION_FILE).with_suffix(".html")),
    }


def unflipped_mirrors(project: Project, name: str) -> list[str]:
    """Warnings of views that show left as right to a network, as far as multipose.toml tells it.

    One camera that took two of its views, both flipped or neither, sees one of them in a mirror, or two parts of the
    same scene: only a person knows.
    """
    views = views_of(project, name)
    settings = {view: project.config.view_settings(view) for view in views}
    return [
        f"Network {name}: the camera of {own.same_camera_as} also took {view}, and pictures of both reach the network "
        f"{'flipped' if own.flip else 'unflipped'}. If {view} is seen in a mirror, left and right are exchanged there; "
        f"say flip = {'false' if own.flip else 'true'} under [view.{view}], and bring its labels again."
        for view, own in settings.items()
        if own.same_camera_as in settings and own.flip == settings[own.same_camera_as].flip
    ]


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
    views = views_of(project, name)
    folder = project.folder / "models" / name
    if not (folder / "model.toml").exists():
        raise ProjectError(
            f"There is no trained network in {folder}. Train it first: multipose train "
            + ("--shared" if name == SHARED_MODEL else f"--{'shared' if len(views) > 1 else 'view'} {name}")
        )
    return PoseModel.load(folder)


def pictures_of(dataset: PoseDataset, evaluation: Evaluation) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Gives the picture of a place in an evaluation of a part of the dataset."""
    places = {name: place for place, name in enumerate(dataset.names)}
    return lambda item: dataset.picture(places[evaluation.names[item]])
