"""Whether the standard deviations of distances, angles and speeds hold, with the calibration's error and without it.

python benchmarks/kinematics.py                            # 200 calibrated synthetic rigs, known truth
python benchmarks/kinematics.py --mouse mouse_four_views   # folder of that recording set: leave-one-out errors
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from multipose.board import CharucoBoard
from multipose.calibration import Calibration, calibrate, detect_board
from multipose.camera import CameraRig
from multipose.formats.sleap import read_keypoints
from multipose.kinematics_config import KinematicsConfig
from multipose.synthetic import board_corners, board_poses, observe, sample_rig
from multipose.triangulate import diagnose, estimate_offsets, kinematics, reconstruct, remove_offsets
from multipose.triangulate.reconstruction import observations
from multipose.triangulate.rig_covariance import pixel_derivatives

BOARD = CharucoBoard(columns=7, rows=5, square=20.0, marker=15.0)
CORNER_NOISE_PX = 0.3
GROSS_PX = 40.0  # key points that people have proofread hold no gross errors, only lasting ones: all below is believed
SMALLEST_PX = 0.3
NAMES = [f"p{i}" for i in range(12)]
QUANTITIES = KinematicsConfig(
    distances={f"d{i}": (NAMES[i], NAMES[i + 1]) for i in range(0, 12, 2)},
    angles={f"a{i}": (NAMES[i], NAMES[i + 1], NAMES[i + 2]) for i in range(0, 9, 3)},
    speeds={f"v{i}": (NAMES[i],) for i in range(3)},
)


def film(seed: int, boards: int) -> Calibration:
    """A rig of three cameras, calibrated from a few noisy boards."""
    rig = sample_rig(3, seed=seed)
    poses = board_poses(rig, BOARD, boards, seed=seed, steps=1)
    return calibrate(board_corners(rig, BOARD, poses, noise=CORNER_NOISE_PX, seed=seed), lens="k1")


def judge_rig(seed: int, boards: int, noise: float) -> dict[str, np.ndarray]:
    """By quantity and way of reckoning the shares of values within 95 % intervals."""
    calibration = film(seed, boards)
    truth = sample_rig(3, seed=seed)
    rng = np.random.default_rng([seed, 7])
    start = rng.uniform([-60, -60, 0], [60, 60, 60], (12, 3))
    xyz = start + np.arange(20)[:, None, None] * rng.normal(0, 2.0, (12, 3))
    tracks = reconstruct(observe(truth, xyz, noise=noise, seed=seed, keypoints=NAMES), calibration.rig)
    with_share = kinematics(tracks, QUANTITIES, calibration.rig_covariance)
    without = kinematics(tracks, QUANTITIES)
    exact = exact_values(tracks, xyz)
    held = {}
    for kind in ("distance", "angle", "speed"):
        names = [name for name in QUANTITIES.quantities if with_share[name].attrs["quantity"] == kind]
        off = np.stack([with_share[name].values[:, 0] - exact[name].values[:, 0] for name in names])
        for way, found in (("with", with_share), ("without", without)):
            sd = np.stack([found[f"{name}_sd"].values[:, 0] for name in names])
            known = np.isfinite(off) & np.isfinite(sd)
            held[f"{kind} {way}"] = np.array([(np.abs(off) < 1.959964 * sd)[known].sum(), known.sum()])
    return held


def exact_values(tracks: xr.Dataset, xyz: np.ndarray) -> xr.Dataset:
    """The quantities of the true points (time, keypoint, 3)."""
    return kinematics(tracks.assign(position=(tracks["position"].dims, xyz[:, None])), QUANTITIES)


def measure_coverage(rigs: int, boards: int, noise: float) -> None:
    """95 % intervals over many rigs."""
    start = time.process_time()
    total: dict[str, list[np.ndarray]] = {}
    for seed in range(rigs):
        for name, counts in judge_rig(seed, boards, noise).items():
            total.setdefault(name, []).append(counts)
    print(
        f"{rigs} rigs of 3 cameras, each calibrated from {boards} boards with {CORNER_NOISE_PX} px of noise; "
        f"points with {noise} px; {time.process_time() - start:.0f} s of CPU time"
    )
    print(f"{'':12}{'within the 95 % interval, calibration':>44}\n{'':12}{'carried on':>22}{'taken as exact':>22}")
    for kind in ("distance", "angle", "speed"):
        cells = ""
        for way in ("with", "without"):
            counts = np.array(total[f"{kind} {way}"])
            share = counts[:, 0].sum() / counts[:, 1].sum()
            scatter = (counts[:, 0] / counts[:, 1]).std(ddof=1) / np.sqrt(len(counts))
            cells += f"{f'{100 * share:.1f} ± {100 * scatter:.1f} %':>22}"
        print(f"{kind:12}{cells}")


def with_noise(keypoints: xr.Dataset, variance: np.ndarray) -> xr.Dataset:
    """The key points with the covariance variance[view, keypoint] * I (px²)."""
    cells = np.broadcast_to(variance[:, None, None, :, None, None] * np.eye(2), (*keypoints["position"].shape, 2))
    return keypoints.assign(covariance=(keypoints["covariance"].dims, cells.copy()))


def learn_noise(keypoints: xr.Dataset, rig: CameraRig, rounds: int = 25) -> np.ndarray:
    """(view, keypoint) variance per coordinate (px²) from how far the views disagree.

    By expectation maximisation: the expected square of a point's noise is its squared residual plus what the error of
    the 3D point makes of it in the picture.
    """
    seen = observations(keypoints, rig, 0.0)
    n_keypoints = keypoints.sizes["keypoint"]
    variance = np.ones((len(rig), n_keypoints))
    for _ in range(rounds):
        tracks = reconstruct(with_noise(keypoints, variance), rig, min_confidence=0.0, max_error_px=GROSS_PX)
        xyz, spread = (
            tracks[name].values.reshape(-1, *[3] * power) for name, power in (("position", 1), ("covariance", 2))
        )
        believed = tracks["inlier"].values.reshape(len(rig), -1)
        for view, camera in enumerate(rig):
            by_point, _ = pixel_derivatives(camera, xyz)
            square = ((seen.px[view] - camera.project(xyz)) ** 2).sum(-1)
            square = square + np.einsum("nai,nij,naj->n", by_point, spread, by_point)
            square[~believed[view]] = np.nan
            for keypoint in range(n_keypoints):
                own = square[keypoint::n_keypoints]
                if np.isfinite(own).sum() >= 10:
                    variance[view, keypoint] = max(np.nanmean(own) / 2, SMALLEST_PX**2)
    return variance


def judge_mouse(folder: Path) -> dict[str, pd.DataFrame]:
    """Each view against the others on a real mouse: offsets from the first half of the frames, judged on the second.

    The file states no covariances, so that the noise is learned from the disagreement of the views: as `reconstruct`
    does it, or a figure for each view and key point, from the half that is judged or from the first.
    """
    views = ("back", "mid", "side", "top")
    board = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
    calibration = calibrate(detect_board({view: folder / view / "board" for view in views}, board))
    keypoints = read_keypoints({view: folder / view / "keypoints.analysis.h5" for view in views})
    half = keypoints.sizes["time"] // 2
    offsets = estimate_offsets(keypoints.isel(time=slice(half)), calibration.rig, min_confidence=0.0)
    labelled = keypoints.isel(time=slice(half, None))
    first, second = (remove_offsets(keypoints, offsets).isel(time=part) for part in (slice(half), slice(half, None)))
    ahead, own = (learn_noise(found, calibration.rig) for found in (first, second))
    cases = {
        "as labelled, noise as reconstruct learns it": (labelled, None),
        "offsets taken off, noise as reconstruct learns it": (second, None),
        "offsets taken off, noise of view and key point from the first half": (with_noise(second, ahead), GROSS_PX),
        "offsets taken off, noise of view and key point from the same half": (with_noise(second, own), GROSS_PX),
    }
    tables = {}
    for name, (found, gate) in cases.items():
        tracks = reconstruct(found, calibration.rig, min_confidence=0.0, max_error_px=gate)
        result = diagnose(found, tracks, calibration.rig, calibration=calibration.rig_covariance)
        tables[name] = result.views.loc[list(views)]
    return tables


def measure_mouse(folder: Path) -> None:
    """Print the tables of `judge_mouse`."""
    for name, table in judge_mouse(folder).items():
        print(f"{name}\n{table.to_string(float_format='%.3g')}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mouse", type=Path, metavar="DIR", help="folder of mouse_four_views")
    parser.add_argument("--rigs", type=int, default=200)
    parser.add_argument("--boards", type=int, default=10)
    parser.add_argument("--noise", type=float, default=0.1, help="of the points, px")
    arguments = parser.parse_args()
    if arguments.mouse is not None:
        measure_mouse(arguments.mouse)
    else:
        measure_coverage(arguments.rigs, arguments.boards, arguments.noise)


if __name__ == "__main__":
    main()
