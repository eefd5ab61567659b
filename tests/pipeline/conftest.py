"""A small project: a rig that was calibrated elsewhere, and key points that another program found."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from multipose.formats.movement import write_keypoints
from multipose.pipeline.beginning import make_project
from multipose.pipeline.running import run
from multipose.project import Project, Recording
from multipose.synthetic import KEYPOINTS, observe, sample_rig, walk
from multipose.video import write_video

VIEWS = ("back", "mid", "top")


def _begin(folder: Path) -> Project:
    project = make_project(folder, VIEWS, KEYPOINTS)
    rig = sample_rig(names=VIEWS)
    rig.save(project.rig_path("lab"))
    seen = observe(rig, walk(40, seed=1).points, noise=0.5, seed=1, keypoints=KEYPOINTS)
    for view in VIEWS:
        write_keypoints(seen, folder / "found" / f"{view}.nc", view=view)
    recording = Recording("run1", keypoints={view: f"found/{view}.nc" for view in VIEWS})
    project = project.with_recordings([recording])
    project.save_manifest()
    return Project.open(folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Recording `run1`, 40 frames, key points of three views as movement files; session `lab` has a rig."""
    return _begin(tmp_path / "mice")


@pytest.fixture(scope="session")
def _run_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = _begin(tmp_path_factory.mktemp("finished") / "mice")
    run(project)
    return project


@pytest.fixture
def finished(_run_once: Project, tmp_path: Path) -> Project:
    """The same project after a run, a copy for each test."""
    shutil.copytree(_run_once.folder, tmp_path / "mice")
    return Project.open(tmp_path / "mice")


def write_noise(path: Path, count: int, fps: float = 20.0, seed: int = 0, size: tuple[int, int] = (64, 48)) -> Path:
    """A tiny video of noise."""
    random = np.random.default_rng(seed)
    frames = (random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8) for _ in range(count))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, fps, preset="ultrafast")
    return path
