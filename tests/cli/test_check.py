"""`multipose calibrate --check`: the table, the JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from multipose.cli.main import main
from multipose.formats.movement import write_keypoints
from multipose.synthetic import KEYPOINTS, observe, sample_rig, walk

VIEWS = ("back", "mid", "top")


def call(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a rig; recording `right` has its key points, in `wrong` two views are exchanged."""
    place = tmp_path / "mice"
    call("init", str(place), "--views", ",".join(VIEWS), "--keypoints", ",".join(KEYPOINTS))
    monkeypatch.chdir(place)
    rig = sample_rig(3, names=VIEWS)
    rig.save(place / "calibration" / "lab" / "rig.toml")
    seen = observe(rig, walk(40, seed=1).points, seed=1, keypoints=KEYPOINTS)
    for view in VIEWS:
        write_keypoints(seen, place / "found" / f"{view}.nc", view=view)
    exchanged = {"back": "top", "mid": "mid", "top": "back"}
    for name, file in (("right", dict(zip(VIEWS, VIEWS, strict=True))), ("wrong", exchanged)):
        call("add", name, *(word for view in VIEWS for word in ("--keypoints", f"{view}=found/{file[view]}.nc")))
    call("predict")
    return place


def test_what_a_check_says(folder: Path) -> None:
    text = call("calibrate", "--check", "right", "--refine").stdout
    assert "Rig of session lab, seen in right at 40 instants" in text
    assert text.count(" fits ") == 3
    assert "Nothing was refined" in text
    values = json.loads(call("calibrate", "--check", "wrong", "--baseline", "right", "--json").stdout)
    assert values["suspects"] == ["back", "top"]
    assert values["cameras"]["top"]["finding"] == "swapped with back"
    assert values["cameras"]["top"]["leave_one_out_px"] > 20
    assert not (folder / "calibration" / "lab" / "report.json").exists()


def test_what_a_check_refuses(folder: Path) -> None:
    assert "go with --check" in call("calibrate", "--baseline", "right", code=2).stderr
    assert "go with --check" in call("calibrate", "--refine", code=2).stderr
    assert "--lens cannot" in call("calibrate", "--check", "right", "--lens", "k1", code=2).stderr
    assert "its rig is known" in call("calibrate", "lab", "--check", "right", code=2).stderr
    assert "no calibration session 'july'" in call("calibrate", "lab", "--check", "july", code=1).stderr
    assert "Did you mean 'right'?" in call("calibrate", "--check", "rigth", code=1).stderr
    assert "no recording 'x'" in call("calibrate", "--check", "right", "--baseline", "x", code=1).stderr
