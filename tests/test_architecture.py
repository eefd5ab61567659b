"""The layers and the walls of docs/architecture.md hold, and the guards that say so can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import multipose

ROOT = Path(__file__).resolve().parent.parent

# Third-party packages and the only parts of multipose that may load them. What a part imports from a lower layer
# counts as loaded by it, so the parts above an owner are owners too.
WALLS = {
    "torch": ("pose2d", "pipeline", "cli"),
    "lightning_fabric": ("pose2d", "pipeline", "cli"),
    "plotly": ("view", "pipeline", "cli"),
    "click": ("cli",),
    "flask": (),
    "dash": (),
    "dask": (),
    "rich": (),
}
# Light parts that load neither OpenCV nor numba.
LIGHT = ("config", "errors", "files", "geometry", "progress", "skeleton", "lens", "camera", "tracks", "labels")


def modules_by_part() -> dict[str, list[str]]:
    """Every module, without importing any, by the part of the package that it belongs to (`camera`, `pose2d`, ...)."""
    parts: dict[str, list[str]] = {}
    for folder, prefix in ((ROOT / "multipose", ()), (ROOT / "cli", ("cli",))):
        for path in sorted(folder.rglob("*.py")):
            words = [*prefix, *path.relative_to(folder).with_suffix("").parts]
            if words[-1] == "__init__":
                words.pop()
            if words:
                parts.setdefault(words[0], []).append(".".join(["multipose", *words]))
    return parts


def loaded_by(*modules: str) -> set[str]:
    """Top-level names in sys.modules of a fresh interpreter that imported `modules`."""
    code = (
        "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return {line.split(".")[0] for line in done.stdout.splitlines()}


def broken_walls(part: str, loaded: set[str]) -> list[str]:
    forbidden = [library for library, owners in WALLS.items() if part not in owners]
    if part in LIGHT:
        forbidden += ["cv2", "numba", "av"]
    return [library for library in forbidden if library in loaded]


@pytest.mark.slow
@pytest.mark.parametrize("part", modules_by_part())
def test_third_party_walls(part: str) -> None:
    assert broken_walls(part, loaded_by(*modules_by_part()[part])) == []


def test_a_broken_wall_is_noticed() -> None:
    assert broken_walls("camera", {"numpy", "torch", "cv2"}) == ["torch", "cv2"]
    assert broken_walls("pose2d", {"numpy", "torch", "cv2"}) == []
    assert "multipose.pose2d.training" in modules_by_part()["pose2d"]
    assert "json" in loaded_by("json")


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("multipose") & {
        *WALLS,
        "cv2",
        "numba",
        "numpy",
        "scipy",
        "pandas",
        "xarray",
        "av",
        "h5py",
    }


def test_the_command_line_loads_only_click_for_its_help() -> None:
    assert not loaded_by("multipose.cli.main") & {
        "torch",
        "plotly",
        "cv2",
        "numba",
        "numpy",
        "scipy",
        "pandas",
        "xarray",
        "av",
        "rich",
    }


def test_public_names_exist_and_are_sorted() -> None:
    assert multipose.__all__ == sorted(multipose.__all__)
    for name in multipose.__all__:
        assert getattr(multipose, name) is not None
    assert set(multipose._HOMES) | set(multipose._MODULES) == set(multipose.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = multipose.nonsense


def run_linter(folder: Path, config: str) -> subprocess.CompletedProcess[str]:
    """import-linter on a copy of the code laid out as it is installed."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "multipose", folder / "multipose", ignore=ignore)
    shutil.copytree(ROOT / "cli", folder / "multipose" / "cli", ignore=ignore)
    (folder / "setup.cfg").write_text(config, encoding="utf-8")
    code = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--config", "setup.cfg"],
        capture_output=True,
        text=True,
        cwd=folder,
    )


def test_layers(tmp_path: Path) -> None:
    done = run_linter(tmp_path, (ROOT / "setup.cfg").read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_broken_layers_are_noticed(tmp_path: Path) -> None:
    config = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    lowest = config.strip().splitlines()[-1]
    assert "errors" in lowest
    upside_down = config.replace(lowest, "").replace("layers =\n    cli\n", f"layers =\n{lowest}\n    cli\n")
    done = run_linter(tmp_path, upside_down)
    assert done.returncode == 1
    assert "0 kept, 1 broken" in done.stdout


def test_no_module_is_called_utils() -> None:
    assert not [path for part in ("multipose", "cli") for path in (ROOT / part).rglob("util*.py")]
