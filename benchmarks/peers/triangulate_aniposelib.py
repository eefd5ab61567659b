"""Triangulation by aniposelib 0.8 or aniposelib-pytorch 1.0, whichever this Python has."""

import contextlib
import io

import cv2
import numpy as np
from points import load, save

try:
    import torch
except ImportError:
    torch = None
from aniposelib.cameras import Camera, CameraGroup

RANSAC_POINTS = 300  # it takes about a hundredth of a second for each


def group_of(case):
    """Their cameras."""
    cameras = []
    for view, (params, camera) in enumerate(zip(case["intrinsics"], case["camera_from_world"], strict=True)):
        cameras.append(
            Camera(
                matrix=np.array([[params[0], 0, params[2]], [0, params[1], params[3]], [0, 0, 1]]),
                dist=params[4:],
                size=case["size"].tolist(),
                rvec=cv2.Rodrigues(camera[:3, :3])[0][:, 0],
                tvec=camera[:3, 3],
                name=f"cam_{view}",
                **({"n_dist": 5} if torch else {"extra_dist": True}),
            )
        )
    return CameraGroup(cameras)


def quietly(way):
    """Without what it prints."""

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            return way()

    return run


case = load()
group, px = group_of(case), case["px"]
if torch:
    torch.set_num_threads(1)
    save(
        {
            "triangulate": lambda: group.triangulate(px),
            "robust_msac": lambda: group.triangulate_robust(px, tau=10).p3d,
        }
    )
else:
    save(
        {
            "triangulate": lambda: group.triangulate(px),
            "triangulate_fast": lambda: group.triangulate(px, fast=True),
            "ransac": quietly(lambda: group.triangulate_ransac(px[:, :RANSAC_POINTS])[0]),
        }
    )
