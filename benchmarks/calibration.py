"""Rig calibration beside its peers, on a synthetic rig: six cameras around a volume, 264 boards, 0.5 px of noise.

    python benchmarks/calibration.py --peer mrcal=/usr/bin/python3 --peer opencv=peers/opencv/bin/python ...
    python benchmarks/calibration.py --hard
    python benchmarks/calibration.py --repeat

`--peer NAME=PYTHON` names a peer and the Python that it is installed for; benchmarks/README.md says how to install
them. Every program gets the same corners, and where it takes one the same start: cameras 3 degrees, 25 mm and 3 % of
the focal length off, without distortion. It runs in a process of its own with one thread. Printed per seed and
program are

- CPU seconds of the bundle adjustment (the smallest of up to 3 runs), of multipose with the covariance of all cameras;
- RMS in px: root of the mean of dx² + dy², the found rig held and the pose of every rigid board fitted to all views;
- mm: RMS error of 500 points in the working volume, triangulated from noiseless pictures, after rigid alignment.

OpenCV and `calibrate`, which does much else besides, start from nothing.

`--hard` moves 3 % of the corners by 20 to 100 px. `calibrate` gets boards of which one in ten is nearly parallel to a
picture and far off, so that its pose has two solutions; robust adjustment starts with one board in ten in its
mirrored pose. Printed is how much the error in the volume grows. `--repeat` calibrates the same corners 30 times, and
in 30 orders of the views, and compares the bits of all cameras.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from calibration_case import (
    BOARD,
    MIRRORED_SHARE,
    Case,
    board_rms,
    found_rig,
    make_case,
    rig_state,
    volume_error,
    with_gross_errors,
    write_case,
)

from multipose.calibration import calibrate
from multipose.calibration.adjustment import adjust_rig
from multipose.calibration.bundle import free_unknowns
from multipose.camera import CameraRig
from multipose.corners import Corners

OURS, WHOLE, REFERENCE = "multipose", "calibrate", "mrcal"
PROGRAMS = {
    OURS: ["run_multipose.py"],
    WHOLE: ["run_calibrate.py"],
    "mrcal": ["run_mrcal.py"],
    "aniposelib": ["run_aniposelib.py"],
    "aniposelib-pytorch": ["run_aniposelib_pytorch.py"],
    "opencv": ["run_opencv.py"],
    "pycolmap": ["run_pycolmap.py", "OPENCV"],
    "pycolmap-radial": ["run_pycolmap.py", "RADIAL"],
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
REPEATS = 30


@dataclass(frozen=True)
class Figures:
    """What one program reached on one case."""

    seconds: float
    rms_px: float
    error_mm: float


def measure(name: str, python: str, case: Case, folder: Path) -> Figures:
    """Run one program on the case."""
    write_case(case, folder / "case.npz")
    script, *arguments = PROGRAMS[name]
    command = [python, str(Path(__file__).parent / "peers" / script), "case.npz", "found.npz", *arguments]
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stderr}")
    with np.load(folder / "found.npz") as found:
        rig = found_rig(case, found["intrinsics"], found["camera_from_world"])
        return Figures(float(found["seconds"]), board_rms(rig, case), volume_error(rig, case.truth))


def compare(pythons: dict[str, str], seeds: int) -> None:
    """All programs on all seeds, and the ratios."""
    found: dict[str, list[Figures]] = {name: [] for name in pythons}
    print(f"{'seed':>4} {'corners':>8}  {'program':20}{'CPU s':>9}{'RMS px':>10}{'mm':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            case = make_case(seed)
            for name, python in pythons.items():
                figures = measure(name, python, case, Path(folder))
                found[name].append(figures)
                cells = f"{figures.seconds:9.3f}{figures.rms_px:10.5f}{figures.error_mm:9.5f}"
                print(f"{seed:4d} {int(case.corners.seen.sum()):8d}  {name:20}{cells}", flush=True)
    summarise(found)


def summarise(found: dict[str, list[Figures]]) -> None:
    """Minimum and median times, the errors over all seeds, and the ratios to the peers."""
    seconds = {name: np.array([one.seconds for one in figures]) for name, figures in found.items()}
    errors = {name: np.array([one.error_mm for one in figures]) for name, figures in found.items()}
    print(f"\n{'program':20}{'CPU s: min':>11}{'median':>9}{'max':>9}{'RMS px':>10}{'mm: RMS':>10}{'worst':>9}")
    for name, figures in found.items():
        times = f"{seconds[name].min():11.3f}{np.median(seconds[name]):9.3f}{seconds[name].max():9.3f}"
        rms = np.sqrt(np.mean([one.rms_px**2 for one in figures]))
        print(f"{name:20}{times}{rms:10.5f}{over_seeds(errors[name]):10.5f}{errors[name].max():9.5f}")
    print(f"load of the machine (1, 5, 15 minutes): {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    peers = [name for name in found if name not in (OURS, WHOLE)]
    if not peers:
        return
    best = min(peers, key=lambda name: over_seeds(errors[name]))
    by_seed = errors[OURS] / np.min([errors[name] for name in peers], axis=0)
    print(f"\nour error / that of the best peer ({best}), over all seeds (asked: at most 1.02): ", end="")
    print(f"{over_seeds(errors[OURS]) / over_seeds(errors[best]):.4f}")
    print(f"the same by seed, against the best of each: median {np.median(by_seed):.4f}, worst {by_seed.max():.4f}")
    for name in peers:
        ratio, least = (f(seconds[OURS]) / f(seconds[name]) for f in (np.median, np.min))
        worst = (seconds[OURS] / seconds[name]).max()
        asked = 1.0 if name == REFERENCE else 0.1
        figures = f"medians {ratio:.3f}, minima {least:.3f}, worst of a seed {worst:.3f}"
        print(f"our CPU seconds / those of {name} (asked: at most {asked}): {figures}")


def over_seeds(errors: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(errors**2)))


def hard(seeds: int) -> None:
    """How much gross corners and ambiguous poses cost."""
    print("error in the volume in mm, clean and hard; calibrate: some boards ambiguous; bundle: some start mirrored")
    print(f"{'seed':>4} {'gross':>6} {'left in':>8} {'calibrate':>18}{'growth':>9} {'bundle':>18}{'growth':>9}")
    whole, bundle = [], []
    for seed in range(seeds):
        gross, left_in, errors = hard_calibrate(seed)
        whole.append(errors)
        bundle.append(hard_bundle(seed))
        cells = " ".join(f"{a:9.5f}{b:9.5f}{b / a - 1:9.1%}" for a, b in (whole[-1], bundle[-1]))
        print(f"{seed:4d} {gross:6d} {left_in:8d} {cells}", flush=True)
    for name, errors in {WHOLE: np.array(whole), "robust adjustment": np.array(bundle)}.items():
        growth = errors[:, 1] / errors[:, 0] - 1
        total = over_seeds(errors[:, 1]) / over_seeds(errors[:, 0]) - 1
        by_seed = f"by seed median {np.median(growth):.1%}, worst {growth.max():.1%}"
        print(f"{name}: growth over all seeds {total:.1%} (asked: at most 20 %), {by_seed}")


def hard_calibrate(seed: int) -> tuple[int, int, tuple[float, float]]:
    """How many corners were gross, how many of these were not thrown out, and the errors without and with them."""
    case = make_case(seed, ambiguous=True)
    gross = with_gross_errors(case.corners, seed)
    clean, found = calibrate(case.corners, lens="brown"), calibrate(gross, lens="brown")
    moved = gross.seen & (gross.px != case.corners.px).any(-1)
    errors = volume_error(clean.rig, case.truth), volume_error(found.rig, case.truth)
    return int(moved.sum()), int((moved & ~found.rejected).sum()), errors


def hard_bundle(seed: int) -> tuple[float, float]:
    """Errors of the robust adjustment from a start that is off: without and with gross corners and boards that start in
    their mirrored pose.
    """
    case = make_case(seed)
    boards = case.start_boards.copy()
    chosen = np.random.default_rng((seed, 4)).permutation(len(boards))[: round(MIRRORED_SHARE * len(boards))]
    boards[chosen] = case.mirrored[chosen]
    clean = robust_bundle(case, case.corners, case.start_boards)
    found = robust_bundle(case, with_gross_errors(case.corners, seed), boards)
    return volume_error(clean, case.truth), volume_error(found, case.truth)


def robust_bundle(case: Case, corners: Corners, boards: np.ndarray) -> CameraRig:
    """The rig from the cameras' start and poses of the boards (frame, 4, 4) to start from."""
    state = rig_state(case.start, boards)
    found = adjust_rig(state, BOARD, corners.px, corners.seen, free_unknowns(state.lenses)).state
    return found_rig(case, np.stack([lens.params for lens in found.lenses]), found.camera_from_world)


def repeat() -> None:
    """Whether the same corners give the same bits."""
    corners = make_case(0).corners
    rng = np.random.default_rng(0)
    first = camera_bits(corners)
    for what, orders in {
        "again": [corners.views] * REPEATS,
        "in another order of views": [tuple(rng.permutation(corners.views)) for _ in range(REPEATS)],
    }.items():
        different = sum(camera_bits(corners.select(views=order)) != first for order in orders)
        print(f"{REPEATS} times {what}: {different} differ from the first in any bit of any camera", flush=True)


def camera_bits(corners: Corners) -> dict[str, bytes]:
    """All parameters of every camera, by its name."""
    rig = calibrate(corners, lens="brown").rig
    return {camera.name: camera.lens.params.tobytes() + camera.camera_from_world.tobytes() for camera in rig}


def named_python(text: str) -> tuple[str, str]:
    """NAME=PYTHON."""
    name, _, python = text.partition("=")
    if name not in PROGRAMS or name in (OURS, WHOLE) or not python:
        peers = ", ".join(name for name in PROGRAMS if name not in (OURS, WHOLE))
        raise argparse.ArgumentTypeError(f"expected NAME=PYTHON with a name of {peers}, got {text!r}")
    return name, str(Path(python).absolute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], type=named_python, metavar="NAME=PYTHON")
    parser.add_argument("--seeds", type=int, default=10)
    case = parser.add_mutually_exclusive_group()
    case.add_argument("--hard", action="store_true", help="gross corner errors and mirrored poses")
    case.add_argument("--repeat", action="store_true", help="the same bits again, in any order of the views")
    arguments = parser.parse_args()
    if arguments.hard:
        hard(arguments.seeds)
    elif arguments.repeat:
        repeat()
    else:
        compare({OURS: sys.executable, WHOLE: sys.executable, **dict(arguments.peer)}, arguments.seeds)


if __name__ == "__main__":
    main()
