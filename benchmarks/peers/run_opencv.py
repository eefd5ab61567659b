"""OpenCV 5's calibrateMultiview, from nothing: it calibrates every camera alone, chains them and adjusts all
together."""

import cv2
import numpy as np
from exchange import pose, serve

MM_PER_M = 1000.0  # in 5.0 a board in mm is refused ("Pattern points are collinear")


def prepare(case):
    cv2.setNumThreads(1)
    px = case["px"]
    seen = np.isfinite(px).all((-1, -2))
    board = (case["board_xyz"] / MM_PER_M).astype(np.float32)
    return (
        [board] * px.shape[1],
        [
            [np.ascontiguousarray(np.nan_to_num(board_px, nan=-1.0), dtype=np.float32) for board_px in view]
            for view in px
        ],
        [tuple(case["size"].tolist())] * len(px),
        seen.astype(np.uint8),
        np.full((len(px), 1), cv2.CALIB_MODEL_PINHOLE, np.uint8),
    )


def adjust(problem):
    return cv2.calibrateMultiview(*problem, None, None, None, None)


def read(problem, answer):
    _, matrices, distortions, turns, shifts = answer
    intrinsics = [
        np.r_[matrix[0, 0], matrix[1, 1], matrix[:2, 2], np.ravel(terms)[:5]]
        for matrix, terms in zip(matrices, distortions, strict=True)
    ]
    poses = []
    for turn, shift in zip(turns, shifts, strict=True):
        rotation = cv2.Rodrigues(turn)[0] if np.size(turn) == 3 else turn
        poses.append(pose(rotation, MM_PER_M * np.ravel(shift)))
    return np.stack(intrinsics), np.stack(poses)


serve(prepare, adjust, read)
