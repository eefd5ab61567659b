"""What `pip install .` installs."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def listed_packages() -> set[str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return set(config["options"]["packages"].split())


def test_every_package_is_listed() -> None:
    found = {
        ".".join(("multipose", *init.parent.relative_to(ROOT / "multipose").parts))
        for init in (ROOT / "multipose").rglob("__init__.py")
    }
    assert listed_packages() == found | {"multipose.cli", "multipose.sample_data"}


def test_the_sample_project_is_small(sample: Path) -> None:
    assert sum(path.stat().st_size for path in sample.rglob("*") if path.is_file()) <= 6_000_000


@pytest.mark.slow
def test_the_wheel_holds_the_command_line_and_the_sample_data(tmp_path: Path, sample: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("multipose-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"multipose/cli/main.py", "multipose/py.typed", "multipose/sample_data/multipose.toml"} <= names
    data = {
        f"multipose/sample_data/{path.relative_to(sample).as_posix()}"
        for path in sample.rglob("*")
        if path.is_file() and path.suffix in {".mp4", ".csv", ".toml", ".nc", ".npz"}
    }
    assert data
    assert data <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
