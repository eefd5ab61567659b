"""Bundle adjustment of multipose, with the covariance of all cameras, from the start given."""

import numpy as np

from multipose.calibration.bundle import RigState, boards_only, free_unknowns, minimise, reduced_normals
from multipose.lens import BrownLens


def prepare(case):
    lenses = tuple(BrownLens(*params[:4], tuple(params[4:])) for params in case["intrinsics"])
    state = RigState(lenses, case["camera_from_world"], case["world_from_board"])
    return state, case["board_xyz"], case["px"], np.isfinite(case["px"]).all(-1)


def minimised(state, board_xyz, px, used, *, cameras_move=True):
    """The state with the smallest error, and what of the cameras moved: the benchmark's only call of `minimise`."""
    free = free_unknowns(state.lenses) if cameras_move else boards_only(state)
    return minimise(state, board_xyz, px, used, free=free), free


def adjust(problem):
    _, board_xyz, px, used = problem
    fit, free = minimised(*problem)
    normals, _ = reduced_normals(fit.state, board_xyz, px, used)
    variance = fit.cost / (2 * used.sum() - free.shape[1] - 6 * px.shape[1])
    return fit.state, variance * np.linalg.inv(free.T @ normals @ free)


def read(problem, answer):
    state, covariance = answer
    assert np.isfinite(covariance).all()
    return np.stack([lens.params for lens in state.lenses]), state.camera_from_world


if __name__ == "__main__":
    from exchange import serve

    serve(prepare, adjust, read)
