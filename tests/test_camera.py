"""Cameras, rigs and their file: laws of projection, round trips, and files that are broken."""

from __future__ import annotations

import dataclasses
import pickle
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.camera import Camera, CameraRig
from multipose.errors import DataError, FormatError
from multipose.geometry import look_at, mirror_pose, pose, rotation_from_vector, transform
from multipose.lens import BrownLens, FisheyeLens, Lens, RationalLens, TelecentricLens

SIZE = (640, 480)
LENSES: dict[str, Lens] = {
    "back": BrownLens(535, 540, 342.3, 235.6, (-0.2664, -0.0386, 0.0018, -0.0003, 0.2384)),
    "cam_10": RationalLens(480, 470, 310, 250, (0.2, -0.1, 0.001, 0.002, 0.01, 0.3, -0.05, 0.002)),
    "side": FisheyeLens(300, 310, 320, 240, (0.02, -0.01, 0.003, -0.001)),
    "top": TelecentricLens(60, 61, 322, 241, (1e-3, -1e-6, 1e-4, 2e-4, 0)),
}
ANIPOSE = """
[cam_10]
name = "c"
size = [ 640, 480,]
matrix = [ [ 500.0, 0.0, 320.0,], [ 0.0, 500.0, 240.0,], [ 0.0, 0.0, 1.0,],]
distortions = [ -0.1, 0.0, 0.0, 0.0, 0.0,]
rotation = [ 0.0, 0.0, 0.0,]
translation = [ 0.0, 0.0, 3.0,]
serial = "8086"

[cam_2]
name = "b"
size = [ 640, 480,]
matrix = [ [ 500.0, 0.0, 320.0,], [ 0.0, 500.0, 240.0,], [ 0.0, 0.0, 1.0,],]
distortions = [ 0.1, 0.02, 0.0, 0.0,]
rotation = [ 0.1, 0.2, 0.3,]
translation = [ 1.0, 2.0, 3.0,]
fisheye = true

[metadata]
adjusted = false
error = 0.4321
"""


@pytest.fixture
def rig() -> CameraRig:
    """One camera of each lens on a quarter circle around the origin, 6 away."""
    angles = np.linspace(0, np.pi / 2, len(LENSES))
    poses = [look_at([6 * np.cos(a), 6 * np.sin(a), 2], [0, 0, 0], [0, 0, 1]) for a in angles]
    cameras = [Camera(name, SIZE, lens, p) for (name, lens), p in zip(LENSES.items(), poses, strict=True)]
    return CameraRig(tuple(cameras), "mm", {"error": 0.25, "note": "day 1"})


@pytest.fixture
def xyz() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, size=(20, 3))


def same(one: CameraRig, other: CameraRig) -> None:
    assert one.names == other.names
    assert one.unit == other.unit
    assert one.sizes == other.sizes
    assert one.metadata == other.metadata
    assert one.extra == other.extra
    for a, b in zip(one, other, strict=True):
        assert a.lens == b.lens
        assert a.extra == b.extra
        np.testing.assert_allclose(a.camera_from_world, b.camera_from_world, atol=1e-14)


# Projection.


@pytest.mark.opencv
def test_projection_agrees_with_opencv(rig: CameraRig, xyz: np.ndarray) -> None:
    from multipose.opencv import cv2

    camera = rig["back"]
    vector = cv2.Rodrigues(camera.rotation)[0]
    distortion = np.array(camera.lens.distortion)
    theirs = cv2.projectPoints(xyz, vector, camera.translation, camera.lens.matrix, distortion)[0]
    np.testing.assert_allclose(camera.project(xyz), theirs.reshape(-1, 2), atol=1e-9)


def test_a_rig_projects_view_by_view(rig: CameraRig, xyz: np.ndarray) -> None:
    px = rig.project(xyz.reshape(4, 5, 3))
    assert px.shape == (4, 4, 5, 2)
    for camera, own in zip(rig, px, strict=True):
        np.testing.assert_array_equal(own, camera.project(xyz.reshape(4, 5, 3)))
    assert np.isfinite(px).all()


def test_rays_pass_through_the_points(rig: CameraRig, xyz: np.ndarray) -> None:
    origins, directions = rig.rays(rig.project(xyz))
    offset = xyz - origins
    along = (offset * directions).sum(-1, keepdims=True)
    np.testing.assert_allclose(offset, along * directions, atol=1e-9)
    np.testing.assert_allclose(origins[0], np.broadcast_to(rig["back"].center, (20, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)
    with pytest.raises(DataError, match="4 views"):
        rig.rays(np.zeros((3, 20, 2)))


def test_linear_projection_is_the_projection_without_distortion(rig: CameraRig, xyz: np.ndarray) -> None:
    assert rig.projection_matrices.shape == (4, 3, 4)
    for camera in rig.subset(["back", "top"]):
        straight = dataclasses.replace(camera, lens=camera.lens.with_params([*camera.lens.params[:4], 0, 0, 0, 0, 0]))
        homogeneous = np.column_stack([xyz, np.ones(20)]) @ camera.projection_matrix.T
        np.testing.assert_allclose(straight.project(xyz), homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-9)


def test_center_and_depth(rig: CameraRig) -> None:
    camera = rig["back"]
    np.testing.assert_allclose(camera.center, [6, 0, 2], atol=1e-12)
    assert camera.depth([0, 0, 0]) == pytest.approx(np.sqrt(40))
    assert camera.depth([12, 0, 4]) == pytest.approx(-np.sqrt(40))
    assert np.isnan(camera.project([12, 0, 4])).all()


def test_nan_in_nan_out(rig: CameraRig, xyz: np.ndarray) -> None:
    xyz[3, 1] = np.nan
    px = rig.project(xyz)
    assert np.isnan(px[:, 3]).all()
    assert np.isfinite(np.delete(px, 3, axis=1)).all()
    origins, directions = rig.rays(px)
    assert np.isnan(origins[:, 3]).all()
    assert np.isnan(directions[:, 3]).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_regauging_leaves_the_pixels(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    cameras = [
        Camera(n, SIZE, lens, look_at([5, i, 1], [0, 0, 0], [0, 0, 1])) for i, (n, lens) in enumerate(LENSES.items())
    ]
    rig, xyz = CameraRig(tuple(cameras), "mm"), rng.uniform(-1, 1, size=(10, 3))
    new_from_world = pose(rotation_from_vector(rng.normal(size=3)), rng.normal(size=3))
    moved = rig.transformed(new_from_world, scale, unit="inch")
    np.testing.assert_allclose(moved.project(transform(new_from_world, scale * xyz)), rig.project(xyz), atol=1e-8)
    np.testing.assert_allclose(
        moved["back"].center, transform(new_from_world, scale * rig["back"].center), atol=1e-9 * scale
    )
    assert (moved.unit, rig.unit, rig.transformed(new_from_world).unit) == ("inch", "mm", "mm")


def test_transformed_wants_a_rigid_frame(rig: CameraRig) -> None:
    with pytest.raises(DataError, match="new frame must be a proper rotation"):
        rig.transformed(np.diag([2, 2, 2, 1]))
    with pytest.raises(DataError, match="above 0"):
        rig.transformed(np.eye(4), scale=-1)


@given(st.permutations(list(LENSES)))
def test_order_of_views_does_not_matter(names: list[str]) -> None:
    cameras = {n: Camera(n, SIZE, lens, look_at([5, len(n), 1], [0, 0, 0], [0, 0, 1])) for n, lens in LENSES.items()}
    rig = CameraRig(tuple(cameras.values()), "mm")
    xyz = np.random.default_rng(1).uniform(-1, 1, size=(5, 3))
    order = [rig.names.index(name) for name in names]
    np.testing.assert_array_equal(rig.subset(names).project(xyz), rig.project(xyz)[order])
    np.testing.assert_array_equal(rig.subset(names).packed(), rig.packed()[order])


def test_packed_rig(rig: CameraRig) -> None:
    packed = rig.packed()
    assert packed.shape == (4, 28)
    for camera, row in zip(rig, packed, strict=True):
        np.testing.assert_array_equal(row[:16], camera.lens.packed())
        np.testing.assert_array_equal(row[16:25].reshape(3, 3), camera.rotation)
        np.testing.assert_array_equal(row[25:], camera.translation)


# Changed pictures.


def test_cameras_of_changed_pictures(rig: CameraRig, xyz: np.ndarray) -> None:
    for camera in rig:
        px = camera.project(xyz)
        part = camera.crop(50, 40, 300, 200)
        assert part.size == (300, 200)
        np.testing.assert_allclose(part.project(xyz), px - [50, 40], atol=1e-9)
        small = camera.scale(1 / 3)
        assert small.size == (213, 160)
        np.testing.assert_allclose(small.project(xyz), (px + 0.5) * [213 / 640, 160 / 480] - 0.5, atol=1e-9)
        assert camera.scale(0.5, 2).size == (320, 960)
        turned = camera.rotate90(1)
        assert turned.size == (480, 640)
        np.testing.assert_allclose(turned.project(xyz), np.stack([479 - px[:, 1], px[:, 0]], axis=-1), atol=1e-9)
        np.testing.assert_allclose(camera.rotate90(2).project(xyz), [639, 479] - px, atol=1e-9)
        np.testing.assert_allclose(turned.rotate90(-1).camera_from_world, camera.camera_from_world, atol=1e-14)
        np.testing.assert_allclose(turned.center, camera.center, atol=1e-12)


def test_a_mirror_makes_an_ordinary_camera(rig: CameraRig, xyz: np.ndarray) -> None:
    point, normal = [0, 0, -3.0], [0.1, 0.2, 1.0]
    for camera in rig:
        seen = camera.project(transform(mirror_pose(point, normal), xyz))
        virtual = camera.mirrored(point, normal)
        np.testing.assert_allclose(virtual.project(xyz), np.stack([639 - seen[:, 0], seen[:, 1]], axis=-1), atol=1e-9)
        assert np.linalg.det(virtual.rotation) == pytest.approx(1)
        np.testing.assert_allclose(virtual.center, transform(mirror_pose(point, normal), camera.center), atol=1e-12)


# Values.


def test_a_rig_is_a_pleasant_value(rig: CameraRig) -> None:
    assert rig.names == tuple(LENSES)
    assert len(rig) == 4
    assert "back" in rig
    assert "front" not in rig
    assert rig["top"].lens == LENSES["top"]
    assert [camera.name for camera in rig] == list(rig.names)
    assert repr(rig) == "CameraRig('back', 'cam_10', 'side', 'top', unit='mm')"
    assert repr(rig["back"]) == "Camera('back', 640x480, brown, center=(6, 0, 2))"
    assert rig.sizes == dict.fromkeys(LENSES, SIZE)
    same(pickle.loads(pickle.dumps(rig)), rig)
    with pytest.raises(DataError, match="no camera 'bakc'.*back, cam_10, side, top.*mean 'back'"):
        rig["bakc"]


def test_a_camera_keeps_its_own_pose(rig: CameraRig) -> None:
    given_pose = np.array(rig["back"].camera_from_world)
    camera = Camera("back", SIZE, LENSES["back"], given_pose)
    given_pose[:] = 0
    np.testing.assert_array_equal(camera.camera_from_world, rig["back"].camera_from_world)
    with pytest.raises(ValueError, match="read-only"):
        camera.camera_from_world[0, 0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        camera.name = "front"  # type: ignore[misc]
    assert Camera("a", np.array([640.0, 480.0]), LENSES["back"], np.eye(4, dtype=int)).size == SIZE  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name must be a text"),
        ({"name": 3}, "name must be a text"),
        ({"size": (640, 0)}, "size of camera 'a'.*whole pixels above 0"),
        ({"size": (640.5, 480)}, "whole pixels"),
        ({"size": (640, 480, 3)}, "size of camera 'a'"),
        ({"camera_from_world": np.diag([1.0, 1, -1, 1])}, "camera 'a' must be a proper rotation.*determinant -1 "),
        ({"camera_from_world": np.diag([1.1, 1, 1, 1])}, "0.21 off"),
        ({"camera_from_world": np.full((4, 4), np.nan)}, "finite"),
        ({"camera_from_world": np.eye(3)}, r"\(\.\.\., 4, 4\)"),
        ({"camera_from_world": np.eye(4)[::-1]}, "proper rotation"),
    ],
)
def test_broken_cameras_are_refused(change: dict[str, object], message: str) -> None:
    values = {"name": "a", "size": SIZE, "lens": LENSES["back"], "camera_from_world": np.eye(4), **change}
    with pytest.raises(DataError, match=message):
        Camera(**values)  # type: ignore[arg-type]


def test_broken_rigs_are_refused(rig: CameraRig) -> None:
    with pytest.raises(DataError, match="at least one camera"):
        CameraRig((), "mm")
    with pytest.raises(DataError, match="unit"):
        CameraRig(rig.cameras, "")
    with pytest.raises(DataError, match="come twice: back"):
        CameraRig((rig["back"], rig["back"]), "mm")
    with pytest.raises(DataError, match="may not hold unit"):
        CameraRig(rig.cameras, "mm", {"unit": "cm"})
    with pytest.raises(DataError, match="may not hold cam_9"):
        CameraRig(rig.cameras, "mm", extra={"cam_9": {}})


# The file.


def test_file_round_trip(rig: CameraRig, tmp_path: Path) -> None:
    camera = dataclasses.replace(rig["side"], extra={"serial": "8086", "gain": 1.5})
    rig = dataclasses.replace(
        rig, cameras=(*rig.cameras[:2], camera, rig.cameras[3]), extra={"lab": {"room": 3, "names": ["a", "b"]}}
    )
    path = tmp_path / "rig.toml"
    rig.save(path)
    loaded = CameraRig.load(path)
    same(loaded, rig)
    loaded.save(tmp_path / "again.toml")
    same(CameraRig.load(tmp_path / "again.toml", unit="mm"), rig)
    values = tomllib.loads(path.read_text())
    assert values["metadata"] == {"error": 0.25, "note": "day 1", "unit": "mm", "schema_version": 1}
    assert set(values["cam_0"]) == {"name", "size", "matrix", "distortions", "rotation", "translation"}
    assert values["cam_2"]["fisheye"] is True
    assert values["cam_3"]["model"] == "telecentric"


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(LENSES)))
def test_every_pose_survives_the_table(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=3)
    vector *= rng.choice([1e-9, 1.0, np.pi / np.linalg.norm(vector)])
    camera = Camera(name, SIZE, LENSES[name], pose(rotation_from_vector(vector), 1000 * rng.normal(size=3)))
    back = Camera.from_dict(camera.to_dict())
    np.testing.assert_allclose(back.camera_from_world, camera.camera_from_world, atol=1e-14)
    assert back.lens == camera.lens


def test_twelve_cameras_come_in_natural_order(rig: CameraRig, tmp_path: Path) -> None:
    cameras = tuple(dataclasses.replace(rig["back"], name=f"view {i}") for i in range(12))
    CameraRig(cameras, "m").save(tmp_path / "rig.toml")
    assert CameraRig.load(tmp_path / "rig.toml").names == tuple(f"view {i}" for i in range(12))


def test_aniposes_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    path.write_text(ANIPOSE)
    rig = CameraRig.load(path, unit="cm")
    assert rig.names == ("b", "c")  # cam_2 before cam_10
    assert rig.unit == "cm"
    assert rig["b"].lens == FisheyeLens(500, 500, 320, 240, (0.1, 0.02, 0, 0))
    assert rig["c"].lens == BrownLens(500, 500, 320, 240, (-0.1,))
    assert rig["c"].extra == {"serial": "8086"}
    assert rig.metadata == {"adjusted": False, "error": 0.4321}
    np.testing.assert_allclose(rig["c"].center, [0, 0, -3])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rotation = [ 0.1, 0.2, 0.3,]", "rotation = [[0.1], [0.2], [0.3]]"),
        ("translation = [ 1.0, 2.0, 3.0,]", "translation = [[1.0, 2.0, 3.0]]"),
        ("[ -0.1, 0.0, 0.0, 0.0, 0.0,]", "[[-0.1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]"),
        ("\n", "\r\n"),
    ],
)
def test_equal_forms_are_read_alike(tmp_path: Path, old: str, new: str) -> None:
    for name, text in (("one.toml", ANIPOSE), ("other.toml", ANIPOSE.replace(old, new))):
        (tmp_path / name).write_text(text, encoding="utf-8-sig", newline="")
    one, other = (CameraRig.load(tmp_path / name, unit="mm") for name in ("one.toml", "other.toml"))
    same(one, other)


def test_the_unit_must_be_known_and_agree(rig: CameraRig, tmp_path: Path) -> None:
    path = tmp_path / "calibration.toml"
    path.write_text(ANIPOSE)
    with pytest.raises(FormatError, match=r"calibration\.toml does not say the unit.*\[metadata\]: unit = .mm."):
        CameraRig.load(path)
    rig.save(path)
    with pytest.raises(FormatError, match="unit is 'mm', but 'cm' was given"):
        CameraRig.load(path, unit="cm")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "b"\n', "", r"\[cam_2\]: it has no name;"),
        ("rotation = [ 0.1, 0.2, 0.3,]\n", "", r"\[cam_2\]: it has no rotation;"),
        ('name = "b"', 'name = "c"', "come twice: c"),
        ("[ 0.1, 0.2, 0.3,]", "[ 0.1, 0.2,]", r"\[cam_2\]: rotation must be 3 numbers"),
        ("[ 0.1, 0.2, 0.3,]", "[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]", r"\[cam_2\]: rotation must be 3 numbers"),
        ("[ 0.1, 0.2, 0.3,]", "[nan, 0.2, 0.3]", r"\[cam_2\]: The pose of camera 'b' must be .* finite"),
        ("[ 1.0, 2.0, 3.0,]", '"near"', r"\[cam_2\]: translation must be numbers"),
        ("[ 640, 480,]", "[ 640, 480, 3]", "size of camera"),
        ("[ -0.1, 0.0, 0.0, 0.0, 0.0,]", "[0.1, 0.2, 0.3]", r"\[cam_10\]: 3 distortion coefficients fit no lens"),
        ("[ 0.0, 500.0, 240.0,]", "[ 0.0, 500.0,]", "A camera matrix must be numbers"),
        ("[ 0.0, 500.0, 240.0,]", "[ 0.0, -500.0, 240.0]", "fy.* must be above 0"),
        ("fisheye = true", 'fisheye = "yes"', "fisheye must be true or false"),
        ("fisheye = true", 'model = "pinhole"', "model may only be 'telecentric'"),
        ("fisheye = true", 'fisheye = true\nmodel = "telecentric"', "fisheye and telecentric"),
        ("[metadata]", "[metadata]\nschema_version = 99", "schema version 99.*Update multipose"),
        ("[metadata]", "[metadata]\nschema_version = true", "schema version True"),
        ("[metadata]\nadjusted", "[metadata]\nunit = 3\nadjusted", "unit"),
        ("[cam_10]", "[cam_10", "not valid TOML"),
        ("error = 0.4321", "error = 0.", "not valid TOML"),
    ],
)
def test_broken_files_say_what_is_wrong(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in ANIPOSE
    path = tmp_path / "broken.toml"
    path.write_text(ANIPOSE.replace(old, new))
    with pytest.raises(FormatError, match=message) as caught:
        CameraRig.load(path, unit=None if "unit = 3" in new else "mm")
    assert str(path) in str(caught.value)


def test_files_that_are_no_rig_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no rig file.*Calibrate first"):
        CameraRig.load(tmp_path / "none.toml")
    with pytest.raises(FormatError, match="cannot be read"):
        CameraRig.load(tmp_path)
    path = tmp_path / "empty.toml"
    path.write_text("")
    with pytest.raises(FormatError, match="holds no camera"):
        CameraRig.load(path, unit="mm")
    path.write_text("metadata = 3\n")
    with pytest.raises(FormatError, match="metadata must be a table"):
        CameraRig.load(path, unit="mm")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="line 1: .*no UTF-16"):
        CameraRig.load(path, unit="mm")


def test_a_rig_file_cut_anywhere_is_an_error_or_the_rig(rig: CameraRig, tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    rig.save(path)
    text = path.read_text()
    for length in range(0, len(text) - 1, 37):
        path.write_text(text[:length])
        with pytest.raises(FormatError):
            CameraRig.load(path)  # the unit stands at the end


@pytest.mark.parametrize("value", [None, np.float64(0.5), np.arange(3), {"deep": None}])
def test_what_toml_cannot_hold_is_not_written(rig: CameraRig, tmp_path: Path, value: object) -> None:
    path = tmp_path / "rig.toml"
    with pytest.raises(FormatError, match="metadata"):
        dataclasses.replace(rig, metadata={"value": value}).save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[ 500.0, 0.0, 320.0,]", "[ 1e300, 0.0, 320.0,]", "spans .* degrees|reaches"),
        ("[ 500.0, 0.0, 320.0,]", "[ 1e-300, 0.0, 320.0,]", "spans .* degrees|reaches"),
        ("[ -0.1, 0.0, 0.0, 0.0, 0.0,]", "[ -1e10, 0.0, 0.0, 0.0, 0.0,]", "reaches .*% of the 640 x 480 picture"),
        ("[ 0.0, 0.0, 3.0,]", "[ 0.0, 0.0, 1e200,]", "beyond any room"),
        ("[ 640, 480,]", "[ 640, 1e400,]", "size of camera"),
    ],
)
def test_cameras_that_cannot_be_are_refused_by_file(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    assert old in ANIPOSE
    path.write_text(ANIPOSE.replace(old, new))
    with pytest.raises(FormatError, match=message) as caught:
        CameraRig.load(path, unit="mm")
    assert f"{path}, [cam_" in str(caught.value)


def test_long_and_wide_lenses_are_read(tmp_path: Path) -> None:
    far = Camera("far", (1024, 1024), BrownLens(136_000, 136_000, 512, 512, (6000.0, -4e9)), np.eye(4))
    wide = Camera("wide", (640, 480), BrownLens(100, 100, 320, 240), np.eye(4))
    CameraRig((far, wide), "mm").save(tmp_path / "rig.toml")
    assert CameraRig.load(tmp_path / "rig.toml").names == ("far", "wide")
