"""aniposelib 0.8: its iterated bundle adjustment, from the start given, as `CameraGroup.calibrate_rows` calls it. Of
the lens it moves one focal length, k1 and k2; the boards' rigidity is a penalty.
"""

import cv2
import numpy as np
from aniposelib.boards import Checkerboard, extract_points, merge_rows
from aniposelib.cameras import Camera, CameraGroup
from exchange import pose, serve


def prepare(case):
    np.random.seed(0)  # it takes samples of the boards
    cv2.setNumThreads(1)
    cameras = []
    for view, (params, camera) in enumerate(zip(case["intrinsics"], case["camera_from_world"], strict=True)):
        matrix = np.array([[params[0], 0, params[2]], [0, params[1], params[3]], [0, 0, 1]])
        turn = cv2.Rodrigues(camera[:3, :3])[0][:, 0]
        cameras.append(
            Camera(matrix=matrix, dist=params[4:], size=case["size"].tolist(), rvec=turn, tvec=camera[:3, 3],
                   name=f"cam_{view}", extra_dist=True)
        )  # fmt: skip
    board = Checkerboard(*case["board_shape"].tolist(), square_length=float(case["square"]))
    numbers = np.arange(len(case["board_xyz"]))
    rows = []
    for camera, view_px in zip(cameras, case["px"], strict=True):
        seen = [
            {"framenum": (0, frame), "corners": px.reshape(-1, 1, 2), "ids": numbers, "filled": px.reshape(-1, 1, 2)}
            for frame, px in enumerate(view_px)
            if np.isfinite(px).all()
        ]
        rows.append(board.estimate_pose_rows(camera, seen))
    return CameraGroup(cameras), *extract_points(merge_rows(rows), board, min_cameras=2)


def adjust(problem):
    group, px, boards = problem
    group.bundle_adjust_iter(px, boards)


def read(problem, answer):
    intrinsics, poses = [], []
    for camera in problem[0].cameras:
        matrix = camera.get_camera_matrix()
        intrinsics.append(np.r_[matrix[0, 0], matrix[1, 1], matrix[:2, 2], camera.get_distortions()])
        poses.append(pose(cv2.Rodrigues(camera.get_rotation())[0], camera.get_translation()))
    return np.stack(intrinsics), np.stack(poses)


serve(prepare, adjust, read)
