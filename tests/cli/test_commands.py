"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from multipose.cli.main import COMMANDS, LazyGroup, main
from multipose.formats.movement import write_keypoints
from multipose.pipeline import calibration
from multipose.synthetic import KEYPOINTS, observe, sample_rig, walk

VIEWS = ("back", "top")


def call(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    if result.exit_code != code and result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def call_json(*words: str) -> Any:
    """The one JSON object on standard output; nothing else may stand there."""
    return json.loads(call(*words, "--json").stdout)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a rig and with files of key points beside it; the current folder."""
    place = tmp_path / "mice"
    call("init", str(place), "--views", ",".join(VIEWS), "--keypoints", ",".join(KEYPOINTS))
    rig = sample_rig(2, names=VIEWS)
    rig.save(place / "calibration" / "lab" / "rig.toml")
    seen = observe(rig, walk(12, seed=1).points, seed=1, keypoints=KEYPOINTS)
    for view in VIEWS:
        write_keypoints(seen, place / "found" / f"{view}.nc", view=view)
    monkeypatch.chdir(place)
    return place


def test_static_help_agrees_with_the_commands() -> None:
    context = click.Context(main)
    assert isinstance(main, LazyGroup)
    for name, (_, line) in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str(limit=200).rstrip(".") == line.rstrip(".")
    assert set(main.list_commands(context)) == set(COMMANDS)
    listed = call("--help").stdout
    assert all(f"  {name}" in listed for name in COMMANDS)


def every_command() -> list[list[str]]:
    context, words = click.Context(main), []
    for name in COMMANDS:
        command = main.get_command(context, name)
        inner = list(command.commands) if isinstance(command, click.Group) else []
        words += [[name], *([name, sub] for sub in inner)]
    return words


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_help(words: list[str]) -> None:
    text = call(*words, "--help").stdout
    assert f"Usage: main {' '.join(words)}" in text
    if words not in (["board"], ["label"], ["view"]):
        assert "--json" in text


def test_help_imports_nothing_large() -> None:
    """What takes long to import waits until it is used; benchmarks/startup.py has the times."""
    code = "import sys\nfrom multipose.cli.main import main\ntry:\n main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "multipose.cli.main" in done.stderr.split()
    assert not {"numpy", "torch", "cv2", "pandas", "xarray", "plotly", "scipy"} & set(done.stderr.split())


def test_usage_errors_end_with_2() -> None:
    assert "Did you mean 'calibrate'?" in call("calibrat", code=2).stderr
    assert "no such option" in call("status", "--jsn", code=2).stderr.lower()
    assert "VIEWS" in call("init", "x", code=2).stderr.upper()


def test_added_labels_need_a_network_and_a_view(folder: Path) -> None:
    table = folder / "CollectedData_me.csv"
    table.write_text("scorer,me\n", encoding="utf-8")
    where = ("--project", str(folder))
    assert "--add needs --from" in call("train", "--add", str(table), *where, code=2).stderr
    assert "say it with --view" in " ".join(
        call("train", "--from", "back", "--add", str(table), *where, code=2).stderr.split()
    )
    assert "leave RECORDING and --view out" in " ".join(
        call("label", "extract", "day1", "--frames", str(table), *where, code=2).stderr.split()
    )


def test_errors_are_one_message_on_stderr(tmp_path: Path) -> None:
    result = call("status", "--project", str(tmp_path), code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: There is no multipose.toml")
    assert "Traceback" not in result.stderr
    with pytest.raises(Exception, match=r"no multipose\.toml"):
        CliRunner().invoke(main, ["status", "--project", str(tmp_path), "--debug"], catch_exceptions=False)


def test_a_new_project_is_told_what_comes_next(folder: Path) -> None:
    (folder / "calibration" / "lab" / "rig.toml").unlink()
    (folder / "calibration" / "lab").rmdir()
    assert "nothing to make yet. Next: put videos of the board into" in call("run").stdout
    assert "no labels to check" in call("label", "check", code=1).stderr


def test_a_two_sided_board_is_described_in_one_line_and_drawn(tmp_path: Path) -> None:
    described = "charuco,columns=7,rows=9,square=24,marker=18,dictionary=4X4_100,unit=mm,thickness=5"
    place = tmp_path / "p"
    call("init", str(place), "--views", "back", "--keypoints", "nose", "--board", described)
    drawn = call_json("board", "draw", str(tmp_path / "board.pdf"), "--project", str(place))
    assert drawn["board"]["thickness"] == 5.0
    assert (tmp_path / "board.pdf").read_bytes().count(b"/Type /Page ") == 2
    assert "two pages: front and back" in call("board", "draw", str(tmp_path / "b.pdf"), "--board", described).stdout


def test_reasons_that_products_share_are_told_once(folder: Path) -> None:
    call("add", "run1", "--keypoints", "back=found/back.nc", "--keypoints", "top=found/top.nc")
    call("add", "run2", "--keypoints", "back=found/back.nc", "--keypoints", "top=found/top.nc")
    (folder / "calibration" / "lab" / "rig.toml").rename(folder / "rig.toml")
    text = call("status").stdout
    assert text.count("Make it with `multipose calibrate`") == 1
    assert "NO view top" in call("add", "run3", "--keypoints", "back=found/back.nc").stdout


def test_an_interruption_ends_with_130(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration, "calibrate_session", interrupt)
    result = call("calibrate", "lab", code=130)
    assert "the same command goes on from there" in result.stderr
    assert not (folder / ".multipose" / "lock").exists()


def test_from_nothing_to_a_player(folder: Path) -> None:
    before = call_json("status")
    assert before["next"] == "multipose add NAME back=VIDEO top=VIDEO"
    added = call_json("add", "run1", "--keypoints", "back=found/back.nc", "--keypoints", "top=found/top.nc")
    assert added["written"] is True
    assert added["recordings"]["run1"]["moments"] == 12
    assert (folder / "recordings.csv").read_text(encoding="utf-8").splitlines()[
        1
    ] == "run1,,,,found/back.nc,found/top.nc"
    status = call_json("status")
    assert [product["state"] for product in status["products"]] == ["given", "missing", "blocked", "blocked"]
    assert set(status["products"][0]) >= {"path", "state", "made_by", "inputs"}
    assert "multipose reconstruct run1" in status["next"]
    predicted = call_json("predict")
    assert predicted["recordings"]["run1"]["views"]["back"]["frames"] == 12
    reconstructed = call_json("reconstruct")["recordings"]["run1"]
    assert set(reconstructed) >= {"points", "reconstructed_fraction", "median_reprojection_px", "leave_one_out_px"}
    assert reconstructed["reconstructed_fraction"] > 0.9
    assert reconstructed["leave_one_out_px"] == {"back": None, "top": None}  # two views have no third to judge them
    assert call_json("reconstruct") == {"recordings": {}}
    (page,) = call_json("view", "player")["paths"]
    assert Path(page).stat().st_size > 1e6
    assert call_json("run") == {"made": {}, "kept": 4, "blocked": {}}
    assert call_json("status")["next"] == ""
    said = call("status").stdout
    assert "Everything is up to date." in said
    assert max(map(len, said.splitlines()[2:])) <= 80


def test_exports(folder: Path) -> None:
    call("add", "run1", "--keypoints", "back=found/back.nc", "--keypoints", "top=found/top.nc")
    assert "no trajectories" in call("export", "--format", "anipose", code=1).stderr
    call("predict")
    call("reconstruct")
    for kind, count in (("csv", 2), ("movement", 2), ("anipose", 1), ("deeplabcut", 4)):
        paths = call_json("export", "run1", "--format", kind, "--to", f"out/{kind}")["recordings"]["run1"]
        assert len(paths) == count
        assert all(Path(path).stat().st_size > 100 for path in paths)


def test_key_points_can_be_taken_from_files(folder: Path) -> None:
    call("add", "run1", "--keypoints", "back=found/back.nc")
    assert "exactly one RECORDING" in call("predict", "--from", "top=found/top.nc", code=2).stderr
    given = call_json("predict", "run1", "--from", "top=found/top.nc")
    assert set(given["recordings"]["run1"]["views"]) == {"back", "top"}
    assert "found/top.nc" in (folder / "recordings.csv").read_text(encoding="utf-8")
    assert "gone.h5" in call("predict", "run1", "--from", "top=gone.h5", code=1).stderr


def test_add_says_what_it_would_do(folder: Path) -> None:
    for name in ("m1_a_back.nc", "m1_a_top.nc", "m1_a_side.nc"):
        (folder / name).touch()
    assert "m1_a_back.nc" in call("add", "--pattern", "{animal}_{trial}_{view}.nc", "--dry-run", code=1).stderr
    assert not (folder / "recordings.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert "either the NAME" in call("add", code=2).stderr
    assert "either the NAME" in call("add", "x", "--pattern", "{a}_{view}.nc", code=2).stderr
    dry = call_json("add", "r", "--keypoints", "back=found/back.nc", "--dry-run")
    assert dry["written"] is False
    assert not (folder / "recordings.csv").read_text(encoding="utf-8").splitlines()[1:]


def test_a_project_that_is_in_use(folder: Path) -> None:
    lock = folder / ".multipose" / "lock"
    lock.parent.mkdir(exist_ok=True)
    parent = os.getppid()
    import socket

    lock.write_text(json.dumps({"pid": parent, "host": socket.gethostname(), "since": "noon"}), encoding="utf-8")
    assert f"process {parent} has been working in this folder since noon" in call("run", code=1).stderr


def test_a_slip_in_the_configuration_is_told(folder: Path) -> None:
    config = folder / "multipose.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("keypoints =", "keypoint ="), encoding="utf-8")
    assert "Did you mean 'keypoints'?" in call("status", code=1).stderr


def test_nothing_can_be_made(tmp_path: Path) -> None:
    call("init", str(tmp_path / "p"), "--views", "a,b", "--keypoints", "nose")
    assert "next: put videos of the board" in call("status", "--project", str(tmp_path / "p")).stdout
    assert "no pictures of the board" in call("calibrate", "--project", str(tmp_path / "p"), code=1).stderr
    assert "no recordings yet" in call("predict", "--project", str(tmp_path / "p"), code=1).stderr
