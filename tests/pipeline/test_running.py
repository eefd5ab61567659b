"""Runs make what is missing or stale, and only that; a kill in the middle loses nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from multipose.camera import CameraRig
from multipose.cli.main import main
from multipose.errors import ProjectError
from multipose.files import content_hash
from multipose.geometry import pose
from multipose.pipeline.overview import look_over
from multipose.pipeline.pictures import corners_page, rig_page
from multipose.pipeline.plan import describe, judge_all, open_hashes, plan
from multipose.pipeline.provenance import Judgement, judge, making, resumable
from multipose.pipeline.reconstruction import reconstruct_recording
from multipose.pipeline.running import run
from multipose.project import Project
from multipose.synthetic import walk
from multipose.tracks import load_tracks

RUN1 = ["recordings/run1/keypoints2d.nc", "recordings/run1/trajectories3d.nc", "recordings/run1/player.html"]


def judge_paths(project: Project) -> dict[str, Judgement]:
    judged = judge_all(project, plan(project), open_hashes(project))
    return {project.relative(judgement.product.path): judgement for judgement in judged}


def test_a_run_reconstructs_and_a_second_does_nothing(project: Project) -> None:
    outcome = run(project)
    assert list(outcome.made) == RUN1
    assert outcome.kept == 1  # the rig was given
    tracks = load_tracks(project.trajectories_path("run1"))
    error = np.linalg.norm(tracks["position"].values[:, 0] - walk(40, seed=1).points, axis=-1)
    assert np.nanmedian(error) < 0.6  # mm; measured 0.42 with 0.5 px of noise
    assert outcome.made[RUN1[1]]["reconstructed_fraction"] > 0.95
    before = {path: content_hash(project.folder / path) for path in RUN1}
    again = run(project)
    assert again.made == {}
    assert again.kept == 4
    assert before == {path: content_hash(project.folder / path) for path in RUN1}


@pytest.mark.parametrize("size", [0, 1000])
def test_a_damaged_product_is_made_again(finished: Project, size: int) -> None:
    project = finished
    path = project.folder / RUN1[1]
    path.write_bytes(path.read_bytes()[:size])
    judged = judge_paths(project)[RUN1[1]]
    assert judged.state == "missing"
    assert judged.reasons == (f"trajectories3d.nc is {'damaged' if size else 'empty'}",)
    assert list(run(project).made) == RUN1[1:]
    load_tracks(path)


def test_staleness_names_its_reason_and_goes_down_the_line(finished: Project) -> None:
    project = finished
    text = (project.folder / "multipose.toml").read_text(encoding="utf-8")
    changed = text.replace('# method = "robust" ', 'method = "linear" ')
    assert changed != text
    (project.folder / "multipose.toml").write_text(changed, encoding="utf-8")
    project = Project.open(project.folder)
    judged = judge_paths(project)
    assert judged[RUN1[0]].state == "current"
    assert judged[RUN1[1]].reasons == ('method is now "linear", was "robust"',)
    assert judged[RUN1[2]].reasons == ("stale: the trajectories",)
    assert list(run(project).made) == RUN1[1:]
    assert look_over(project).next == ""


def test_a_changed_input_makes_everything_after_it_anew(finished: Project) -> None:
    project = finished
    rig = project.rig_path("lab")
    rig.write_text(rig.read_text(encoding="utf-8").replace('"mm"', '"cm"'), encoding="utf-8")
    judged = judge_paths(project)
    assert judged[RUN1[0]].state == "current"
    assert judged[RUN1[1]].reasons == ("changed: the rig",)
    assert set(run(project).made) == set(RUN1[1:])
    assert load_tracks(project.trajectories_path("run1")).attrs["unit"] == "cm"


def test_products_changed_by_hand_are_kept(finished: Project) -> None:
    project = finished
    player = project.player_path("run1")
    player.write_text("mine", encoding="utf-8")
    assert judge_paths(project)[RUN1[2]].state == "edited"
    assert run(project).made == {}
    assert player.read_text(encoding="utf-8") == "mine"


def test_settings_of_the_command_line_are_remembered(finished: Project) -> None:
    project = finished
    recording, hashes = project.recording("run1"), open_hashes(project)
    reconstruct_recording(project, recording, hashes, settings={"min_views": 3})
    assert judge_paths(project)[RUN1[1]].state == "current"
    assert (load_tracks(project.trajectories_path("run1"))["n_views"].values != 2).all()


def test_removed_offsets_are_stated(finished: Project) -> None:
    project = finished
    recording, hashes = project.recording("run1"), open_hashes(project)
    result = reconstruct_recording(project, recording, hashes, settings={"remove_offsets": True})
    assert result["offsets_removed"] is True
    assert "taken off" in load_tracks(project.trajectories_path("run1")).attrs["offsets"]
    lengths = [np.hypot(*offset) for rows in result["offsets_px"].values() for offset in rows.values()]
    assert np.nanmax(lengths) < 1.0  # there are none in these data; noise 0.5 px over 40 frames


def test_a_killed_stage_is_made_anew(finished: Project) -> None:
    project = finished
    product, hashes = describe(project, "reconstruct", "run1"), open_hashes(project)
    old = content_hash(product.path)
    begun = making(product, hashes)
    begun.__enter__()  # and never ended
    judged = judge_paths(project)
    assert judged[RUN1[1]].state == "interrupted"
    assert content_hash(product.path) == old  # the old product is whole
    assert resumable(product, hashes)
    assert not resumable(dataclasses.replace(product, parameters={"other": 1}), hashes)
    assert RUN1[1] in run(project).made
    assert judge_paths(project)[RUN1[1]].state == "current"


def test_a_stage_that_fails_leaves_the_state_as_it_was(finished: Project) -> None:
    project = finished
    hashes = open_hashes(project)
    for stage, path in (("reconstruct", RUN1[1]), ("view", RUN1[2])):
        if stage == "view":
            (project.folder / path).unlink()
        before = judge_paths(project)[path].state
        with pytest.raises(ZeroDivisionError), making(describe(project, stage, "run1"), hashes):
            raise ZeroDivisionError
        assert judge_paths(project)[path].state == before
    with pytest.raises(ZeroDivisionError), making(describe(project, "reconstruct", "run1"), hashes):
        project.trajectories_path("run1").write_text("another", encoding="utf-8")
        raise ZeroDivisionError
    assert judge_paths(project)[RUN1[1]].state == "interrupted"


def test_what_another_process_makes_is_running(finished: Project) -> None:
    begun = making(describe(finished, "reconstruct", "run1"), open_hashes(finished))
    begun.__enter__()
    assert finished.worker is None
    states = {entry["path"]: entry["state"] for entry in look_over(finished).products}
    assert states[RUN1[1]] == "interrupted"
    lock = finished.folder / ".multipose" / "lock"

    def hold(pid: int, since: str, host: str = "") -> None:
        owner = {"pid": pid, "host": host or socket.gethostname(), "since": since}
        lock.write_text(json.dumps(owner), encoding="utf-8")

    hold(os.getppid(), "2020-01-01 12:00:00")
    overview = look_over(finished)
    entries = {entry["path"]: entry for entry in overview.products}
    assert entries[RUN1[1]]["state"] == "running"
    assert entries[RUN1[1]]["reasons"] == [f"process {os.getppid()}, since 2020-01-01 12:00:00"]
    assert str(overview.running) == f"process {os.getppid()}, since 2020-01-01 12:00:00"
    hold(12, "2020-01-01 12:00:00", "other")  # whether a process of another machine runs cannot be known
    assert str(look_over(finished).running) == "process 12 on other, since 2020-01-01 12:00:00"
    hold(os.getppid(), "2099-01-01 12:00:00")  # begun before this process came, by one that is gone
    entries = {entry["path"]: entry for entry in look_over(finished).products}
    assert entries[RUN1[1]]["state"] == "interrupted"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    hold(gone.pid, "2020-01-01 12:00:00")
    overview = look_over(finished)
    assert overview.running is None
    assert {entry["path"]: entry["state"] for entry in overview.products}[RUN1[1]] == "interrupted"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ["view.top.b is now 3, was 2"]),
        ({"a": 1}, None, ['view.top is now not set, was {"a": 1}']),
        ([f"point_{i}" for i in range(20)], [f"point_{i}" for i in range(1, 21)], None),
        ("x" * 300, "y" * 300, None),
        ([f"point_{i}" for i in range(20)], [f"point_{i}" for i in range(19, -1, -1)], ["view.top: in another order"]),
    ],
)
def test_reasons_are_short_lines(finished: Project, old: object, new: object, said: list[str] | None) -> None:
    hashes = open_hashes(finished)
    product = describe(finished, "reconstruct", "run1")
    with making(dataclasses.replace(product, parameters={"view.top": old}), hashes):
        pass
    reasons = judge(dataclasses.replace(product, parameters={"view.top": new}), hashes, {}).reasons
    assert all(len(reason) <= 130 for reason in reasons)
    if said is None:
        assert len(reasons) == 1
    else:
        assert list(reasons) == said


def test_looking_writes_nothing_in_the_project(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.rmtree(finished.folder / ".multipose")

    def listing() -> dict[str, tuple[int, str]]:
        return {str(path): (path.stat().st_mtime_ns, content_hash(path)) for path in finished.folder.rglob("*")}

    before = listing()
    for words in (["status"], ["status", "--all", "--json"], ["calibrate", "--check", "run1"]):
        result = CliRunner().invoke(main, [*words, "--project", str(finished.folder)])
        assert result.exit_code == 0, result.output
    target = tmp_path / "pictures" / "rig.html"
    assert (
        CliRunner().invoke(main, ["view", "rig", "--to", str(target), "--project", str(finished.folder)]).exit_code == 0
    )
    assert target.exists()
    assert listing() == before


def test_an_interruption_is_no_state_of_a_whole_product(finished: Project) -> None:
    with pytest.raises(KeyboardInterrupt), making(describe(finished, "reconstruct", "run1"), open_hashes(finished)):
        raise KeyboardInterrupt
    assert judge_paths(finished)[RUN1[1]].state == "current"


def test_what_multipose_toml_says_later_is_not_hidden_by_the_command_line(finished: Project) -> None:
    project = finished
    reconstruct_recording(project, project.recording("run1"), open_hashes(project), settings={"min_views": 3})
    path = project.folder / "multipose.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("# min_views = 2", "min_views = 4"), encoding="utf-8")
    reasons = judge_paths(Project.open(project.folder))[RUN1[1]].reasons
    assert reasons == (
        "min_views is now 4 in multipose.toml, was 2",
        "of the command line, to be given again: min_views = 3",
    )


def test_a_board_that_cannot_be_is_told_before_calibration(project: Project) -> None:
    path = project.folder / "multipose.toml"
    board = '[board]\ntype = "charuco"\ncolumns = 8\nrows = 11\nsquare = 18.0\nmarker = 24.0\n'
    text = path.read_text(encoding="utf-8")
    path.write_text(f'{text}\n{board}dictionary = "4X4_50"\nunit = "mm"\n', encoding="utf-8")
    project = Project.open(project.folder)
    project.rig_path("lab").unlink()
    assert any(
        "must be smaller than its squares" in r for r in judge_paths(project)["calibration/lab/rig.toml"].reasons
    )


def test_what_cannot_be_made_says_what_to_do(project: Project) -> None:
    project.rig_path("lab").unlink()
    outcome = run(project)
    assert list(outcome.made) == RUN1[:1]
    assert "no section [board]" in outcome.blocked["calibration/lab/rig.toml"][0]
    assert "multipose calibrate" in outcome.blocked[RUN1[1]][0]
    with pytest.raises(ProjectError, match="multipose calibrate"):
        reconstruct_recording(project, project.recording("run1"), open_hashes(project))


def test_records_of_a_newer_multipose_are_refused(finished: Project) -> None:
    project = finished
    record = project.results_folder("run1") / "provenance.json"
    table = json.loads(record.read_text(encoding="utf-8"))
    assert set(table["products"]) == {"keypoints2d.nc", "trajectories3d.nc", "player.html"}
    record.write_text(json.dumps({**table, "schema_version": 99}), encoding="utf-8")
    with pytest.raises(Exception, match="newer multipose"):
        run(project)


def test_the_memory_of_hashes_notices_changes(project: Project) -> None:
    path = project.folder / "file"
    path.write_text("a", encoding="utf-8")
    hashes = open_hashes(project)
    first = hashes.of(path)
    hashes.save()
    memory = project.folder / ".multipose" / "hashes.json"
    assert first in memory.read_text(encoding="utf-8")
    path.write_text("bb", encoding="utf-8")
    assert open_hashes(project).of(path) != first
    memory.write_text("not json", encoding="utf-8")
    assert open_hashes(project).of(path) == content_hash(path)


def test_an_unfinished_network_blocks_nothing_else(project: Project, tmp_path: Path) -> None:
    """A recording whose videos need a network that has no labels is told, and the other is still made."""
    from multipose.project import Recording

    for view in project.views:
        (project.folder / f"{view}.mp4").write_bytes(b"x")
    extended = project.with_recordings([Recording("run2", {view: f"{view}.mp4" for view in project.views})])
    extended.save_manifest()
    outcome = run(Project.open(project.folder))
    assert list(outcome.made) == RUN1
    assert "no labels of view 'back'" in outcome.blocked["models/back/model.toml"][0]
    assert "multipose train" in outcome.blocked["recordings/run2/keypoints2d.nc"][0]


def test_the_page_of_a_rig_goes_stale_with_it(finished: Project, tmp_path: Path) -> None:
    assert all(product.stage != "view rig" for product in plan(finished))  # made on request alone
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    assert rig_page(finished, None, tmp_path / "elsewhere.html") == tmp_path / "elsewhere.html"
    assert {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()} == before

    page = rig_page(finished, None)
    assert judge_paths(finished)["calibration/lab/rig.html"].state == "current"
    path = finished.rig_path("lab")
    CameraRig.load(path).transformed(pose(np.eye(3), [0.0, 0.0, 5.0])).save(path)
    judged = judge_paths(finished)["calibration/lab/rig.html"]
    assert (judged.state, judged.reasons) == ("stale", ("changed: the rig",))
    old = page.read_bytes()
    assert "calibration/lab/rig.html" in run(finished).made
    assert page.read_bytes() != old
    assert judge_paths(finished)["calibration/lab/rig.html"].state == "current"


def test_pages_of_a_session_say_what_they_need(finished: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"no .*corners.npz. Make it with `multipose calibrate lab`"):
        corners_page(finished, "lab", tmp_path / "corners.html")
