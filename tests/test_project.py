"""The manifest and the places of a project."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.config import template
from multipose.errors import ConfigError, ProjectError
from multipose.project import Project, Recording, format_manifest, read_manifest
from multipose.skeleton import Skeleton

VIEWS = ("back", "top")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "multipose.toml").write_text(template("mice", VIEWS, Skeleton(("nose",))), encoding="utf-8")
    return tmp_path


NAMES = st.text(st.characters(categories=("L", "Nd")), min_size=1, max_size=8)
PATHS = st.text(st.characters(categories=("L", "Nd", "P", "Zs")), min_size=1).filter(lambda text: text == text.strip())


@given(st.lists(st.tuples(NAMES, PATHS, PATHS, st.integers(-99, 99)), unique_by=lambda row: row[0]))
def test_manifest_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, int]]) -> None:
    recordings = tuple(Recording(name, {"back": a}, "s", {"top": n}, {"back": b}, {"top": a}) for name, a, b, n in rows)
    path = tmp_path_factory.mktemp("manifest") / "recordings.csv"
    path.write_text(format_manifest(recordings, VIEWS), encoding="utf-8")
    assert read_manifest(path, VIEWS) == recordings


@pytest.mark.parametrize("cell", ["9" * 5000, "videos/" + "x" * 256 + ".mp4"])
def test_paths_that_no_file_system_takes_are_refused_by_line(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "recordings.csv"
    path.write_text(f"name,front\nday1,a.mp4\nday2,{cell}\n", encoding="utf-8")
    with pytest.raises(ProjectError, match=r"recordings\.csv, line 3: .* is no path"):
        read_manifest(path, ["front"])


def test_sessions_that_serve_others_are_none_of_their_own(folder: Path) -> None:
    for name in ("closeup", "floor", "rig"):
        (folder / "calibration" / name).mkdir(parents=True)
    assert Project.open(folder).sessions == ("closeup", "floor", "rig")
    path = folder / "multipose.toml"
    plain = path.read_text(encoding="utf-8")
    plain = plain.replace('#   intrinsics = "closeup"', 'intrinsics = "closeup"')
    for origin, sessions in (("floor:3", ("rig",)), ("3", ("floor", "rig"))):
        path.write_text(plain.replace('#   origin = "floor:12"', f'origin = "{origin}"'), encoding="utf-8")
        assert Project.open(folder).sessions == sessions
    path.write_text(plain.replace('#   origin = "floor:12"', 'origin = "floor"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"origin is SESSION:FRAME"):
        Project.open(folder)


def test_manifest_has_only_the_columns_it_needs() -> None:
    plain = Recording("a", {"back": "a.mp4", "top": "b.mp4"})
    assert format_manifest([plain], VIEWS).splitlines() == ["name,back,top,calibration", "a,a.mp4,b.mp4,"]
    shifted = Recording("b", {"back": "c.mp4"}, offsets={"top": -2})
    assert format_manifest([plain, shifted], VIEWS).splitlines()[0] == "name,back,top,calibration,offset_top"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("name,bakc\na,b", "Did you mean 'back'"),
        ("name,back,back\na,b,c", "'back' stands twice"),
        ("back\nx", "no column 'name'"),
        ("name,back\na,b,c", "line 2: 3 cells, but 2 columns"),
        ("name,back\na,b\n\na,c", "line 4: there is already a recording 'a'"),
        ("name,back\na,", "line 2: Recording 'a' has neither"),
        ("name,back\na/b,x.mp4", "line 2: 'a/b' cannot be the name"),
        ("name,back,offset_back\na,b,1.5", "offset_back must be a whole number of frames, got '1.5'"),
    ],
)
def test_slips_in_the_manifest(folder: Path, text: str, expected: str) -> None:
    (folder / "recordings.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ProjectError) as error:
        Project.open(folder)
    assert expected in str(error.value)


def test_find_looks_upwards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    inside = folder / "a" / "b"
    inside.mkdir(parents=True)
    assert Project.find(inside).folder == folder.resolve()
    with pytest.raises(ProjectError, match="multipose init"):
        Project.find(tmp_path_factory.mktemp("elsewhere"))


def test_sessions_and_their_sources(folder: Path) -> None:
    assert Project.open(folder).sessions == ()
    for session in ("s10", "s2"):
        for view in VIEWS:
            path = folder / "calibration" / session / f"{view}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (folder / "calibration" / "s2" / "top.avi").unlink()
    (folder / "calibration" / "s2" / "top").mkdir()
    with (folder / "multipose.toml").open("a", encoding="utf-8") as file:
        file.write('\n[calibration.sessions.s10]\nback = "raw/b.mp4"\n')
    project = Project.open(folder)
    assert project.sessions == ("s2", "s10")
    place = project.folder / "calibration"
    assert project.board_sources("s2") == {"back": str(place / "s2" / "back.avi"), "top": str(place / "s2" / "top")}
    assert project.board_sources("s10")["back"] == str(project.folder / "raw" / "b.mp4")
    (place / "s2" / "back.mp4").touch()
    with pytest.raises(ProjectError, match=r"back\.avi, back\.mp4"):
        project.board_sources("s2")


def test_the_session_of_a_recording(folder: Path) -> None:
    named, unnamed = Recording("a", {"back": "x"}, "s1"), Recording("b", {"back": "x"})
    with pytest.raises(ProjectError, match="no calibration"):
        Project.open(folder).session_of(unnamed)
    (folder / "calibration" / "s1").mkdir(parents=True)
    assert Project.open(folder).session_of(unnamed) == "s1"
    (folder / "calibration" / "s2").mkdir()
    project = Project.open(folder)
    assert project.session_of(named) == "s1"
    with pytest.raises(ProjectError, match="names no calibration"):
        project.session_of(unnamed)
    with pytest.raises(ProjectError, match="'s3'"):
        project.session_of(Recording("c", {"back": "x"}, "s3"))


def test_adding_recordings(folder: Path) -> None:
    project = Project.open(folder).with_recordings([Recording("a", {"back": "x"})])
    assert Project.open(folder).recordings == ()
    project.save_manifest()
    assert Project.open(folder).recordings == project.recordings
    with pytest.raises(ProjectError, match="--replace"):
        project.with_recordings([Recording("a", {"back": "y"})])
    replaced = project.with_recordings([Recording("a", {"back": "y"})], replace=True)
    assert replaced.recording("a").videos == {"back": "y"}
    with pytest.raises(ProjectError, match="no view 'side'"):
        project.with_recordings([Recording("b", {"side": "y"})])
    with pytest.raises(ProjectError, match="no recording 'aa'.*Did you mean 'a'"):
        project.recording("aa")


def test_paths_are_relative_inside_the_project(folder: Path) -> None:
    project = Project.open(folder)
    assert project.relative(project.folder / "videos" / "a.mp4") == "videos/a.mp4"
    outside = project.folder.parent / "a.mp4"
    assert project.path(project.relative(outside)) == outside


def test_two_processes_cannot_hold_a_project(folder: Path) -> None:
    project = Project.open(folder)
    lock = folder / ".multipose" / "lock"
    with project.lock():
        held = lock.read_text(encoding="utf-8")
    assert not lock.exists()
    lock.write_text(held.replace(f'"pid": {held.split(":")[1].split(",")[0].strip()}', '"pid": 1'), encoding="utf-8")
    with pytest.raises(ProjectError, match="process 1 has been working"), project.lock():
        pass


def test_a_missing_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multipose init"):
        Project.open(tmp_path)


@pytest.fixture
def three_views(tmp_path: Path) -> Path:
    text = template("mice", ("direct", "mirror", "side"), Skeleton(("nose",)))
    (tmp_path / "multipose.toml").write_text(text, encoding="utf-8")
    return tmp_path


def train(folder: Path, network: str) -> None:
    (folder / "models" / network).mkdir(parents=True)
    (folder / "models" / network / "model.toml").touch()


def test_a_group_of_views_uses_the_network_that_it_is_said_to_share(three_views: Path) -> None:
    path = three_views / "multipose.toml"
    text = path.read_text(encoding="utf-8").replace("#   shared = false", 'shared = [["mirror", "direct"]] #')
    path.write_text(text, encoding="utf-8")
    train(three_views, "direct")
    project = Project.open(three_views)
    assert project.model_names == ("direct,mirror", "side")
    assert project.model_folder("mirror") == three_views / "models" / "direct,mirror"


def test_trained_networks_serve_until_a_view_has_one_of_its_own(three_views: Path) -> None:
    project = Project.open(three_views)
    assert project.model_names == project.views
    train(three_views, "shared")
    assert project.model_names == ("shared",)
    train(three_views, "direct,mirror")
    train(three_views, "direct,elsewhere")  # of another project: it has no such view
    assert project.model_names == ("direct,mirror", "side")
    train(three_views, "side")
    assert project.model_names == ("direct,mirror", "side")
    train(three_views, "mirror")
    assert project.model_names == project.views


def test_two_trained_networks_for_one_view_are_not_guessed_between(three_views: Path) -> None:
    project = Project.open(three_views)
    for network in ("direct,mirror", "mirror,side"):
        train(three_views, network)
    assert project.network_of("direct") == "direct,mirror"
    with pytest.raises(ProjectError, match=r'direct,mirror and mirror,side. .* shared = \[\["direct", "mirror"\]\]'):
        project.network_of("mirror")
