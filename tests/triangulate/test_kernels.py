"""The kernels: blocks of points against points one by one; compiled once, cached or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multipose.camera import Camera, CameraRig
from multipose.compilation import kernel_folder, sources
from multipose.geometry import look_at
from multipose.lens import BrownLens, FisheyeLens, RationalLens, TelecentricLens
from multipose.triangulate import blocks, kernels, lanes, projection
from multipose.triangulate.points import STATES, triangulate

LENSES = (
    BrownLens(900.0, 905.0, 320.0, 250.0, (-0.2, 0.08, 1e-3, -8e-4, 0.01)),
    BrownLens(880.0, 880.0, 318.0, 242.0, (-0.4, 0.2, 0.0, 0.0, 0.0)),
    RationalLens(500.0, 498.0, 310.0, 245.0, (0.3, 0.02, 5e-4, -3e-4, 0.004, 0.6, 0.07, 0.002)),
    TelecentricLens(2.5, 2.6, 315.0, 238.0, (1e-7, 0.0, 1e-7, -2e-7, 0.0)),
    BrownLens(700.0, 700.0, 320.0, 240.0, (0.0, 0.0, 0.0, 0.0, 0.0)),
)
BLIND = FisheyeLens(400.0, 402.0, 330.0, 240.0, (-0.01, 0.004, -0.002, 0.0003))

PROGRAM = """
import numpy as np
import numba
from multipose.progress import SILENT
from multipose.synthetic.rig import sample_rig
from multipose.triangulate.points import triangulate
class Notes(type(SILENT)):
    def note(self, text): print(text)
rig = sample_rig(3)
px = rig.project(np.zeros((1, 3)))
given = numba.config.CACHE_DIR
found = triangulate(px, rig, progress=Notes())
assert np.abs(found.position).max() < 1e-6
assert numba.config.CACHE_DIR == given
"""


def run(cache):
    """What the first call in a new process says."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache), "LOCALAPPDATA": str(cache), "HOME": str(cache)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def camera(i, lens):
    """Camera i of a ring around the origin."""
    angle = 1.3 * i + 0.3
    center = 400.0 * np.array([np.cos(angle), np.sin(angle), 0.5 + 0.1 * i])
    return Camera(f"cam_{i}", (640, 480), lens, look_at(center, (3.0 * i, -4.0, 2.0), (0.0, 0.0, 1.0)))


@pytest.mark.parametrize("refine", [False, True], ids=["linear", "refined"])
@pytest.mark.parametrize("known", [False, True], ids=["same covariance", "own covariances"])
def test_blocks_and_single_points_agree(refine, known):
    """A view with a fisheye lens that sees nothing has the points solved one by one.

    3000 points, gross errors and gaps among them: the same states and views, 1e-6 px from another. Where two views are
    wrong and agree by chance the two ways may choose differently: one point in 10,000, by other seeds.
    """
    rng = np.random.default_rng(3)
    n, n_views = 3000, len(LENSES)
    rig = CameraRig(tuple(camera(i, lens) for i, lens in enumerate(LENSES)), unit="mm")
    px = rig.project(rng.normal(0, 30, (n, 3))) + rng.normal(0, 0.7, (n_views, n, 2))
    px[rng.random((n_views, n)) < 0.1] = np.nan
    gross = rng.random((n_views, n)) < 0.08
    px[gross] += rng.uniform(-150, 150, (gross.sum(), 2))
    options = {"refine": refine, "max_error_px": 5.0 if refine else np.inf, "noise_px": 0.7}
    confidence = np.where(known, rng.uniform(0.3, 1.0, (n_views, n)), 1.0)
    half = 0.7 * np.eye(2) + rng.uniform(-0.2, 0.2, (n_views, n, 2, 2))
    covariance = half @ np.swapaxes(half, -1, -2)
    covariance[(rng.random((n_views, n)) < 0.2) | (not known)] = np.nan
    blockwise = triangulate(px, rig, confidence=confidence, covariance=covariance, **options)
    blind = CameraRig((*rig.cameras, camera(n_views, BLIND)), unit="mm")
    single = triangulate(
        np.concatenate([px, np.full((1, n, 2), np.nan)]),
        blind,
        confidence=np.concatenate([confidence, np.ones((1, n))]),
        covariance=np.concatenate([covariance, covariance[:1]]),
        **options,
    )
    np.testing.assert_array_equal(blockwise.n_usable, single.n_usable)
    same = (blockwise.state == single.state) & (blockwise.inlier == single.inlier[:-1]).all(axis=0)
    assert (gross[:, ~same].sum(axis=0) >= 2).all()
    assert (~same).sum() <= 3  # of 0.3 expected, more are one case in 10,000
    assert (blockwise.state == STATES.index("consistent")).mean() > 0.9
    first, second = (rig.project(points.position[same]) for points in (blockwise, single))
    assert np.nanmax(np.abs(first - second)) < 1e-6
    np.testing.assert_allclose(blockwise.covariance[same], single.covariance[same], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(blockwise.error[same], single.error[same], atol=1e-4)


@pytest.mark.slow
def test_kernels_are_compiled_once(tmp_path):
    """What the first process keeps is all that the next one needs: it says nothing and writes nothing."""
    assert run(tmp_path) == ["Compiling the triangulation for this machine, once: about 10 s."]
    folders = [
        path for path in tmp_path.rglob(kernel_folder(*sources(kernels.triangulate.function)).name) if path.is_dir()
    ]
    assert len(folders) == 1
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb[ci]")}
    assert any(path.is_relative_to(folders[0]) for path in kept)
    assert run(tmp_path) == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb[ci]")} == kept


def test_the_machine_code_is_kept_under_all_its_sources():
    assert sources(kernels.triangulate.function) == (
        kernels.__file__,
        blocks.__file__,
        lanes.__file__,
        projection.__file__,
    )


@pytest.mark.slow
def test_kernels_work_where_no_cache_can_be_written(tmp_path):
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    before = set(Path(kernels.__file__).parent.rglob("*.nbc"))
    assert run(blocked / "cache") == ["Compiling the triangulation for this machine, once: about 10 s."]
    assert set(Path(kernels.__file__).parent.rglob("*.nbc")) == before
