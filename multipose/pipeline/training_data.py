"""What networks learn from: labelled pictures of the project, those brought to a trained network, second labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from multipose.config import CONFIG_NAME
from multipose.errors import LabelError, ProjectError
from multipose.labels import Labels
from multipose.pipeline.label_files import frames_of, import_labels, is_own_table, read_label_file
from multipose.pipeline.labels import extract_labelled, known_labels, load_labels
from multipose.pipeline.plan import is_network, views_of
from multipose.pipeline.provenance import Hashes
from multipose.pose2d import RECIPE, Evaluation, PoseDataset, PoseModel, dataset_from_labels, find_seen, relabel
from multipose.pose2d.batches import Time, draw_times
from multipose.pose2d.dataset import picture_name
from multipose.progress import SILENT, Progress
from multipose.project import SHARED_MODEL, Project


def load_dataset(project: Project, name: str, hashes: Hashes, *, progress: Progress = SILENT) -> PoseDataset:
    """The labelled pictures of one network; pictures that are not there yet are extracted."""
    labels = known_labels(load_labels(project))
    views = [view for view in views_of(project, name) if view in labels.views]
    for view in views:
        extract_labelled(project, labels.select(view=view), hashes, progress=progress)
    return _set_moments(project, dataset_from_labels(labels, project.frames_folder, views, project.config.skeleton))


def labelled_times(project: Project) -> dict[Time, int]:
    """The labelled times of a project with a position in any view, and how many views show each.

    A time is a recording and a frame number on the recording's clock.
    """
    table = known_labels(load_labels(project)).table
    placed = table[np.isfinite(table["x"]) & np.isfinite(table["y"])]
    views: dict[Time, set[str]] = defaultdict(set)
    for row in placed[["recording", "view", "frame"]].drop_duplicates().itertuples(index=False):
        moment = int(row.frame) - _offsets(project, str(row.recording)).get(str(row.view), 0)
        views[str(row.recording), moment].add(str(row.view))
    return {time: len(seen) for time, seen in views.items()}


def draw_held_out(project: Project, seed: int) -> frozenset[Time]:
    """The labelled times to hold out of every network of a project: a tenth of all.

    The same labels and seed give the same times whichever network asks, so that they can be judged in space.
    """
    return draw_times(labelled_times(project), RECIPE.held_out, seed)


def _set_moments(project: Project, dataset: PoseDataset) -> PoseDataset:
    """A dataset whose moments are frame numbers on the recordings' clocks, alike in all views."""
    moments = [
        moment - _offsets(project, recording).get(view, 0)
        for recording, view, moment in zip(dataset.groups, dataset.views, dataset.moments, strict=True)
    ]
    return replace(dataset, moments=tuple(moments))


def _offsets(project: Project, recording: str) -> Mapping[str, int]:
    """For each view the number of the frame that falls on the time 0 of a recording."""
    return next((row.offsets for row in project.recordings if row.name == recording), {})


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
    project: Project,
    dataset: PoseDataset,
    brought: Collection[str],
    start: str,
    model: PoseModel,
    progress: Progress,
) -> tuple[PoseDataset, PoseDataset | None]:
    """The pictures that a network knows, and those added to them (None where all are to be learned alike).

    Args:
        project: whose labels they are.
        dataset: all labelled pictures.
        brought: names of those in the file of added labels.
        start: the network's name or folder.
        model: the network.
        progress: is told of surprises.
    """
    asked = np.array([name in brought for name in dataset.names])
    new = asked & ~find_seen(model, dataset).any
    if not new.all():
        if not new[asked].all():
            progress.note(f"{int((asked & ~new).sum())} of the {int(asked.sum())} added pictures are known to {start}.")
        return dataset.subset(np.flatnonzero(~new)), dataset.subset(np.flatnonzero(new)) if new.any() else None
    old = _labels_of_training(project, Path(start), progress)
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


def load_start(project: Project, start: str) -> PoseModel:
    """A trained network to begin with: one of the project by its name, or one from a folder.

    Raises:
        ProjectError: there is no such network.
    """
    if is_network(project, start):
        return PoseModel.load(find_model(project, start))
    if not (Path(start) / "model.toml").is_file():
        raise ProjectError(
            f"{start!r} is no network of the project ({', '.join((SHARED_MODEL, *project.views))}, or some views "
            "with commas between them), and no folder of a trained network, which holds model.toml."
        )
    return PoseModel.load(start)


def find_model(project: Project, name: str) -> Path:
    """The folder of a trained network of the project.

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
    return folder


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


def pictures_of(dataset: PoseDataset, evaluation: Evaluation) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Gives the picture of a place in an evaluation of a part of the dataset."""
    places = {name: place for place, name in enumerate(dataset.names)}
    return lambda item: dataset.picture(places[evaluation.names[item]])
