"""The whole of multipose.calibrate: from nothing, with rejection of outliers, covariance and figures of boards left
out."""

from functools import partial

import numpy as np
from exchange import serve

from multipose.board import Chessboard
from multipose.calibration import calibrate
from multipose.corners import Corners


def prepare(case):
    columns, rows = case["board_shape"].tolist()
    px = case["px"]
    views = tuple(f"cam_{view}" for view in range(len(px)))
    return Corners(
        board=Chessboard(columns=columns, rows=rows, square=float(case["square"])),
        views=views,
        sizes=dict.fromkeys(views, tuple(case["size"].tolist())),
        frames=np.arange(px.shape[1]),
        px=px,
        reasons=np.full(px.shape[:2], "", dtype=object),
    )


def read(problem, answer):
    cameras = answer.rig.cameras
    return np.stack([one.lens.params for one in cameras]), np.stack([one.camera_from_world for one in cameras])


serve(prepare, partial(calibrate, lens="brown"), read)
