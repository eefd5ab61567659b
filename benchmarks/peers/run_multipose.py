"""Bundle adjustment of multipose, with the covariance of all cameras, from the start given."""

import numpy as np

from multipose.calibration.bundle import RigState, free_unknowns, minimise, reduced_normals
from multipose.lens import BrownLens


def prepare(case):
    lenses = tuple(BrownLens(*params[:4], tuple(params[4:])) for params in case["intrinsics"])
    state = RigState(lenses, case["camera_from_world"], case["world_from_board"])
    return state, case["board_xyz"], case["px"], np.isfinite(case["px"]).all(-1)


def minimised(state, board_xyz, px, used, *, cameras_move=True, huber_px=np.inf):
    """The state with the smallest error, and which of the cameras' unknowns were free. The benchmark's only call of
    `minimise`.
    """
    free = free_unknowns(state.lenses, poses_move=cameras_move, lenses_move=cameras_move)
    return minimise(state, board_xyz, px, used, free=free, huber_px=huber_px), free


def adjust(problem):
    _, board_xyz, px, used = problem
    fit, free = minimised(*problem)
    normals = reduced_normals(fit.state, board_xyz, px, used)[np.ix_(free, free)]
    variance = fit.cost / (2 * used.sum() - free.sum() - 6 * px.shape[1])
    return fit.state, variance * np.linalg.inv(normals)


def read(problem, answer):
    state, covariance = answer
    assert np.isfinite(covariance).all()
    return np.stack([lens.params for lens in state.lenses]), state.camera_from_world


if __name__ == "__main__":
    from exchange import serve

    serve(prepare, adjust, read)
