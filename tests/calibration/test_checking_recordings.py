"""The rig check on real key points, whose constant offsets are large (about 5 px, one of 18 px)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multipose.board import CharucoBoard
from multipose.calibration import calibrate, check_rig, detect_board
from multipose.formats.sleap import read_keypoints
from multipose.geometry import pose, rotation_from_vector
from multipose.triangulate import reconstruct

VIEWS = ("back", "mid", "side", "top")


@pytest.mark.slow
def test_mouse_in_four_views(recordings: Callable[[str], Path]) -> None:
    folder = recordings("mouse_four_views")
    board = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
    rig = calibrate(detect_board({view: folder / view / "board" for view in VIEWS}, board)).rig
    keypoints = read_keypoints({view: folder / view / "keypoints.analysis.h5" for view in VIEWS})

    assert check_rig(rig, keypoints, min_confidence=0.0).suspects == ()
    before, after = keypoints.isel(time=slice(60)), keypoints.isel(time=slice(60, None))
    assert check_rig(rig, after, before, min_confidence=0.0).suspects == ()

    xyz = reconstruct(after, rig, min_confidence=0.0)["position"].values
    turn = pose(rotation_from_vector(np.deg2rad([0.5, 0.0, 0.0])), [0.0, 0.0, 0.0])
    turned = replace(rig["mid"], camera_from_world=turn @ rig["mid"].camera_from_world)
    shift = np.nan_to_num(turned.project(xyz) - rig["mid"].project(xyz))  # what the turned camera sees
    seen = after.copy(deep=True)
    seen["position"].loc[{"view": "mid"}] += shift
    assert check_rig(rig, seen, before, min_confidence=0.0).suspects == ("mid",)

    exchanged = keypoints.assign_coords(view=["back", "top", "side", "mid"])
    check = check_rig(rig, exchanged, min_confidence=0.0)
    assert check.suspects == ("top", "mid")  # in the order of the key points' views
    copied = keypoints.copy(deep=True)
    copied["position"].loc[{"view": "side"}] = keypoints["position"].sel(view="back").values
    copy = check_rig(rig, copied, min_confidence=0.0)
    assert copy.suspects == ("side",)
    assert copy.cameras["side"].finding == "copy of back"
