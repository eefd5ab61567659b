"""Finding recordings by a pattern, and looking into their files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from multipose.errors import ConfigError, FormatError, ProjectError, VideoError
from multipose.pipeline.beginning import make_project, read_board
from multipose.pipeline.clock import Clock
from multipose.pipeline.prediction import join_keypoints
from multipose.pipeline.recordings import find_recordings, look_into, make_recording
from multipose.pipeline.sources import read_timestamps
from multipose.project import Project, Recording
from multipose.tracks import keypoints2d
from multipose.video import write_picture, write_video


@pytest.fixture
def two_views(tmp_path: Path) -> Project:
    return make_project(tmp_path / "mice", ["back", "top"], ["nose"])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_noise(path: Path, count: int) -> str:
    random = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(
        path, (random.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in range(count)), 20.0, preset="ultrafast"
    )
    return str(path)


def test_fields_name_the_recordings_in_natural_order(two_views: Project) -> None:
    folder = two_views.folder / "raw"
    touch(
        folder, *(f"m{animal}_{trial}_{view}.avi" for animal in (2, 10) for trial in "ab" for view in ("back", "top"))
    )
    touch(folder, "m2_a_side.avi", "notes.txt", "m2_a_back.mp4")
    found = find_recordings(two_views, "{animal}_{trial}_{view}.avi", folder, "s1")
    assert [recording.name for recording in found.recordings] == ["m2_a", "m2_b", "m10_a", "m10_b"]
    assert found.recordings[0].videos == {"back": "raw/m2_a_back.avi", "top": "raw/m2_a_top.avi"}
    assert found.recordings[0].calibration == "s1"
    assert [Path(path).name for path, _ in found.skipped] == ["m2_a_side.avi"]
    assert "'side' is no view" in found.skipped[0][1]


def test_views_are_known_so_that_fields_may_hold_underscores_or_touch_them(tmp_path: Path) -> None:
    project = make_project(tmp_path / "rats", ["left", "right", "top_left"], ["nose"])
    raw = project.folder / "raw"
    touch(raw, "2024-01-01_rat_1_left.mp4", "2024-01-01_rat_1_right.mp4", "a_top_left.mp4", "a_left.MP4")
    found = find_recordings(project, "{trial}_{view}.mp4", raw)
    assert {row.name: list(row.videos) for row in found.recordings} == {
        "2024-01-01_rat_1": ["left", "right"],
        "a": ["top_left"],
    }
    assert [(Path(path).name, why) for path, why in found.skipped] == [
        ("a_left.MP4", "its name differs from the pattern in capitals")
    ]
    cameras = make_project(tmp_path / "mice", ["10374", "10376"], ["nose"])
    touch(cameras.folder, "Video110374.mp4", "Video110376.mp4")
    (one,) = find_recordings(cameras, "{trial}{view}.mp4", cameras.folder).recordings
    assert (one.name, sorted(one.videos)) == ("Video1", ["10374", "10376"])
    with pytest.raises(ProjectError, match=r"2 files differ in capitals, the first is .*Video110374\.mp4"):
        find_recordings(cameras, "{trial}{view}.MP4", cameras.folder)


def test_patterns_with_folders(two_views: Project) -> None:
    folder = two_views.folder
    touch(folder, "raw/m1/t1/back.mp4", "raw/m1/t1/top.mp4", "raw/m2/t1/back.mp4", "raw/m2/back.mp4")
    found = find_recordings(two_views, "raw/{animal}/{trial}/{view}.mp4", folder)
    assert {recording.name: len(recording.videos) for recording in found.recordings} == {"m1_t1": 2, "m2_t1": 1}
    absolute = find_recordings(two_views, str(folder / "raw" / "{animal}" / "{trial}" / "{view}.mp4"), Path("/"))
    assert absolute.recordings == found.recordings


def test_a_field_that_stands_twice_must_agree(two_views: Project) -> None:
    touch(two_views.folder, "m1/m1_back.mp4", "m1/m2_top.mp4")
    found = find_recordings(two_views, "{animal}/{animal}_{view}.mp4", two_views.folder)
    assert [(recording.name, list(recording.videos)) for recording in found.recordings] == [("m1", ["back"])]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{animal}.avi", "needs the field {view}"),
        ("{view}.avi", "at least one other"),
        ("{animal}_{view}.mkv", "matches the pattern"),
        ("{a}-{view}.avi", "1 files match but for the view"),
        ("*_{animal}_{view}.avi", "No file"),
    ],
)
def test_patterns_that_find_nothing(two_views: Project, pattern: str, expected: str) -> None:
    touch(two_views.folder, "m1_back.avi", "m1-side.avi")
    with pytest.raises(ProjectError) as error:
        find_recordings(two_views, pattern, two_views.folder)
    assert expected in str(error.value)


def test_two_files_for_one_view(two_views: Project) -> None:
    touch(two_views.folder, "a/m1_back.avi", "b/m1_back.avi")
    project = two_views
    with pytest.raises(ProjectError, match="needs the field"):
        find_recordings(project, "x/{view}.avi", project.folder)
    touch(project.folder, "c/m1_back.avi")
    (project.folder / "c" / "m1_back.AVI").touch()
    found = find_recordings(project, "{folder}/{animal}_{view}.avi", project.folder)
    assert [recording.name for recording in found.recordings] == ["a_m1", "b_m1", "c_m1"]


def test_looking_into_videos(two_views: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two_views.folder)
    words = [f"back={write_noise(two_views.folder / 'v' / 'b.mp4', 5)}", f"top={write_noise(Path('v/t.mp4'), 4)}"]
    unequal = make_recording(two_views, "r", words)
    assert unequal.videos == {"back": "v/b.mp4", "top": "v/t.mp4"}
    with pytest.raises(ProjectError, match="back 5, top 4"):
        look_into(two_views, [unequal])
    shifted = make_recording(two_views, "r", words, offsets=["back=1"])
    clock = look_into(two_views, [shifted])["r"]
    assert clock.index.tolist() == [[0, 1, 2, 3, 4], [-1, 0, 1, 2, 3]]
    Path("back.txt").write_text("seconds\n0\n0.1\n0.2\n0.3\n0.4\n", encoding="utf-8")
    Path("top.txt").write_text("0.1\n0.2\n0.3\n0.4\n", encoding="utf-8")
    stamped = make_recording(two_views, "r", words, timestamps=["back=back.txt", "top=top.txt"])
    assert look_into(two_views, [stamped])["r"].index.tolist() == [[0, 1, 2, 3, 4], [-1, 0, 1, 2, 3]]


def test_files_that_are_not_there(two_views: Project) -> None:
    with pytest.raises(ProjectError, match=r"'r', view 'top': the video .*gone\.mp4 does not exist"):
        look_into(two_views, [Recording("r", {"top": "gone.mp4"})])
    (two_views.folder / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        look_into(two_views, [Recording("r", {"top": "bad.mp4"})])
    with pytest.raises(ProjectError, match="no calibration session 's9'"):
        look_into(two_views, [Recording("r", {"top": "bad.mp4"}, "s9")])


@pytest.mark.parametrize("words", [["back"], ["=x"], ["back="], ["back=a", "back=b"]])
def test_words_that_are_no_assignments(two_views: Project, words: list[str]) -> None:
    with pytest.raises(ProjectError, match=r"VIEW=VALUE|given twice"):
        make_recording(two_views, "r", words)


def test_timestamps_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("0.0\n0.1\nx\n", encoding="utf-8")
    with pytest.raises(FormatError, match="line 3: expected a time in seconds, got 'x'"):
        read_timestamps(path)
    with pytest.raises(FormatError, match="no file"):
        read_timestamps(tmp_path / "none.txt")


def test_boards_in_one_line() -> None:
    board = read_board("charuco,columns=8,rows=11,square=24,marker=18.75,dictionary=4X4_1000,unit=mm")
    assert (board.type, board.square, board.marker, board.dictionary) == ("charuco", 24.0, 18.75, "4X4_1000")
    with pytest.raises(ConfigError, match="Did you mean 'columns'"):
        read_board("chessboard,colums=9,rows=6,square=25,unit=mm")
    with pytest.raises(ConfigError, match="--board.*'unit' is missing"):
        read_board("chessboard,columns=9,rows=6,square=25")
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        read_board("chessboard,9,6")


def test_a_project_is_not_made_twice(two_views: Project) -> None:
    with pytest.raises(ProjectError, match="exists already"):
        make_project(two_views.folder, ["back"], ["nose"])
    with pytest.raises(ConfigError, match="tail"):
        make_project(two_views.folder / "inner", ["back"], ["nose"], ["nose,tail"])
    assert not (two_views.folder / "inner" / "multipose.toml").exists()


def test_views_that_cannot_belong_together(two_views: Project) -> None:
    folder = two_views.folder
    one, other = write_noise(folder / "a.mp4", 6), write_noise(folder / "b.mp4", 6)
    twice = make_recording(two_views, "twice", [f"back={one}", f"top={one}"])
    with pytest.raises(ProjectError, match="back and top are the same video"):
        look_into(two_views, [twice])
    apart = make_recording(two_views, "apart", [f"back={one}", f"top={other}"], offsets=["top=100"])
    with pytest.raises(ProjectError, match="no moment is in two views"):
        look_into(two_views, [apart])
    (folder / "k.mp4").write_text("hi", encoding="utf-8")
    text = make_recording(two_views, "text", [f"back={one}"], keypoints=[f"top={folder / 'k.mp4'}"])
    with pytest.raises(FormatError):
        look_into(two_views, [text])


def write_folder(folder: Path, frames: Iterable[int], name: str = "img{:03d}.png") -> str:
    for frame in frames:
        write_picture(folder / name.format(frame), np.full((8, 12, 3), frame % 200, np.uint8))
    return str(folder)


@pytest.mark.parametrize(
    ("back", "top", "moments"),
    [
        ([0, 1, 2, 4, 5], [0, 2, 3, 4, 5], 6),
        ([0, 1, 2, 3], [0, 1, 2], 4),
        ([100, 101, 103], [101, 102, 103], 4),
    ],
)
def test_folders_that_lost_different_pictures_go_by_their_numbers(
    two_views: Project, back: list[int], top: list[int], moments: int
) -> None:
    """As a calibration does: the n-th picture of one view need not be the n-th of the other."""
    videos = [f"{view}={write_folder(two_views.folder / view, own)}" for view, own in (("back", back), ("top", top))]
    clock = look_into(two_views, [make_recording(two_views, "r", videos)])["r"]
    assert len(clock.time) == moments
    for row, own in zip(clock.index, (back, top), strict=True):
        assert [int(time) for time, place in zip(clock.time, row, strict=True) if place >= 0] == own


def test_a_choice_among_the_numbers_of_names_is_told(two_views: Project) -> None:
    videos = [
        f"{view}={write_folder(two_views.folder / view, range(3), 'cam2_{0:03d}_exp' + exposure + '.png')}"
        for view, exposure in (("back", "500"), ("top", "400"))
    ]
    recording = make_recording(two_views, "r", videos)
    assert not look_into(two_views, [recording])["r"].notes
    for frame in range(3):
        (two_views.folder / f"back/cam2_{frame:03d}_exp500.png").rename(
            two_views.folder / f"back/cam2_{frame:03d}_exp{500 - frame}.png"
        )
    clock = look_into(two_views, [recording])["r"]
    assert clock.index.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert "number 2 of 3 in the names" in clock.notes[0]


def test_folders_without_a_common_number_are_told_with_their_ranges(two_views: Project) -> None:
    videos = [
        f"{view}={write_folder(two_views.folder / view, range(n, n + 3))}" for view, n in (("back", 12), ("top", 145))
    ]
    with pytest.raises(ProjectError, match=r"back 12 to 14, top 145 to 147.*offset_<view>"):
        look_into(two_views, [make_recording(two_views, "r", videos)])
    said = make_recording(two_views, "r", videos, offsets=["back=12", "top=145"])
    assert look_into(two_views, [said])["r"].index.tolist() == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_unit_of_timestamps_stays_in_the_manifest(two_views: Project, unit: str) -> None:
    recording = Recording("r", {"back": "b.mp4"}, timestamps={"back": "t.txt"}, time_unit=unit)
    two_views.with_recordings([recording]).save_manifest()
    assert Project.open(two_views.folder).recordings == (recording,)
    with pytest.raises(ProjectError, match="time_unit must be s, ms, us, ns or empty, got 'hours'"):
        Recording("r", {"back": "b.mp4"}, time_unit="hours")


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("0\n1000\n2000\n", "ms", [0, 1, 2]),
        ("time_ns\n1668520371123456789\n1668520371223456789\n", "ns", [1668520371.123456789, 1668520371.223456789]),
        ('"0.5"\n\n"0.75"\n\n', "s", [0.5, 0.75]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_timestamps_in_every_spelling(
    tmp_path: Path, text: str, unit: str, expected: list[float], encoding: str
) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text, encoding=encoding)
    assert read_timestamps(path, unit).tolist() == expected


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b")])
def test_individuals_of_files_are_joined_by_name(two_views: Project, order: tuple[str, ...]) -> None:
    points = {name: np.full((4, 1, 2), 10.0 * place) for place, name in enumerate("abc")}
    tables = {
        view: keypoints2d(
            np.stack([points[name] for name in names], 1)[None], views=[view], keypoints=["nose"], individuals=names
        )
        for view, names in (("back", ("a", "b", "c")), ("top", order))
    }
    index = np.tile(np.arange(4), (2, 1))
    clock = Clock(("back", "top"), index, np.arange(4.0), None, "frame numbers")
    joined = join_keypoints(two_views, clock, None, tables)
    for name in "abc":
        assert set(joined["position"].sel(individual=name).values.ravel()) == {10.0 * "abc".index(name)}
    lacking = {"back": tables["back"], "top": tables["top"].sel(individual=["a", "b"])}
    with pytest.raises(ProjectError, match="different animals"):
        join_keypoints(two_views, clock, None, lacking)


@pytest.mark.parametrize("confidence", [np.nan, 0.2, 1.0])
def test_a_confidence_keeps_its_meaning_when_files_are_joined(two_views: Project, confidence: float) -> None:
    """NaN, nothing said, stays NaN; a key point that the file lacks has none."""
    position = np.ones((1, 3, 1, 1, 2))
    position[0, 1] = np.nan
    table = keypoints2d(
        position, np.array([confidence, 0.0, confidence])[None, :, None, None], views=["back"], keypoints=["nose"]
    )
    clock = Clock(("back",), np.arange(3)[None], np.arange(3.0), None, "frame numbers")
    joined = join_keypoints(two_views, clock, None, {"back": table})
    np.testing.assert_array_equal(joined["confidence"].values[0, :, 0, 0], [confidence, 0.0, confidence])
