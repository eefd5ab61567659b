"""mrcal 2.2 (Debian: mrcal, python3-mrcal), from the start given, everything at once: with the distortions in a second
stage, as its own calibration program has it, it takes longer and ends at the same rig.
"""

import mrcal
import numpy as np
from exchange import pose, serve

LENS = "LENSMODEL_OPENCV5"


def vectors(poses):
    """mrcal's rt (n, 6) of poses (n, 4, 4)."""
    return np.array([mrcal.rt_from_Rt(np.vstack([one[:3, :3], one[:3, 3]])) for one in poses])


def prepare(case):
    px, (columns, rows) = case["px"], case["board_shape"]
    cameras, boards = vectors(case["camera_from_world"]), vectors(case["world_from_board"])
    first = cameras[0]  # mrcal's reference is the first camera
    seen = [
        (frame, view) for frame in range(px.shape[1]) for view in range(len(px)) if np.isfinite(px[view, frame]).all()
    ]
    return {
        "intrinsics": case["intrinsics"].copy(),
        "extrinsics_rt_fromref": np.array([mrcal.compose_rt(one, mrcal.invert_rt(first)) for one in cameras[1:]]),
        "frames_rt_toref": np.array([mrcal.compose_rt(first, one) for one in boards]),
        "points": None,
        "observations_board": np.array(
            [np.c_[px[view, frame], np.ones(len(px[view, frame]))].reshape(rows, columns, 3) for frame, view in seen]
        ),
        "indices_frame_camintrinsics_camextrinsics": np.array(
            [(frame, view, view - 1) for frame, view in seen], dtype=np.int32
        ),
        "observations_point": None,
        "indices_point_camintrinsics_camextrinsics": None,
        "lensmodel": LENS,
        "imagersizes": np.tile(case["size"], (len(px), 1)).astype(np.int32),
        "calibration_object_spacing": float(case["square"]),
        "verbose": False,
        "do_apply_regularization": False,
        "do_apply_outlier_rejection": False,
        "do_optimize_intrinsics_core": True,
        "do_optimize_intrinsics_distortions": True,
        "do_optimize_extrinsics": True,
        "do_optimize_frames": True,
        "do_optimize_calobject_warp": False,
    }


def adjust(problem):
    mrcal.optimize(**problem)


def read(problem, answer):
    poses = [np.eye(4)]
    for vector in problem["extrinsics_rt_fromref"]:
        matrix = mrcal.Rt_from_rt(vector)
        poses.append(pose(matrix[:3], matrix[3]))
    return problem["intrinsics"], np.stack(poses)


serve(prepare, adjust, read)
