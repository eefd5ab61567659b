"""Smoothing by aniposelib 0.8 or aniposelib-pytorch 1.0, whichever this Python has:
`smooth_aniposelib.py CASE FOUND [SETTING ...]`, by default all but those that look at single frames.

A case holds px (view, frame, keypoint, 2), limbs (limb, 2), size, intrinsics (view, 9) fx fy cx cy k1 k2 p1 p2 k3 and
camera_from_world (view, 4, 4). The answer holds for each setting tried `NAME_position` (frame, keypoint, 3) and CPU
`NAME_seconds`.
"""

import sys
import time

import numpy as np
from anipose_cameras import group_of, torch

SETTINGS = {
    "default": {},
    "anipose": {"scale_smooth": 2, "scale_length": 2, "reproj_error_threshold": 5, "n_deriv_smooth": 3},
    "second": {"reproj_error_threshold": 5, "n_deriv_smooth": 2},
}
"""Their defaults, those of anipose's configuration, and the second difference with a threshold that fits the noise."""


FRAMES = {"triangulate": "triangulate", "ransac": "triangulate_ransac"}
"""Ways of aniposelib 0.8 that look at single frames."""


def smooth(group, case, settings):
    """Robust points where the library has them, then the trajectories."""
    px, limbs = case["px"], case["limbs"].tolist()
    if torch:
        flat = px.reshape(len(px), -1, 2)
        start = np.asarray(group.triangulate_robust(flat).p3d).reshape(*px.shape[1:3], 3)
        return np.asarray(group.optim_points(px, start, constraints=limbs, **settings))
    return group.triangulate_optim(px, constraints=limbs, **settings)


def single(group, case, way):
    """Points of single frames."""
    px = case["px"]
    flat = px.reshape(len(px), -1, 2)
    seen = np.isfinite(flat).all(-1).sum(0) >= 2  # it fails on others
    found = getattr(group, way)(flat[:, seen])
    position = np.full((flat.shape[1], 3), np.nan)
    position[seen] = np.asarray(found[0] if isinstance(found, tuple) else found)
    return position.reshape(*px.shape[1:3], 3)


def main():
    """Solve with every setting."""
    with np.load(sys.argv[1]) as file:
        case = dict(file)
    if torch:
        torch.set_num_threads(1)
    found = {}
    for name in sys.argv[3:] or SETTINGS:
        group = group_of(case)
        began = time.process_time()
        if name in FRAMES:
            found[f"{name}_position"] = single(group, case, FRAMES[name])
        else:
            found[f"{name}_position"] = smooth(group, case, SETTINGS[name])
        found[f"{name}_seconds"] = time.process_time() - began
    np.savez(sys.argv[2], **found)


main()
