"""kill -9 in the middle of a run loses nothing."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from multipose.pipeline.running import run
from multipose.project import Project
from multipose.tracks import load_tracks

RUN = [sys.executable, "-c", "from multipose.cli.main import main; main(['run'])"]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.0, 2.5, 4.0, 6.0])
def test_a_killed_run_goes_on(project: Project, seconds: float) -> None:
    process = subprocess.Popen(RUN, cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()
    for path in (project.keypoints_path("run1"), project.trajectories_path("run1")):
        if path.exists():
            load_tracks(path)
    with project.lock():  # a lock left behind by the killed process is taken over
        outcome = run(project)
    assert outcome.blocked == {}
    assert load_tracks(project.trajectories_path("run1")).sizes["time"] == 40
    assert project.player_path("run1").exists()
    assert run(project).made == {}


def test_an_interrupted_stage_leaves_no_half_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from multipose.pipeline import reconstruction

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruction, "save_tracks", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(project)
    assert project.keypoints_path("run1").exists()
    assert not project.trajectories_path("run1").exists()
    monkeypatch.undo()
    outcome = run(project)
    assert list(outcome.made) == ["recordings/run1/trajectories3d.nc", "recordings/run1/player.html"]
