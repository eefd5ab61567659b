from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from multipose.errors import DataError
from multipose.skeleton import Skeleton
from multipose.synthetic import sample_rig
from multipose.tracks import trajectories3d
from multipose.view import save_figure, trajectories

SKELETON = Skeleton(("nose", "neck", "tail"), edges=(("nose", "neck"), ("neck", "tail")))


def tracks(n_times: int = 5, individuals: int = 1, fps: float | None = 20.0, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    position = rng.uniform(-50, 50, (n_times, individuals, 3, 3))
    shape = position.shape[:-1]
    return trajectories3d(
        position,
        confidence=rng.uniform(0, 1, shape),
        reprojection_error=rng.uniform(0, 3, shape),
        n_views=rng.integers(2, 4, shape),
        keypoints=SKELETON.keypoints,
        individuals=[f"mouse_{i}" for i in range(individuals)],
        fps=fps,
        unit="mm",
    )


def coordinates(state: object) -> np.ndarray:
    return np.column_stack([state.x, state.y, state.z])  # type: ignore[attr-defined]


def test_each_frame_shows_the_points_of_its_time() -> None:
    data = tracks()
    figure = trajectories(data, sample_rig(3), SKELETON)
    assert [frame.name for frame in figure.frames] == ["0", "1", "2", "3", "4"]
    for time, frame in enumerate(figure.frames):
        lines, points = frame.data
        here = data.isel(time=time, individual=0)
        assert np.allclose(coordinates(points), here["position"], atol=1e-4)
        assert np.allclose(points.customdata[:, 0], here["reprojection_error"], atol=1e-6)
        assert np.array_equal(points.customdata[:, 1], here["n_views"])
        assert np.allclose(points.customdata[:, 2], here["confidence"], atol=1e-6)
        expected = [here["position"].values[i] for i in (0, 1, 1, 2)]
        assert np.allclose(coordinates(lines)[[0, 1, 3, 4]], expected, atol=1e-4)
        assert np.isnan(coordinates(lines)[[2, 5]]).all()
    slider = figure.layout.sliders[0]
    times = ("0.00", "0.05", "0.10", "0.15", "0.20")
    assert [step.label for step in slider.steps] == [f"frame {n}, {time} s" for n, time in enumerate(times)]
    assert [step.args[0][0] for step in slider.steps] == [frame.name for frame in figure.frames]


def test_the_figure_begins_with_the_first_time() -> None:
    data = tracks()
    figure = trajectories(data, skeleton=SKELETON)
    points = next(trace for trace in figure.data if trace.name == "key points")
    assert np.allclose(coordinates(points), data["position"].values[0, 0], atol=1e-4)
    assert list(points.text) == list(SKELETON.keypoints)
    for word in ("reprojection error", "views", "confidence", "mm"):
        assert word in points.hovertemplate


def test_gaps_stay_gaps() -> None:
    data = tracks()
    data["position"][2, 0, 1] = np.nan
    figure = trajectories(data, skeleton=SKELETON)
    lines, points = figure.frames[2].data
    assert np.isnan(coordinates(points)).all(1).tolist() == [False, True, False]
    assert np.isnan(coordinates(lines)).all()
    lines, points = figure.frames[3].data
    assert np.isfinite(coordinates(points)).all()


def test_frames_carry_only_what_moves() -> None:
    figure = trajectories(tracks(individuals=2), sample_rig(3), SKELETON)
    assert [trace.name for trace in figure.data[:4]] == [
        "mouse_0 skeleton",
        "mouse_0 key points",
        "mouse_1 skeleton",
        "mouse_1 key points",
    ]
    assert len(figure.data) == 4 + 2 * 3
    for frame in figure.frames:
        assert list(frame.traces) == [0, 1, 2, 3]
        assert all(np.asarray(state.x).dtype == np.float32 for state in frame.data)
        assert all(state.marker.color is None and state.text is None for state in frame.data)


def box_of(figure: object, label: str) -> np.ndarray:
    """(3, 2) lower and upper bounds that a button shows."""
    (button,) = (one for one in figure.layout.updatemenus[2].buttons if one.label == label)  # type: ignore[attr-defined]
    return np.array([button.args[1][f"scene.{axis}axis.range"] for axis in "xyz"])


def test_it_opens_on_the_animal_and_a_button_shows_the_whole_rig() -> None:
    data = tracks(50)
    rig = sample_rig(3)
    figure = trajectories(data, rig, SKELETON)
    ranges = np.array([figure.layout.scene[f"{axis}axis"].range for axis in "xyz"])
    points = data["position"].values.reshape(-1, 3)
    centers = np.array([camera.center for camera in rig])
    assert ((points >= ranges[:, 0]) & (points <= ranges[:, 1])).mean() > 0.98
    assert (np.ptp(ranges, axis=1) < 1.15 * np.ptp(points, axis=0)).all()
    assert not ((centers >= ranges[:, 0]) & (centers <= ranges[:, 1])).all(1).any()
    assert np.array_equal(ranges, box_of(figure, "animal"))
    assert not any(frame.layout.scene.xaxis.range for frame in figure.frames)
    ratio = np.array([figure.layout.scene.aspectratio[axis] for axis in "xyz"])
    assert np.ptp(ratio / np.ptp(ranges, axis=1)) < 1e-9  # true to scale
    cameras = [place for place, trace in enumerate(figure.data) if trace.visible is False]
    assert {figure.data[place].legendgroup for place in cameras} == set(rig.names)
    animal, every, whole = figure.layout.updatemenus[2].buttons
    assert [button.args[0]["visible"] for button in (animal, every, whole)] == [False, False, True]
    assert all(list(button.args[2]) == cameras for button in (animal, every, whole))
    low, high = box_of(figure, "whole rig").T
    around = np.concatenate([points, centers])
    assert ((around >= low) & (around <= high)).all()


def test_names_stand_beside_the_points_until_they_are_switched_off() -> None:
    figure = trajectories(tracks(individuals=2), sample_rig(3), SKELETON)
    points = [place for place, trace in enumerate(figure.data) if str(trace.name).endswith("key points")]
    assert all(figure.data[place].mode == "markers+text" for place in points)
    menu = figure.layout.updatemenus[1]
    (button,) = menu.buttons
    assert menu.active == 0  # so that the first click counts as the second one
    for (changes, traces), mode in ((button.args2, "markers"), (button.args, "markers+text")):
        assert changes == {"mode": mode}
        assert list(traces) == points


def test_one_gross_error_does_not_hide_the_rest() -> None:
    data = tracks(500)
    data["position"][7, 0, 0] = 5000.0
    figure = trajectories(data)
    assert [button.label for button in figure.layout.updatemenus[2].buttons] == ["animal", "all points"]
    assert (np.ptp(box_of(figure, "all points"), axis=1) > 5000).all()
    assert (np.ptp(box_of(figure, "animal"), axis=1) < 120).all()
    assert list(figure.layout.scene.xaxis.range) == box_of(figure, "animal")[0].tolist()


def test_long_recordings_are_thinned_with_a_statement() -> None:
    data = tracks(250)
    figure = trajectories(data, skeleton=SKELETON, max_frames=100)
    assert [frame.name for frame in figure.frames] == [str(time) for time in range(0, 250, 3)]
    assert "84 of 250 times" in figure.layout.title.text
    assert "one in 3" in figure.layout.title.text
    assert np.allclose(coordinates(figure.frames[7].data[1]), data["position"].values[21, 0], atol=1e-4)
    play = figure.layout.updatemenus[0].buttons[0].args[1]["frame"]["duration"]
    assert play == pytest.approx(3 * 1000 / 20)
    assert "250 times, 20 per second" in trajectories(data, skeleton=SKELETON).layout.title.text


def test_frames_are_numbered_as_the_rig_counts_them() -> None:
    data = tracks(fps=20.0).assign_coords(time=(np.arange(5) + 10) / 20)
    labels = [step.label for step in trajectories(data).layout.sliders[0].steps]
    assert labels[:2] == ["frame 10, 0.50 s", "frame 11, 0.55 s"]
    without_rate = trajectories(tracks(fps=None))
    assert [step.label for step in without_rate.layout.sliders[0].steps] == [f"frame {n}" for n in range(5)]
    uneven = data.assign_coords(time=[0.0, 0.05, 0.11, 0.19, 0.2])
    labels = [step.label for step in trajectories(uneven).layout.sliders[0].steps]
    assert labels[2] == "moment 2, 0.11 s"  # of an uneven clock `multipose view keypoints --frame` takes the moment


def test_files_stay_small(tmp_path: Path) -> None:
    data = tracks(300)
    figure = trajectories(data, sample_rig(3), SKELETON)
    spec = figure.to_dict()
    assert len(json.dumps(spec["frames"])) / 300 < 1000  # bytes a frame of three points
    save_figure(figure, tmp_path / "player.html")
    assert (tmp_path / "player.html").stat().st_size < 5.5e6


def test_what_does_not_fit_is_told() -> None:
    data = tracks()
    rig = sample_rig(2, unit="cm")
    with pytest.raises(DataError, match="in mm and the rig is in cm"):
        trajectories(data, rig)
    with pytest.raises(DataError, match="nose, tail"):
        trajectories(data, skeleton=Skeleton(("nose", "tail")))
    with pytest.raises(DataError, match="at least 1"):
        trajectories(data, max_frames=0)
    data["position"][:] = np.nan
    with pytest.raises(DataError, match="no known point"):
        trajectories(data)
