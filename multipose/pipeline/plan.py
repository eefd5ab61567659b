"""What a project can make, in the order in which it is made, and what of it is up to date.

Each function describes one product: what it depends on and, where something is not there yet, what to do about it.
Nothing here does the work, so that `multipose status` is quick.
"""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import platformdirs

from multipose.board import Board, board_from_dict
from multipose.config import split_axes, split_scale
from multipose.documents import MOST_TABLE, check_document, read_toml
from multipose.errors import DataError, FormatError, ProjectError
from multipose.files import content_hash, hash_value
from multipose.pipeline.provenance import Hashes, Judgement, Product, judge
from multipose.progress import Progress
from multipose.project import SHARED_MODEL, Project, Recording
from multipose.text import read_rows

# A change of what a stage computes from the same inputs raises its number; products of the older one are stale then.
VERSIONS = {
    "calibrate": 2,
    "train": 3,
    "predict": 5,
    "reconstruct": 4,
    "smooth": 2,
    "view": 2,
    "view rig": 1,
    "view corners": 1,
    "kinematics": 3,
}

HELD_OUT_FILE = "held_out.npz"
"""Beside a network: its points on labelled pictures that it did not learn from."""
_CLOCK = 2  # version of how tables of key points and timestamps are matched; networks' points need not be made anew

_WEIGHTS = ("weights.safetensors", "weights.new.safetensors")  # as in `pose2d.model`, which takes seconds to import


def plan(project: Project) -> list[Product]:
    """Every product of the project, inputs before what is made from them."""
    several = len(project.views) > 1
    rigs = [calibration_product(project, session) for session in project.sessions] if several else []
    products = [] if measured_recordings(project) else rigs
    if project.recordings or project.labels_path.exists():
        products += [model_product(project, name) for name in project.model_names if _is_needed(project, name)]
    products += [keypoints_product(project, recording) for recording in project.recordings]
    if measured_recordings(project):  # key points say where the rig's world lies or how large it is
        products += rigs
    if several:
        products += [trajectories_product(project, recording) for recording in project.recordings]
        measured = project.config.kinematics
        wanted = project.config.smoothing.enabled or (measured.declared and measured.smoothed)
        products += [  # one that is there must not grow old unnoticed
            smooth_product(project, recording)
            for recording in project.recordings
            if wanted or project.smooth_path(recording.name).exists()
        ]
        products += [player_product(project, recording) for recording in project.recordings]
        if measured.declared:
            products += [kinematics_product(project, recording) for recording in project.recordings]
    pages = [page for session in project.sessions for page in session_pages(project, session).values()]
    return products + [page for page in pages if page.path.exists()]  # made on request, and not to grow old unnoticed


def describe(project: Project, stage: str, subject: str) -> Product:
    """One product anew: what a stage makes for a session, a network or a recording."""
    if stage == "calibrate":
        return calibration_product(project, subject)
    if stage == "train":
        return model_product(project, subject)
    if stage in ("view rig", "view corners"):
        return session_pages(project, subject)[stage]
    of_recording = {
        "predict": keypoints_product,
        "reconstruct": trajectories_product,
        "smooth": smooth_product,
        "view": player_product,
        "kinematics": kinematics_product,
    }
    return of_recording[stage](project, project.recording(subject))


def judge_all(project: Project, products: Iterable[Product], hashes: Hashes) -> list[Judgement]:
    """Judge products in order; what is made from a product that is not up to date is not up to date either."""
    judged: dict[Path, Judgement] = {}
    for product in products:
        judged[product.path] = judge(product, hashes, judged)
        if (
            product.stage == "train"
        ):  # the network's folder is an input through two files, and its state is model.toml's
            judged[product.path.with_name(_WEIGHTS[0])] = judged[product.path]
    hashes.save()
    return [judgement for path, judgement in judged.items() if path == judgement.product.path]


def tell_stale(project: Project, stage: str, recording: Recording, hashes: Hashes, progress: Progress) -> None:
    """A note where a recording's product of a stage is used, but is not up to date."""
    judgement = judge(describe(project, stage, recording.name), hashes, {})
    if not judgement.settled and judgement.product.path.exists():
        progress.note(
            f"{project.relative(judgement.product.path)} is {judgement.state} ({'; '.join(judgement.reasons)}). It is "
            "used as it is; `multipose run` makes it anew."
        )


def open_hashes(project: Project, *, read_only: bool = False) -> Hashes:
    """The project's memory of content hashes; with `read_only` what is learnt is kept in the user's cache folder."""
    kept = project.folder / ".multipose" / "hashes.json"
    if not read_only:
        return Hashes(kept)
    return Hashes(Path(platformdirs.user_cache_dir("multipose", appauthor=False)) / "hashes.json", kept)


def calibration_product(project: Project, session: str) -> Product:
    """The rig of a calibration session, from the board's pictures."""
    sources = project.board_sources(session)
    lacking = []
    try:
        project_board(project)
    except ProjectError as error:
        lacking.append(str(error))
    missing = [view for view in project.views if view not in sources]
    if missing:
        folder = project.session_folder(session)
        lacking.append(
            f"Calibration session {session!r} has no pictures of the board in view {', '.join(missing)}. "
            f"Put a video into {folder}/<view>.mp4 or pictures into {folder}/<view>/."
        )
    settings = project.config.calibration
    lacking += [
        f"multipose.toml, [calibration.views.{named}]: there is no session {named!r}; there are "
        f"{', '.join(project.sessions)}."
        for named in sorted(set(settings.views) - {*project.sessions, *settings.side_sessions})
    ]
    lacking += [
        f"multipose.toml, [calibration.offsets.{named}]: there is no session {named!r}; there are "
        f"{', '.join(project.sessions)}."
        for named in sorted(set(settings.offsets) - {*project.sessions, *settings.side_sessions})
    ]
    pictures = {f"the board's pictures of {view}": spec for view, spec in sources.items()}
    for side in sorted(settings.side_sessions - {session}):
        pictures |= {f"the pictures of {side} in {view}": spec for view, spec in project.board_sources(side).items()}
    known = [f"the board's pictures of {view}" for view in project.views]
    known += [f"the pictures of {side} in {view}" for side in settings.side_sessions for view in project.views]
    measured = {}
    for recording in measured_recordings(project):
        measured[f"the key points of {recording}"] = project.keypoints_path(project.recording(recording).name)
        if not measured[f"the key points of {recording}"].exists():
            lacking.append(
                f"Recording {recording!r}, in which the world is to be measured, has no 2D key points. Make them with "
                "`multipose predict`."
            )
    return Product(
        stage="calibrate",
        version=VERSIONS["calibrate"],
        subject=session,
        path=project.rig_path(session),
        inputs={name: Path(spec) for name, spec in pictures.items() if not _globs(spec)} | measured,
        facts=dict(_pattern(name, spec) for name, spec in pictures.items() if _globs(spec)),
        parameters={
            "board": project.config.board.to_dict() if project.config.board else None,
            "lens": settings.lens,
            "max_boards": settings.max_boards,
            "bent_board": settings.bent_board,
            "origin": settings.origin,
            "up": settings.up,
            "axes": settings.axes,
            "scale": settings.scale,
            "intrinsics": settings.intrinsics,
            **({"offsets": dict(settings.offsets[session])} if settings.offsets.get(session) else {}),
            **_view_parameters(project, project.views, session),
            **{
                f"{side}: {name}": value
                for side in sorted(settings.side_sessions - {session})
                for name, value in _view_parameters(project, project.views, side).items()
                if side in settings.views
            },
        },
        sources=tuple(known),
        lacking=tuple(lacking),
    )


def session_pages(project: Project, session: str) -> dict[str, Product]:
    """The pages of a calibration session that `multipose view` makes, by stage."""
    folder = project.session_folder(session)
    sources = {
        "view rig": ("rig.html", "the rig", project.rig_path(session)),
        "view corners": ("corners.html", "the corners", folder / "corners.npz"),
    }
    return {
        stage: Product(
            stage=stage,
            version=VERSIONS[stage],
            subject=session,
            path=folder / name,
            inputs={what: source},
            lacking=()
            if source.is_file()
            else (f"There is no {source}. Make it with `multipose calibrate {session}`.",),
        )
        for stage, (name, what, source) in sources.items()
    }


def measured_recordings(project: Project) -> dict[str, tuple[str, ...]]:
    """Recordings whose key points say where the world lies or how large it is, with the names of these."""
    settings = project.config.calibration
    found: dict[str, tuple[str, ...]] = {}
    if settings.axes:
        recording, axes = split_axes(settings.axes)
        found[recording] = axes
    if settings.scale:
        recording, ends, _ = split_scale(settings.scale)
        found[recording] = (*found.get(recording, ()), *ends)
    return found


def project_board(project: Project) -> Board:
    """The board of a project.

    Raises:
        ProjectError: the configuration describes none, or one that cannot be.
    """
    if project.config.board is None:
        raise ProjectError("multipose.toml has no section [board], which describes the calibration board.")
    try:
        return board_from_dict(project.config.board.to_dict())
    except DataError as error:
        raise ProjectError(f"multipose.toml, [board]: {error}") from None


def model_product(project: Project, name: str) -> Product:
    """A network: of one view, or one that views share.

    Raises:
        ProjectError: there is no such network.
    """
    views = views_of(project, name)
    rows = label_rows(project.labels_path, views)
    lacking = []
    if not rows:
        lacking.append(
            f"There are no labels of view {' or '.join(map(repr, views))} in {project.labels_path}. "
            "Choose frames with `multipose label extract`, or bring labels with `multipose label import`."
        )
    spoken = {row["view"] for row in rows}
    views = tuple(view for view in views if view in spoken) or views  # one that came later has no labels yet
    settings = project.config.training
    labelled = sorted({(row["recording"], row["view"]) for row in rows})
    inputs = {
        f"the pictures of {recording}/{view}": _label_pictures(project, recording, view) for recording, view in labelled
    }
    facts = {f"the labels of {view}": hash_rows(rows, view) for view in views}
    if settings.labelled_again is not None:
        again = project.path(settings.labelled_again)
        if not again.exists():
            lacking.append(f"multipose.toml, [training]: labelled_again names {again}, which does not exist.")
        second = label_rows(again, views)
        facts |= {f"the second labels of {view}": hash_rows(second, view) for view in views if second}
    return Product(
        stage="train",
        version=VERSIONS["train"],
        subject=name,
        path=project.folder / "models" / name / "model.toml",
        inputs=inputs,
        facts=facts,
        parameters={
            "keypoints": list(project.config.skeleton.keypoints),
            "pairs": [list(pair) for pair in project.config.skeleton.pairs],
            "backbone": settings.backbone,
            "budget": {"minutes": settings.minutes},
            "seed": settings.seed,
            **_view_parameters(project, views),
        },
        sources=tuple(inputs),
        lacking=tuple(lacking),
        damage=_damage_of_weights(project.folder / "models" / name),
    )


def views_of(project: Project, name: str) -> tuple[str, ...]:
    """The views that a network serves.

    Raises:
        ProjectError: there is no such network.
    """
    if not is_network(project, name):
        raise ProjectError(
            f"There can be no network {name!r}; it is named after a view ({', '.join(project.views)}), after several "
            f"in this order with commas between them, or {SHARED_MODEL}."
        )
    return project.views if name == SHARED_MODEL else tuple(name.split(","))


def is_network(project: Project, name: str) -> bool:
    """Whether a network of the project, trained or not, can have this name."""
    views = name.split(",")
    return name == SHARED_MODEL or (set(views) <= set(project.views) and project.network_name(views) == name)


def keypoints_product(project: Project, recording: Recording) -> Product:
    """2D key points of a recording: of the networks, or brought from another program."""
    inputs: dict[str, Path] = {}
    facts: dict[str, str] = {}
    lacking = []
    for view in project.views:
        if view in recording.keypoints:
            inputs[f"the key points of {view}"] = project.path(recording.keypoints[view])
        elif view in recording.videos:
            spec = str(project.path(recording.videos[view]))
            if _globs(spec):
                facts.update([_pattern(f"the pictures of {view}", spec)])
            else:
                inputs[f"the video of {view}"] = Path(spec)
            folder = project.model_folder(view)
            inputs[f"the network {folder.name}"] = folder / "model.toml"  # it states the hash of the weights
            if not (folder / "model.toml").exists():
                lacking.append(f"There is no network for view {view!r} in {folder}. Train it with `multipose train`.")
        if view in recording.timestamps:
            inputs[f"the timestamps of {view}"] = project.path(recording.timestamps[view])
    for name, path in inputs.items():
        if not name.startswith("the network ") and not path.exists():
            lacking.append(
                f"Recording {recording.name!r}: {path} ({name}) does not exist. Correct the path in recordings.csv."
            )
    return Product(
        stage="predict",
        version=VERSIONS["predict"],
        subject=recording.name,
        path=project.keypoints_path(recording.name),
        inputs=inputs,
        facts=facts,
        parameters={
            "offsets": dict(recording.offsets),
            **({"time_unit": recording.time_unit} if recording.time_unit else {}),
            **({"clock": _CLOCK} if recording.keypoints or recording.timestamps else {}),
            "thorough": project.config.prediction.thorough,
            "mirror": project.config.prediction.mirror,
            "runtime": project.config.prediction.runtime,
            "follow": project.config.prediction.follow,
            "keypoints": list(project.config.skeleton.keypoints),
            **_view_parameters(project, recording.videos),
        },
        sources=tuple(name for name in inputs if not name.startswith("the network ")),
        lacking=tuple(dict.fromkeys(lacking)),
        damage=_damage_of_netcdf(project.keypoints_path(recording.name)),
    )


def trajectories_product(project: Project, recording: Recording) -> Product:
    """3D trajectories of a recording."""
    inputs = {"the 2D key points": project.keypoints_path(recording.name)}
    lacking = []
    if len(project.views) == 1:
        lacking.append(f"3D takes two views or more, and the project has one, {project.views[0]}.")
    try:
        inputs["the rig"] = project.rig_path(project.session_of(recording))
        if not inputs["the rig"].exists():
            lacking.append(f"There is no {inputs['the rig']}. Make it with `multipose calibrate`.")
        else:
            lacking += _lacking_cameras(inputs["the rig"], {*recording.videos, *recording.keypoints})
    except ProjectError as error:
        lacking.append(str(error))
    if not inputs["the 2D key points"].exists():
        command = f"multipose reconstruct {recording.name}" if recording.is_brought else "multipose predict"
        lacking.append(
            f"Recording {recording.name!r} has no 2D key points. Make them with `{command}`"
            f"{_broken_link(project.keypoints_path(recording.name))}."
        )
    held_out = held_out_files(project, recording)
    inputs |= {f"the held-out points of {path.parent.name}": path for path in held_out.values()}
    if held_out and len(project.sessions) > 1:  # labels of other recordings speak about the networks' errors too
        inputs |= {f"the rig of {session}": path for session, path in _labelled_rigs(project, recording).items()}
    return Product(
        stage="reconstruct",
        version=VERSIONS["reconstruct"],
        subject=recording.name,
        path=project.trajectories_path(recording.name),
        inputs=inputs,
        parameters={**dataclasses.asdict(project.config.reconstruction), "remove_offsets": False},
        lacking=tuple(lacking),
        damage=_damage_of_netcdf(project.trajectories_path(recording.name)),
    )


def _lacking_cameras(rig: Path, views: Iterable[str]) -> list[str]:
    """What to say where a rig, calibrated elsewhere perhaps, has no cameras of some views; of a damaged one nothing."""
    try:
        tables = [table for table in read_toml(rig).values() if isinstance(table, dict)]
    except FormatError:
        return []
    cameras = [str(table["name"]) for table in tables if "name" in table and "matrix" in table]
    missing = sorted(set(views) - set(cameras))
    if not missing or not cameras:
        return []
    return [
        f"{rig} has the cameras {', '.join(cameras)}, and none for view {', '.join(missing)}. Name the cameras "
        "there as the views in multipose.toml."
    ]


def held_out_files(project: Project, recording: Recording) -> dict[str, Path]:
    """For each view that a trained network serves the file of its points on pictures that it did not learn from."""
    found = {}
    for view in recording.videos:
        if view not in recording.keypoints:
            path = project.model_folder(view) / HELD_OUT_FILE
            if path.exists() or path.is_symlink():
                found[view] = path
    return found


def _labelled_rigs(project: Project, recording: Recording) -> dict[str, Path]:
    """The calibrated rigs of labelled recordings' sessions, but for the one of this recording."""
    labelled = {row["recording"] for row in label_rows(project.labels_path, project.views)}
    sessions = {row.calibration for row in project.recordings if row.name in labelled} - {None, recording.calibration}
    rigs = {session: project.rig_path(session) for session in sorted(sessions) if session in project.sessions}
    return {session: path for session, path in rigs.items() if path.exists()}


def smooth_product(project: Project, recording: Recording) -> Product:
    """Smoothed 3D trajectories of a recording."""
    inputs, lacking = _trajectories_and_rig(project, recording)
    return Product(
        stage="smooth",
        version=VERSIONS["smooth"],
        subject=recording.name,
        path=project.smooth_path(recording.name),
        inputs={"the 2D key points": project.keypoints_path(recording.name), **inputs},
        parameters={
            **dataclasses.asdict(project.config.smoothing),
            "edges": [list(edge) for edge in project.config.skeleton.edges],
        },
        lacking=lacking,
    )


def player_product(project: Project, recording: Recording) -> Product:
    """The page with the 3D player of a recording."""
    inputs, lacking = _trajectories_and_rig(project, recording)
    return Product(
        stage="view",
        version=VERSIONS["view"],
        subject=recording.name,
        path=project.player_path(recording.name),
        inputs=inputs,
        parameters={"edges": [list(edge) for edge in project.config.skeleton.edges]},
        lacking=lacking,
    )


def _trajectories_and_rig(project: Project, recording: Recording) -> tuple[dict[str, Path], tuple[str, ...]]:
    """What is made from the trajectories of a recording needs, and what of it is lacking."""
    inputs = {"the trajectories": project.trajectories_path(recording.name)}
    lacking = []
    if not inputs["the trajectories"].exists():
        lacking.append(
            f"Recording {recording.name!r} has no trajectories. Make them with `multipose reconstruct`"
            f"{_broken_link(project.trajectories_path(recording.name))}."
        )
    try:
        inputs["the rig"] = project.rig_path(project.session_of(recording))
    except ProjectError as error:
        lacking.append(str(error))
    return inputs, tuple(lacking)


def kinematics_product(project: Project, recording: Recording) -> Product:
    """What is measured on the trajectories of a recording."""
    settings = project.config.kinematics
    path = project.trajectories_path(recording.name)
    command = "multipose reconstruct"
    if settings.smoothed:
        path, command = project.smooth_path(recording.name), "multipose reconstruct --smooth"
    inputs, lacking = {"the trajectories": path}, []
    if not path.exists():
        lacking.append(f"Recording {recording.name!r} has no {path.name}. Make it with `{command}`.")
    if not settings.declared:
        lacking.append("multipose.toml declares nothing to measure. Say it in [kinematics.angles] and its like.")
    try:
        session = project.session_of(recording)
        inputs["the rig"] = project.rig_path(session)
        if project.covariance_path(session).exists():
            inputs["the rig's covariance"] = project.covariance_path(session)
    except ProjectError as error:
        lacking.append(str(error))
    return Product(
        stage="kinematics",
        version=VERSIONS["kinematics"],
        subject=recording.name,
        path=project.kinematics_path(recording.name),
        inputs=inputs,
        parameters=settings.to_dict(),
        lacking=tuple(lacking),
    )


def _broken_link(path: Path) -> str:
    """What to say of a path that leads nowhere although something is there."""
    return f", once {path} is gone, a link that leads nowhere" if path.is_symlink() and not path.exists() else ""


def _damage_of_weights(folder: Path) -> str:
    """Why a trained network cannot be used, "" if it can or there is none: its weights are not those that it states."""
    model, weights, newer = (folder / name for name in ("model.toml", *_WEIGHTS))
    if not model.is_file():
        return ""
    try:
        stated = read_toml(model).get("weights_sha256")
    except FormatError:
        return f"{model.name} is damaged"
    if any(place.is_file() and content_hash(place) == stated for place in (weights, newer)):
        return ""
    return f"{weights.name} is {'damaged' if weights.is_file() else 'gone'}"


def _damage_of_netcdf(path: Path) -> str:
    """Why a file of tracks cannot be used, "" if it can be opened or is not there."""
    from multipose.hdf5 import open_hdf5

    if not path.is_file():
        return ""
    try:
        with open_hdf5(path):
            pass
    except FormatError:
        return f"{path.name} is {'damaged' if path.stat().st_size else 'empty'}"
    return ""


def label_rows(path: Path, views: Iterable[str]) -> list[dict[str, str]]:
    """Rows of labels.csv of the given views that say something, without who and when; none where there is no file.

    Raises:
        FormatError: the file has no columns `recording` and `view`.
    """
    if not path.exists():
        return []
    check_document(path, MOST_TABLE)
    wanted = set(views)
    columns = read_rows(path).columns()
    if not {"recording", "view"} <= set(columns):
        raise FormatError(f"{path} has no columns 'recording' and 'view'; its columns are {', '.join(columns)}.")
    told = [key for key in columns if key not in ("who", "when")]
    rows = (dict(zip(told, cells, strict=True)) for cells in zip(*(columns[key] for key in told), strict=True))
    return [row for row in rows if row["view"] in wanted and row.get("state") != "unlabelled"]


def hash_rows(rows: Iterable[dict[str, str]], view: str) -> str:
    """Hash of one view's labels, whatever their order."""
    return hash_value(sorted(sorted(row.items()) for row in rows if row["view"] == view))


def _is_needed(project: Project, name: str) -> bool:
    """False for the network of a view whose key points all come from elsewhere and that has no labels."""
    views = views_of(project, name)
    by_network = any(
        view in recording.videos and view not in recording.keypoints
        for recording in project.recordings
        for view in views
    )
    return by_network or bool(label_rows(project.labels_path, views))


def _label_pictures(project: Project, recording: str, view: str) -> Path:
    """Where the pictures of labels come from: the recording's video, else the pictures that came with the labels."""
    for row in project.recordings:
        if row.name == recording and view in row.videos and not _globs(row.videos[view]):
            return project.path(row.videos[view])
    return project.frames_folder / recording / view


def _view_parameters(project: Project, views: Iterable[str], session: str = "") -> dict[str, Any]:
    return {f"view.{view}": dataclasses.asdict(project.config.view_settings(view, session)) for view in views}


def _globs(spec: str) -> bool:
    return any(sign in spec for sign in "*?[") and not Path(spec).exists()


def _pattern(name: str, spec: str) -> tuple[str, str]:
    """A pattern of pictures as a fact: the names, sizes and times of the files it stands for."""
    files = [(Path(item), Path(item).stat()) for item in sorted(glob.glob(spec))]
    return f"{name} ({spec})", hash_value([[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in files])
