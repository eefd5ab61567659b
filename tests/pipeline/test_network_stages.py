"""Networks in a project: trained for a few steps only, which is enough to see that the stages fit together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multipose.errors import DataError, LabelError, ModelError, ProjectError
from multipose.labels import Labels, labels_from_points, picture_path
from multipose.pipeline.beginning import make_project
from multipose.pipeline.evaluation import cross_validate_model, evaluate_labels, held_out_figures
from multipose.pipeline.held_out import HeldOutPoints
from multipose.pipeline.labels import extract_chosen, read_frames
from multipose.pipeline.pictures import keypoints_page, labelled_videos, sheet_picture
from multipose.pipeline.plan import describe, judge_all, open_hashes
from multipose.pipeline.prediction import predict_recording
from multipose.pipeline.running import run
from multipose.pipeline.training import train_model, train_models
from multipose.pose2d import PoseModel
from multipose.project import Project, Recording
from multipose.sources import read_picture, write_picture
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


def test_folds_judge_every_label_by_a_network_that_never_saw_it(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    given: dict[str, Any] = {"budget": {"steps": 2}, "threads": 1}
    with pytest.raises(DataError, match="1 stretches of neighbouring frames"):
        train_model(project, "back", hashes, folds=3, **given)
    table = Labels.load(project.labels_path).table
    table["frame"] = table["frame"] * 10  # stretches of neighbours are kept together
    rename = {f"{frame:06d}.png": f"{10 * frame:06d}.png" for frame in range(COUNT)}
    for view in project.views:
        _, pictures = spots(project.views.index(view))
        for frame, picture in enumerate(pictures):
            write_picture(project.frames_folder / "day1" / view / rename[f"{frame:06d}.png"], picture)
    Labels(table).save(project.labels_path)
    shared = train_model(project, "shared", hashes, folds=3, **given)
    assert Path(shared["model"]).name == "shared"
    held_out = HeldOutPoints.load(project.folder / "models" / "shared" / "held_out.npz")
    assert sorted(zip(held_out.views, held_out.moments, strict=True)) == sorted(
        (view, 10 * frame) for view in project.views for frame in range(COUNT)
    )
    networks = sorted(path.name for path in (project.folder / "models" / "shared" / "fold_networks").iterdir())
    assert networks == ["1_of_3", "2_of_3", "3_of_3"]
    for number in networks:
        model = PoseModel.load(project.folder / "models" / "shared" / "fold_networks" / number)
        assert model.training["pictures"] + model.training["held_out_pictures"] == 2 * COUNT * 2 // 3
    with pytest.raises(ProjectError, match="Train it with --folds 4 too"):
        train_model(project, "top", hashes, folds=4, start="shared", **given)
    train_model(project, "top", hashes, folds=3, start="shared", **given)
    fold = PoseModel.load(project.folder / "models" / "top" / "fold_networks" / "2_of_3")
    begun = PoseModel.load(project.folder / "models" / "shared" / "fold_networks" / "2_of_3")
    assert fold.training["start"] == begun.fingerprint()
    stamp = (project.folder / "models" / "top" / "fold_networks" / "2_of_3" / "model.toml").stat().st_mtime_ns
    train_model(project, "top", hashes, folds=3, start="shared", **given)  # finished folds are not trained again
    again = project.folder / "models" / "top" / "fold_networks" / "2_of_3" / "model.toml"
    assert again.stat().st_mtime_ns == stamp


def test_from_labels_to_key_points(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    with pytest.raises(ProjectError, match="multipose train"):
        predict_recording(project, project.recording("day2"), hashes)
    for view in project.views:
        result = train_model(project, view, hashes, budget={"steps": 4}, threads=1)
        assert set(result) >= {"model", "minutes", "held_out_mean_px"}
        assert (project.model_folder(view) / "evaluation.html").stat().st_size > 10_000
        assert held_out_figures(project, view, hashes)["mean_px"] == pytest.approx(result["held_out_mean_px"])
    weights = project.model_folder("top") / "weights.safetensors"
    stamp = weights.stat().st_mtime_ns
    assert train_model(project, "top", hashes, budget={"steps": 4}, keep=True, threads=1) == result
    assert weights.stat().st_mtime_ns == stamp
    products = [describe(project, "train", view) for view in project.views]
    assert [judgement.state for judgement in judge_all(project, products, hashes)] == ["current", "current"]

    whole = weights.read_bytes()
    for damaged, reason in ((whole[:1000], "weights.safetensors is damaged"), (None, "weights.safetensors is gone")):
        weights.unlink() if damaged is None else weights.write_bytes(damaged)
        (judged,) = judge_all(project, [describe(project, "train", "top")], hashes)
        assert (judged.state, judged.reasons) == ("missing", (reason,))
    weights.write_bytes(whole)

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

    figures = evaluate_labels(project, "top", project.labels_path, hashes, worst=2, threads=1)
    assert figures is not None
    assert figures["n"] == 2 * COUNT
    assert figures["pictures_seen"] == COUNT
    assert "learned from 11 of these 12 pictures" in Path(figures["page"]).read_text(encoding="utf-8")
    assert [Path(path).name[:14] for path in figures["worst"]] == ["001_day1_top_0", "002_day1_top_0"]
    assert read_picture(Path(figures["worst"][0])).shape[1] == 800
    with pytest.raises(DataError, match="seen all 12 pictures"):
        evaluate_labels(project, "top", project.labels_path, hashes, unseen=True, threads=1)
    metrics = (project.model_folder("top") / "training.html").read_text(encoding="utf-8")
    assert "Training of network top" in metrics
    assert "http-equiv" not in metrics

    labels = Labels.load(project.labels_path, KEYPOINTS)
    table = labels.table.copy()
    table.loc[(table["view"] == "top") & (table["frame"] == 3), "x"] += 1.0
    Labels(table, KEYPOINTS).save(project.labels_path)
    judged = judge_all(project, [describe(project, "train", view) for view in project.views], hashes)
    assert [judgement.state for judgement in judged] == ["current", "stale"]
    assert judged[1].reasons == (
        "changed: the labels of top",
        'of the command line, to be given again: budget = {"steps": 4}',
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


def test_an_interrupted_cross_validation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multipose.pipeline import evaluation

    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    options: dict[str, Any] = {"folds": 3, "split": "random", "budget": {"steps": 1}, "seed": 0, "threads": 1}
    with pytest.raises(DataError, match="from 2 to 8, not 9"):
        cross_validate_model(project, "top", hashes, counts=(2, 9), **options)
    really, trained = evaluation.train, []

    def interrupt(part: Any, *rest: Any, **named: Any) -> Any:
        trained.append(part.names)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return really(part, *rest, **named)

    monkeypatch.setattr(evaluation, "train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cross_validate_model(project, "top", hashes, **options)
    monkeypatch.setattr(evaluation, "train", really)
    cross_validate_model(project, "top", hashes, **{**options, "folds": 2, "seed": 1})  # another one between
    monkeypatch.setattr(evaluation, "train", interrupt)
    result = cross_validate_model(project, "top", hashes, **options)
    assert trained[3:] == [trained[2]]
    assert result["n"] == 2 * COUNT
    assert not (project.model_folder("top") / "folds").exists()


def test_recordings_are_left_out(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    options: dict[str, Any] = {"folds": None, "split": "recording", "budget": {"steps": 1}, "seed": 0, "threads": 1}
    with pytest.raises(DataError, match="one recording, 'day1'"):
        cross_validate_model(project, "top", hashes, **options)
    places, _ = spots(1)
    more = labels_from_points("day2", "top", np.arange(4), places[1:5], KEYPOINTS)
    Labels.load(project.labels_path, KEYPOINTS).merge(more).save(project.labels_path)
    result = cross_validate_model(project, "top", hashes, **options, worst=1)
    assert result["n"] == 2 * (COUNT + 4)
    assert len(result["folds"]) == 2
    assert "whole recordings" in result["judged_on"]
    assert len(result["worst"]) == 1


def test_networks_are_compared_on_what_neither_has_seen(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    for name, seed in (("top", 0), ("shared", 1)):
        train_model(project, name, hashes, budget={"steps": 2}, seed=seed, threads=1)
    places, _ = spots(1)
    table = tmp_path / "fresh.csv"
    fresh = labels_from_points("day2", "top", np.arange(3), places[1:4], KEYPOINTS)
    Labels.load(project.labels_path, KEYPOINTS).merge(fresh).save(table)
    with pytest.raises(ModelError, match=r"network top has learned from.*network shared has learned.*--unseen"):
        evaluate_labels(project, "top", table, hashes, compare="shared", threads=1)
    with pytest.raises(ProjectError, match="'side' is no network of the project .*shared, back, top"):
        evaluate_labels(project, "top", table, hashes, compare="side", threads=1)
    with pytest.raises(ModelError, match="network top itself"):
        evaluate_labels(project, "top", table, hashes, compare="top", threads=1)
    figures = evaluate_labels(project, "top", table, hashes, compare="shared", unseen=True, threads=1)
    assert figures is not None
    assert figures["pictures_seen"] == 0
    comparison = figures["comparison"]
    assert comparison["n"] == figures["n"] <= 6
    assert comparison["difference_px"] == pytest.approx(comparison["second_px"] - comparison["first_px"])
    assert "Networks top and shared" in Path(comparison["page"]).read_text(encoding="utf-8")
    by_folder = evaluate_labels(
        project, "top", table, hashes, compare=str(project.folder / "models" / "shared"), unseen=True, threads=1
    )
    assert by_folder is not None
    assert by_folder["comparison"]["keypoints"] == comparison["keypoints"]


def test_second_labels_are_measured_and_make_networks_stale(tmp_path: Path) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    places, _ = spots(1)
    again = project.folder / "labels" / "again.csv"
    second = labels_from_points("day1", "top", np.arange(6), places[:6] + np.array([3.0, 4.0]), KEYPOINTS)
    second.save(again)
    train_model(project, "top", hashes, budget={"steps": 1}, labelled_again=again, threads=1)
    noise = PoseModel.load(project.model_folder("top")).training["label_sd_px"]
    assert noise == [pytest.approx(np.sqrt(12.5 / 2))] * 2
    config = project.folder / "multipose.toml"
    text = config.read_text(encoding="utf-8").replace("#   labelled_again", "labelled_again")
    config.write_text(text, encoding="utf-8")
    project = Project.open(project.folder)
    for view in project.views:
        train_model(project, view, hashes, budget={"steps": 1}, threads=1)
    figures = held_out_figures(project, "top", hashes)["label_noise"]
    assert (figures["n"], figures["repeat_px"], figures["network_px"]) == (12, pytest.approx(5.0), None)
    assert "label_noise" not in held_out_figures(project, "back", hashes)
    judged = evaluate_labels(project, "top", project.labels_path, hashes, labelled_again=again, threads=1)
    assert judged is not None
    assert judged["label_noise"]["network_n"] == 12
    Labels(second.table.assign(x=second.table["x"] + 1), KEYPOINTS).save(again)
    products = [describe(project, "train", view) for view in project.views]
    assert [judgement.state for judgement in judge_all(project, products, hashes)] == ["current", "stale"]
    again.unlink()
    with pytest.raises(ProjectError, match="again.csv, which does not exist"):
        train_model(project, "top", hashes, budget={"steps": 1}, threads=1)


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
        counts=(None, 2),
        threads=1,
    )
    assert list(result["label_curve"]) == ["2", "all"]
    assert result["label_curve"]["all"]["mean_px"] == result["mean_px"]
    assert result["label_curve"]["2"]["n"] == result["n"] == 2 * COUNT
    assert "pictures learned from" in Path(result["page"]).read_text(encoding="utf-8")
    assert "2 pictures" in Path(result["page"]).read_text(encoding="utf-8")


def test_networks_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices, two networks, one each: those of one after the other; and `run` does so by itself."""
    one_by_one, at_once = (make(tmp_path / name) for name in ("one", "two"))
    budget = {"steps": 3}
    for view in one_by_one.views:
        train_model(one_by_one, view, open_hashes(one_by_one), budget=budget, threads=1)
    results = train_models(
        at_once, at_once.views, open_hashes(at_once), budget=budget, devices=("cpu", "cpu"), threads=2
    )
    assert list(results) == ["back", "top"]
    for view in at_once.views:
        ours, theirs = (PoseModel.load(project.model_folder(view)) for project in (at_once, one_by_one))
        assert ours.fingerprint() == theirs.fingerprint()
    with pytest.raises(ModelError, match="cuda:9"):
        train_models(at_once, at_once.views, open_hashes(at_once), devices=("cpu", "cuda:9"))
    shutil.rmtree(at_once.folder / "models")
    config = at_once.folder / "multipose.toml"
    text = config.read_text(encoding="utf-8")
    assert "# minutes = 10.0" in text
    config.write_text(text.replace("# minutes = 10.0", "minutes = 0.05"), encoding="utf-8")
    monkeypatch.setattr("multipose.pose2d.runtime.list_gpus", lambda: ("cpu", "cpu"))
    outcome = run(Project.open(at_once.folder))
    assert {"models/back/model.toml", "models/top/model.toml"} <= set(outcome.made)


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


def write_table(folder: Path, view: str, count: int = 4) -> Path:
    """A table as labels.csv of recording `other`, with its pictures (negatives of others) beside it."""
    places, pictures = spots(9)
    for number in range(count):
        write_picture(picture_path(folder, "other", view, number), 255 - pictures[number])
    path = folder / "more.csv"
    labels_from_points("other", view, np.arange(count), places[:count], KEYPOINTS).save(path)
    return path


def test_labels_are_added_to_what_a_network_knows(tmp_path: Path, heard: Any) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    path = write_table(tmp_path / "more", "top")
    train_model(project, "top", hashes, budget={"steps": 2}, threads=1)
    with pytest.raises(LabelError, match="no labels of view back"):
        train_model(project, "back", hashes, start="top", add=path, budget={"steps": 1})
    before = PoseModel.load(project.model_folder("top"))
    result = train_model(project, "top", hashes, start="top", add=path, budget={"steps": 2}, threads=1)
    assert result["parts"]["old"]["n"] == result["parts"]["added"]["n"] == 1
    assert result["parts"]["old"]["before_px"] > 0
    refined = PoseModel.load(project.model_folder("top"))
    assert refined.training["start"] == before.fingerprint()
    assert (refined.training["pictures"], refined.training["added_pictures"]) == (COUNT + 4 - 2, 3)
    assert refined.training["held_out_names"][0] == before.training["held_out_names"][0]
    labels = Labels.load(project.labels_path, KEYPOINTS)
    assert len(labels.select(view="top", recording="other").frames("top")) == 4
    assert picture_path(project.frames_folder, "other", "top", 3).is_file()
    (judged,) = judge_all(project, [describe(project, "train", "top")], hashes)
    assert judged.state == "current"  # the added labels are the project's now
    page = (project.model_folder("top") / "evaluation.html").read_text(encoding="utf-8")
    assert "added pictures held out (1)" in page
    options: dict[str, Any] = {"start": "top", "add": path, "budget": {"steps": 1}, "threads": 1, "progress": heard}
    assert "parts" not in train_model(project, "top", hashes, **options)
    assert "4 of the 4 added pictures are known to top." in heard.notes
    labels = labels.select(recording="day1")
    labels.save(project.labels_path)
    (judged,) = judge_all(project, [describe(project, "train", "top")], hashes)
    assert judged.state == "stale"
    assert "to be given again" in judged.reasons[-1]


def test_a_network_from_elsewhere_is_refined(tmp_path: Path, heard: Any) -> None:
    """With the pictures of its own project at hand, and without."""
    elsewhere = make(tmp_path / "mice")
    train_model(elsewhere, "top", open_hashes(elsewhere), budget={"steps": 2}, threads=1)
    for name, folder in (("rats", elsewhere.model_folder("top")), ("voles", tmp_path / "alone" / "top")):
        if not folder.exists():
            shutil.copytree(elsewhere.model_folder("top"), folder)
        project = make_project(tmp_path / name, ["top"], KEYPOINTS)
        path = write_table(tmp_path / f"more_{name}", "top")
        heard.notes.clear()
        options: dict[str, Any] = {"budget": {"steps": 1}, "threads": 1, "progress": heard}
        result = train_model(project, "top", open_hashes(project), start=str(folder), add=path, **options)
        forgetting = "it is likely to forget them" in " ".join(heard.notes)
        assert forgetting == (name == "voles")
        assert ("parts" in result) == (name == "rats")
        assert PoseModel.load(project.model_folder("top")).training["pictures"] == {"rats": 14, "voles": 3}[name]
    with pytest.raises(ProjectError, match="no folder of a trained network"):
        train_model(project, "top", open_hashes(project), start="nowhere", budget={"steps": 1})


def test_an_unlike_video_is_told_with_its_frames_to_label(tmp_path: Path, heard: Any) -> None:
    project = make(tmp_path / "mice")
    hashes = open_hashes(project)
    for number, view in enumerate(project.views):
        train_model(project, view, hashes, budget={"steps": 1}, threads=1)
        pictures = spots(number + 5)[1]
        if view == "top":
            pictures = [np.random.default_rng(number).permutation(255 - picture) for picture in pictures]
        write_video(project.folder / f"day3_{view}.mp4", pictures, 20.0, crf=5)
    project = project.with_recordings([Recording("day3", {view: f"day3_{view}.mp4" for view in project.views})])
    project.save_manifest()
    result = predict_recording(project, project.recording("day3"), hashes, threads=1, progress=heard)
    assert set(result["unlike"]) == {"top"}
    assert result["views"]["back"]["strangeness"] < 1
    assert any("day3, top: looks unlike everything that was labelled" in text for text in heard.notes)
    frames = read_frames(Path(result["frames_to_label"]))
    assert list(frames) == [("day3", "top")]
    pictures = extract_chosen(project, frames, hashes)
    assert [int(path.stem) for path in pictures["day3", "top"]] == frames["day3", "top"]
    assert set(Labels.load(project.labels_path, KEYPOINTS).select(recording="day3").table["state"]) == {"unlabelled"}
    result = predict_recording(project, project.recording("day1"), hashes, threads=1)
    assert result["frames_to_label"] is None
