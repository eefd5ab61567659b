"""The cameras of a case for aniposelib 0.8 or aniposelib-pytorch 1.0, whichever this Python has; the former has no
`torch`.
"""

import cv2
import numpy as np

try:
    import torch
except ImportError:
    torch = None
from aniposelib.cameras import Camera, CameraGroup


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
