"""Triangulation by pycolmap 4: estimate_triangulation (LO-RANSAC), point by point."""

import numpy as np
import pycolmap
from points import load, save

POINTS = 3000

case = load()
width, height = case["size"].tolist()
cameras = [
    pycolmap.Camera(model="OPENCV", width=width, height=height, params=[*params[:8]]) for params in case["intrinsics"]
]
poses = [pycolmap.Rigid3d(np.ascontiguousarray(pose[:3])) for pose in case["camera_from_world"]]
options = pycolmap.EstimateTriangulationOptions()


def robust():
    """The first points; NaN where it finds none."""
    px = case["px"][:, :POINTS]
    position = np.full((px.shape[1], 3), np.nan)
    for i in range(px.shape[1]):
        views = np.flatnonzero(np.isfinite(px[:, i, 0]))
        if len(views) < 2:
            continue
        found = pycolmap.estimate_triangulation(
            px[views, i], [poses[view] for view in views], [cameras[view] for view in views], options
        )
        if found is not None:
            position[i] = np.ravel(found["xyz"])
    return position


save({"estimate_triangulation": robust})
