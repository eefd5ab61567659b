from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multipose.errors import DataError, ModelError
from multipose.pose2d.calibration import fit_calibration
from multipose.pose2d.crossvalidation import choose_folds, cross_validate
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.evaluation import Evaluation, evaluate, join_evaluations
from multipose.pose2d.training import TrainingResult
from multipose.skeleton import Skeleton

Make = Callable[..., PoseDataset]


def make_evaluation(truth: np.ndarray, position: np.ndarray, **changes: np.ndarray) -> Evaluation:
    n, n_keypoints = truth.shape[:2]
    values = {
        "present": np.isfinite(truth).all(-1).astype(float),
        "confidence": np.ones((n, n_keypoints)),
        "covariance": np.tile(np.eye(2), (n, n_keypoints, 1, 1)),
        "presence_logit": np.ones((n, n_keypoints)),
    }
    names = tuple(f"frame {i}" for i in range(n))
    keypoints = tuple(f"k{k}" for k in range(n_keypoints))
    return Evaluation(keypoints, names, truth, position=position, **(values | changes))


def test_figures_of_known_errors() -> None:
    truth = np.zeros((2, 3, 2))
    truth[1, 2] = np.nan
    position = np.zeros((2, 3, 2))
    position[0, 0] = (3, 4)
    position[0, 1] = (0, 10)
    position[1, 2] = (999, 999)
    evaluation = make_evaluation(truth, position)
    assert evaluation.n == 5
    assert evaluation.mean_px == pytest.approx(3.0)
    assert evaluation.rmse_px == pytest.approx(5.0)
    assert evaluation.median_px == 0
    assert evaluation.pck5 == pytest.approx(0.8)
    assert evaluation.keypoint_mean_px() == pytest.approx({"k0": 2.5, "k1": 5.0, "k2": 0.0})
    np.testing.assert_allclose(evaluation.picture_mean_px(), [5, 0])
    assert evaluation.ranked().tolist() == [1, 0]
    described = evaluation.to_dict()
    assert set(described) == {"mean_px", "rmse_px", "median_px", "pck5", "n", "keypoints"}
    json.dumps(described, allow_nan=False)


def test_no_label_gives_no_figure() -> None:
    evaluation = make_evaluation(np.full((2, 1, 2), np.nan), np.zeros((2, 1, 2)))
    assert evaluation.n == 0
    assert np.isnan(evaluation.mean_px)
    assert evaluation.to_dict()["mean_px"] is None
    assert evaluation.to_dict()["keypoints"] == {"k0": None}
    assert evaluation.ranked().tolist() == []


def test_joined_evaluations_are_those_of_all_pictures() -> None:
    random = np.random.default_rng(0)
    truth, position = random.normal(size=(2, 7, 3, 2))
    whole = make_evaluation(truth, position)
    parts = [make_evaluation(truth[:3], position[:3]), make_evaluation(truth[3:], position[3:])]
    joined = join_evaluations(parts)
    assert joined.to_dict() == whole.to_dict()
    assert len(joined.names) == 7
    with pytest.raises(DataError, match="same key points"):
        join_evaluations([whole, make_evaluation(truth[:, :2], position[:, :2])])
    with pytest.raises(DataError, match="at least one"):
        join_evaluations([])


def test_evaluating_is_estimating_and_comparing(trained: TrainingResult, make_discs: Make) -> None:
    dataset = make_discs(5, seed=400, absent=0.5)
    evaluation = evaluate(trained.model, dataset, threads=1)
    estimate = trained.model.estimate_pictures([dataset.picture(i) for i in range(5)], threads=1)
    np.testing.assert_array_equal(evaluation.position, estimate.position)
    np.testing.assert_array_equal(evaluation.truth, dataset.xy)
    assert evaluation.n == int(dataset.present.sum())
    with pytest.raises(ModelError, match=r"red, green, blue.*red, green, violet"):
        evaluate(trained.model, replace(dataset, skeleton=Skeleton(("red", "green", "violet"))))


def test_covariance_is_calibrated_by_held_out_errors() -> None:
    random = np.random.default_rng(1)
    truth = np.zeros((400, 2, 2))
    position = random.normal(scale=3.0, size=truth.shape)
    evaluation = make_evaluation(truth, position, covariance=np.tile(2.0 * np.eye(2), (400, 2, 1, 1)))
    assert fit_calibration(evaluation).covariance_factor == pytest.approx(4.5, rel=0.15)
    few = make_evaluation(truth[:1], position[:1])
    assert fit_calibration(few).covariance_factor == 1


def test_presence_is_calibrated_by_held_out_frames() -> None:
    random = np.random.default_rng(2)
    logit = random.normal(scale=3.0, size=(3000, 1))
    present = (random.random((3000, 1)) < 1 / (1 + np.exp(-(0.5 * logit - 1.0)))).astype(float)
    zeros = np.zeros((3000, 1, 2))
    calibration = fit_calibration(make_evaluation(zeros, zeros, presence_logit=logit, present=present))
    assert calibration.presence_slope == pytest.approx(0.5, abs=0.06)
    assert calibration.presence_offset == pytest.approx(-1.0, abs=0.15)
    all_there = make_evaluation(zeros[:20], zeros[:20], presence_logit=np.full((20, 1), 2.0), present=np.ones((20, 1)))
    assert 0.5 < fit_calibration(all_there).presence_slope < 3
    unknown = make_evaluation(zeros[:2], zeros[:2], present=np.full((2, 1), np.nan))
    assert fit_calibration(unknown).presence_slope == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("split", ["random", "blocks"])
def test_every_picture_is_judged_once(make_discs: Make, split: str) -> None:
    dataset = make_discs(11)
    folds = choose_folds(dataset, 3, split)  # type: ignore[arg-type]
    assert sorted(np.concatenate(folds).tolist()) == list(range(11))
    contiguous = [bool((np.diff(fold) == 1).all()) for fold in folds]
    assert all(contiguous) == (split == "blocks")


def test_impossible_folds(make_discs: Make) -> None:
    dataset = make_discs(4)
    for folds in (1, 5):
        with pytest.raises(DataError, match=f"2 to 4 folds, got {folds}"):
            choose_folds(dataset, folds)
    with pytest.raises(DataError, match="'odd'"):
        choose_folds(dataset, 2, "odd")  # type: ignore[arg-type]


def test_what_judges_was_never_seen(trained: TrainingResult, make_discs: Make) -> None:
    dataset = make_discs(6)
    learned: list[tuple[str, ...]] = []

    def fit(part: PoseDataset, folder: Path) -> TrainingResult:
        assert folder.is_dir()
        learned.append(part.names)
        return trained

    parts = cross_validate(dataset, fit, folds=3, split="blocks", threads=1)
    for part, names in zip(parts, learned, strict=True):
        assert not set(part.names) & set(names)
        assert set(part.names) | set(names) == set(dataset.names)
    assert join_evaluations(parts).names == dataset.names
