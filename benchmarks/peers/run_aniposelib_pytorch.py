"""aniposelib-pytorch 1.0: its Levenberg-Marquardt with rigid boards, least squares, from the start given. All corners
and all of fx fy cx cy k1 k2 p1 p2 k3 take part.
"""

import cv2
import numpy as np
import torch
from aniposelib.cameras import Camera, CameraGroup
from exchange import pose, serve


def prepare(case):
    torch.set_num_threads(1)
    cameras = []
    for view, (params, camera) in enumerate(zip(case["intrinsics"], case["camera_from_world"], strict=True)):
        matrix = np.array([[params[0], 0, params[2]], [0, params[1], params[3]], [0, 0, 1]])
        turn = cv2.Rodrigues(camera[:3, :3])[0][:, 0]
        cameras.append(
            Camera(matrix=matrix, dist=params[4:], size=case["size"].tolist(), rvec=turn, tvec=camera[:3, 3],
                   name=f"cam_{view}", n_dist=5)
        )  # fmt: skip
    views, frames, corners, _ = case["px"].shape
    boards = {"ids": np.repeat(np.arange(frames), corners), "objp": np.tile(case["board_xyz"], (frames, 1))}
    return CameraGroup(cameras), case["px"].reshape(views, -1, 2), boards


def adjust(problem):
    group, px, boards = problem
    group.bundle_adjust_lm(px, extra=boards, loss="linear", n_iter=100)


def read(problem, answer):
    intrinsics, poses = [], []
    for camera in problem[0].cameras:
        matrix, terms, turn, shift = (
            np.asarray(value.detach()) for value in (camera.matrix, camera.dist, camera.rvec, camera.tvec)
        )
        intrinsics.append(np.r_[matrix[0, 0], matrix[1, 1], matrix[:2, 2], terms])
        poses.append(pose(cv2.Rodrigues(turn)[0], shift))
    return np.stack(intrinsics), np.stack(poses)


serve(prepare, adjust, read)
