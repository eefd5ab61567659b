"""How benchmarks/calibration.py and the programs beside this file talk: `python run_NAME.py CASE.npz FOUND.npz`.

A case holds
    px                 (view, frame, corner, 2) corners, NaN = not seen; every board is seen whole or not at all
    board_shape        (columns, rows) of corners; corner = row * columns + column
    square, board_xyz  mm, and (corner, 3) the corners on the board
    size               (width, height) of all pictures
    intrinsics         (view, 9) fx fy cx cy k1 k2 p1 p2 k3 to start from
    camera_from_world  (view, 4, 4), world_from_board (frame, 4, 4), to start from; mm
The answer holds `intrinsics` and `camera_from_world` in the same form and CPU `seconds`. Needs numpy alone, so that
every peer's Python can import it.
"""

import sys
import time

import numpy as np

_RUNS, _ENOUGH_SECONDS = 3, 10.0


def serve(prepare, adjust, read):
    """Read the case, let `adjust` work, write what was found.

    prepare(case) gives a fresh problem, adjust(problem) solves it and is the only part that is timed, read(problem,
    answer) gives (intrinsics, camera_from_world). Repeated up to 3 times while it is quick; the smallest time counts.
    """
    with np.load(sys.argv[1]) as file:
        case = dict(file)
    times = []
    while len(times) < _RUNS and sum(times) < _ENOUGH_SECONDS:
        problem = prepare(case)
        began = time.process_time()
        answer = adjust(problem)
        times.append(time.process_time() - began)
    intrinsics, camera_from_world = read(problem, answer)
    np.savez(sys.argv[2], seconds=min(times), intrinsics=intrinsics, camera_from_world=camera_from_world)


def pose(rotation, translation):
    """(4, 4) of a rotation (3, 3) and a translation (3,)."""
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, np.ravel(translation)
    return result
