"""Smoothing on synthetic rigs with known truth: speed, accuracy beside peers, error bars, movements, streams.

    python benchmarks/smoothing.py                            # speed, accuracy, windows, a stream
    python benchmarks/smoothing.py --coverage 8               # how often error bars hold, over so many seeds
    python benchmarks/smoothing.py --realistic --peer aniposelib=peers/aniposelib/bin/python ...
    python benchmarks/smoothing.py mouse_four_views           # folder of that recording set: lengths of body segments

The cases are those of benchmarks/triangulation_case.py. `--realistic` adds what real key points have: errors that last
(first-order autocorrelation 0.8), 3 px of constant offset of each key point, sides exchanged in two of six views for
30 frames, one view lost for 100 frames. The offset is in one view, or in all of them; of an offset in all views, what
one shift of the 3D point explains cannot be known by anybody. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.signal import lfilter
from scipy.stats import chi2
from triangulation_case import FPS, SIZE, make_rig, move_body, observe

from multipose.board import CharucoBoard
from multipose.calibration import calibrate, detect_board
from multipose.camera import Camera, CameraRig
from multipose.formats.sleap import read_keypoints
from multipose.geometry import look_at
from multipose.lens import BrownLens
from multipose.tracks import keypoints2d
from multipose.triangulate import OnlineSmoother, estimate_offsets, reconstruct, remove_offsets, smooth

PEERS = ("aniposelib-pytorch", "aniposelib")
N_FRAMES = 1000


def dataset(rig: CameraRig, px: np.ndarray, covariance: np.ndarray | None = None) -> xr.Dataset:
    """Pixels (view, frame, keypoint, 2) as key points of one animal."""
    spread = None if covariance is None else covariance[:, :, None]
    return keypoints2d(px[:, :, None], covariance=spread, views=rig.names, fps=FPS)


def names(limbs: list[tuple[int, int]]) -> list[tuple[str, str]]:
    """Limbs by the names that `dataset` gives."""
    return [(f"keypoint_{a}", f"keypoint_{b}") for a, b in limbs]


def errors(tracks: xr.Dataset, xyz: np.ndarray) -> np.ndarray:
    """(frame, keypoint) distances from the truth in mm."""
    return np.linalg.norm(tracks["position"].values[:, 0] - xyz, axis=-1)


def coverage(tracks: xr.Dataset, xyz: np.ndarray, where: np.ndarray) -> list[float]:
    """Shares of the true points within the 50 and 95 % ellipsoids."""
    off = (tracks["position"].values[:, 0] - xyz)[where]
    distance2 = (off * np.linalg.solve(tracks["covariance"].values[:, 0][where], off[..., None])[..., 0]).sum(-1)
    return [float((distance2 < chi2.ppf(share, 3)).mean()) for share in (0.5, 0.95)]


def correlate(shape: tuple[int, ...], correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Normal numbers of variance 1, autocorrelated along axis 1."""
    white = rng.normal(0, np.sqrt(1 - correlation**2), (shape[0], shape[1] + 200, *shape[2:]))
    return lfilter([1], [1, -correlation], white, axis=1)[:, 200:]


def measure_speed() -> None:
    """20 parts, 0.5 px of noise, 5 % missing, 3 % gross errors; a tenfold length; windows; a stream."""
    rig = make_rig()
    xyz, limbs = move_body(10 * N_FRAMES)
    px = observe(rig, xyz.reshape(-1, 3))[0].reshape(len(rig), len(xyz), -1, 2)
    keypoints = dataset(rig, px)
    tracks = reconstruct(keypoints, rig, threads=1)
    print(f"{'':34}{'CPU s':>8}{'median':>10}{'95 %':>10} mm{'50 %':>10}{'95 %':>8} ellipsoids hold")
    seconds = {}
    for label, n, chosen in (
        ("1000 frames, without limbs", N_FRAMES, []),
        ("1000 frames, limbs", N_FRAMES, names(limbs)),
        ("10000 frames, limbs", 10 * N_FRAMES, names(limbs)),
    ):
        part, some = tracks.isel(time=slice(n)), keypoints.isel(time=slice(n))
        smooth(part.isel(time=slice(50)), some.isel(time=slice(50)), rig, limbs=chosen, threads=1)  # compiles
        times = []
        for _ in range(3 if n == N_FRAMES else 1):
            start = time.process_time()
            smoothed = smooth(part, some, rig, limbs=chosen, threads=1)
            times.append(time.process_time() - start)
        off, held = errors(smoothed, xyz[:n]), coverage(smoothed, xyz[:n], np.ones(xyz[:n].shape[:2], bool))
        seconds[label] = min(times)
        figures = f"{np.median(off):10.3f}{np.quantile(off, 0.95):10.3f}{100 * held[0]:13.1f}{100 * held[1]:8.1f}"
        print(f"{label:34}{min(times):8.2f}{figures}")
    first, last = list(seconds.values())[1:]
    print(f"ten times the frames cost {last / first:.1f} times the CPU time")
    online = OnlineSmoother(rig, smoothed, lag=10, threads=1)
    times = []
    for frame in range(80):
        start = time.process_time()
        online.push(keypoints.isel(time=[frame]))
        times.append(time.process_time() - start)
    print(f"a stream, 10 frames of lag: {1000 * np.median(times[40:]):.0f} ms of CPU time a frame")


def make_realistic(offsets: str, seed: int) -> tuple[CameraRig, np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """The rig, the truth, what the views see, and the limbs. offsets: "one" view or "all" views of each key point."""
    rig = make_rig(seed=seed)
    xyz, limbs = move_body(N_FRAMES, seed=seed + 1)
    rng = np.random.default_rng(seed + 50)
    n_views, n_keypoints = len(rig), xyz.shape[1]
    px = rig.project(xyz)
    for view in rng.choice(n_views, 2, replace=False):
        for left in range(4, n_keypoints - 1, 2):
            px[view, 400:430, [left, left + 1]] = px[view, 400:430, [left + 1, left]]
    px += 0.5 * correlate(px.shape, 0.8, rng)
    angle = rng.uniform(0, 2 * np.pi, (n_views, n_keypoints))
    offset = 3.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    if offsets == "one":
        offset *= (rng.integers(0, n_views, n_keypoints) == np.arange(n_views)[:, None])[..., None]
    px += offset[:, None]
    wrong = rng.random(px.shape[:3]) < 0.03
    angle = rng.uniform(0, 2 * np.pi, wrong.shape)
    px += (wrong * rng.uniform(50, 200, wrong.shape))[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    px[rng.random(wrong.shape) < 0.05] = np.nan
    px[rng.integers(n_views), 600:700] = np.nan
    return rig, xyz, px, limbs


def measure_realistic(peers: dict[str, str], seeds: int) -> None:
    """Beside the peers, in one run."""
    for offsets in ("one", "all"):
        for seed in range(seeds):
            rig, xyz, px, limbs = make_realistic(offsets, seed)
            print(f"3 px of offset in {offsets} view{'s' * (offsets == 'all')}, seed {seed}: median, 95 % (mm), CPU s")
            start = time.process_time()
            keypoints = dataset(rig, px)
            keypoints = remove_offsets(keypoints, estimate_offsets(keypoints, rig, threads=1))
            smoothed = smooth(reconstruct(keypoints, rig, threads=1), keypoints, rig, limbs=names(limbs), threads=1)[
                "position"
            ].values[:, 0]
            found = {"multipose": (smoothed, time.process_time() - start)}
            for peer, python in peers.items():
                for setting, answer in run_peer(python, rig, px, limbs).items():
                    found[f"{peer}, {setting}"] = answer
            for name, (position, seconds) in found.items():
                off = np.linalg.norm(position - xyz, axis=-1)
                low, high = np.nanquantile(off, [0.5, 0.95])
                print(f"    {name:32}{low:9.3f}{high:9.3f}{seconds:9.1f}")
            for h in (1, 3):
                true, ours = (one[2 * h :] - 2 * one[h:-h] + one[: -2 * h] for one in (xyz, smoothed))
                size = np.linalg.norm(true, axis=-1)
                peak = size > np.quantile(size, 0.99, axis=0)
                gain = ((true * ours).sum(-1) / size**2)[peak].mean()
                print(f"    peaks of acceleration over {h} frame{'s' * (h > 1)} (upper 1 %): {100 * (gain - 1):+.1f} %")


def run_peer(
    python: str, rig: CameraRig, px: np.ndarray, limbs: list[tuple[int, int]], *settings: str
) -> dict[str, tuple[np.ndarray, float]]:
    """Positions and CPU seconds of a peer by setting (all that smooth by default)."""

    def intrinsics(camera: Camera) -> np.ndarray:
        lens = camera.lens
        distortion = np.zeros(5)
        distortion[: len(lens.distortion)] = lens.distortion[:5]
        return np.r_[lens.fx, lens.fy, lens.cx, lens.cy, distortion]

    with tempfile.TemporaryDirectory() as folder:
        case, answer = Path(folder) / "case.npz", Path(folder) / "found.npz"
        np.savez(
            case,
            px=px,
            limbs=np.array(limbs),
            size=np.array(rig.cameras[0].size),
            intrinsics=np.array([intrinsics(camera) for camera in rig]),
            camera_from_world=np.stack([camera.camera_from_world for camera in rig]),
        )
        program = Path(__file__).parent / "peers" / "smooth_aniposelib.py"
        subprocess.run([python, str(program), str(case), str(answer), *settings], check=True, stdout=subprocess.DEVNULL)
        with np.load(answer) as file:
            found = [name.removesuffix("_seconds") for name in file.files if name.endswith("_seconds")]
            return {name: (file[f"{name}_position"], float(file[f"{name}_seconds"])) for name in found}


def make_views(n_views: int, parallax: str, seed: int) -> CameraRig:
    """Cameras around the volume (high parallax) or beside each other within 12 degrees (low)."""
    rng = np.random.default_rng(seed)
    cameras = []
    for i in range(n_views):
        azimuth = np.deg2rad(12.0) * i / (n_views - 1) if parallax == "low" else 2 * np.pi * i / max(n_views, 3)
        height = np.deg2rad((20, 23) if parallax == "low" else (15, 40))[i % 2]
        center = 750 * np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
        lens = BrownLens(1300.0, 1300.0, 639.5, 511.5, (-0.15, 0.06, 0.0, 0.0, 0.0))
        cameras.append(Camera(f"cam_{i}", SIZE, lens, look_at(center, rng.normal(0, 5, 3), (0, 0, 1))))
    return CameraRig(tuple(cameras), unit="mm")


def measure_coverage(seeds: int) -> None:
    """Motion drawn from the prior, noise of unknown and changing scale, gaps of 15 frames."""
    print(f"ellipsoids that hold the truth, %, {seeds} seeds of 1000 frames of 6 parts (84 gaps each)")
    print(f"{'noise':>12}{'views':>8}{'parallax':>10}{'50 %':>9}{'95 %':>8}{'in gaps 50 %':>15}{'95 %':>8}")
    for correlation in (0.0, 0.8):
        for n_views in (2, 3, 4, 6):
            for parallax in ("low", "high"):
                held = np.array([_cover(n_views, parallax, correlation, seed) for seed in range(seeds)]).mean(0) * 100
                noise = f"AR(1) {correlation}" if correlation else "white"
                print(
                    f"{noise:>12}{n_views:8}{parallax:>10}{held[0]:9.1f}{held[1]:8.1f}{held[2]:15.1f}{held[3]:8.1f}",
                    flush=True,
                )


def _cover(n_views: int, parallax: str, correlation: float, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    rig = make_views(n_views, parallax, seed)
    path = np.cumsum(np.cumsum(rng.normal(0, 0.02, (N_FRAMES, 6, 3)), axis=0), axis=0)
    xyz = path - np.linspace(0, 1, N_FRAMES)[:, None, None] * path[-1] + rng.uniform(-60, 60, (1, 6, 3))
    stated = rng.uniform(0.3, 1.5, (n_views, N_FRAMES, 6))
    factor = rng.uniform(0.6, 1.8, (n_views, 1, 6))
    px = rig.project(xyz)
    px += correlate(px.shape, correlation, rng) * (stated * factor)[..., None]
    wrong = rng.random(px.shape[:3]) < 0.03
    angle = rng.uniform(0, 2 * np.pi, wrong.shape)
    px += (wrong * rng.uniform(50, 200, wrong.shape))[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    px[rng.random(px.shape[:3]) < 0.05] = np.nan
    gap = np.zeros(xyz.shape[:2], bool)
    for k in range(6):
        for first in range(30 + 10 * k, N_FRAMES - 40, 65):
            gap[first : first + 15, k] = True
    px[:, gap] = np.nan
    keypoints = dataset(rig, px, stated[..., None, None] ** 2 * np.eye(2))
    smoothed = smooth(reconstruct(keypoints, rig, threads=1), keypoints, rig, threads=1)
    return coverage(smoothed, xyz, ~gap) + coverage(smoothed, xyz, gap)


def measure_mouse(folder: Path) -> None:
    """Lengths of body segments that were not given as limbs, single frames against smoothed."""
    views = ("back", "mid", "side", "top")
    board = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
    rig = calibrate(detect_board({view: folder / view / "board" for view in views}, board)).rig
    keypoints = read_keypoints({view: folder / view / "keypoints.analysis.h5" for view in views})
    keypoints = remove_offsets(keypoints, estimate_offsets(keypoints, rig, min_confidence=0.0))
    robust = reconstruct(keypoints, rig, min_confidence=0.0)
    smoothed = smooth(robust, keypoints, rig)
    lasting = ", ".join(f"{lag}: {smoothed.attrs[f'noise_autocorrelation_{lag}']:.2f}" for lag in (1, 2, 5, 10))
    print(f"autocorrelation of the 2D errors, frames apart: {lasting}")
    found = {"robust": [], "smoothed": []}
    parts = [str(name) for name in keypoints["keypoint"].values]
    for i, a in enumerate(parts):
        for b in parts[i + 1 :]:
            lengths = {}
            for name, tracks in (("robust", robust), ("smoothed", smoothed)):
                way = tracks["position"].sel(keypoint=a).values - tracks["position"].sel(keypoint=b).values
                lengths[name] = np.linalg.norm(way[:, 0], axis=-1)
            both = np.isfinite(lengths["robust"]) & np.isfinite(lengths["smoothed"])
            for name, length in lengths.items():
                found[name].append(length[both].std() / length[both].mean())
    robust_cv, smooth_cv = np.array(found["robust"]), np.array(found["smoothed"])
    print(f"coefficient of variation of {len(robust_cv)} distances between body parts, median:")
    print(f"robust {100 * np.median(robust_cv):.2f} %, smoothed {100 * np.median(smooth_cv):.2f} %; ", end="")
    print(f"smaller smoothed in {100 * (smooth_cv < robust_cv).mean():.0f} % of them")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of mouse_four_views")
    parser.add_argument("--coverage", type=int, metavar="SEEDS")
    parser.add_argument("--realistic", type=int, nargs="?", const=1, metavar="SEEDS")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    arguments = parser.parse_args()
    peers = dict(item.split("=", 1) for item in arguments.peer)
    unknown = sorted(set(peers) - set(PEERS))
    if unknown:
        sys.exit(f"Unknown peer {', '.join(unknown)}; known: {', '.join(PEERS)}.")
    if arguments.folder is not None:
        measure_mouse(arguments.folder)
    elif arguments.coverage:
        measure_coverage(arguments.coverage)
    elif arguments.realistic:
        measure_realistic(peers, arguments.realistic)
    else:
        measure_speed()


if __name__ == "__main__":
    main()
