from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from multipose.errors import DataError, LabelError, VideoError
from multipose.labels import Labels, picture_path
from multipose.pose2d.dataset import (
    PoseDataset,
    ShrunkPictures,
    choose_scale,
    dataset_from_labels,
    shrink,
)
from multipose.pose2d.posture import animal_length
from multipose.skeleton import Skeleton
from multipose.sources import write_picture

Make = Callable[..., PoseDataset]
SKELETON = Skeleton(("nose", "tail"))


def make_labels(rows: list[tuple[str, str, int, str, float, float, str]]) -> Labels:
    columns = ["recording", "view", "frame", "keypoint", "x", "y", "state"]
    return Labels(pd.DataFrame(rows, columns=columns), SKELETON.keypoints)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Labels, Path]:
    rows = [
        ("day1", "top", 7, "nose", 3.0, 4.0, "visible"),
        ("day1", "top", 7, "tail", np.nan, np.nan, "absent"),
        ("day2", "top", 7, "tail", 5.0, 6.0, "occluded"),
        ("day2", "side", 9, "nose", 1.0, 2.0, "visible"),
    ]
    for recording, view, frame in (("day1", "top", 7), ("day2", "top", 7), ("day2", "side", 9)):
        picture = np.full((20, 30, 3), (frame, 100, 200), np.uint8)
        write_picture(picture_path(tmp_path, recording, view, frame), picture)
    return make_labels(rows), tmp_path


def test_labels_of_a_view_become_a_dataset(labelled: tuple[Labels, Path]) -> None:
    dataset = dataset_from_labels(*labelled, "top", SKELETON)
    assert dataset.names == ("day1/top/000007", "day2/top/000007")
    assert dataset.groups == ("day1", "day2")
    np.testing.assert_array_equal(dataset.xy, [[[3, 4], [np.nan, np.nan]], [[np.nan, np.nan], [5, 6]]])
    assert dataset.state.tolist() == [["visible", "absent"], ["unlabelled", "occluded"]]
    assert dataset.known.tolist() == [[True, True], [False, True]]
    assert dataset.present.tolist() == [[True, False], [False, True]]
    np.testing.assert_array_equal(dataset.picture(0)[0, 0], [7, 100, 200])


def test_views_that_share_a_network_and_pictures_listed_one_by_one(labelled: tuple[Labels, Path]) -> None:
    labels, folder = labelled
    both = dataset_from_labels(labels, folder, ["top", "side"], SKELETON)
    assert [name.split("/")[1] for name in both.names] == ["top", "top", "side"]
    places = {
        (recording, view, frame): picture_path(folder, recording, view, frame)
        for recording, view, frame in (("day1", "top", 7), ("day2", "top", 7))
    }
    assert dataset_from_labels(labels, places, "top", SKELETON).pictures == both.pictures[:2]


def test_what_is_wrong_with_labels_is_told(labelled: tuple[Labels, Path]) -> None:
    labels, folder = labelled
    with pytest.raises(LabelError, match=r"view bottom.*top, side"):
        dataset_from_labels(labels, folder, "bottom", SKELETON)
    with pytest.raises(LabelError, match=r"only labelled: tail; only in the skeleton: ear"):
        dataset_from_labels(labels, folder, "top", Skeleton(("nose", "ear")))
    picture_path(folder, "day2", "top", 7).unlink()
    with pytest.raises(LabelError, match=r"day2, view top, frame 7.*does not exist"):
        dataset_from_labels(labels, folder, "top", SKELETON)
    with pytest.raises(LabelError, match=r"day1, view top, frame 7.*not listed"):
        dataset_from_labels(labels, {}, "top", SKELETON)


def test_impossible_datasets_are_refused(make_discs: Make) -> None:
    good = make_discs(2)
    with pytest.raises(DataError, match=r"xy \(2, 3, 2\)"):
        replace(good, xy=good.xy[:1])
    with pytest.raises(DataError, match="2 groups, names, moments and views"):
        replace(good, names=("one",))
    with pytest.raises(DataError, match="'seen'"):
        replace(good, state=np.full((2, 3), "seen"))
    broken = good.xy.copy()
    broken[1, 2, 0] = np.nan
    with pytest.raises(DataError, match="discs/1: blue is labelled as visible but has no finite position"):
        replace(good, xy=broken)
    with pytest.raises(DataError, match="None of the 2 labelled pictures"):
        replace(good, state=np.full((2, 3), "absent"))
    grey, picture = good.picture(0)[..., 0], good.picture(0)
    for wrong in (grey, picture / 255, picture.tolist(), "one.png"):
        with pytest.raises(DataError, match="discs/1: expected .*RGB uint8"):
            replace(good, pictures=(picture, wrong))


def test_positions_of_absent_points_are_forgotten(make_discs: Make) -> None:
    good = make_discs(2)
    state = good.state.copy()
    state[0, 1] = "absent"
    assert np.isnan(replace(good, state=state).xy[0, 1]).all()
    assert np.isfinite(good.xy[0, 1]).all()


def test_missing_and_damaged_pictures_are_named(make_discs: Make, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG but not for long")
    dataset = replace(make_discs(2), pictures=(tmp_path / "gone.png", damaged))
    with pytest.raises(VideoError, match=r"gone\.png"):
        dataset.picture(0)
    with pytest.raises(VideoError, match=r"damaged\.png"):
        dataset.picture(1)


def test_fingerprint_follows_labels_and_pictures(make_discs: Make) -> None:
    dataset = make_discs(3)
    assert make_discs(3).fingerprint() == dataset.fingerprint()
    moved = dataset.xy.copy()
    moved[0, 0, 0] += 1e-6
    repainted = (dataset.pictures[0] ^ 1, *dataset.pictures[1:])
    others = (replace(dataset, xy=moved), replace(dataset, pictures=repainted), dataset.subset([0, 1]), make_discs(4))
    assert dataset.fingerprint() not in {other.fingerprint() for other in others}


@pytest.mark.parametrize(
    ("size", "animal", "expected"),
    [
        ((640, 480), 120.0, 1.0),
        ((1280, 1024), 300.0, 0.5),
        ((2560, 2048), 192.0, 0.5),
        ((2560, 2048), 2000.0, 0.25),
        ((2560, 2048), 50.0, 1.0),
    ],
)
def test_scale_bounds_the_work_and_keeps_the_animal(size: tuple[int, int], animal: float, expected: float) -> None:
    xy = np.array([[[10.0, 10.0], [10.0 + animal * 0.6, 10.0 + animal * 0.8]]])
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    dataset = PoseDataset((picture,), xy, np.full((1, 2), "visible"), SKELETON, ("a",), ("a",))
    assert animal_length(dataset.xy) == pytest.approx(animal)
    assert choose_scale(dataset) == pytest.approx(expected)


def test_shrinking_moves_pixel_centres() -> None:
    picture = np.zeros((90, 121, 3), np.uint8)
    picture[40:44, 60:66] = 255
    small, ratio = shrink(picture, 0.5)
    assert small.shape == (45, 60, 3)
    weights = small[..., 0].astype(float)
    y, x = np.mgrid[:45, :60]
    found = np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()
    np.testing.assert_allclose(found, (np.array([62.5, 41.5]) + 0.5) * ratio - 0.5, atol=0.02)


def test_shrunk_pictures_are_kept_and_of_unequal_sizes(make_discs: Make) -> None:
    one, other = make_discs(1, size=(96, 80)), make_discs(1, size=(64, 120))
    both = PoseDataset(
        one.pictures + other.pictures,
        np.concatenate([one.xy, other.xy]),
        np.concatenate([one.state, other.state]),
        one.skeleton,
        ("a", "a"),
        ("a", "b"),
    )
    shrunk = ShrunkPictures(both, 0.5)
    assert shrunk[0][0].shape == (40, 48, 3)
    assert shrunk[1][0].shape == (60, 32, 3)
    assert shrunk[1][0] is shrunk[1][0]
    np.testing.assert_allclose(shrunk[1][1], (both.xy[1] + 0.5) / 2 - 0.5)
