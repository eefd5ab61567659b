"""Speed and accuracy of triangulation beside its peers, on a synthetic rig, and the offsets of a real recording.

    python benchmarks/triangulation.py --peer opencv=peers/opencv/bin/python ...      # 6 cameras, known truth
    python benchmarks/triangulation.py --points 1000000 --threads 2                   # and how two threads gain
    python benchmarks/triangulation.py mouse_four_views      # folder of that recording set: offsets, before and after

`--peer NAME=PYTHON` names a peer and the Python that it is installed for; benchmarks/README.md says how to install
them. Every program gets the same points (20 parts of a moving body, six views, 0.5 px of noise, 5 % missing, 3 % off by
50 to 200 px) and runs in a process of its own with one thread. Printed are points per CPU second (the smallest time of
up to 3 runs after a first one), the error in mm over all points and over the contaminated ones, the share of points
without an answer, and the memory beyond inputs and outputs. Slow ways are timed on their first points alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from triangulation_case import SIZE, Case, make_case

from multipose.board import CharucoBoard
from multipose.calibration import calibrate, detect_board
from multipose.formats.sleap import read_keypoints
from multipose.triangulate import estimate_offsets, reconstruct, remove_offsets, triangulate

OURS = "multipose"
PROGRAMS = {
    OURS: "triangulate_multipose.py",
    "opencv": "triangulate_opencv.py",
    "pycolmap": "triangulate_pycolmap.py",
    "aniposelib": "triangulate_aniposelib.py",
    "aniposelib-pytorch": "triangulate_aniposelib.py",
}
PLAIN, ROBUST = ("linear", "refined", "triangulate", "triangulate_fast", "one_pair"), "robust"


def compare(pythons: dict[str, str], n: int) -> None:
    """All programs on the same points, and the ratios of their speed."""
    case = make_case(n)
    speeds: dict[str, float] = {}
    print(f"{n} points, {int(case.contaminated.sum())} of them contaminated")
    print(f"{'':44}{'points per':>12}{'all points, mm':>18}{'contaminated, mm':>18}{'without':>10}{'memory':>9}")
    print(f"{'':44}{'CPU second':>12}{'median':>9}{'95 %':>9}{'median':>9}{'95 %':>9}{'answer':>10}{'MB':>9}")
    for program, python in pythons.items():
        for way, (position, seconds, memory) in run(program, python, case).items():
            count = len(position)
            off = np.linalg.norm(position - case.xyz[:count], axis=1)
            hit = case.contaminated[:count]
            figures = [np.nanquantile(part, share) for part in (off, off[hit]) for share in (0.5, 0.95)]
            speeds[f"{program} {way}"] = count / seconds
            row = "".join(f"{figure:9.3f}" for figure in figures)
            lost = 100 * np.isnan(off).mean()
            print(f"{program + ' ' + way:44}{count / seconds:12.3g}{row}{lost:9.2f}%{memory:9.0f}", flush=True)
    print(f"load of the machine (1, 5, 15 minutes): {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    for name, speed in speeds.items():
        if name.split()[0] != OURS:
            own = f"{OURS} linear" if name.split()[1] in PLAIN else f"{OURS} {ROBUST}"
            print(f"points per CPU second, {own} / {name}: {speeds[own] / speed:.3g}")


def run(program: str, python: str, case: Case) -> dict[str, tuple[np.ndarray, float, float]]:
    """Of every way of a program: positions of the first points, CPU seconds, memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(
            Path(folder) / "case.npz",
            px=case.px,
            size=np.array(SIZE),
            intrinsics=np.array(
                [[*camera.lens.packed()[1:5], *camera.lens.packed()[5:10]] for camera in case.rig.cameras]
            ),
            camera_from_world=np.array([camera.camera_from_world for camera in case.rig.cameras]),
        )
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [python, str(Path(__file__).parent / "peers" / PROGRAMS[program]), "case.npz", "found.npz"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{program} ended with {done.returncode}:\n{done.stderr}")
        with np.load(Path(folder) / "found.npz") as found:
            ways = [name.removesuffix("_seconds") for name in found.files if name.endswith("_seconds")]
            return {
                way: (found[f"{way}_position"], float(found[f"{way}_seconds"]), float(found[f"{way}_memory"]))
                for way in ways
            }


def measure_threads(n: int, threads: int) -> None:
    """Wall time of one and of several threads; it says something on an idle machine only."""
    case = make_case(n)
    for name, options in {"linear": {"refine": False}, "robust": {"max_error_px": 3.0}}.items():
        walls = []
        for count in (1, threads):
            times = []
            for _ in range(4):
                began = time.perf_counter()
                triangulate(case.px, case.rig, threads=count, **options)
                times.append(time.perf_counter() - began)
            walls.append(min(times))
        print(f"{name}: {threads} threads take {walls[1]:.3f} s, one {walls[0]:.3f} s: {walls[0] / walls[1]:.2f} times")


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


def named_python(text: str) -> tuple[str, str]:
    """NAME=PYTHON."""
    name, _, python = text.partition("=")
    if name not in PROGRAMS or name == OURS or not python:
        peers = ", ".join(peer for peer in PROGRAMS if peer != OURS)
        raise argparse.ArgumentTypeError(f"expected NAME=PYTHON with a name of {peers}, got {text!r}")
    return name, python


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of mouse_four_views")
    parser.add_argument("--peer", action="append", default=[], type=named_python, metavar="NAME=PYTHON")
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--threads", type=int, help="how much so many threads gain")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        measure_mouse(arguments.folder)
    elif arguments.threads is not None:
        measure_threads(arguments.points, arguments.threads)
    else:
        compare({OURS: sys.executable, **dict(arguments.peer)}, arguments.points)


if __name__ == "__main__":
    main()
