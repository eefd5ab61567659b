"""CPU time and memory of long recordings: `reconstruct`, `smooth`, and the whole command on an hour at 200 frames/s.

    python benchmarks/long_recordings.py reconstruct            # 1000 and 1,000,000 points of six views
    python benchmarks/long_recordings.py smooth                 # 10,000, 40,000 and 100,000 times, three views
    python benchmarks/long_recordings.py hour FOLDER            # `multipose reconstruct --smooth`, 720,000 times
    python benchmarks/long_recordings.py hour FOLDER --times 72000

The rigs and bodies are those of benchmarks/triangulation_case.py (0.5 px of noise, 5 % missing, 3 % off by 50 to
200 px). CPU seconds are of one thread, the smallest of three runs of `reconstruct`; of `smooth` one run in a process of
its own. Memory is what the process grew by while it ran, at its highest, beyond the result. `hour` makes a project in
FOLDER, with the key points of four views as another program would have found them, and runs the command in a process of
its own; its figures are those of the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr
from triangulation_case import FPS, make_case, make_rig, move_body, observe

from multipose.camera import CameraRig
from multipose.formats.movement import write_keypoints
from multipose.tracks import keypoints2d
from multipose.triangulate import reconstruct, smooth

N_KEYPOINTS = 12
COMMAND = "from multipose.cli.main import main; main()"


def make_recording(n_times: int, n_views: int, seed: int = 0) -> tuple[CameraRig, xr.Dataset, list[tuple[int, int]]]:
    """A rig, the key points of a body that moves in front of it, and its limbs."""
    rig = make_rig(n_views, seed=seed)
    xyz, limbs = move_body(n_times, N_KEYPOINTS, seed + 1)
    px, _ = observe(rig, xyz.reshape(-1, 3), seed=seed + 2)
    return rig, keypoints2d(px.reshape(n_views, n_times, 1, N_KEYPOINTS, 2), views=rig.names, fps=FPS), limbs


def measure_reconstruct(sizes: list[int]) -> None:
    """Points of six views: everything that `reconstruct` returns."""
    print(f"{'points':>10}{'key points':>12}{'covariances':>13}{'CPU s':>9}{'points/s':>12}{'median':>9}{'95 %':>8} mm")
    for n in sizes:
        case = make_case(n)
        for n_keypoints in (20, 1) if n >= 100_000 else (20,):
            px = case.px.reshape(len(case.rig), -1, 1, n_keypoints, 2)
            for stated in (None, np.broadcast_to(0.3 * np.eye(2), (*px.shape, 2))):
                keypoints = keypoints2d(px, covariance=stated, views=case.rig.names, fps=FPS)
                seconds = []
                for _ in range(4):
                    began = time.process_time()
                    tracks = reconstruct(keypoints, case.rig, threads=1)
                    seconds.append(time.process_time() - began)
                least = min(seconds[1:])
                off = np.linalg.norm(tracks["position"].values.reshape(-1, 3) - case.xyz, axis=1)
                median, p95 = np.nanquantile(off, [0.5, 0.95])
                said = "none" if stated is None else "all"
                figures = f"{least:9.3f}{n / least:12.3g}{median:9.3f}{p95:8.3f}"
                print(f"{n:10}{n_keypoints:12}{said:>13}{figures}", flush=True)
    print_load()


def measure_smooth(sizes: list[int]) -> None:
    """Each length in a process of its own."""
    print(f"{'times':>10}{'CPU s':>9}{'kB a time beyond in- and output':>34}")
    seconds = {}
    for n_times in sizes:
        command = [sys.executable, __file__, "smooth-once", str(n_times)]
        done = subprocess.run(command, env=one_thread(), stdout=subprocess.PIPE, text=True, check=True)
        seconds[n_times], memory = json.loads(done.stdout)
        print(f"{n_times:10}{seconds[n_times]:9.1f}{memory / n_times / 1000:34.2f}", flush=True)
    first, last = min(sizes), max(sizes)
    print(f"{last / first:g} times the length: {seconds[last] / seconds[first]:.2f} times the CPU time")
    print_load()


def smooth_once(n_times: int) -> None:
    """Print CPU seconds and bytes of one run as JSON."""
    rig, keypoints, _ = make_recording(n_times, n_views=3)
    tracks = reconstruct(keypoints, rig, threads=1)
    head = {"time": slice(200)}
    smooth(tracks.isel(head), keypoints.isel(head), rig, threads=1)  # compiles
    reset_peak()
    before, began = memory_now(), time.process_time()
    smoothed = smooth(tracks, keypoints, rig, threads=1)
    seconds = time.process_time() - began
    print(json.dumps([seconds, memory_peak() - before - smoothed.nbytes]))


def measure_hour(folder: Path, n_times: int) -> None:
    """The command line, from key points of four views to trajectories, tables and pages."""
    rig, keypoints, limbs = make_recording(n_times, n_views=4)
    names = [str(name) for name in keypoints["keypoint"].values]
    files = {view: folder / f"{view}.nc" for view in rig.names}
    folder.mkdir(parents=True, exist_ok=True)
    for view, path in files.items():
        write_keypoints(keypoints, path, view=view)
    project = folder / "project"
    edges = [word for a, b in limbs for word in ("--edge", f"{names[a]},{names[b]}")]
    run(folder, "init", str(project), "--views", ",".join(rig.names), "--keypoints", ",".join(names), *edges)
    (project / "calibration" / "rig").mkdir(parents=True, exist_ok=True)
    rig.save(project / "calibration" / "rig" / "rig.toml")
    print(f"{n_times} times, {keypoints.nbytes / 1e9:.2f} GB of 2D input", flush=True)
    del keypoints
    run(project, "add", "hour", *(word for view, path in files.items() for word in ("--keypoints", f"{view}={path}")))
    wall = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(project, "reconstruct", "hour", "--smooth")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(f"{time.perf_counter() - wall:.0f} s, {cpu:.0f} CPU s, at most {used.ru_maxrss / 1e6:.2f} GB in memory")
    for path in sorted((project / "recordings" / "hour").iterdir()):
        print(f"{path.name:32}{path.stat().st_size / 1e6:10.1f} MB")
    print_load()


def run(folder: Path, *words: str) -> None:
    """A command of multipose in a process of its own."""
    subprocess.run([sys.executable, "-c", COMMAND, *words], cwd=folder, env=one_thread(), check=True)


def memory_now() -> int:
    """Bytes of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def reset_peak() -> None:
    """Forget the highest memory so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def memory_peak() -> int:
    """Bytes of this process in memory, the highest since `reset_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def one_thread() -> dict[str, str]:
    """The environment of a process whose libraries use one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def print_load() -> None:
    """How busy the machine was."""
    print(f"load of the machine (1, 5, 15 minutes): {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["reconstruct", "smooth", "smooth-once", "hour"])
    parser.add_argument("sizes", nargs="*")
    parser.add_argument("--times", type=int, default=720_000)
    arguments = parser.parse_args()
    if arguments.what == "reconstruct":
        measure_reconstruct([int(size) for size in arguments.sizes] or [1000, 1_000_000])
    elif arguments.what == "smooth":
        measure_smooth([int(size) for size in arguments.sizes] or [10_000, 40_000, 100_000])
    elif arguments.what == "smooth-once":
        smooth_once(int(arguments.sizes[0]))
    else:
        measure_hour(Path(arguments.sizes[0]), arguments.times)
