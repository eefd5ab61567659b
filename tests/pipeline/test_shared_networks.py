"""A network that a camera and its mirror share: left stays left where the mirror's view is flipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multipose.errors import ProjectError
from multipose.labels import labels_from_points
from multipose.pipeline.beginning import make_project
from multipose.pipeline.plan import is_network, open_hashes, views_of
from multipose.pipeline.prediction import predict_recording
from multipose.pipeline.training import train_model
from multipose.pipeline.training_data import load_start, unflipped_mirrors
from multipose.project import Project, Recording
from multipose.tracks import load_tracks
from multipose.video import write_video

KEYPOINTS = ("head", "left_paw", "right_paw")
BODY = np.array([[13.0, 0.0], [-8.0, -11.0], [-8.0, 11.0]])  # seen from above, heading along x, y down
SIDE = 96
COUNT = 24


def film(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose left half shows an animal from above, the right half its image in a slanting mirror.

    Returns its key points in either half, (frame, keypoint, 2) px of the half.
    """
    random = np.random.default_rng(0)
    heading = random.uniform(-np.pi, np.pi, COUNT)
    along, across = np.stack([np.cos(heading), np.sin(heading)], 1), np.stack([-np.sin(heading), np.cos(heading)], 1)
    middle = random.uniform(26, SIDE - 27, (COUNT, 1, 2))
    direct = middle + BODY[:, :1] * along[:, None] + BODY[:, 1:] * across[:, None]
    slant = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]) * (-1, 1)
    half = (SIDE - 1) / 2
    seen = (middle - half) * (-1, 1) + half + (direct - middle) @ slant.T
    pictures = [
        np.concatenate([draw(one, 90 + n), draw(other, 60 + n)], 1)
        for n, (one, other) in enumerate(zip(direct, seen, strict=True))
    ]
    write_video(folder / "film.mp4", pictures, 20.0, crf=5)
    return direct, seen


def draw(points: np.ndarray, ground: float) -> np.ndarray:
    """A red head, a dark trunk, and two paws alike."""
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = np.full((SIDE, SIDE, 3), ground)
    for place, radius, colour in (
        (points.mean(0), 9.0, (40, 40, 40)),
        (points[0], 5.0, (220, 40, 40)),
        (points[1], 4.0, (40, 60, 220)),
        (points[2], 4.0, (40, 60, 220)),
    ):
        inside = np.clip(radius + 0.5 - np.hypot(x - place[0], y - place[1]), 0, 1)[..., None]
        picture = picture * (1 - inside) + inside * np.array(colour)
    return picture.astype(np.uint8)


def make(folder: Path, *, flip: bool) -> Project:
    """The project, whose mirror is said to be flipped or not; a folder that is one already gets another setting."""
    path = folder / "multipose.toml"
    if not path.exists():
        make_project(folder, ["direct", "mirror"], KEYPOINTS)
        Project.open(folder).with_recordings(
            [Recording("day1", {"direct": "film.mp4", "mirror": "film.mp4"})]
        ).save_manifest()
    text = path.read_text(encoding="utf-8").partition("\n[view.")[0]
    views = f"""
[view.direct]
crop = [0, 0, {SIDE}, {SIDE}]
[view.mirror]
crop = [{SIDE}, 0, {SIDE}, {SIDE}]
flip = {str(flip).lower()}
same_camera_as = "direct"
"""
    path.write_text(text.replace("#   shared = false", 'shared = [["direct", "mirror"]] #') + views, encoding="utf-8")
    return Project.open(folder)


@pytest.mark.slow
def test_left_is_left_in_a_flipped_mirror_and_right_in_another(tmp_path: Path) -> None:
    """The network learns from the direct view alone; unflipped, the mirror's paws get each other's names."""
    folder = tmp_path / "mice"
    make(folder, flip=True)
    direct, seen = film(folder)
    project = make(folder, flip=True)
    labels_from_points("day1", "direct", np.arange(COUNT), direct, KEYPOINTS).save(project.labels_path)
    train_model(project, "direct,mirror", open_hashes(project), budget={"steps": 160}, threads=1)
    for flip, truth in ((True, np.stack([SIDE - 1 - seen[..., 0], seen[..., 1]], -1)), (False, seen[:, [0, 2, 1]])):
        project = make(folder, flip=flip)
        assert project.model_names == ("direct,mirror",)
        predict_recording(project, project.recording("day1"), open_hashes(project), threads=1)
        found = load_tracks(project.keypoints_path("day1"))["position"].sel(view="mirror").values[:, 0]
        error = np.hypot(*np.moveaxis(found - truth, -1, 0))
        assert (error < 5).mean() > 0.9


def test_a_mirror_that_is_not_flipped_is_told(tmp_path: Path) -> None:
    (tmp_path / "mice").mkdir()
    assert not unflipped_mirrors(make(tmp_path / "mice", flip=True), "direct,mirror")
    (warning,) = unflipped_mirrors(make(tmp_path / "mice", flip=False), "direct,mirror")
    assert "say flip = true under [view.mirror]" in warning
    assert not unflipped_mirrors(make(tmp_path / "mice", flip=False), "mirror")


def test_networks_are_named_after_their_views(tmp_path: Path) -> None:
    (tmp_path / "mice").mkdir()
    project = make(tmp_path / "mice", flip=True)
    assert views_of(project, "shared") == views_of(project, "direct,mirror") == ("direct", "mirror")
    assert views_of(project, "mirror") == ("mirror",)
    assert not is_network(project, "direct,side")
    with pytest.raises(ProjectError, match="no network 'mirror,direct'; .* in this order"):
        views_of(project, "mirror,direct")
    with pytest.raises(ProjectError, match="multipose train --shared direct,mirror"):
        load_start(project, "direct,mirror")
