"""A camera and a mirror in one picture, from pictures to a rig."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from multipose.board import CharucoBoard
from multipose.camera import Camera, CameraRig
from multipose.excerpt import Excerpt
from multipose.geometry import look_at, pose, rotation_from_vector
from multipose.lens import BrownLens
from multipose.pipeline.beginning import make_project
from multipose.pipeline.calibration import calibrate_session
from multipose.pipeline.plan import open_hashes
from multipose.project import Project
from multipose.sources import write_picture

SIZE = (900, 600)
BOARD = CharucoBoard(columns=6, rows=5, square=10.0, marker=7.5)
PARTS = {
    "direct": Excerpt("film", SIZE, (0, 0, 500, 600)),
    "mirror": Excerpt("film", SIZE, (500, 0, 400, 600), flip=True),
}


def mirror_rig() -> CameraRig:
    """A camera and the one that its mirror, upright at its right, makes of it."""
    lens = BrownLens(1100.0, 1100.0, 449.5, 299.5)
    camera = Camera("film", SIZE, lens, look_at([40, 0, 0], [40, 0, 450], [0, -1, 0]))
    seen = {"direct": camera, "mirror": camera.mirrored([70.0, 0, 450], [-np.cos(0.4), 0, -np.sin(0.4)])}
    views = [replace(seen[name], name=name, size=part.crop[2:], lens=part.lens(lens)) for name, part in PARTS.items()]
    return CameraRig(tuple(views), "mm")


def draw(rig: CameraRig, world_from_board: np.ndarray) -> np.ndarray:
    """The whole picture with the board as both views see it (the lens has no distortion)."""
    print_ = BOARD.draw(40, 20)
    board_from_print = np.linalg.inv(
        cv2.getPerspectiveTransform(
            BOARD.corners[[0, 4, 15, 19], :2].astype(np.float32),
            BOARD.picture_from_board(BOARD.corners[[0, 4, 15, 19]], 40, 20).astype(np.float32),
        )
    )
    picture = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    for name, part in PARTS.items():
        camera = rig[name]
        view_from_board = camera.projection_matrix @ world_from_board[:, [0, 1, 3]]
        width, height = camera.size
        seen = cv2.warpPerspective(
            print_, view_from_board @ board_from_print, (width, height), flags=cv2.INTER_AREA, borderValue=(128,) * 3
        )
        x, y, _, _ = part.crop
        picture[y : y + height, x : x + width] = seen[:, ::-1] if part.flip else seen
    return picture


def test_boards_seen_directly_and_in_the_mirror_calibrate_both(tmp_path: Path) -> None:
    truth = mirror_rig()
    rng = np.random.default_rng(0)
    board = "charuco,columns=6,rows=5,square=10,marker=7.5,dictionary=4X4_1000,unit=mm"
    project = make_project(tmp_path / "mouse", list(PARTS), ["nose"], board=board)
    film = tmp_path / "film"
    film.mkdir()
    middle = BOARD.corners.mean(0)
    for frame in range(24):
        # Tilted towards the mirror, so that both see the print.
        turn = rotation_from_vector(np.array([0, -0.45, 0]) + rng.normal(0, 0.3, 3))
        place = np.array([0, 0, 450]) + rng.uniform((-12, -30, -30), (12, 30, 30))
        write_picture(film / f"{frame:03d}.png", draw(truth, pose(turn, place - turn @ middle)))
    text = (project.folder / "multipose.toml").read_text(encoding="utf-8")
    sections = [f'[calibration.sessions.lab]\ndirect = "{film.as_posix()}"\nmirror = "{film.as_posix()}"']
    for name, part in PARTS.items():
        shared = '\nflip = true\nsame_camera_as = "direct"' if part.flip else ""
        sections.append(f"[view.{name}]\ncrop = {list(part.crop)}{shared}")
    (project.folder / "multipose.toml").write_text("\n".join([text, *sections]), encoding="utf-8")
    project = Project.open(project.folder)
    report = calibrate_session(project, "lab", open_hashes(project), settings={"lens": "k1"})
    assert min(camera["boards"] for camera in report["cameras"].values()) >= 12
    assert report["rms_px"] < 0.3
    assert abs(report["diagonal_mean_percent"]) < 0.1
    rig = CameraRig.load(project.rig_path("lab"))
    wholes = [PARTS[name].whole_lens(rig[name].lens).params for name in PARTS]
    np.testing.assert_allclose(wholes[0], wholes[1], rtol=1e-9, atol=1e-9)
    apart = [np.linalg.norm(found["direct"].center - found["mirror"].center) for found in (rig, truth)]
    np.testing.assert_allclose(*apart, rtol=0.02)
