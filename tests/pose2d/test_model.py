from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from multipose.errors import DataError, FormatError, ModelError
from multipose.files import content_hash
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.model import MODEL_FILE, WEIGHTS_FILE, PoseCalibration, PoseModel, check_same_keypoints
from multipose.pose2d.network import PoseNetwork
from multipose.pose2d.training import TrainingResult
from multipose.skeleton import Skeleton

SKELETON = Skeleton(("a", "b", "c"), edges=(("a", "b"),), pairs=(("b", "c"),), definitions={"a": 'tip of the "a"'})


def make_model(scale: float = 1.0, skeleton: Skeleton = SKELETON) -> PoseModel:
    network = PoseNetwork("efficientnet_lite0", len(skeleton), pretrained=False).eval()
    calibration = PoseCalibration(1.2, (0.3,), (2.5, 0.5, 1.0), 0.7, 30.0)
    return PoseModel(network, "efficientnet_lite0", skeleton, scale, calibration, {"seed": 3})


def test_a_saved_model_is_the_same_when_loaded(tmp_path: Path) -> None:
    model = make_model(scale=0.75)
    model.save(tmp_path)
    loaded = PoseModel.load(tmp_path)
    assert (loaded.backbone, loaded.scale, loaded.calibration) == (model.backbone, model.scale, model.calibration)
    assert loaded.skeleton == model.skeleton
    assert dict(loaded.training) == {"seed": 3}
    picture = np.random.default_rng(0).integers(0, 255, (61, 90, 3), dtype=np.uint8)
    a, b = (which.estimate_pictures([picture], threads=1) for which in (model, loaded))
    np.testing.assert_array_equal(a.position, b.position)
    np.testing.assert_array_equal(a.covariance, b.covariance)


def test_model_file_says_what_made_it(trained: TrainingResult, tmp_path: Path) -> None:
    trained.model.save(tmp_path)
    content = tomllib.loads((tmp_path / MODEL_FILE).read_text())
    assert {"schema_version", "kind", "multipose", "torch", "backbone", "scale", "weights_sha256"} <= set(content)
    assert {"seed", "steps", "dataset", "held_out_mean_px", "pictures", "settings"} <= set(content["training"])
    assert set(content["calibration"]) == {
        "presence_slope",
        "presence_offset",
        "covariance_floor",
        "covariance_spread",
        "covariance_blur",
        "covariance_doubt",
    }


def test_a_kill_while_saving_leaves_the_old_model_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    old, new = make_model(), make_model()
    with torch.no_grad():
        next(new.network.parameters()).add_(1.0)
    old.save(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("multipose.pose2d.model.write_text", kill)  # before the description names the new weights
        with pytest.raises(Killed):
            new.save(tmp_path)
    assert PoseModel.load(tmp_path).fingerprint() == old.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)  # after it
        with pytest.raises(Killed):
            new.save(tmp_path)
    assert PoseModel.load(tmp_path).fingerprint() == new.fingerprint()
    new.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODEL_FILE, WEIGHTS_FILE]


def test_broken_model_folders_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"model\.toml is missing.*multipose train"):
        PoseModel.load(tmp_path)
    make_model().save(tmp_path)
    description, weights = tmp_path / MODEL_FILE, tmp_path / WEIGHTS_FILE
    text, content = description.read_text(), weights.read_bytes()

    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=r"weights\.safetensors is damaged"):
        PoseModel.load(tmp_path)
    weights.unlink()
    with pytest.raises(FormatError, match=r"weights\.safetensors is missing"):
        PoseModel.load(tmp_path)
    weights.write_bytes(content)

    for edited, message in (
        (text.replace("schema_version = 1", "schema_version = 900"), "newer multipose"),
        (text[: len(text) // 2] + "[", "cannot be read"),
        (text.replace('"pose_model"', '"rig"'), "describes no pose network"),
        (text.replace("presence_slope", "presence_slide"), "was edited"),
        (text.replace('keypoints = [ "a", "b", "c",]', 'keypoints = [ "a", "b", "c", "d",]'), "was edited"),
    ):
        assert edited != text
        description.write_text(edited)
        with pytest.raises(FormatError, match=message):
            PoseModel.load(tmp_path)


def test_pictures_of_unequal_sizes_and_none_at_all() -> None:
    model = make_model(scale=0.5)
    pictures = [np.zeros((50, 70, 3), np.uint8), np.zeros((33, 129, 3), np.uint8)]
    estimate = model.estimate_pictures(pictures, threads=1)
    assert estimate.position.shape == (2, 3, 2)
    assert estimate.covariance.shape == (2, 3, 2, 2)
    assert model.estimate_pictures([], threads=1).position.shape == (0, 3, 2)


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(DataError, match="Picture 0: expected RGB uint8"):
        make_model().estimate_pictures([picture])


def test_points_are_in_the_pixels_of_the_picture_whatever_the_scale(
    trained: TrainingResult, make_discs: Callable[..., PoseDataset]
) -> None:
    """A picture twice as large, seen at half the scale, gives the same points in its own pixels."""
    from dataclasses import replace

    dataset = make_discs(4, seed=50)
    doubled = [np.repeat(np.repeat(dataset.picture(i), 2, axis=0), 2, axis=1) for i in range(4)]
    raw = replace(trained.model, calibration=PoseCalibration())
    small = raw.estimate_pictures([dataset.picture(i) for i in range(4)], threads=1)
    large = replace(raw, scale=0.5).estimate_pictures(doubled, threads=1)
    np.testing.assert_allclose((large.position + 0.5) / 2 - 0.5, small.position, atol=1e-3)
    np.testing.assert_allclose(large.covariance, 4 * small.covariance, rtol=1e-3)


def test_padding_does_not_attract_points(trained: TrainingResult) -> None:
    """A point is at most a refining step, 1.5 cells, from a cell of the picture; the padding here is 31 px wide."""
    picture = np.full((33, 65, 3), 110, np.uint8)
    position = trained.model.estimate_pictures([picture], threads=1).position
    assert (position > -7).all()
    assert (position < np.array([65 + 7, 33 + 7])).all()


def test_networks_of_a_rig_share_their_key_points() -> None:
    one, other = make_model(), make_model(skeleton=Skeleton(("a", "b")))
    assert check_same_keypoints({"left": one, "right": one}) == ("a", "b", "c")
    with pytest.raises(ModelError, match=r"left: a, b, c; right: a, b"):
        check_same_keypoints({"left": one, "right": other})
    with pytest.raises(ModelError, match="At least one"):
        check_same_keypoints({})


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("presence_slope = 1.2", "presence_slope = nan", "presence_slope of a network must be finite"),
        ("presence_slope = 1.2", 'presence_slope = "1.2"', "presence_slope of a network must be finite"),
        ("covariance_spread = 0.7", "covariance_spread = nan", "covariance_spread"),
        ("covariance_spread = 0.7", "covariance_spread = -1.0", "covariance_spread"),
        ("covariance_blur = 30.0", "covariance_blur = inf", "covariance_blur"),
        (
            "covariance_floor = [ 2.5, 0.5, 1.0,]",
            "covariance_floor = [ 2.5, 0.5,]",
            "covariance_floor has not one value",
        ),
        ("scale = 1.0", "scale = 1e-9", "the scale 1e-09"),
        ("scale = 1.0", "scale = nan", "the scale nan"),
        ('backbone = "efficientnet_lite0"', 'backbone = "../../x"', "There is no backbone"),
    ],
)
def test_values_that_cannot_be_are_refused_by_file(tmp_path: Path, old: str, new: str, problem: str) -> None:
    make_model().save(tmp_path)
    text = (tmp_path / MODEL_FILE).read_text()
    assert old in text
    (tmp_path / MODEL_FILE).write_text(text.replace(old, new))
    with pytest.raises(FormatError, match=problem) as caught:
        PoseModel.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("value", "problem"), [(np.nan, "are not finite"), (0.0, "all weights are 0")])
def test_weights_that_say_nothing_are_refused(tmp_path: Path, value: float, problem: str) -> None:
    make_model().save(tmp_path)
    weights, description = tmp_path / "weights.safetensors", tmp_path / MODEL_FILE
    before = content_hash(weights)
    tensors = {
        name: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor * 0
        for name, tensor in safetensors.torch.load_file(weights).items()
    }
    safetensors.torch.save_file(tensors, weights)
    description.write_text(description.read_text().replace(before, content_hash(weights)))
    with pytest.raises(FormatError, match=problem):
        PoseModel.load(tmp_path)
