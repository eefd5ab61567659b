"""pycolmap's bundle adjustment with Ceres, from the start given. COLMAP knows no boards: every corner is a free
point, and the scale, which nothing determines, is set afterwards by the size of the boards. The third argument is its
lens model: OPENCV (fx fy cx cy k1 k2 p1 p2) or RADIAL (f cx cy k1 k2).
"""

import sys

import numpy as np
import pycolmap
from exchange import pose, serve

LENS = sys.argv[3]
# Which of fx fy cx cy k1 k2 p1 p2 k3 are the lens's parameters, and which of its parameters are these.
TAKEN = {"OPENCV": slice(8), "RADIAL": slice(1, 6)}[LENS]
GIVEN = {"OPENCV": slice(None), "RADIAL": [0, 0, 1, 2, 3, 4]}[LENS]


def prepare(case):
    px = case["px"].reshape(len(case["px"]), -1, 2)
    seen = np.isfinite(px).all(-1)
    boards = case["world_from_board"]
    xyz = (case["board_xyz"] @ np.swapaxes(boards[:, :3, :3], 1, 2) + boards[:, None, :3, 3]).reshape(-1, 3)
    model = pycolmap.Reconstruction()
    tracks = {}
    for view, (camera, intrinsics) in enumerate(
        zip(case["camera_from_world"], case["intrinsics"], strict=True), start=1
    ):
        width, height = case["size"].tolist()
        lens = pycolmap.Camera(model=LENS, width=width, height=height, params=intrinsics[TAKEN], camera_id=view)
        model.add_camera_with_trivial_rig(lens)
        corners = np.flatnonzero(seen[view - 1])
        image = pycolmap.Image(name=str(view), camera_id=view, image_id=view)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(point) for point in px[view - 1, corners]])
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(camera[:3]))
        for row, corner in enumerate(corners):
            tracks.setdefault(corner, pycolmap.Track()).add_element(view, row)
    names = {corner: model.add_point3D(xyz[corner], track, np.zeros(3, np.uint8)) for corner, track in tracks.items()}
    options = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=True, refine_principal_point=True, refine_extra_params=True, print_summary=False
    )
    options.ceres.solver_options.num_threads = 1
    return model, names, case["board_xyz"], options


def adjust(problem):
    model, _, _, options = problem
    pycolmap.bundle_adjustment(model, options)


def read(problem, answer):
    model, names, board_xyz, _ = problem
    scale = np.sqrt(spread(board_xyz[None]) / spread(board_points(model, names, len(board_xyz))))
    intrinsics, poses = [], []
    for view in sorted(model.images):
        params = model.cameras[view].params[GIVEN]
        intrinsics.append(np.r_[params, np.zeros(9 - len(params))])
        matrix = model.images[view].cam_from_world().matrix()
        poses.append(pose(matrix[:, :3], scale * matrix[:, 3]))
    return np.stack(intrinsics), np.stack(poses)


def board_points(model, names, count):
    """(board, corner, 3) of the boards, every one of which has all its points."""
    boards = {}
    for corner in sorted(names):
        boards.setdefault(corner // count, []).append(model.points3D[names[corner]].xyz)
    return np.array(list(boards.values()))


def spread(boards):
    """Mean over boards (board, corner, 3) of the squared distance from their middle."""
    return ((boards - boards.mean(1, keepdims=True)) ** 2).sum(-1).mean()


serve(prepare, adjust, read)
