"""Which networks `multipose train` trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from multipose.cli.main import main
from multipose.config import template
from multipose.skeleton import Skeleton


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of three views, in which networks are not really trained."""
    result = {"model": "", "minutes": 0.0, "held_out_mean_px": 1.0, "page": ""}
    monkeypatch.setattr("multipose.pipeline.training.train_model", lambda *_, **__: result)
    text = template("mice", ["direct", "mirror", "side"], Skeleton(("nose",)))
    (tmp_path / "multipose.toml").write_text(text, encoding="utf-8")
    return tmp_path


def say_shared(folder: Path, value: str) -> None:
    path = folder / "multipose.toml"
    text = path.read_text(encoding="utf-8").replace("#   shared = false", f"shared = {value} #")
    path.write_text(text, encoding="utf-8")


def networks(folder: Path, *arguments: str) -> list[str]:
    done = CliRunner().invoke(main, ["train", "--project", str(folder), "--json", *arguments])
    assert done.exit_code == 0, done.output
    return list(json.loads(done.stdout)["views"])


@pytest.mark.parametrize(
    ("arguments", "trained"),
    [
        (("--shared", "--steps", "3"), ["shared"]),
        (("--shared", "mirror,direct"), ["direct,mirror"]),
        (("--view", "side", "--view", "mirror"), ["side", "mirror"]),
        (("--all",), ["direct", "mirror", "side"]),
    ],
)
def test_networks_asked_for(folder: Path, arguments: tuple[str, ...], trained: list[str]) -> None:
    assert networks(folder, *arguments) == trained


def test_networks_that_the_configuration_says(folder: Path) -> None:
    say_shared(folder, '[["mirror", "direct"]]')
    assert networks(folder) == networks(folder, "--all") == ["direct,mirror", "side"]
    assert networks(folder, "--shared", "direct,mirror") == ["direct,mirror"]
    assert networks(folder, "--view", "side") == ["side"]


@pytest.mark.parametrize(
    ("value", "arguments", "message"),
    [
        ("false", ("--shared",), "those of direct; mirror; side; there is none of shared"),
        ("true", ("--view", "side"), "those of shared; there is none of side"),
        ('[["direct", "mirror"]]', ("--view", "mirror"), "those of direct,mirror; side; there is none of mirror"),
        ('[["direct", "mirror"]]', ("--shared", "mirror,side"), "there is none of mirror,side"),
        ("true", ("--shared", "--all"), "leave --view and --all out"),
    ],
)
def test_networks_that_are_not_to_be(folder: Path, value: str, arguments: tuple[str, ...], message: str) -> None:
    say_shared(folder, value)
    done = CliRunner().invoke(main, ["train", "--project", str(folder), *arguments])
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_view_that_does_not_exist(folder: Path) -> None:
    done = CliRunner().invoke(main, ["train", "--project", str(folder), "--shared", "direct,miror"])
    assert done.exit_code == 1
    assert "There is no view 'miror'" in done.stderr


def test_one_view_shares_nothing(folder: Path) -> None:
    done = CliRunner().invoke(main, ["train", "--project", str(folder), "--shared", "mirror"])
    assert done.exit_code == 2
    assert "--view mirror" in done.stderr
