"""Speed and accuracy of triangulation on a synthetic rig, and the offsets of a real recording.

python benchmarks/triangulation.py                       # 6 cameras, known truth
python benchmarks/triangulation.py mouse_four_views      # folder of that recording set: offsets, before and after
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from multipose.board import CharucoBoard
from multipose.calibration import calibrate, detect_board
from multipose.camera import Camera, CameraRig
from multipose.formats.sleap import read_keypoints
from multipose.geometry import look_at
from multipose.lens import BrownLens
from multipose.triangulate import estimate_offsets, reconstruct, remove_offsets, triangulate

SIZE = (1280, 1024)


def make_rig(n_views: int = 6, distance: float = 750.0, seed: int = 0) -> CameraRig:
    """Cameras on a ring around the origin at two heights, 1300 px of focal length, with distortion; unit mm."""
    rng = np.random.default_rng(seed)
    cameras = []
    for i in range(n_views):
        azimuth, height = 2 * np.pi * i / n_views, np.deg2rad([15, 40][i % 2])
        center = distance * np.array(
            [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
        )
        focal, k1, k2 = 1300 + rng.normal(0, 25), -0.15 + rng.normal(0, 0.02), 0.06 + rng.normal(0, 0.01)
        lens = BrownLens(focal, focal, 639.5, 511.5, (k1, k2, 0.0, 0.0, 0.0))
        cameras.append(Camera(f"cam_{i}", SIZE, lens, look_at(center, rng.normal(0, 5, 3), (0, 0, 1))))
    return CameraRig(tuple(cameras), unit="mm")


def measure_synthetic(n: int) -> None:
    """0.5 px noise, 5 % missing, 3 % gross errors of 50 to 200 px."""
    rig = make_rig()
    rng = np.random.default_rng(1)
    xyz = rng.uniform(-100, 100, (n, 3))
    px = rig.project(xyz) + rng.normal(0, 0.5, (len(rig), n, 2))
    gross = rng.random(px.shape[:2]) < 0.03
    angle = rng.uniform(0, 2 * np.pi, gross.shape)
    px += (gross * rng.uniform(50, 200, gross.shape))[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    missing = rng.random(gross.shape) < 0.05
    px[missing] = np.nan
    hit = (gross & ~missing).any(0)
    start = time.process_time()
    triangulate(px[:, :1], rig)
    print(f"{n} points in {len(rig)} views; first call {time.process_time() - start:.1f} s of CPU time")
    print(f"{'':10}{'points per':>12}{'all points, mm':>24}{'contaminated, mm':>24}{'without':>10}")
    print(f"{'':10}{'CPU second':>12}{'median':>12}{'95 %':>12}{'median':>12}{'95 %':>12}{'answer':>10}")
    for name, options in {
        "linear": {"refine": False},
        "refined": {},
        "robust": {"max_error_px": 3.0},
    }.items():
        start = time.process_time()
        found = triangulate(px, rig, threads=1, **options)
        seconds = time.process_time() - start
        off = np.linalg.norm(found.position - xyz, axis=1)
        figures = [np.nanquantile(part, q) for part in (off, off[hit]) for q in (0.5, 0.95)]
        row = "".join(f"{figure:12.3f}" for figure in figures)
        print(f"{name:10}{n / seconds:12.3g}{row}{100 * np.isnan(off).mean():9.2f}%")


def measure_mouse(folder: Path) -> None:
    """Offsets estimated on the first half of the frames, judged on the second."""
    views = ("back", "mid", "side", "top")
    board = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
    rig = calibrate(detect_board({view: folder / view / "board" for view in views}, board)).rig
    keypoints = read_keypoints({view: folder / view / "keypoints.analysis.h5" for view in views})
    half = keypoints.sizes["time"] // 2
    first, second = keypoints.isel(time=slice(half)), keypoints.isel(time=slice(half, None))
    offsets = estimate_offsets(first, rig, min_confidence=0.0)
    print(f"offset in px (standard deviation), first {half} frames\n{'':16}" + "".join(f"{view:>24}" for view in views))
    for keypoint in offsets["keypoint"].values:
        cells = ""
        for view in views:
            (x, y), (sd_x, sd_y) = (offsets[name].sel(view=view, keypoint=keypoint).values for name in ("offset", "sd"))
            cells += f"{f'{x:.1f} ({sd_x:.1f}) {y:.1f} ({sd_y:.1f})':>24}"
        print(f"{keypoint:16}{cells}")
    print("median over the points of the mean reprojection distance, other frames, px")
    for method in ("linear", "robust"):
        tracks = [
            reconstruct(points, rig, method=method, min_confidence=0.0)
            for points in (second, remove_offsets(second, offsets))
        ]
        before, after = (float(one["reprojection_error"].median()) for one in tracks)
        known = 100 * float(tracks[1]["position"].notnull().all("space").mean())
        print(f"{method:10}before {before:.2f}, after {after:.2f} ({known:.1f} % of the points)")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of mouse_four_views")
    parser.add_argument("--points", type=int, default=200_000)
    arguments = parser.parse_args()
    if arguments.folder is None:
        measure_synthetic(arguments.points)
    else:
        measure_mouse(arguments.folder)


if __name__ == "__main__":
    main()
