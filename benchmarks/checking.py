"""How well `check_rig` tells what is wrong with a rig: false alarms, faults found, the smallest change that it finds.

    OMP_NUM_THREADS=1 python benchmarks/checking.py [--rigs 300] [--others 40] [--curve 40] [--figure FILE.svg]
    OMP_NUM_THREADS=1 python benchmarks/checking.py --mouse FOLDER     # the real recordings mouse_four_views

Synthetic: cameras of 1280 x 1024 px on a ring of 750 mm (`triangulation.make_rig`), 16 key points of an animal that
goes about in a volume of 200 mm, 200 frames; 1 px of noise per coordinate, a constant offset of 3 px (sd a coordinate)
of every key point in every view, 10 % wrong by 50 to 200 px, 5 % missing. Every rig has lenses, a route and offsets of
its own. "Right" means that exactly the wrong cameras are named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.signal import lfilter
from triangulation import make_rig

from multipose.board import CharucoBoard
from multipose.calibration import calibrate, check_rig, detect_board
from multipose.camera import CameraRig
from multipose.formats.sleap import read_keypoints
from multipose.geometry import pose, rotation_from_vector
from multipose.tracks import keypoints2d
from multipose.triangulate import reconstruct

GROSS_SHARE, GROSS_PX, MISSING, NOISE_PX, OFFSET_PX = 0.1, (50.0, 200.0), 0.05, 1.0, 3.0


@dataclass(frozen=True)
class Scene:
    """Of what a rig is made and what the animal does in it. reach: it goes this far from the middle, mm."""

    views: int = 6
    frames: int = 200
    keypoints: int = 16
    reach: float = 100.0
    correlation: float = 0.0
    offset_px: float = OFFSET_PX


def animal(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """(frame, keypoint, 3): a body about 100 mm long that walks between 12 places, turns and wriggles."""
    shape = rng.normal(0, 25, (scene.keypoints, 3))
    places = rng.uniform(-scene.reach, scene.reach, (12, 3))
    when = np.linspace(0, 11, scene.frames)
    middle = np.stack([np.interp(when, np.arange(12), places[:, i]) for i in range(3)], axis=1)
    heading = np.zeros((scene.frames, 3))
    heading[:, 2] = np.cumsum(rng.normal(0, 0.1, scene.frames))
    wriggle = lfilter([0.3], [1, -0.9], rng.normal(0, 3, (scene.frames, scene.keypoints, 3)), axis=0)
    return middle[:, None] + np.einsum("tij,kj->tki", rotation_from_vector(heading), shape) + wriggle


def see(rig: CameraRig, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """(view, frame, keypoint, 2) px as networks report them."""
    px = rig.project(animal(scene, rng))
    px += rng.normal(0, scene.offset_px, (scene.views, 1, scene.keypoints, 2))
    noise = rng.normal(0, NOISE_PX, (scene.views, scene.frames + 200, scene.keypoints, 2))
    kept = np.sqrt(1 - scene.correlation**2)
    px += lfilter([kept], [1, -scene.correlation], noise, axis=1)[:, 200:]
    gross = rng.random(px.shape[:3]) < GROSS_SHARE
    angle, size = rng.uniform(0, 2 * np.pi, gross.shape), rng.uniform(*GROSS_PX, gross.shape)
    px += (gross * size)[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    px[rng.random(gross.shape) < MISSING] = np.nan
    return px


def move(rig: CameraRig, views: np.ndarray, shift: float, turn_deg: float, rng: np.random.Generator) -> CameraRig:
    """The rig with cameras shifted (mm) and turned about axes at random, each about its centre."""
    cameras = list(rig.cameras)
    for view in views:
        along, about = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
        change = pose(rotation_from_vector(np.deg2rad(turn_deg) * about), shift * along)
        cameras[view] = replace(cameras[view], camera_from_world=change @ cameras[view].camera_from_world)
    return replace(rig, cameras=tuple(cameras))


def trial(fault: str, amount: float, seed: int, scene: Scene) -> tuple[CameraRig, xr.Dataset, tuple[str, ...]]:
    """A rig, key points, and the names of what is wrong: "nothing", "shift", "turn", "two moved", "copy" or "swap"."""
    rng = np.random.default_rng((seed, 7))
    rig = make_rig(scene.views, seed=seed)
    chosen = rng.permutation(scene.views)[: 2 if fault in ("swap", "copy", "two moved") else 1]
    shift, turn = {"shift": (amount, 0.0), "two moved": (amount, 0.0), "turn": (0.0, amount)}.get(fault, (0.0, 0.0))
    px = see(move(rig, chosen, shift, turn, rng), scene, rng)
    if fault == "swap":
        px[chosen] = px[chosen[::-1]]
    if fault == "copy":
        px[chosen[0]] = px[chosen[1]]
        chosen = chosen[:1]
    wrong = () if fault == "nothing" else tuple(rig.names[view] for view in sorted(chosen))
    return rig, keypoints2d(px[:, :, None], views=rig.names), wrong


def share_right(fault: str, amount: float, n: int, scene: Scene, first_seed: int) -> tuple[float, float]:
    """Share of `n` rigs of which exactly the wrong cameras are named, and CPU seconds of a check."""
    right, seconds = 0, 0.0
    for seed in range(first_seed, first_seed + n):
        rig, keypoints, wrong = trial(fault, amount, seed, scene)
        start = time.process_time()
        check = check_rig(rig, keypoints)
        seconds += time.process_time() - start
        right += check.suspects == wrong
    return right / n, seconds / n


FAULTS = (("nothing", 0.0), ("shift", 5.0), ("turn", 0.5), ("swap", 0.0), ("copy", 0.0), ("two moved", 5.0))
SCENES = {
    "as above": Scene(),
    "noise that lasts (0.9 from frame to frame)": Scene(correlation=0.9),
    "in 30 mm of the volume": Scene(reach=15.0),
    "4 cameras": Scene(views=4),
    "3 cameras": Scene(views=3),
    "6 key points": Scene(keypoints=6),
    "60 frames": Scene(frames=60),
}
SHIFTS_MM = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
TURNS_DEG = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)


def measure_faults(n: int, others: int) -> None:
    """`n` rigs of the first scene with nothing wrong and with every fault, `others` of the other scenes."""
    print(f"{'':12}{'rigs':>6}{'right':>10}{'CPU s':>8}")
    for name, scene in SCENES.items():
        count = n if name == "as above" else others
        if not count:
            continue
        print(name)
        for number, (fault, amount) in enumerate(FAULTS):
            if fault == "two moved" and scene.views < 4:
                continue
            share, seconds = share_right(fault, amount, count, scene, 10_000 * (number + 1))
            called = f"{fault} {amount:g}" if amount else fault
            print(f"  {called:10}{count:6d}{100 * share:8.1f} %{seconds:8.2f}", flush=True)


def measure_curve(n: int) -> dict[str, list[tuple[float, float]]]:
    """The share found by the size of the change."""
    curves = {}
    for fault, unit, amounts in (("shift", "mm", SHIFTS_MM), ("turn", "degrees", TURNS_DEG)):
        curve = [(amount, share_right(fault, amount, n, Scene(), 90_000)[0]) for amount in amounts]
        curves[f"{fault}, {unit}"] = curve
        print(f"{fault}: " + ", ".join(f"{amount:g} {unit} {100 * share:.0f} %" for amount, share in curve))
        for level in (0.5, 0.95):
            print(f"  found in {100 * level:.0f} %: from {smallest(curve, level):.2g} {unit} on", flush=True)
    return curves


def smallest(curve: list[tuple[float, float]], level: float) -> float:
    """The amount at which a curve crosses a level, between its points; NaN where it does not."""
    for (a, below), (b, above) in zip([(0.0, 0.0), *curve], curve, strict=False):
        if below < level <= above:
            return a + (b - a) * (level - below) / (above - below)
    return float("nan")


def draw(curves: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """The curves as an SVG, one panel each."""
    width, height, left, top = 320, 200, 50, 20
    parts = []
    for panel, (name, curve) in enumerate(curves.items()):
        x0, right = left + panel * (width + 70), curve[-1][0]

        def at(amount: float, share: float, x0: float = x0, right: float = right) -> tuple[float, float]:
            return x0 + width * amount / right, top + height * (1 - share)

        for share in (0, 0.5, 0.95):
            x, y = at(0, share)
            parts.append(f'<line x1="{x}" y1="{y:.1f}" x2="{x + width}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>')
        points = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in [(0.0, 0.0), *curve])
        parts.append(f'<polyline points="{points}" fill="none" stroke="#0072b2" stroke-width="2"/>')
        for amount, share in curve:
            x, y = at(amount, share)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0072b2"/>')
            parts.append(f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{amount:g}</text>')
        parts.append(f'<text x="{x0 + width / 2}" y="{top + height + 34}" text-anchor="middle">{name}</text>')
    size = f'width="{2 * width + left + 90}" height="{height + top + 45}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    path.write_text("\n".join([head, *parts, "</svg>\n"]), encoding="utf-8")


def measure_mouse(folder: Path) -> None:
    """Real key points: the rig as calibrated, and with every camera wrong in turn."""
    views = ("back", "mid", "side", "top")
    board = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
    rig = calibrate(detect_board({view: folder / view / "board" for view in views}, board)).rig
    keypoints = read_keypoints({view: folder / view / "keypoints.analysis.h5" for view in views})

    def told(what: str, rig: CameraRig, keypoints: xr.Dataset, baseline: xr.Dataset | None = None) -> None:
        check = check_rig(rig, keypoints, baseline, min_confidence=0.0)
        figures = " ".join(f"{camera.statistic:.0f}/{camera.displacement_px:.1f}" for camera in check.cameras.values())
        findings = {name: check.cameras[name].finding for name in check.suspects}
        print(f"{what:34} {findings or 'fits'}  (statistic/px: {figures})", flush=True)

    half = keypoints.sizes["time"] // 2
    first, second = keypoints.isel(time=slice(half)), keypoints.isel(time=slice(half, None))
    told("untouched", rig, keypoints)
    told("untouched, second half, baseline", rig, second, first)
    change: dict[str, Callable[[int, np.random.Generator], CameraRig]] = {
        "5 mm": lambda view, rng: move(rig, np.array([view]), 5.0, 0.0, rng),
        "0.5 degrees": lambda view, rng: move(rig, np.array([view]), 0.0, 0.5, rng),
    }
    for name, changed in change.items():
        for number, view in enumerate(views):
            for seed in range(3):
                wrong = changed(number, np.random.default_rng((seed, number)))
                told(f"{view} {name}, {seed}", wrong, keypoints)
                told(f"{view} {name}, {seed}, baseline", rig, seen_by(wrong, rig, second), first)
    position = keypoints["position"].values
    for a in range(4):
        for b in range(4):
            mixed = position.copy()
            mixed[a] = position[b]
            if a < b:
                exchanged = mixed.copy()
                exchanged[b] = position[a]
                told(f"{views[a]} and {views[b]} swapped", rig, keypoints.assign(position=(_DIMS, exchanged)))
            if a != b:
                told(f"{views[a]} a copy of {views[b]}", rig, keypoints.assign(position=(_DIMS, mixed)))


def seen_by(wrong: CameraRig, rig: CameraRig, keypoints: xr.Dataset) -> xr.Dataset:
    """The key points as they would be if the cameras had been moved before."""
    xyz = reconstruct(keypoints, rig, min_confidence=0.0)["position"].values
    shift = np.nan_to_num(wrong.project(xyz) - rig.project(xyz))
    return keypoints.assign(position=keypoints["position"] + xr.DataArray(shift, dims=_DIMS))


_DIMS = ("view", "time", "individual", "keypoint", "space")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rigs", type=int, default=300)
    parser.add_argument("--others", type=int, default=40, help="rigs for the other scenes")
    parser.add_argument("--curve", type=int, default=40, help="rigs for every point of the curves")
    parser.add_argument("--figure", type=Path, help="where to draw the curves")
    parser.add_argument("--mouse", type=Path, help="folder of mouse_four_views")
    arguments = parser.parse_args()
    if arguments.mouse is not None:
        measure_mouse(arguments.mouse)
        return
    if arguments.rigs:
        measure_faults(arguments.rigs, arguments.others)
    if arguments.curve:
        curves = measure_curve(arguments.curve)
        if arguments.figure is not None:
            draw(curves, arguments.figure)


if __name__ == "__main__":
    main()
