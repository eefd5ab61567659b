"""Pose networks in the dark, and whether they know which points are in the picture.

    export OMP_NUM_THREADS=1
    python benchmarks/robustness.py --labels openfield/CollectedData_Pranav.csv --pairs leftear,rightear --only 0,3
    python benchmarks/robustness.py --views front,left,right --cpu-minutes 2.5

Networks learn from folds of labels in DeepLabCut's form, or from day 1 of the sample project, and are judged on the
other folds, or on the truth of every fourth frame of day 2. Nothing of what they learn from is dark. Dark pictures are
the judged ones with their grey values times 0.15, in which a white pixel in full light counts so many electrons: a
Poisson number of electrons a pixel, rounded to whole grey values. Windows are parts of the judged pictures, as large as
half and as 0.7 of their sides, about the animal or beside it: some of its points have left them.

Prints a line of JSON a network: errors in px by light, their ratios to those of the pictures as they are, and Brier
scores and expected calibration errors of the confidences. With --models networks are kept in a folder, and taken from
it in the next run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from accuracy import load, shorten

from multipose.pipeline.demo import copy_sample
from multipose.pipeline.plan import open_hashes
from multipose.pipeline.training_data import load_dataset
from multipose.pose2d import Evaluation, PoseDataset, PoseModel, choose_folds, evaluate, join_evaluations, train
from multipose.pose2d.dataset import Picture
from multipose.project import Project
from multipose.video import VideoFile

LIGHT = 0.15
ELECTRONS = (1000, 500, 200)
WINDOWS = (0.5, 0.7)  # of the picture's sides
EVERY = 4  # frame of day 2

Case = tuple[str, PoseDataset, PoseDataset]  # its name, what is learned from, what is judged


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as temporary:
        kept = arguments.models or Path(temporary)
        for name, learned, judged in cases(arguments, Path(temporary) / "sample"):
            folder = kept / name
            if not (folder / "model.toml").exists():
                train(learned, folder, cpu_minutes=arguments.cpu_minutes, threads=1, device="cpu")
            model = PoseModel.load(folder)
            print(json.dumps({"network": name} | judge(model, judged)), flush=True)


def cases(arguments: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """The networks to train, as asked for."""
    if arguments.labels:
        dataset = load(arguments.labels, arguments.pairs)
        for number, chosen in enumerate(choose_folds(dataset, 5, "random", 0)):
            if not arguments.only or number in arguments.only:
                learned = dataset.subset(np.setdiff1d(np.arange(len(dataset)), chosen))
                yield f"fold{number}", learned, dataset.subset(chosen)
    if arguments.views:
        project = copy_sample(folder)
        for view in arguments.views:
            learned = load_dataset(project, view, open_hashes(project))
            yield view, learned, second_day(project, view, learned)


def second_day(project: Project, view: str, learned: PoseDataset) -> PoseDataset:
    """Frames of day 2 with the truth, of hidden points too; those without a position have left the picture."""
    truth = xr.open_dataset(Path(project.folder) / "truth" / "day2_keypoints2d.nc").sel(view=view).isel(individual=0)
    frames = range(0, truth.sizes["time"], EVERY)
    xy = truth.position.values[frames]
    video = VideoFile(Path(project.folder) / "videos" / "day2" / f"{view}.mp4")
    pictures = tuple(picture for _, picture in video.read(frames))
    state = np.where(np.isfinite(xy).all(-1), "visible", "absent")
    names = tuple(f"frame {frame}" for frame in frames)
    return PoseDataset(pictures, xy, state, learned.skeleton, ("day2",) * len(names), names)


def judge(model: PoseModel, judged: PoseDataset) -> dict[str, object]:
    """Errors by light, and the quality of the confidences."""
    normal = evaluate(model, judged, threads=1, device="cpu")
    dark = {}
    for electrons in ELECTRONS:
        pictures = change(judged, lambda picture, random, count=electrons: darken(picture, count, random))
        found = evaluate(model, pictures, threads=1, device="cpu")
        dark[str(electrons)] = errors(found) | {"ratio": found.mean_px / normal.mean_px}
    left = [evaluate(model, windows(judged, share), threads=1, device="cpu") for share in WINDOWS]
    presence = {str(share): confidences(part) for share, part in zip(WINDOWS, left, strict=True)}
    presence["all"] = confidences(join_evaluations([normal, *left]))
    return shorten({"normal": errors(normal), "dark, electrons": dark, "windows": presence})


def errors(found: Evaluation) -> dict[str, float]:
    return {"mean_px": found.mean_px, "median_px": found.median_px, "confidence": float(found.confidence.mean())}


def confidences(found: Evaluation) -> dict[str, float]:
    share = found.brier / found.base_brier
    return {"brier": found.brier, "brier_of_base": share, "calibration_error": found.calibration_error}


def change(dataset: PoseDataset, how: Callable[[Picture, np.random.Generator], Picture]) -> PoseDataset:
    """The same labels on changed pictures."""
    pictures = (how(dataset.picture(item), np.random.default_rng((0, item))) for item in range(len(dataset)))
    return replace(dataset, pictures=tuple(pictures))


def darken(picture: Picture, electrons: int, random: np.random.Generator) -> Picture:
    """The picture by less light; a grey one has one noise for its three channels."""
    grey = bool((picture == picture[..., :1]).all())
    expected = (picture[..., :1] if grey else picture) * (LIGHT * electrons / 255)
    values = (random.poisson(expected) * (255 / electrons)).round().clip(0, 255).astype(np.uint8)
    return np.repeat(values, 3, axis=2) if grey else values


def windows(dataset: PoseDataset, share: float) -> PoseDataset:
    """A part of each picture, near the animal."""
    random = np.random.default_rng(0)
    pictures, points = [], []
    for item in range(len(dataset)):
        picture, xy = dataset.picture(item), dataset.xy[item]
        size = (np.array(picture.shape[1::-1]) * share).astype(int)
        corner = np.nanmean(xy, axis=0) - size * random.uniform(-0.2, 1.2, 2)
        x, y = corner.clip(0, np.array(picture.shape[1::-1]) - size).astype(int)
        pictures.append(np.ascontiguousarray(picture[y : y + size[1], x : x + size[0]]))
        inside = ((xy - (x, y) > -0.5) & (xy - (x, y) < size - 0.5)).all(-1)
        points.append(np.where(inside[:, None], xy - (x, y), np.nan))
    state = np.where(np.isfinite(points).all(-1), "visible", "absent")
    return replace(dataset, pictures=tuple(pictures), xy=np.array(points), state=state)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, help="in DeepLabCut's form")
    parser.add_argument("--pairs", type=lambda text: [tuple(text.split(","))], default=[], help="LEFT,RIGHT")
    parser.add_argument("--only", type=lambda text: [int(part) for part in text.split(",")], help="these of 5 folds")
    parser.add_argument("--views", type=lambda text: text.split(","), help="of the sample project")
    parser.add_argument("--cpu-minutes", type=float, default=3.0)
    parser.add_argument("--models", type=Path, help="folder of networks to keep and to take")
    return parser.parse_args()


if __name__ == "__main__":
    main()
