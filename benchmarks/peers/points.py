"""How benchmarks/triangulation.py and the programs beside this file talk: `python triangulate_NAME.py CASE FOUND`.

A case holds
    px                 (view, point, 2), NaN = not seen
    size               (width, height) of all pictures
    intrinsics         (view, 9) fx fy cx cy k1 k2 p1 p2 k3
    camera_from_world  (view, 4, 4), mm
The answer holds for every way of a peer `NAME_position` (point, 3) of the first points (as many as it was given),
`NAME_seconds` of CPU time, and `NAME_memory`: MB by which the peak memory of the process rose above what it held
before (Linux only), less the answer.
Needs numpy alone, so that every peer's Python can import it.
"""

import gc
import sys
import time
from pathlib import Path

import numpy as np

_RUNS, _ENOUGH_SECONDS = 3, 10.0


def load():
    """The case."""
    with np.load(sys.argv[1]) as file:
        return dict(file)


def save(ways, bytes_per_point=24):
    """Time every way, a function without arguments under its name, and write what it found.

    Each runs once before it is timed, so that compiling does not count, and up to 3 times while it is quick; the
    smallest time counts. bytes_per_point: of all that a way gives, which is not counted as its memory.
    """
    found = {}
    for name, way in ways.items():
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
        before = _peak()
        times, began = [], time.process_time()
        position = np.asarray(way())
        memory = _peak() - before - len(position) * bytes_per_point / 2**20
        first = time.process_time() - began
        while len(times) < _RUNS and sum(times) < _ENOUGH_SECONDS and (first < 4 * _ENOUGH_SECONDS):
            began = time.process_time()
            way()
            times.append(time.process_time() - began)
        found |= {f"{name}_position": position, f"{name}_seconds": min([first, *times]), f"{name}_memory": memory}
    np.savez(sys.argv[2], **found)


def _peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
