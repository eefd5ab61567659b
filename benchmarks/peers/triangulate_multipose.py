"""Triangulation by multipose: closed form, refined, and robust with a gate of 3 px."""

from points import load, save

from multipose.camera import Camera, CameraRig
from multipose.lens import BrownLens
from multipose.triangulate import triangulate

case = load()
rig = CameraRig(
    tuple(
        Camera(f"cam_{view}", tuple(case["size"].tolist()), BrownLens(*params[:4], tuple(params[4:])), camera)
        for view, (params, camera) in enumerate(zip(case["intrinsics"], case["camera_from_world"], strict=True))
    ),
    unit="mm",
)
px = case["px"]
triangulate(px[:, :100], rig)


def run(**options):
    """Positions; covariances, errors, states and the views used are found as well."""
    return triangulate(px, rig, threads=1, **options).position


save(
    {
        "linear": lambda: run(refine=False),
        "refined": lambda: run(),
        "robust": lambda: run(max_error_px=3.0),
    },
    bytes_per_point=24 + 72 + 8 + len(px) + 8 + 1,
)
