"""Finding recordings by a pattern, and looking into their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multipose.errors import ConfigError, FormatError, ProjectError, VideoError
from multipose.pipeline.beginning import make_project, read_board
from multipose.pipeline.recordings import find_recordings, look_into, make_recording
from multipose.pipeline.sources import read_timestamps
from multipose.project import Project, Recording
from multipose.video import write_video


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
