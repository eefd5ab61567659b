"""Stories of new users, command by command, with files as they are: no script stands between the commands."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from multipose.cli.main import main
from multipose.synthetic import KEYPOINTS, sample_rig, walk
from multipose.video import VideoFile, write_picture

VIEWS = ("back", "mid", "side", "top")
FPS = 30.0
COUNT = 30


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def said(result: Result) -> str:
    """What a person reads, in one line."""
    return " ".join(result.output.split())


def film(path: Path, times: Sequence[int], size: tuple[int, int] = (480, 360)) -> None:
    """A video whose frames are at these ticks of 1/30 s, those between were lost; each shows its tick as gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        for time in times:
            picture = np.full((size[1], size[0], 3), 40 + 5 * time, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of four views with a rig that was calibrated elsewhere; the current folder."""
    place = tmp_path / "mice"
    call("init", place, "--views", ",".join(VIEWS), "--keypoints", ",".join(KEYPOINTS))
    sample_rig(4, names=VIEWS).save(place / "calibration" / "lab" / "rig.toml")
    monkeypatch.chdir(place)
    return place


def write_sleap(path: Path, points: np.ndarray, names: Sequence[str] = KEYPOINTS) -> None:
    """points (frame, keypoint, 2) as SLEAP's analysis file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["tracks"] = points.transpose(2, 1, 0)[None]
        file["node_names"] = np.array([name.encode() for name in names])
        file["point_scores"] = np.full((1, len(names), len(points)), 0.9)


def write_dlc(path: Path, points: np.ndarray, index: Sequence[object]) -> None:
    """points (frame, keypoint, 2) as DeepLabCut's predictions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coords = ("x", "y", "likelihood")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for name, row in (
            ("scorer", ["net"] * 3 * len(KEYPOINTS)),
            ("bodyparts", [k for k in KEYPOINTS for _ in coords]),
            ("coords", coords * len(KEYPOINTS)),
        ):
            writer.writerow([name, *row])
        for number, point in zip(index, points, strict=True):
            writer.writerow([number, *(value for xy in point for value in (*xy, 0.9))])


def see(n: int = COUNT) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the views see without noise, (frame, keypoint, 2) each, and the truth (frame, keypoint, 3)."""
    rig = sample_rig(4, names=VIEWS)
    truth = walk(n, seed=1).points
    px = rig.project(truth)
    return dict(zip(VIEWS, px, strict=True)), truth


def points_of(folder: Path, recording: str = "day1") -> tuple[np.ndarray, np.ndarray]:
    """Times, and points (time, keypoint, 3) of trajectories3d.csv."""
    table = pd.read_csv(folder / "recordings" / recording / "trajectories3d.csv")
    times = np.array(sorted(table["time"].unique()))
    xyz = [table[table.keypoint == name].sort_values("time")[["x", "y", "z"]].to_numpy() for name in KEYPOINTS]
    return times, np.stack(xyz, 1)


def reconstruct() -> None:
    call("predict")
    call("reconstruct")


# Four cameras, and SLEAP files of their videos


def test_four_cameras_and_sleap_files(lab: Path) -> None:
    """From the videos and SLEAP's analysis files to speeds per second, and out as movement's files."""
    seen, truth = see()
    for view in VIEWS:
        film(lab / "raw" / f"{view}.mp4", range(COUNT))
        write_sleap(lab / "raw" / f"{view}.analysis.h5", seen[view])
    toml = lab / "multipose.toml"
    toml.write_text(toml.read_text() + f'\n[kinematics.speeds]\nfast = ["{KEYPOINTS[0]}"]\n')
    videos = [f"{view}=raw/{view}.mp4" for view in VIEWS]
    files = [word for view in VIEWS for word in ("--keypoints", f"{view}=raw/{view}.analysis.h5")]
    assert "day1: 30 moments, 1.0 s, matched by frame numbers" in said(call("add", "day1", *videos, *files))
    call("reconstruct", "day1")  # takes the files over: no network is needed
    assert (lab / "recordings" / "day1" / "keypoints2d.nc").exists()
    times, xyz = points_of(lab)
    np.testing.assert_allclose(times, np.arange(COUNT) / FPS, atol=1e-12)
    np.testing.assert_allclose(xyz, truth, atol=1e-6)
    speed = np.median(np.linalg.norm(np.gradient(truth[:, 0], 1 / FPS, axis=0), axis=-1))
    measured = pd.read_csv(lab / "recordings/day1/kinematics.csv") if call("kinematics") else None
    assert measured is not None
    assert set(measured["unit"]) == {"mm/s"}
    assert np.nanmedian(measured["value"]) == pytest.approx(speed, rel=0.05)
    call("export", "day1", "--format", "movement", "--to", "out")
    assert list((lab / "out").iterdir())


def test_a_rig_file_without_a_unit_says_what_to_write(lab: Path) -> None:
    """The advice can be followed as it stands."""
    seen, truth = see()
    rig = lab / "calibration/lab/rig.toml"
    rig.write_text(rig.read_text().replace('unit = "mm"\n', ""))
    for view in VIEWS:
        write_sleap(lab / f"{view}.h5", seen[view])
    call("add", "day1", *[word for view in VIEWS for word in ("--keypoints", f"{view}={view}.h5")])
    call("predict")
    assert 'below a line [metadata]: unit = "mm"' in said(call("reconstruct", code=1))
    rig.write_text(rig.read_text().replace("[metadata]\n", '[metadata]\nunit = "mm"\n'))
    call("reconstruct")
    np.testing.assert_allclose(points_of(lab)[1], truth, atol=1e-6)


def test_sleap_files_of_cameras_that_lost_frames(lab: Path) -> None:
    """The videos' times hold for the tables beside them; every moment of every view is there."""
    seen, truth = see()
    lost = {"back": range(3, 6), "mid": range(10, 13), "side": range(20, 23), "top": range(25, 28)}
    for view in VIEWS:
        there = [i for i in range(COUNT) if i not in lost[view]]
        film(lab / f"{view}.mkv", there)
        write_sleap(lab / f"{view}.h5", seen[view][there])
    files = [word for view in VIEWS for word in ("--keypoints", f"{view}={view}.h5")]
    told = said(call("add", "day1", *[f"{view}={view}.mkv" for view in VIEWS], *files))
    assert "30 moments, 1.0 s, matched by the views' own times" in told
    reconstruct()
    times, xyz = points_of(lab)
    np.testing.assert_allclose(times, np.arange(COUNT) / FPS, atol=1e-3)
    np.testing.assert_allclose(xyz, truth, atol=1e-6)


@pytest.mark.parametrize("counts", [(30, 28, 30, 30), (30, 30, 30, 26)])
def test_unequal_counts_are_a_question_with_an_answer(lab: Path, counts: tuple[int, ...]) -> None:
    """The message names the counts and the words that answer it; a view of variable rate does not waive it."""
    seen, truth = see()
    for view, count in zip(VIEWS, counts, strict=True):
        film(lab / f"{view}.mkv", range(COUNT) if count == COUNT else [*range(5), *range(5 + COUNT - count, COUNT)])
        there = [*range(5), *range(5 + COUNT - count, COUNT)]
        write_sleap(lab / f"{view}.h5", seen[view][there if count < COUNT else slice(None)])
    words = ["add", "day1", *(f"{view}={view}.mkv" for view in VIEWS)]
    words += [word for view in VIEWS for word in ("--keypoints", f"{view}={view}.h5")]
    asked = said(call(*words, code=1))
    assert ", ".join(f"{view} {count}" for view, count in zip(VIEWS, counts, strict=True)) in asked
    assert "--offset VIEW=N" in asked
    call(*words, *[word for view in VIEWS for word in ("--offset", f"{view}=0")])
    reconstruct()
    np.testing.assert_allclose(points_of(lab)[1], truth, atol=1e-6)


def test_timestamps_in_milliseconds_are_asked_about(lab: Path) -> None:
    seen, truth = see()
    for view in VIEWS:
        film(lab / f"{view}.mp4", range(COUNT))
        write_sleap(lab / f"{view}.h5", seen[view])
        (lab / f"{view}.txt").write_text("\n".join(f"{i * 1000 / FPS:.3f}" for i in range(COUNT)), encoding="utf-16")
    words = ["add", "day1", *(f"{view}={view}.mp4" for view in VIEWS)]
    words += [
        word for view in VIEWS for word in ("--keypoints", f"{view}={view}.h5", "--timestamps", f"{view}={view}.txt")
    ]
    assert "--time-unit ms, it seems" in said(call(*words, code=1))
    call(*words, "--time-unit", "ms")
    toml = lab / "multipose.toml"
    toml.write_text(toml.read_text() + f'\n[kinematics.speeds]\nfast = ["{KEYPOINTS[0]}"]\n')
    assert "time_unit" in (lab / "recordings.csv").read_text().splitlines()[0]
    reconstruct()
    times, xyz = points_of(lab)
    np.testing.assert_allclose(times, np.arange(COUNT) / FPS, atol=1e-5)
    np.testing.assert_allclose(xyz, truth, atol=1e-6)
    call("kinematics")
    measured = pd.read_csv(lab / "recordings/day1/kinematics.csv")
    speed = np.median(np.linalg.norm(np.gradient(truth[:, 0], 1 / FPS, axis=0), axis=-1))
    assert set(measured["unit"]) == {"mm/s"}  # though no steady rate is known
    assert np.nanmedian(measured["value"]) == pytest.approx(speed, rel=0.05)


@pytest.mark.parametrize("first", [{"mid": 10}, {"back": 3, "top": 7}])
def test_tables_that_begin_later_or_have_gaps(lab: Path, first: dict[str, int]) -> None:
    """DeepLabCut's tables, cut at the start in some views and with a gap in all: no frame gets another's points."""
    seen, truth = see()
    gap = range(15, 20)
    for view in VIEWS:
        there = [i for i in range(first.get(view, 0), COUNT) if i not in gap]
        write_dlc(lab / f"{view}.csv", seen[view][there], there)
    files = [word for view in VIEWS for word in ("--keypoints", f"{view}={view}.csv")]
    assert "25 moments, matched by frame numbers" in said(call("add", "day1", *files))
    reconstruct()
    times, xyz = points_of(lab)
    assert times.tolist() == [i for i in range(COUNT) if i not in gap]
    np.testing.assert_allclose(xyz, truth[times.astype(int)], atol=1e-6)


@pytest.mark.parametrize("count", [26, 33])
def test_a_table_shorter_or_longer_than_its_video(lab: Path, count: int) -> None:
    """Both counts are named, and `add` and `predict` say the same."""
    seen, _ = see(33)
    for view in VIEWS:
        film(lab / f"{view}.mp4", range(COUNT))
        write_dlc(lab / f"{view}.csv", seen[view][:count], range(count))
    files = [word for view in VIEWS for word in ("--keypoints", f"{view}={view}.csv")]
    words = ["add", "day1", *(f"{view}={view}.mp4" for view in VIEWS), *files]
    for told in (said(call(*words)), said(call("predict"))):
        assert f"{count} moments" in told
        assert f"back.csv has {count} frames (0 to {count - 1}), back.mp4 has 30" in told
    call("reconstruct")
    call("view", "sheet", "day1", "--view", "back")
    call("view", "video", "day1", "--view", "back")


@pytest.mark.slow
def test_four_real_cameras_and_sleap_files(
    recordings: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real videos, real analysis files, and the rig that other software calibrated for them."""
    source = recordings("mouse_four_views")
    with h5py.File(source / "back" / "keypoints.analysis.h5") as file:
        names = [name.decode() for name in file["node_names"][:]]
    call("init", tmp_path / "mouse", "--views", ",".join(VIEWS), "--keypoints", ",".join(names))
    monkeypatch.chdir(tmp_path / "mouse")
    files = [word for v in VIEWS for word in ("--keypoints", f"{v}={source / v / 'keypoints.analysis.h5'}")]
    told = said(call("add", "walk", *[f"{v}={source / v / v}.mp4" for v in VIEWS], *files))
    assert "120 moments" in told


# One camera, and labels from DeepLabCut


def label_table(folder: Path, names: Sequence[str], blank: int = 0, delimiter: str = ",") -> Path:
    """CollectedData_me.csv with two key points in each picture, and the pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    points = np.random.default_rng(0).uniform(10, 300, (len(names), 2, 2))
    rows = [["scorer", *["me"] * 4], ["bodyparts", "nose", "nose", "tail", "tail"], ["coords", *"xyxy"]]
    rows += [[name, *(f"{value:.3f}" for value in point.ravel())] for name, point in zip(names, points, strict=True)]
    rows += [[""] * 5] * blank
    text = "\n".join(delimiter.join(row) for row in rows)
    (folder / "CollectedData_me.csv").write_text(text.replace(".", ",") if delimiter == ";" else text)
    return folder / "CollectedData_me.csv"


@pytest.fixture
def single(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one view with one video of 30 frames, which is the recording `trial`; the current folder."""
    place = tmp_path / "fish"
    call("init", place, "--views", "side", "--keypoints", "nose,tail")
    monkeypatch.chdir(place)
    film(place / "trial.mp4", range(COUNT))
    call("add", "trial", "side=trial.mp4")
    return place


def write_pictures(folder: Path, video: Path, frames: Sequence[int]) -> list[str]:
    """Frames of a video as DeepLabCut extracts them; their names."""
    names = [f"img{frame:03d}.png" for frame in frames]
    for name, (_, picture) in zip(names, VideoFile(video).read(frames), strict=True):
        write_picture(folder / name, picture)
    return names


FRAMES = (3, 8, 14, 21)


@pytest.mark.parametrize(
    ("prefix", "blank", "delimiter"),
    [
        ("labeled-data/trial/", 0, ","),
        ("labeled-data/trial/", 3, ","),
        ("C:\\Users\\Some One\\proj\\labeled-data\\trial\\", 1, ","),
        ("/home/other/proj/labeled-data/trial/", 0, ","),
    ],
)
def test_one_camera_and_deeplabcut_labels(single: Path, prefix: str, blank: int, delimiter: str) -> None:
    """Labels come in by their frame numbers, are checked, and go out as DeepLabCut wants them."""
    folder = single / "dlc/labeled-data/trial"
    names = write_pictures(folder, single / "trial.mp4", FRAMES)
    path = label_table(folder, [prefix + name for name in names], blank, delimiter)
    assert "8 points in 4 pictures of view side, recordings trial; img003.png is frame 3" in said(
        call("label", "import", path, "--view", "side")
    )
    assert pd.read_csv(single / "labels/labels.csv")["frame"].unique().tolist() == list(FRAMES)
    assert "No label looks like a slip" in said(call("label", "check"))
    call("label", "export", "out")
    out = single / "out/side/labeled-data/trial"
    assert sorted(item.name for item in out.glob("*.png")) == [f"img{frame:06d}.png" for frame in FRAMES]
    again = said(call("label", "import", out / "CollectedData_multipose.csv", "--view", "side"))
    assert "8 points in 4 pictures" in again


@pytest.mark.parametrize("stray", ["mean.png", "img_copy.png", "overlay2.png"])
def test_an_odd_name_among_labels_renumbers_nothing(single: Path, stray: str) -> None:
    folder = single / "dlc/labeled-data/trial"
    names = write_pictures(folder, single / "trial.mp4", FRAMES)
    shutil.copy(folder / names[0], folder / stray)
    path = label_table(folder, [*names, stray])
    assert f"'{Path(stray).stem}'" in said(call("label", "import", path, "--view", "side", code=1))
    assert not (single / "labels/labels.csv").exists()


@pytest.mark.parametrize("frame", [30, 31, 1000])
def test_labels_of_frames_that_the_video_lacks_are_found_at_import(single: Path, frame: int) -> None:
    folder = single / "dlc/labeled-data/trial"
    names = write_pictures(folder, single / "trial.mp4", FRAMES)
    shutil.copy(folder / names[0], folder / f"img{frame:03d}.png")
    path = label_table(folder, [*names, f"img{frame:03d}.png"])
    told = said(call("label", "import", path, "--view", "side", code=1))
    assert f"labels of frame {frame} of recording 'trial' (1 of 5 such)" in told
    assert "has the frames 0 to 29" in told
    assert not (single / "labels/labels.csv").exists()


def test_labels_at_the_origin_are_named(single: Path) -> None:
    folder = single / "dlc/labeled-data/trial"
    names = write_pictures(folder, single / "trial.mp4", FRAMES)
    path = label_table(folder, names)
    table = pd.read_csv(path, header=[0, 1, 2], index_col=0)
    table.iloc[:, :2] = 0.0
    table.to_csv(path)
    call("label", "import", path, "--view", "side")
    assert "nose is at (0, 0) in 4 of 4 pictures" in said(call("label", "check"))


@pytest.mark.slow
def test_real_labels_of_one_camera(
    recordings: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = recordings("openfield")
    call("init", tmp_path / "mouse", "--views", "top", "--keypoints", "snout,leftear,rightear,tailbase")
    monkeypatch.chdir(tmp_path / "mouse")
    told = said(call("label", "import", source / "CollectedData_Pranav.csv", "--view", "top"))
    assert "in 93 pictures of view top" in told
