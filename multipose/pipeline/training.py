"""The stage `train`: labels and pictures -> a network with its figures, in models/<view>/; several side by side."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from multipose.errors import ModelError, MultiposeError, ProjectError
from multipose.files import SCHEMA_VERSION, atomic_path, hash_value, write_text
from multipose.pipeline.folds import calibrate_on_folds, plan_folds
from multipose.pipeline.held_out import HeldOutPoints
from multipose.pipeline.plan import HELD_OUT_FILE, hash_rows, label_rows, model_product, views_of
from multipose.pipeline.provenance import Hashes, is_made, making, resumable
from multipose.pipeline.training_data import (
    bring_labels,
    draw_held_out,
    load_dataset,
    load_second_labels,
    load_start,
    pictures_of,
    split_added,
    unflipped_mirrors,
)
from multipose.pose2d import PoseDataset, PoseModel, TrainingResult, join_datasets, runtime, train, train_on
from multipose.pose2d.processes import share_out
from multipose.pose2d.training import REFINING_MINUTES
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.view import evaluation_page, training_page

EVALUATION_FILE = "evaluation.json"
TRAINING_PAGE = "training.html"
_NETWORK_FILES = ("weights.safetensors", "model.toml", "metrics.csv", TRAINING_PAGE)
HELD_OUT = "held out from training, but told it when to stop"
_PAGE_SECONDS = 20.0  # between two pages of a training under way; one costs about 0.1 s of CPU time


def train_models(
    project: Project,
    names: Sequence[str],
    hashes: Hashes,
    *,
    add: Path | None = None,
    devices: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """Train several networks: side by side, each on one device, where there are several of both.

    One network alone is trained by all the devices given. An error in one of those side by side ends them all; what
    they did until then is resumed next time.

    Args:
        names: of the networks.
        devices: by default all GPUs for several networks, and the machine's best device for one.
        threads: of the CPU, for all together.
        add, progress, options: as for `train_model`.

    Returns:
        For each network what `train_model` returns.

    Raises:
        ModelError: a process was killed; else as of `train_model`.
    """
    places = tuple(devices) or (runtime.list_gpus() if len(names) > 1 else ())
    if len(names) < 2 or len(places) < 2:
        results = {}
        for name in names:
            progress.note(f"Network {name}")
            results[name] = train_model(
                project, name, hashes, add=add, devices=places, threads=threads, progress=progress, **options
            )
        return results
    for place in places:
        runtime.choose_device(place)
    if add is not None:
        for name in names:
            bring_labels(project, name, add)  # here, for processes would write labels.csv at once
    given = options | {"add": add, "threads": max(1, runtime.thread_count(threads) // len(places))}
    return share_out(partial(_train_at, project, hashes, given), names, places[: len(names)], progress=progress)


def _train_at(
    project: Project, hashes: Hashes, options: dict[str, Any], name: str, device: str, progress: Progress
) -> dict[str, Any]:
    return train_model(project, name, hashes, devices=(device,), progress=progress, **options)


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
    folds: int | None = None,
    keep: bool = False,
    replace_better: bool = True,
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
        folds: also train so many networks without a part of the labelled times each, and calibrate the error bars on
            what they find there (`folds.calibrate_on_folds`); for few labels, it takes so many times as long.
        keep: do nothing where the same training has been finished.
        replace_better: False: a shorter training that ends with a larger error on the same held-out pictures leaves the
            network that was there.
        devices: one as for `runtime.choose_device`, or several that train together; by default the machine's best.

    Returns:
        model, minutes, held_out_mean_px and the paths written; with `add` also `parts`: of old and added pictures that
        were held out, their number n, mean_px, and before_px (of `start`).

    Raises:
        ProjectError: there is no such network, there are no labels for it, or `start` is not trained.
        LabelError: the labels to add are not of this network's views, or do not fit those that are there.
        DataError: the labels do not suffice.
        ModelError: with `replace_better` False, the new network is worse than the one it was to replace.
    """
    begin = None if start is None else load_start(project, start)
    brought: frozenset[str] = frozenset() if add is None else bring_labels(project, name, add)
    given = {key: value for key, value in (budget or {}).items() if value is not None}
    if brought and not given:
        given = {"minutes": REFINING_MINUTES}
    product = model_product(project, name)
    overrides = {
        "budget": given or None,
        "seed": seed,
        "start": None if begin is None else {"network": start, "weights": begin.fingerprint()},
        "labelled_again": None if labelled_again is None else _describe_second(labelled_again, views_of(project, name)),
        "added": {"pictures": len(brought), "names": hash_value(sorted(brought))} if brought else None,
        "folds": folds,
    }
    for warning in unflipped_mirrors(project, name):
        progress.note(warning)
    folder = product.path.parent
    if keep and is_made(product, hashes, overrides):
        progress.note(f"Network {name} is trained already.")
        return _describe(PoseModel.load(folder), folder)
    if resume is None:
        resume = resumable(product, hashes, overrides)
    drawn = product.parameters["seed"] if seed is None else seed
    parts = plan_folds(project, name, folds, drawn, start, begin) if folds is not None else []
    with making(product, hashes, overrides):
        everything = load_dataset(project, name, hashes, progress=progress)
        dataset, added = everything, None
        if brought and start is not None and begin is not None:
            dataset, added = split_added(project, everything, brought, start, begin, progress)
        pictures = dataset if added is None else join_datasets([dataset, added])
        limits: dict[str, Any] = given or dict(product.parameters["budget"])
        options: dict[str, Any] = {
            "minutes": limits.get("minutes"),
            "cpu_minutes": limits.get("cpu_minutes"),
            "steps": limits.get("steps"),
            "seed": drawn,
            "backbone": product.parameters["backbone"],
            "start": begin,
            "added": added,
            "resume": resume,
            "labelled_again": load_second_labels(project, pictures, labelled_again, progress=progress),
            "held_out": draw_held_out(project, drawn),
            "threads": threads,
            "progress": progress,
        }
        before = None if replace_better or brought else _read_network(folder)
        with _training_page(folder, name) as watch:
            if len(devices) > 1:
                result = train_on(devices, dataset, folder, **options)
                watch(result.history)
            else:
                device = devices[0] if devices else "auto"
                result = train(dataset, folder, device=device, watch=watch, **options)
        if before is not None:
            _refuse_worse(name, folder, before, result.model)
        judged = result.held_out
        if parts:
            model, judged = calibrate_on_folds(
                name,
                parts,
                result.model,
                pictures,
                options={key: value for key, value in options.items() if key not in ("added", "resume")},
                device=devices[0] if devices else "auto",
                progress=progress,
            )
            model.save(folder)
            result = replace(result, model=model)
        HeldOutPoints.from_evaluation(judged).save(folder / HELD_OUT_FILE)
        _write_evaluation(folder, name, result, pictures)
    _tell_use(project, name, progress)
    return _describe(result.model, folder)


@dataclass(frozen=True)
class _Network:
    """The network that was there: what its training says of itself, and its files' bytes, to be put back."""

    training: Mapping[str, Any]
    files: Mapping[str, bytes]


def _read_network(folder: Path) -> _Network | None:
    try:
        training = PoseModel.load(folder).training
    except MultiposeError:  # none is there, or a damaged one, which is to be replaced
        return None
    files = {name: (folder / name).read_bytes() for name in _NETWORK_FILES if (folder / name).is_file()}
    return _Network(training, files)


def _refuse_worse(name: str, folder: Path, before: _Network, model: PoseModel) -> None:
    """Put the network back that was there where a shorter training made a worse one on the same held-out pictures.

    Raises:
        ModelError: it did.
    """
    old, new = before.training, model.training
    comparable = set(old.get("held_out_names", ())) == set(new["held_out_names"])
    if not comparable or new["minutes"] >= old["minutes"] or new["held_out_mean_px"] <= old["held_out_mean_px"]:
        return
    for file, content in before.files.items():
        with atomic_path(folder / file) as temporary:
            temporary.write_bytes(content)
    raise ModelError(
        f"Network {name}: the shorter training ({new['minutes']:.1f} min) ends at {new['held_out_mean_px']:.2f} px on "
        f"{len(new['held_out_names'])} held-out pictures, the network that is there ({old['minutes']:.1f} min) at "
        f"{old['held_out_mean_px']:.2f} px. It is kept. Train longer, or say --replace to take the worse one."
    )


def _tell_use(project: Project, name: str, progress: Progress) -> None:
    """A note where other networks come before a new one."""
    try:
        unused = [view for view in views_of(project, name) if project.network_of(view) != name]
    except ProjectError as error:
        progress.note(str(error))
        return
    if unused:
        progress.note(
            f"Network {name} does not serve {', '.join(unused)}: networks of fewer views come first. Take their "
            "folders out of models, or say shared under [training] in multipose.toml."
        )


def _write_evaluation(folder: Path, name: str, result: TrainingResult, pictures: PoseDataset) -> None:
    """The figures of a new network on the pictures held out, as a page and as a file."""
    page = evaluation_page(
        result.held_out,
        pictures_of(pictures, result.held_out),
        pictures.skeleton,
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
