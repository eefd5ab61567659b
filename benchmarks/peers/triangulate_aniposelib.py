"""Triangulation by aniposelib 0.8 or aniposelib-pytorch 1.0, whichever this Python has."""

import contextlib
import io

from anipose_cameras import group_of, torch
from points import load, save

RANSAC_POINTS = 300  # it takes about a hundredth of a second for each


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
