"""A network that knows one animal gets a few pictures of another: what it learns, and what it forgets.

python benchmarks/refinement.py [--folder FOLDER] [--minutes 3]

Prints one JSON object; networks that are in FOLDER already are used again. Takes about 14 CPU minutes.

Both animals are rendered (480 x 360 px, 15 key points). The second has another coat, is seen three quarters as large,
and walks in another arena under another lamp. Hidden points are labelled as such, without a position. Every network is
judged on 100 pictures of another walk of each animal, mean distance in px. The old network learns 95 pictures of the
first animal, the reference 100 of the second; the old one is then refined with 11 of these 100, drawn at random.
`closed` is the share of the gap between old network and reference, on the second animal, that refinement closes; `lost`
is by what share the error on the first animal grew. Budgets are CPU minutes of one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from multipose.geometry import pose
from multipose.pose2d import PoseDataset, PoseModel, evaluate, train
from multipose.synthetic import (
    SKELETON,
    Light,
    Moment,
    Scene,
    Shape,
    arena,
    prepare,
    render,
    sample_rig,
    visibility,
    walk,
)

JUDGED = 100
OLD, NEW, ADDED = 95, 100, 11
FPS, STRIDE = 30.0, 4  # every fourth frame of a walk is rendered
LABEL_NOISE_PX = 0.5
TRAINED_MINUTES = 4.0
OTHER_FUR = {
    "head": "dappled", "hood": "dappled", "belt_front": "pale", "belt_back": "pale", "rump": "dappled", "shin": "pale",
    "tail_dark": "tail_pale",
}  # fmt: skip
OTHER_ARENA = {"floor": "wood", "rim": "brick", "table": "floor"}


@dataclass(frozen=True)
class Setting:
    """An animal, where it walks, and from how far it is seen."""

    name: str
    scene: Scene
    distance: float
    fur: dict[str, str]
    light: Light


def settings() -> tuple[Setting, Setting]:
    """The first animal's, as in the sample project, and the second's."""
    bare = arena(half_size=150.0, clutter=False)
    shapes = [replace(shape, coat=OTHER_ARENA[shape.coat]) for shape in bare.shapes]
    for coat, half, x, y in (("ringed", 14.0, -60.0, 40.0), ("checked", 10.0, 70.0, -50.0), ("rim", 12.0, 50.0, 80.0)):
        place = pose(np.eye(3), np.array([x, y, half]))
        shapes.append(Shape("cylinder", coat, (half, 0.0, half), place))
    obstacles = ((-60.0, 40.0, 14.0), (70.0, -50.0, 10.0), (50.0, 80.0, 12.0))
    other = Scene(tuple(shapes), lamp_direction=(-0.6, 0.3, 1.0), obstacles=obstacles)
    return (
        Setting("first", arena(), 322.0, {}, Light()),
        Setting("second", other, 430.0, OTHER_FUR, Light().dimmed(0.8, 0.9)),
    )


def film(setting: Setting, count: int, seed: int) -> PoseDataset:
    """Labelled pictures of a walk."""
    camera = sample_rig(3, distance=setting.distance).cameras[0]
    animal = walk(count * STRIDE, seed, fps=FPS, obstacles=setting.scene.obstacles)
    stage, random = prepare(setting.scene, camera), np.random.default_rng((seed, 1))
    times = animal.times[::STRIDE]
    state = visibility(setting.scene, camera, animal, times)
    points = camera.project(animal.keypoints_at(times))
    xy = np.where((state == "visible")[..., None], points + random.normal(0.0, LABEL_NOISE_PX, points.shape), np.nan)
    pictures = [
        render(stage, Moment(animal, float(time), light=setting.light, recoated=setting.fur), seed=1000 * seed + i)
        for i, time in enumerate(times)
    ]
    names = tuple(f"{setting.name}/{seed}/{i}" for i in range(count))
    return PoseDataset(tuple(pictures), xy, state, SKELETON, (setting.name,) * count, names)


def trained(folder: Path, make: Callable[[Path], object]) -> PoseModel:
    """The network of a folder, trained now unless it is there."""
    if not (folder / "model.toml").is_file():
        make(folder)
    return PoseModel.load(folder)


def main(folder: Path, minutes: float, draw: int) -> dict[str, object]:
    """Train what is not there yet, and judge all."""
    first, second = settings()
    old, new = film(first, OLD, seed=14), film(second, NEW, seed=21)
    judged = {"first": film(first, JUDGED, seed=9), "second": film(second, JUDGED, seed=33)}
    few = new.subset(np.sort(np.random.default_rng(draw).choice(NEW, ADDED, replace=False)))
    networks = {
        "old": trained(folder / "old", lambda place: train(old, place, cpu_minutes=TRAINED_MINUTES, threads=1)),
        "reference": trained(
            folder / "reference", lambda place: train(new, place, cpu_minutes=TRAINED_MINUTES, threads=1)
        ),
    }
    networks["refined"] = trained(
        folder / f"refined_{minutes:g}_{draw}",
        lambda place: train(old, place, cpu_minutes=minutes, threads=1, start=networks["old"], added=few),
    )
    error = {
        name: {animal: evaluate(network, pictures, threads=1).mean_px for animal, pictures in judged.items()}
        for name, network in networks.items()
    }
    gap = error["old"]["second"] - error["reference"]["second"]
    return {
        "mean_px": error,
        "closed": (error["old"]["second"] - error["refined"]["second"]) / gap,
        "lost": error["refined"]["first"] / error["old"]["first"] - 1,
        "minutes": minutes,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where networks are kept; by default nowhere")
    parser.add_argument("--minutes", type=float, default=3.0, help="CPU minutes of the refinement")
    parser.add_argument("--draw", type=int, default=0, help="seed of which 11 pictures are added")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(main(given.folder or Path(scratch), given.minutes, given.draw), indent=1))
