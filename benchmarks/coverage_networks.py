"""Whether 3D error bars hold on networks' errors, and what smoothing makes of these: the demo with known truth.

    python benchmarks/coverage_networks.py FOLDER [--labels 120 20] [--seeds 0 1 2] [--scenes sample other]
    python benchmarks/coverage_networks.py FOLDER --peer aniposelib=peers-aniposelib/bin/python

For every scene, number of labels and seed the whole chain is run in a project of its own in FOLDER (six minutes each
on two idle cores), unless it is there already; then day2, which no network has seen, is judged by its truth. The other
scene has another coat and arena, four cameras from farther away, and other walks; nothing was tuned on it. Regions are
those that trajectories state: the covariance times the key point's scale. Smoothed points are judged where the robust
ones are known; the points that only smoothing has are judged apart.

Printed: for every run the share of points within the 50 and 95 % regions, the median and the 95th percentile of the
errors in mm, robust and smoothed, and smoothed over robust; the same of the networks' 2D ellipses on the projected
truth; the mean squares of the 2D errors in units of the networks' covariances, split into the part that a displaced
point explains and the part that is left (1 = as the networks say); 95 % intervals of angles, distances and speeds. Then
by key point, pooled over the seeds.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from refinement import OTHER_FUR, settings
from scipy.stats import chi2
from smoothing import run_peer

from multipose.camera import CameraRig
from multipose.geometry import transform
from multipose.kinematics_config import KinematicsConfig
from multipose.pipeline.demo import JUDGED, copy_sample, run_chain
from multipose.progress import RichProgress
from multipose.project import Project
from multipose.synthetic import Light, arena
from multipose.tracks import load_tracks
from multipose.triangulate import compare_rigs, kinematics, position_errors, region_hits

FloatArray = NDArray[np.float64]

MEASURED = KinematicsConfig(
    angles={
        "back": ("neck", "spine", "tail_base"),
        "tail": ("tail_base", "tail_mid", "tail_tip"),
        "shoulder": ("nose", "neck", "paw_front_left"),
        "hip": ("spine", "tail_base", "paw_hind_right"),
    },
    distances={
        "body": ("nose", "tail_base"),
        "ears": ("ear_left", "ear_right"),
        "stance": ("paw_hind_left", "paw_hind_right"),
        "reach": ("neck", "paw_front_right"),
    },
    speeds={"nose": ("nose",), "body_speed": ("neck", "spine", "tail_base"), "paw": ("paw_front_left",)},
    smoothed=True,
)


def sample_generator() -> ModuleType:
    """sample_data/generate.py, which is no part of the package."""
    path = Path(__file__).resolve().parents[1] / "sample_data" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def write_other(folder: Path) -> None:
    """A project like the sample's, of another scene."""
    generate = sample_generator()
    _, second = settings()
    generate.write_project(
        folder,
        generate.Production(
            name="other",
            views=("north", "east", "south", "west"),
            distance=420.0,
            rig_seed=5,
            scene=second.scene,
            board_scene=arena(clutter=False),
            light=Light().dimmed(0.9, 1.0),
            fur=OTHER_FUR,
            takes={"day1": generate.Take(300, 21, (0.8, 0.9)), "day2": generate.Take(200, 33, (0.9, 0.75))},
        ),
    )


def run(folder: Path, scene: str, labels: int, seed: int, minutes: float | None) -> Project:
    """The finished project of a run."""
    if scene == "sample":
        project = copy_sample(folder)
    else:
        if not (folder / "multipose.toml").exists():
            write_other(folder)
        project = Project.open(folder)
    if not project.player_path(JUDGED).exists():
        options = {} if minutes is None else {"minutes": minutes}
        run_chain(project, labels=labels, seed=seed, progress=RichProgress(), **options)
    return project


def judge(project: Project) -> tuple[dict[str, float], pd.DataFrame]:
    """The figures of a run, and those of its key points."""
    truth = project.folder / "truth"
    rig = CameraRig.load(project.rig_path(project.session_of(project.recording(JUDGED))))
    true = load_tracks(truth / f"{JUDGED}_trajectories3d.nc")
    to_truth = compare_rigs(rig, CameraRig.load(truth / "rig.toml")).true_from_estimated
    keypoints = load_tracks(project.keypoints_path(JUDGED))
    figures: dict[str, float] = {}
    by_keypoint = pd.DataFrame(index=[str(name) for name in true["keypoint"].values])
    known = None
    for kind, path in (("robust", project.trajectories_path(JUDGED)), ("smoothed", project.smooth_path(JUDGED))):
        tracks = load_tracks(path)
        error = position_errors(tracks, true, to_truth).values
        hits = region_hits(tracks, true, to_truth).values
        known = np.isfinite(error) if known is None else known
        figures |= {f"{kind} {100 * level:.0f} %": 100 * float(np.nanmean(hit[known])) for level, hit in
                    zip((0.5, 0.95), hits, strict=True)}  # fmt: skip
        figures |= {f"{kind} median": float(np.nanmedian(error[known])),
                    f"{kind} p95": float(np.nanquantile(error[known], 0.95))}  # fmt: skip
        for level, hit in zip((50, 95), hits, strict=True):
            by_keypoint[f"{kind} {level} %"] = 100 * np.nanmean(np.where(known, hit, np.nan), axis=(0, 1))
        by_keypoint[f"{kind} median"] = np.nanmedian(np.where(known, error, np.nan), axis=(0, 1))
        if kind == "smoothed":
            filled = error[~known & np.isfinite(error)]
            figures |= {"filled points": len(filled), "filled median": float(np.median(filled)) if len(filled) else 0.0}
            figures |= judge_quantities(tracks, true)
    for name in ("median", "p95"):
        figures[f"{name} ratio"] = figures[f"smoothed {name}"] / figures[f"robust {name}"]
    by_keypoint["median ratio"] = by_keypoint["smoothed median"] / by_keypoint["robust median"]
    figures["worst key point ratio"] = float(by_keypoint["median ratio"].max())
    return figures | judge_2d(keypoints, rig, transform(np.linalg.inv(to_truth), true["position"].values)), by_keypoint


def judge_quantities(tracks: xr.Dataset, true: xr.Dataset) -> dict[str, float]:
    """Shares of the 95 % intervals of angles, distances and speeds that hold the truth, in %."""
    measured, wanted = kinematics(tracks, MEASURED), kinematics(true.drop_vars("covariance").assign(
        covariance=xr.zeros_like(tracks["covariance"].transpose(*true["covariance"].dims))), MEASURED)  # fmt: skip
    held: dict[str, list[FloatArray]] = {"angle": [], "distance": [], "speed": []}
    for name, values in measured.data_vars.items():
        if "quantity" in values.attrs:
            off = np.abs(values.values - wanted[name].values)
            reach = values.attrs["interval_95"] * measured[f"{name}_sd"].values
            known = np.isfinite(off) & np.isfinite(reach)
            held[values.attrs["quantity"]].append(off[known] <= reach[known])
    return {f"{kind}s 95 %": 100 * float(np.concatenate(part).mean()) for kind, part in held.items()}


def judge_2d(keypoints: xr.Dataset, rig: CameraRig, truth: FloatArray) -> dict[str, float]:
    """The networks' covariances: what their ellipses hold, and how large the two parts of the whitened errors are.

    truth: (time, individual, keypoint, 3) in the rig's world.
    """
    views = [str(name) for name in keypoints["view"].values]
    rig = rig.subset(views)
    truth = truth[:, 0]
    px, covariance = keypoints["position"].values[:, :, 0], keypoints["covariance"].values[:, :, 0]
    sure = (
        (keypoints["confidence"].values[:, :, 0] > 0.85)
        & np.isfinite(px).all(-1)
        & np.isfinite(covariance).all((-1, -2))
    )
    error = px - rig.project(truth)
    whiten = np.linalg.inv(np.linalg.cholesky(np.where(sure[..., None, None], covariance, np.eye(2))))
    white = (whiten @ np.nan_to_num(error)[..., None])[..., 0]
    squares = (white**2).sum(-1)[sure]
    every = sure.all(0)
    steps = np.eye(3) * 0.01
    slope = np.stack([(rig.project(truth + step) - rig.project(truth - step)) / 0.02 for step in steps], axis=-1)
    slope = whiten @ np.nan_to_num(slope)
    rows = np.moveaxis(white, 0, 2)[every].reshape(int(every.sum()), -1)
    basis, _ = np.linalg.qr(np.moveaxis(slope, 0, 2)[every].reshape(len(rows), -1, 3))
    displaced = (np.einsum("nia,ni->na", basis, rows) ** 2).sum(-1)
    left = (rows**2).sum(-1) - displaced
    return {
        "2D 50 %": 100 * float((squares <= chi2(2).ppf(0.5)).mean()),
        "2D 95 %": 100 * float((squares <= chi2(2).ppf(0.95)).mean()),
        "displaced": float(displaced.mean() / 3),
        "residual": float(left.mean() / (rows.shape[1] - 3)),
    }


def judge_peer(project: Project, name: str, python: str) -> dict[str, float]:
    """Median and 95th percentile of a peer's errors (mm) on the same key points, where the robust points are known."""
    truth = project.folder / "truth"
    keypoints = load_tracks(project.keypoints_path(JUDGED))
    views = [str(view) for view in keypoints["view"].values]
    rig = CameraRig.load(project.rig_path(project.session_of(project.recording(JUDGED)))).subset(views)
    px = keypoints["position"].values[:, :, 0].copy()
    px[keypoints["confidence"].values[:, :, 0] < project.config.reconstruction.min_confidence] = np.nan
    names = [str(one) for one in keypoints["keypoint"].values]
    limbs = [(names.index(a), names.index(b)) for a, b in project.config.skeleton.edges]
    settings = ("triangulate", "ransac", "default", "anipose", "second")
    answers = {key: found for key, (found, _) in run_peer(python, rig, px, limbs, *settings).items()}
    robust = load_tracks(project.trajectories_path(JUDGED))
    true = load_tracks(truth / f"{JUDGED}_trajectories3d.nc")
    to_truth = compare_rigs(rig, CameraRig.load(truth / "rig.toml")).true_from_estimated
    known = np.isfinite(robust["position"].values).all(-1)[:, 0]
    figures: dict[str, float] = {}
    for setting, position in answers.items():
        error = np.linalg.norm(transform(to_truth, position) - true["position"].values[:, 0], axis=-1)[known]
        error = error[np.isfinite(error)]
        figures |= {f"{name} {setting} median": float(np.median(error)),
                    f"{name} {setting} p95": float(np.quantile(error, 0.95))}  # fmt: skip
    return figures


def main() -> None:
    """Run what is not there yet, judge all, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[120, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", nargs="+", choices=("sample", "other"), default=["sample", "other"])
    parser.add_argument("--minutes", type=float, help="of training for each view, instead of the demo's")
    parser.add_argument("--peer", help="NAME=PYTHON of aniposelib 0.8")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    pooled: dict[str, list[pd.DataFrame]] = {}
    for scene in arguments.scenes:
        for labels in arguments.labels:
            for seed in arguments.seeds:
                name = f"{scene}_{labels}_{seed}"
                project = run(arguments.folder / name, scene, labels, seed, arguments.minutes)
                rows[name], by_keypoint = judge(project)
                if arguments.peer:
                    rows[name] |= judge_peer(project, *arguments.peer.split("=", 1))
                pooled.setdefault(f"{scene}, {labels} labels", []).append(by_keypoint)
    table = pd.DataFrame(rows)
    for group in pooled:
        scene, labels = group.removesuffix(" labels").split(", ")
        table[f"mean {group}"] = table[[name for name in rows if name.startswith(f"{scene}_{labels}_")]].mean(axis=1)
    with pd.option_context("display.width", 250, "display.max_columns", None, "display.precision", 2):
        print(table)
        for group, parts in pooled.items():
            print(f"\n{group}: key points, mean of {len(parts)} seeds\n{sum(parts) / len(parts)}")


if __name__ == "__main__":
    main()
