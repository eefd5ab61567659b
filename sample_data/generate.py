"""Render the sample project: a rig of three cameras, a filmed board and two recordings of an animal, with the truth.

    python sample_data/generate.py [FOLDER]

Writes into the folder of this file, or into FOLDER. The same code gives the same files on one machine; it takes a few
minutes. The views are rendered side by side, on all cores.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import CharucoBoard
from multipose.camera import Camera, CameraRig
from multipose.config import BoardConfig, template
from multipose.files import write_text
from multipose.labels import Labels, labels_from_points
from multipose.project import Recording, format_manifest
from multipose.synthetic import (
    KEYPOINTS,
    SKELETON,
    Light,
    Moment,
    Scene,
    Walk,
    arena,
    board_poses,
    prepare,
    render,
    sample_rig,
    visibility,
    walk,
    write_frame_number,
)
from multipose.synthetic.rendering import ABSENT, VISIBLE
from multipose.tracks import keypoints2d, save_tracks, trajectories3d
from multipose.video import write_video

Picture: TypeAlias = NDArray[np.uint8]
Clip: TypeAlias = tuple[Path, Iterator[Picture], float]  # where it goes, its frames, their quality

FPS = 30.0
SESSION = "board"
BOARD = CharucoBoard(columns=8, rows=6, square=20.0, marker=15.0, unit="mm", dictionary="4X4_50")
BOARD_FRAMES = 80
LABEL_NOISE_PX = 0.5
CRF = {"board": 17, "day": 18}
# Of multipose.toml: the animal turns every way, and hidden paws are better left out than guessed.
SETTINGS = {"# mirror = false": "mirror = true ", "# min_confidence = 0.3": "min_confidence = 0.85"}


@dataclass(frozen=True)
class Take:
    """A recording of the animal: frames, seed of the movement, how bright the lamp is at the start and at the end."""

    frames: int
    seed: int
    lamp: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Production:
    """What is filmed, and how.

    views: names of the cameras; distance: their mean distance to the middle, mm; rig_seed: of their differences.
    scene: where the animal walks; board_scene: where the board is filmed.
    light: of the brightest moment; fur: coats of the animal that are exchanged for others.
    takes: the recordings, by name; labelled: how many frames of the first are labelled, in all views.
    """

    name: str
    views: tuple[str, ...]
    distance: float
    scene: Scene
    board_scene: Scene
    takes: Mapping[str, Take]
    labelled: int = 120
    rig_seed: int = 0
    light: Light = field(default_factory=Light)
    fur: Mapping[str, str] = field(default_factory=dict)

    @property
    def rig(self) -> CameraRig:
        """The cameras."""
        return sample_rig(len(self.views), seed=self.rig_seed, names=self.views, distance=self.distance)

    def animal(self, take: str) -> Walk:
        """The animal's movement in a recording."""
        return walk(self.takes[take].frames, self.takes[take].seed, fps=FPS, obstacles=self.scene.obstacles)


SAMPLE = Production(
    name="sample",
    views=("front", "left", "right"),
    distance=322.0,  # the animal fills about a quarter of a picture's width and now and then leaves it
    scene=arena(),
    board_scene=arena(clutter=False),
    takes={"day1": Take(300, 14, (1.05, 0.9)), "day2": Take(200, 9, (0.85, 0.95))},
)


def write_project(folder: Path, production: Production = SAMPLE) -> None:
    """Write the whole project."""
    rig, scene = production.rig, production.scene
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    rig.save(folder / "truth" / "rig.toml")
    write_settings(folder, production)
    clips = board_clips(folder, production)
    for number, take in enumerate(production.takes):
        animal = production.animal(take)
        states = np.stack([visibility(scene, camera, animal, animal.times) for camera in rig])
        write_truth(folder, take, rig, animal, states)
        for view, camera in enumerate(rig):
            frames = film(production, camera, take, seed=1000 * (10 * number + view + 1))
            clips.append((folder / "videos" / take / f"{camera.name}.mp4", frames, CRF["day"]))
        if number == 0:
            write_labels(folder, rig, take, animal, states, production.labelled)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda clip: write_clip(*clip), clips))
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {total / 1e6:.2f} MB")


def write_settings(folder: Path, production: Production) -> None:
    """multipose.toml and recordings.csv."""
    board = BoardConfig(
        type="charuco", columns=BOARD.columns, rows=BOARD.rows, square=BOARD.square, marker=BOARD.marker,
        dictionary=BOARD.dictionary, unit=BOARD.unit,
    )  # fmt: skip
    text = template(production.name, production.views, SKELETON, board)
    for default, chosen in SETTINGS.items():
        assert default in text, default
        text = text.replace(default, chosen)
    write_text(folder / "multipose.toml", text)
    recordings = [
        Recording(take, {view: f"videos/{take}/{view}.mp4" for view in production.views}, calibration=SESSION)
        for take in production.takes
    ]
    write_text(folder / "recordings.csv", format_manifest(recordings, production.views))


def board_clips(folder: Path, production: Production) -> list[Clip]:
    """The board's videos: it moves through the empty arena and rests while a picture is taken."""
    rig, scene = production.rig, production.board_scene
    poses = board_poses(rig, BOARD, BOARD_FRAMES, seed=3)

    def film_board(camera: Camera, seed: int) -> Iterator[Picture]:
        stage = prepare(scene, camera, samples=3)
        for i in range(BOARD_FRAMES):
            moment = Moment(board=BOARD, board_poses=poses[i : i + 1])
            yield write_frame_number(render(stage, moment, seed=seed + i), i)

    return [
        (folder / "calibration" / SESSION / f"{camera.name}.mp4", film_board(camera, view * BOARD_FRAMES), CRF["board"])
        for view, camera in enumerate(rig)
    ]


def film(production: Production, camera: Camera, take: str, seed: int) -> Iterator[Picture]:
    """The pictures of one view of a recording."""
    stage, animal = prepare(production.scene, camera), production.animal(take)
    first, last = production.takes[take].lamp
    for i, time in enumerate(animal.times):
        light = production.light.dimmed(first + (last - first) * i / animal.n_frames)
        moment = Moment(animal, float(time), light=light, recoated=production.fur)
        yield write_frame_number(render(stage, moment, seed=seed + i), i)


def write_clip(path: Path, frames: Iterator[Picture], crf: float) -> None:
    """One video, the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, FPS, crf=crf, preset="veryslow", threads=1, reproducible=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


def write_truth(folder: Path, name: str, rig: CameraRig, animal: Walk, states: NDArray[np.str_]) -> None:
    """Where the key points are in space and in the pictures; a confidence of 0 means hidden or outside."""
    points = animal.points
    position = np.where((states == ABSENT)[..., None], np.nan, rig.project(points))
    seen = (states == VISIBLE).astype(float)
    tracks = {
        "trajectories3d": trajectories3d(points[:, None], keypoints=KEYPOINTS, fps=FPS, unit=rig.unit),
        "keypoints2d": keypoints2d(
            position[:, :, None], seen[:, :, None], views=rig.names, keypoints=KEYPOINTS, fps=FPS
        ),
    }
    for kind, dataset in tracks.items():
        save_tracks(dataset, folder / "truth" / f"{name}_{kind}.nc")


def write_labels(folder: Path, rig: CameraRig, take: str, animal: Walk, states: NDArray[np.str_], count: int) -> None:
    """Labels of the same frames in all views, as a careful person would click them."""
    rng = np.random.default_rng(7)
    frames = np.sort(rng.choice(animal.n_frames, count, replace=False))
    tables = []
    for view, camera in enumerate(rig):
        state = states[view, frames]
        clicked = camera.project(animal.points[frames]) + rng.normal(0.0, LABEL_NOISE_PX, (count, len(KEYPOINTS), 2))
        inside = ((clicked >= -0.5) & (clicked <= np.array(camera.size) - 0.5)).all(-1)
        state = np.where(inside, state, ABSENT)
        clicked = np.where((state == ABSENT)[..., None], np.nan, clicked)
        tables.append(
            labels_from_points(take, camera.name, frames, clicked.round(3), KEYPOINTS, state=state, who="truth")
        )
    labels = reduce(Labels.merge, tables)
    labels.save(folder / "labels" / "labels.csv")


if __name__ == "__main__":
    write_project(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
