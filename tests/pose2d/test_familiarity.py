from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.familiarity import Familiarity, Glimpse, describe_glimpses, fit_familiarity
from multipose.pose2d.model import PoseModel
from multipose.pose2d.prediction import predict, predict_to_file
from multipose.pose2d.training import TrainingResult
from multipose.sources import write_picture

Make = Callable[..., PoseDataset]


def stripes(picture: np.ndarray) -> np.ndarray:
    """The picture with coarse stripes laid over it."""
    striped = picture.copy()
    striped[::8] = striped[1::8] = (250, 220, 30)
    return striped


def strangeness(trained: TrainingResult, dataset: PoseDataset) -> np.ndarray:
    model = trained.model
    assert model.familiarity is not None
    glimpses = [Glimpse.catch(dataset.picture(item), dataset.xy[item]) for item in range(len(dataset))]
    return model.familiarity.strangeness(describe_glimpses(model.network, glimpses))


def test_other_pictures_of_the_same_kind_are_familiar_and_others_are_strange(
    trained: TrainingResult, make_discs: Make
) -> None:
    like = make_discs(12, seed=500)
    striped = tuple(stripes(like.picture(item)) for item in range(len(like)))
    dark = tuple((0.1 * like.picture(item)).astype(np.uint8) for item in range(len(like)))
    # 1 is the limit learned from the training's own pictures: what is like them lies below, what is not above
    assert np.median(strangeness(trained, like)) < 1
    assert np.median(strangeness(trained, replace(like, pictures=striped))) > 1
    assert np.median(strangeness(trained, replace(like, pictures=dark))) > 1


def test_prediction_tells_of_an_unlike_video_and_which_frames_to_label(
    trained: TrainingResult, make_discs: Make, tmp_path: Path
) -> None:
    like = make_discs(12, seed=500)
    pictures = [like.picture(item) for item in range(len(like))]
    models = {"like": trained.model, "unlike": trained.model}
    sources = {"like": pictures, "unlike": [stripes(picture) for picture in pictures]}
    paths = {}
    for view, frames in sources.items():
        paths[view] = []
        for number, picture in enumerate(frames):
            write_picture(tmp_path / view / f"{number + 100}.png", picture)
            paths[view].append(tmp_path / view / f"{number + 100}.png")
    reports = predict_to_file(models, paths, tmp_path / "keypoints2d.nc", threads=1)
    assert not reports["like"].unlike
    assert reports["like"].to_label == ()
    assert reports["unlike"].unlike
    assert 3 <= len(reports["unlike"].to_label) <= 6  # of the six frames looked at
    told = json.loads(predict(models, paths, threads=1).attrs["unlike"])
    assert told == {"unlike": reports["unlike"].unlikeness}


def test_frames_to_label_differ_from_each_other() -> None:
    random = np.random.default_rng(0)
    known = random.normal(size=(20, 2, 4))
    offered = np.repeat([[[8.0] * 4] * 2, [[-9.0] * 4] * 2, [[0.0] * 4] * 2], 3, axis=0)
    offered += random.normal(0, 0.01, offered.shape)
    chosen = Familiarity(known, np.ones(2)).choose(offered, 2)
    assert sorted(place // 3 for place in chosen) == [0, 1]


def test_familiarity_is_saved_with_the_network_and_older_networks_do_without(
    trained: TrainingResult, make_discs: Make, tmp_path: Path
) -> None:
    assert trained.model.familiarity is not None
    trained.model.save(tmp_path / "now")
    loaded = PoseModel.load(tmp_path / "now").familiarity
    assert loaded is not None
    np.testing.assert_array_equal(loaded.descriptions, trained.model.familiarity.descriptions)
    np.testing.assert_array_equal(loaded.limits, trained.model.familiarity.limits)
    replace(trained.model, familiarity=None).save(tmp_path / "older")
    older = PoseModel.load(tmp_path / "older")
    assert older.familiarity is None
    picture = make_discs(1).picture(0)
    write_picture(tmp_path / "0.png", picture)
    report = predict_to_file({"top": older}, {"top": [tmp_path / "0.png"]}, tmp_path / "keypoints2d.nc", threads=1)
    assert report["top"].strangeness is None
    assert not report["top"].unlike


def test_few_pictures_say_nothing(trained: TrainingResult, make_discs: Make) -> None:
    assert fit_familiarity(trained.model.network, make_discs(7)) is None


def test_a_picture_without_points_is_described_as_a_whole_only(trained: TrainingResult, make_discs: Make) -> None:
    picture = make_discs(1).picture(0)
    glimpse = Glimpse.catch(picture, np.full((3, 2), np.nan))
    assert glimpse.animal is None
    described = describe_glimpses(trained.model.network, [glimpse])
    assert np.isfinite(described[0, 0]).all()
    assert np.isnan(described[0, 1]).all()
    assert trained.model.familiarity is not None
    assert np.isfinite(trained.model.familiarity.strangeness(described)).all()
