"""Networks in a project: trained for a few steps only, which is enough to see that the stages fit together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from multipose.errors import ModelError, ProjectError
from multipose.labels import Labels, labels_from_points
from multipose.pipeline.beginning import make_project
from multipose.pipeline.evaluation import cross_validate_model, evaluate_labels, held_out_figures
from multipose.pipeline.pictures import keypoints_page, labelled_videos, sheet_picture
from multipose.pipeline.plan import describe, judge_all, open_hashes
from multipose.pipeline.prediction import predict_recording
from multipose.pipeline.training import train_model
from multipose.pose2d import PoseModel
from multipose.project import Project, Recording
from multipose.sources import read_picture
from multipose.tracks import load_tracks
from multipose.video import VideoFile, write_video

pytestmark = pytest.mark.slow

KEYPOINTS = ("red", "blue")
COUNT = 12


def spots(seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Places (frame, 2, 2) of a red and a blue spot that wander, and the pictures."""
    random = np.random.default_rng(seed)
    places = random.uniform(12, 52, (COUNT, 2, 2))
    y, x = np.mgrid[:64, :64]
    pictures = []
    for red, blue in places:
        picture = np.full((64, 64, 3), 90, dtype=np.uint8)
        picture[np.hypot(x - red[0], y - red[1]) < 5] = (230, 30, 30)
        picture[np.hypot(x - blue[0], y - blue[1]) < 5] = (30, 30, 230)
        pictures.append(picture)
    return places, pictures


def make(folder: Path, *, shared: bool = False) -> Project:
    """Two views, recording day1 (labelled) and day2 (one frame shorter in `top`, which began one frame late)."""
    project = make_project(folder, ["back", "top"], KEYPOINTS)
    config = folder / "multipose.toml"
    text = config.read_text(encoding="utf-8").replace("#   shared = false", "shared = true" if shared else "#")
    config.write_text(text, encoding="utf-8")
    rows = []
    for number, view in enumerate(("back", "top")):
        places, pictures = spots(number)
        write_video(folder / f"day1_{view}.mp4", pictures, 20.0, crf=5)
        write_video(folder / f"day2_{view}.mp4", pictures[number:], 20.0, crf=5)
        rows.append(labels_from_points("day1", view, np.arange(COUNT), places, KEYPOINTS))
    rows[0].merge(rows[1]).save(project.labels_path)
    project = Project.open(folder).with_recordings(
        [
            Recording("day1", {view: f"day1_{view}.mp4" for view in ("back", "top")}),
            Recording("day2", {view: f"day2_{view}.mp4" for view in ("back", "top")}, offsets={"top": -1}),
        ]
    )
    project.save_manifest()
    return project


def test_from_labels_to_key_points(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    with pytest.raises(ProjectError, match="multipose train"):
        predict_recording(project, project.recording("day2"), hashes)
    for view in project.views:
        result = train_model(project, view, hashes, budget={"steps": 4}, threads=1)
        assert set(result) >= {"model", "minutes", "held_out_mean_px"}
        assert (project.model_folder(view) / "evaluation.html").stat().st_size > 10_000
        assert held_out_figures(project, view)["mean_px"] == pytest.approx(result["held_out_mean_px"])
    weights = project.model_folder("top") / "weights.safetensors"
    stamp = weights.stat().st_mtime_ns
    assert train_model(project, "top", hashes, budget={"steps": 4}, keep=True, threads=1) == result
    assert weights.stat().st_mtime_ns == stamp
    products = [describe(project, "train", view) for view in project.views]
    assert [judgement.state for judgement in judge_all(project, products, hashes)] == ["current", "current"]

    result = predict_recording(project, project.recording("day2"), hashes, threads=1)
    assert {view: report["frames"] for view, report in result["views"].items()} == {"back": COUNT, "top": COUNT - 1}
    keypoints = load_tracks(project.keypoints_path("day2"))
    assert keypoints["frame"].values.tolist() == [list(range(COUNT)), [-1, *range(COUNT - 1)]]
    assert np.isnan(keypoints["position"].sel(view="top").values[0]).all()
    assert np.isfinite(keypoints["position"].sel(view="back").values).all()
    assert keypoints.attrs["matched_by"] == "offsets back 0, top -1"
    assert keypoints.attrs["runtime"].startswith("torch ")
    assert keypoints.attrs["runtime"] == result["views"]["back"]["runtime"]
    assert result["views"]["back"]["limited_by"] in ("decoding", "pre-processing", "network")

    page = keypoints_page(project, project.recording("day2"), 3)
    assert "top, frame 2" in page.read_text(encoding="utf-8")
    with pytest.raises(ProjectError, match=f"moments 0 to {COUNT - 1}, no 99"):
        keypoints_page(project, project.recording("day2"), 99)
    assert read_picture(sheet_picture(project, project.recording("day2"), "top", 4)).shape[1] > 1000
    (video,) = labelled_videos(project, project.recording("day2"), ["top"], tmp_path / "drawn")
    assert len(VideoFile(video)) == COUNT - 1

    figures = evaluate_labels(project, "top", project.labels_path, hashes, threads=1)
    assert figures is not None
    assert figures["n"] == 2 * COUNT
    assert Path(figures["page"]).exists()

    labels = Labels.load(project.labels_path, KEYPOINTS)
    table = labels.table.copy()
    table.loc[(table["view"] == "top") & (table["frame"] == 3), "x"] += 1.0
    Labels(table, KEYPOINTS).save(project.labels_path)
    judged = judge_all(project, [describe(project, "train", view) for view in project.views], hashes)
    assert [judgement.state for judgement in judged] == ["current", "stale"]
    assert judged[1].reasons == (
        "changed: the labels of top",
        'given on the command line only, and lost when it is made anew: budget = {"steps": 4}',
    )


def test_a_shared_network(tmp_path: Path) -> None:
    project = make(tmp_path / "mice", shared=True)
    hashes = open_hashes(project)
    assert project.model_names == ("shared",)
    train_model(project, "shared", hashes, budget={"steps": 2}, threads=1)
    predict_recording(project, project.recording("day1"), hashes, threads=1)
    assert load_tracks(project.keypoints_path("day1")).sizes["view"] == 2


def test_views_begin_with_the_shared_network(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    with pytest.raises(ProjectError, match="no trained network"):
        train_model(project, "top", hashes, budget={"steps": 1}, start="shared", threads=1)
    train_model(project, "shared", hashes, budget={"steps": 2}, threads=1)
    assert project.model_names == ("shared",)
    assert project.model_folder("top").name == "shared"
    train_model(project, "top", hashes, budget={"steps": 1}, start="shared", threads=1)
    assert project.model_names == ("back", "top")
    shared, own = (PoseModel.load(project.folder / "models" / name) for name in ("shared", "top"))
    assert own.training["start"] == shared.fingerprint()
    apart = max(
        float((a - b).detach().abs().max())
        for a, b in zip(shared.network.parameters(), own.network.parameters(), strict=True)
    )
    assert 0 < apart < 0.01  # one step from where the shared network ended, not from ImageNet's weights


def test_cross_validation(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    result = cross_validate_model(
        project, "top", open_hashes(project), folds=2, split="blocks", budget={"steps": 2}, seed=0, threads=1
    )
    assert result["n"] == 2 * COUNT
    assert len(result["folds"]) == 2
    assert "contiguous blocks" in Path(result["page"]).read_text(encoding="utf-8")
    assert "label_curve" not in result


def test_a_label_curve_has_a_figure_for_each_number_of_pictures(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    result = cross_validate_model(
        project,
        "top",
        open_hashes(project),
        folds=2,
        split="blocks",
        budget={"steps": 1},
        seed=0,
        counts=(2, None),
        threads=1,
    )
    assert list(result["label_curve"]) == ["2", "all"]
    assert result["label_curve"]["all"]["mean_px"] == result["mean_px"]
    assert result["label_curve"]["2"]["n"] == result["n"] == 2 * COUNT
    assert "2 pictures" in Path(result["page"]).read_text(encoding="utf-8")


def test_an_interrupted_training_is_resumed_only_if_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multipose.pipeline import training

    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    asked = []

    def interrupt(*_: object, resume: bool, **__: object) -> None:
        asked.append(resume)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupt)
    for seed in (0, 0, 1, 1, 0):
        with pytest.raises(KeyboardInterrupt):
            train_model(project, "top", hashes, budget={"steps": 2}, seed=seed)
    assert asked == [False, True, False, True, False]


def test_a_network_of_other_key_points(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    for view in project.views:
        train_model(project, view, hashes, budget={"steps": 1}, threads=1)
    config = project.folder / "multipose.toml"
    text = config.read_text(encoding="utf-8").replace('["red", "blue"]', '["blue", "red"]')
    config.write_text(text, encoding="utf-8")
    with pytest.raises((ProjectError, ModelError), match="red, blue"):
        predict_recording(Project.open(project.folder), project.recording("day1"), hashes)
    figures = json.loads((project.model_folder("top") / "evaluation.json").read_text(encoding="utf-8"))
    assert figures["schema_version"] == 1
