"""The stage `train`: labels and pictures -> a network with its figures, in models/<view>/."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from multipose.config import CONFIG_NAME
from multipose.errors import LabelError, ProjectError
from multipose.files import SCHEMA_VERSION, hash_value, write_text
from multipose.labels import Labels
from multipose.pipeline.label_files import frames_of, import_labels, is_own_table, read_label_file
from multipose.pipeline.labels import extract_labelled, known_labels, load_labels
from multipose.pipeline.plan import hash_rows, is_network, label_rows, model_product, views_of
from multipose.pipeline.provenance import Hashes, is_made, making, resumable
from multipose.pose2d import (
    Evaluation,
    PoseDataset,
    PoseModel,
    dataset_from_labels,
    join_datasets,
    relabel,
    train,
    train_on,
)
from multipose.pose2d.dataset import picture_name
from multipose.pose2d.training import REFINING_MINUTES
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
    add: Path | None = None,
    resume: bool | None = None,
    labelled_again: Path | None = None,
    keep: bool = False,
    devices: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train one network: of a view, or one that views share.

    Args:
        budget: minutes, cpu_minutes, steps; instead of the configuration's minutes, this once.
        seed: instead of the configuration's, this once.
        start: a trained network to begin with, instead of ImageNet weights: its name in the project, or its folder.
        add: a file of labels that `start` does not know, as for `label_files.read_label_file`. They are brought into
            the project first; training then is brief, shows some of them and some of the others in each step, and
            judges both apart. The others are the project's, or where it has none, those of the project in which
            `start` was trained.
        resume: go on with a training that was interrupted; by default where it was the same one.
        labelled_again: second labels of some of the same frames, instead of the configuration's, this once.
        keep: do nothing where the same training has been finished.
        devices: one as for `runtime.choose_device`, or several that train together; by default the machine's best.

    Returns:
        model, minutes, held_out_mean_px and the paths written; with `add` also `parts`: of old and added pictures that
        were held out, their number n, mean_px, and before_px (of `start`).

    Raises:
        ProjectError: there is no such network, there are no labels for it, or `start` is not trained.
        LabelError: the labels to add are not of this network's views, or do not fit those that are there.
        DataError: the labels do not suffice.
    """
    given = {key: value for key, value in (budget or {}).items() if value is not None}
    begin = None if start is None else load_start(project, start)
    brought: frozenset[str] = frozenset() if add is None else bring_labels(project, name, add)
    if brought and not given:
        given = {"minutes": REFINING_MINUTES}
    product = model_product(project, name)
    overrides = {
        "budget": given or None,
        "seed": seed,
        "start": None if begin is None else {"network": start, "weights": begin.fingerprint()},
        "labelled_again": None if labelled_again is None else _describe_second(labelled_again, views_of(project, name)),
        "added": {"pictures": len(brought), "names": hash_value(sorted(brought))} if brought else None,
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
        everything = load_dataset(project, name, hashes, progress=progress)
        dataset, added = split_added(project, everything, brought, start, progress)
        limits: dict[str, Any] = given or dict(product.parameters["budget"])
        pictures = dataset if added is None else join_datasets([dataset, added])
        with _training_page(folder, name) as watch:
            options: dict[str, Any] = {
                "minutes": limits.get("minutes"),
                "cpu_minutes": limits.get("cpu_minutes"),
                "steps": limits.get("steps"),
                "seed": product.parameters["seed"] if seed is None else seed,
                "backbone": product.parameters["backbone"],
                "start": begin,
                "added": added,
                "resume": resume,
                "labelled_again": load_second_labels(project, pictures, labelled_again, progress=progress),
                "threads": threads,
                "progress": progress,
            }
            if len(devices) > 1:
                result = train_on(devices, dataset, folder, **options)
                watch(result.history)
            else:
                device = devices[0] if devices else "auto"
                result = train(dataset, folder, device=device, watch=watch, **options)
        page = evaluation_page(
            result.held_out,
            pictures_of(pictures, result.held_out),
            dataset.skeleton,
            title=f"Network {name}: pictures held out",
            metrics=result.history,
            notes=[
                f"{HELD_OUT.capitalize()}. These figures flatter the network a little. Fair ones come from "
                "labels that training never saw (evaluate --labels) or from cross-validation (evaluate --folds).",
                *describe_parts(result.model.training["parts"]),
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
    } | ({"parts": model.training["parts"]} if model.training.get("parts") else {})


def describe_parts(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line each: what added pictures did to the error on old and on added ones."""
    return [
        f"{name} pictures held out ({part['n']}): mean {part['mean_px']:.2f} px, "
        f"{part['before_px']:.2f} px before this training"
        for name, part in parts.items()
    ]


def load_start(project: Project, start: str) -> PoseModel:
    """A trained network to begin with: one of the project by its name, or one from a folder.

    Raises:
        ProjectError: there is no such network.
    """
    if is_network(project, start):
        return load_model(project, start)
    if not (Path(start) / "model.toml").is_file():
        raise ProjectError(
            f"{start!r} is no network of the project ({', '.join((SHARED_MODEL, *project.views))}, or some views "
            "with commas between them), and no folder of a trained network, which holds model.toml."
        )
    return PoseModel.load(start)


def bring_labels(project: Project, name: str, path: Path) -> frozenset[str]:
    """Bring the labels of a network's views from a file into the project; the names of their pictures in datasets.

    Raises:
        LabelError: it has none of these views, it does not say of which of several it is, or it contradicts labels
            that are there.
    """
    views = views_of(project, name)
    if len(views) > 1 and not is_own_table(path):
        raise LabelError(
            f"{path} does not say which of the views {', '.join(views)} its pictures show. Bring it in with "
            "`multipose label import --view VIEW`, and give --add a table as labels.csv."
        )
    names = []
    for view in views:
        labels = known_labels(read_label_file(project, path, view)[0])
        if len(labels):
            import_labels(project, path, view)
            names += [picture_name(recording, view, frame) for recording, frame in frames_of(labels, view)]
    if not names:
        raise LabelError(f"{path} has no labels of view {', '.join(views)}.")
    return frozenset(names)


def split_added(
    project: Project, dataset: PoseDataset, brought: Collection[str], start: str | None, progress: Progress
) -> tuple[PoseDataset, PoseDataset | None]:
    """The pictures that a network knows, and those added to them (None where all are to be learned alike)."""
    if not brought:
        return dataset, None
    new = np.array([name in brought for name in dataset.names])
    if not new.all():
        return dataset.subset(np.flatnonzero(~new)), dataset.subset(np.flatnonzero(new))
    old = None if start is None else _labels_of_training(project, Path(start), progress)
    if old is not None:
        kept = [place for place, name in enumerate(old.names) if name not in brought]
        old = old.subset(kept) if kept else None
    if old is None:
        progress.note("The pictures that the network learned from are not at hand: it is likely to forget them.")
        return dataset, None
    return old, dataset


def _labels_of_training(project: Project, folder: Path, progress: Progress) -> PoseDataset | None:
    """What a network in the folder of another project learned from, as far as it names the key points of this one."""
    other, skeleton = folder.resolve().parent.parent, project.config.skeleton
    if not (other / CONFIG_NAME).is_file() or other == project.folder.resolve():
        return None
    trained_in = Project.open(other)
    if not is_network(trained_in, folder.name):
        return None
    found = known_labels(load_labels(trained_in))
    labels = Labels(found.table[found.table["keypoint"].isin(skeleton.keypoints)], skeleton.keypoints)
    views = [view for view in views_of(trained_in, folder.name) if view in labels.views]
    if not views:
        return None
    progress.note(f"Old pictures are those of {trained_in.labels_path}.")
    return dataset_from_labels(labels, trained_in.frames_folder, views, skeleton)


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
