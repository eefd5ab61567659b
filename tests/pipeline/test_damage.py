"""Damaged files of a project: one error that names the file, the right result, or a cache that is made again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multipose.errors import FormatError, MultiposeError, ProjectError
from multipose.pipeline.clock import Strip, check_overlap, set_clock
from multipose.pipeline.evaluation import held_out_figures
from multipose.pipeline.labels import load_labels
from multipose.pipeline.pictures import keypoints_page
from multipose.pipeline.plan import open_hashes, smooth_product, trajectories_product
from multipose.pipeline.provenance import Hashes, read_records
from multipose.pipeline.reconstruction import reconstruct_recording
from multipose.pipeline.sources import open_rig
from multipose.project import Project, Recording
from multipose.tracks import load_tracks, save_tracks

BOARD = '\n[board]\ntype = "chessboard"\ncolumns = 8\nrows = 5\nsquare = 10.0\nunit = "mm"\n'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[1, 2]",
        "7",
        "null",
        '{"/a": 3}',
        '{"/a": [1, 2, 3]}',
        '{"/a": ["1", 2, "x"]}',
        "[" * 100_000,
        "\udcff\udcfe",
    ],
)
def test_a_damaged_cache_of_hashes_is_made_again(tmp_path: Path, content: str) -> None:
    path, video = tmp_path / "hashes.json", tmp_path / "a.mp4"
    video.write_bytes(b"frames")
    before = Hashes(tmp_path / "other.json").of(video)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    hashes = Hashes(path)
    assert hashes.of(video) == before
    hashes.save()
    assert json.loads(path.read_text())[str(video.resolve())][2] == before


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": None},
        {"overrides": []},
        {"parameters": 3},
        {"content": None},
        {"state": ["done"]},
        {"configured": ""},
    ],
)
def test_a_damaged_record_is_told(finished: Project, change: dict[str, object]) -> None:
    path = finished.results_folder("run1") / "provenance.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    for record in table["products"].values():
        record |= change
    path.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(FormatError, match=r"provenance\.json is not a record .*Delete it"):
        read_records(path.parent)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"{}", b"[]", b"3"])
def test_an_unreadable_record_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "provenance.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"provenance\.json .*Delete it"):
        read_records(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"mean_px": 1', b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_evaluation_is_told(project: Project, content: bytes) -> None:
    path = project.folder / "models" / "top" / "evaluation.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"evaluation\.json"):
        held_out_figures(project, "top", open_hashes(project))


def test_an_evaluation_names_no_page_that_is_not_there(project: Project) -> None:
    path = project.folder / "models" / "top" / "evaluation.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema_version": 1, "mean_px": 1.0}')
    assert "page" not in held_out_figures(project, "top", open_hashes(project))
    path.with_suffix(".html").touch()
    assert held_out_figures(project, "top", open_hashes(project))["page"] == str(path.with_suffix(".html"))


def test_good_trajectories_outlive_impossible_settings(finished: Project) -> None:
    recording, hashes = finished.recording("run1"), open_hashes(finished)
    files = [finished.trajectories_path("run1"), finished.trajectories_path("run1").with_suffix(".csv")]
    before = [path.read_bytes() for path in files]
    for settings in (
        {"min_views": 10**11},
        {"max_error_px": 1e-6, "min_views": 3},
        {"min_confidence": 1.0, "min_views": 4},
    ):
        with pytest.raises(MultiposeError, match=r"'run1': no point has 3D .*what there is stays"):
            reconstruct_recording(finished, recording, hashes, settings=settings)
        assert [path.read_bytes() for path in files] == before
    assert np.isfinite(load_tracks(files[0])["position"].values).any()


def test_a_rig_of_another_unit_than_its_board_is_told(project: Project) -> None:
    rig = open_rig(project, "lab")
    config = project.folder / "multipose.toml"
    config.write_text(config.read_text(encoding="utf-8") + BOARD, encoding="utf-8")
    project = Project.open(project.folder)
    type(rig)(rig.cameras, "km").save(project.rig_path("lab"))
    assert open_rig(project, "lab").unit == "km"  # a rig of elsewhere, and no board filmed: its own affair
    (project.session_folder("lab") / "back.mp4").touch()
    with pytest.raises(FormatError, match=r"rig\.toml says that its lengths are in 'km', but the board .* is in 'mm'"):
        open_rig(project, "lab")


@pytest.mark.parametrize("offset", [10**9, -(10**9), 10**18])
def test_offsets_far_beyond_the_frames_take_no_memory(offset: int) -> None:
    recording = Recording("day1", {"a": "a.mp4", "b": "b.mp4"}, offsets={"a": offset})
    strips = {"a": Strip.counted(10), "b": Strip.counted(10)}
    clock = set_clock(recording, strips, {})
    assert len(clock.time) == 20
    with pytest.raises(ProjectError, match="no moment is in two views"):
        check_overlap(recording, clock, strips)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(finished: Project) -> None:
    for path in (finished.keypoints_path("run1"), finished.rig_path("lab"), finished.folder / "found" / "back.nc"):
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(MultiposeError) as caught:
            open_hashes(finished).of(path)
        assert str(path) in str(caught.value)
    with pytest.raises(FormatError, match="no regular file"):
        open_rig(finished, "lab")


def test_an_input_that_was_changed_is_used_and_told(finished: Project, heard: Any) -> None:
    path = finished.keypoints_path("run1")
    recording, hashes = finished.recording("run1"), open_hashes(finished)
    reconstruct_recording(finished, recording, hashes, progress=heard)
    assert [note for note in heard.notes if "was changed" in note] == []
    save_tracks(load_tracks(path).assign_attrs(note="mine"), path)
    reconstruct_recording(finished, recording, hashes, progress=heard)
    assert (
        f"! {path} was changed since multipose made it, and is used as it is. Delete it to make it anew." in heard.notes
    )


def test_key_points_that_the_project_does_not_have_are_told_by_file(finished: Project) -> None:
    path = finished.keypoints_path("run1")
    dataset = load_tracks(path)
    names = [str(name) for name in dataset["keypoint"].values]
    save_tracks(dataset.assign_coords(keypoint=["nase", *names[1:]]), path)
    with pytest.raises(FormatError, match=r"keypoints2d\.nc speaks of the keypoint 'nase'"):
        reconstruct_recording(finished, finished.recording("run1"), open_hashes(finished))
    save_tracks(dataset.assign_coords(view=["rear", "mid", "top"]), path)
    with pytest.raises(FormatError, match=r"keypoints2d\.nc speaks of the view 'rear'"):
        keypoints_page(finished, finished.recording("run1"), 0)


def test_links_that_lead_nowhere_are_named(finished: Project) -> None:
    for path, lacking in (
        (finished.keypoints_path("run1"), lambda: trajectories_product(finished, finished.recording("run1")).lacking),
        (finished.trajectories_path("run1"), lambda: smooth_product(finished, finished.recording("run1")).lacking),
    ):
        path.unlink()
        path.symlink_to(path.name)
        assert any(str(path) in text for text in lacking())
    manifest = finished.folder / "recordings.csv"
    manifest.unlink()
    manifest.symlink_to("recordings.csv")
    with pytest.raises(FormatError, match=r"recordings\.csv cannot be read"):
        Project.open(finished.folder)


@pytest.mark.parametrize("name", ["recordings.csv", "labels/labels.csv"])
def test_tables_that_are_too_large_or_pipes_are_not_read(finished: Project, name: str) -> None:
    path = finished.folder / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, 10**11)
    with pytest.raises(MultiposeError, match=rf"{name} (says that it )?has 100,000,000,000 bytes"):
        load_labels(Project.open(finished.folder))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MultiposeError, match=f"{name} is no regular file"):
        load_labels(Project.open(finished.folder))
