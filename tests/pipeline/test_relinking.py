"""Moved and missing sources, views that come later: what was made stays current."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from multipose.cli.main import main
from multipose.files import content_hash
from multipose.pipeline.beginning import make_project
from multipose.pipeline.plan import calibration_product, describe, judge_all, model_product, open_hashes
from multipose.pipeline.provenance import Judgement, Product, judge, making
from multipose.project import Project, Recording
from multipose.synthetic import sample_rig

HEAD = "scorer,me,me,me\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"
BOARD = "chessboard,columns=9,rows=6,square=25,unit=mm"


def call(folder: Path, *words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [*words, "--project", str(folder)])
    assert done.exit_code == code, done.output
    return done


def made(project: Project, product: Product) -> None:
    with making(product, open_hashes(project)):
        product.path.parent.mkdir(parents=True, exist_ok=True)
        weights = product.path.with_name("weights.safetensors")
        weights.write_text("made", encoding="utf-8")
        product.path.write_text(f'weights_sha256 = "{content_hash(weights)}"\n', encoding="utf-8")


def seen(project: Project, product: Product) -> Judgement:
    return judge(product, open_hashes(project), {})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two views whose board videos and key points lie in the project and beside it; all is made."""
    project = make_project(tmp_path / "mice", ["back", "top"], ["nose"], board=BOARD)
    for view in project.views:
        path = project.session_folder("lab") / f"{view}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(view, encoding="utf-8")
        found = tmp_path / "disk" / f"{view}.csv"
        found.parent.mkdir(exist_ok=True)
        found.write_text(HEAD + "0,1,2,0.9\n", encoding="utf-8")
    recording = Recording("day1", keypoints={view: str(tmp_path / "disk" / f"{view}.csv") for view in project.views})
    project = project.with_recordings([recording])
    project.save_manifest()
    project.labels_path.write_text(
        "recording,view,frame,individual,keypoint,x,y,state\nday1,top,0,individual_0,nose,1,1,visible\n",
        encoding="utf-8",
    )
    (project.frames_folder / "day1" / "top").mkdir(parents=True)
    made(project, calibration_product(project, "lab"))
    made(project, model_product(project, "shared"))
    call(project.folder, "predict", "day1")
    return project


def test_moved_sources_are_linked_anew(project: Project, tmp_path: Path) -> None:
    folder, disk, other = project.folder, tmp_path / "disk", tmp_path / "other"
    assert seen(project, describe(project, "predict", "day1")).state == "current"
    shutil.move(disk, other)
    away = seen(project, describe(project, "predict", "day1"))
    assert away.state == "current"
    assert away.reasons == ("source not here: the key points of back", "source not here: the key points of top")
    assert "source not here: the key points of back" in call(folder, "status").output
    assert "No path in recordings.csv lies in" in call(folder, "relink", str(tmp_path / "x"), str(other), code=1).output
    missing = call(folder, "relink", str(disk), str(tmp_path / "x"), code=1)
    assert "2 of 2 files are not in" in missing.output
    before = (folder / "recordings.csv").read_text(encoding="utf-8")
    call(folder, "relink", str(disk), str(other), "--dry-run")
    assert (folder / "recordings.csv").read_text(encoding="utf-8") == before
    call(folder, "relink", str(disk), str(other))
    project = Project.open(folder)
    assert project.recordings[0].keypoints["top"] == str(other / "top.csv")
    again = seen(project, describe(project, "predict", "day1"))
    assert (again.state, again.reasons) == ("current", ())
    (other / "top.csv").write_text(HEAD + "0,1,3,0.9\n", encoding="utf-8")
    assert seen(project, describe(project, "predict", "day1")).reasons == ("changed: the key points of top",)


def test_a_board_video_that_is_not_here_makes_no_rig_stale(project: Project) -> None:
    (project.session_folder("lab") / "back.mp4").unlink()
    judged = seen(project, calibration_product(project, "lab"))
    assert (judged.state, judged.reasons) == ("current", ("source not here: the board's pictures of back",))
    text = (project.folder / "multipose.toml").read_text(encoding="utf-8")
    (project.folder / "multipose.toml").write_text(text.replace("square = 25", "square = 26"), encoding="utf-8")
    project = Project.open(project.folder)
    assert seen(project, calibration_product(project, "lab")).state == "stale"


def test_a_view_that_comes_later_leaves_what_there_is(project: Project) -> None:
    path = project.folder / "multipose.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('["back", "top"]', '["back", "side", "top"]'), encoding="utf-8")
    project = Project.open(project.folder)
    products = [calibration_product(project, "lab"), model_product(project, "shared")]
    products.append(describe(project, "predict", "day1"))
    assert [(item.state, item.reasons) for item in judge_all(project, products, open_hashes(project))] == [
        ("current", ())
    ] * 3
    (project.session_folder("lab") / "side.mp4").write_text("side", encoding="utf-8")
    assert "new: the board's pictures of side" in seen(project, calibration_product(project, "lab")).reasons


def test_a_recording_gets_one_more_view(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "mice", ["back", "top"], ["nose"]).folder
    files = {}
    for view in ("back", "top"):
        files[view] = tmp_path / f"{view}.csv"
        files[view].write_text(HEAD + "0,1,2,0.9\n", encoding="utf-8")
    call(folder, "add", "day1", "--keypoints", f"back={files['back']}")
    refused = call(folder, "add", "day1", "--keypoints", f"top={files['top']}", code=1).output
    assert f"(back={files['back']})" in refused
    assert "--extend" in refused
    call(folder, "add", "day1", "--keypoints", f"top={files['top']}", "--extend")
    assert set(Project.open(folder).recordings[0].keypoints) == {"back", "top"}
    said = call(folder, "add", "day1", "--keypoints", f"top={files['back']}", "--extend", code=1).output
    assert "Say all of it anew with --replace" in " ".join(said.split())
    assert "no recording 'day2'" in call(folder, "add", "day2", "--keypoints", "top=x", "--extend", code=1).output


def test_a_rig_of_other_cameras_is_told(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "mice", ["back", "top"], ["nose"]).folder
    sample_rig(2, names=("back", "side")).save(folder / "calibration" / "lab" / "rig.toml")
    for view in ("back", "top"):
        (tmp_path / f"{view}.csv").write_text(HEAD + "0,1,2,0.9\n", encoding="utf-8")
    call(folder, "add", "day1", "--keypoints", f"back={tmp_path / 'back.csv'}")
    assert "and none for view" not in call(folder, "status").output
    call(folder, "add", "day1", "--keypoints", f"top={tmp_path / 'top.csv'}", "--extend")
    told = " ".join(call(folder, "status").output.split())
    assert "has the cameras back, side, and none for view top" in told
