"""Compiling the kernels: in reasonable time, once, and also where no cache can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from multipose.compilation import kernel_folder, sources
from multipose.triangulate import kernels, projection

PROGRAM = """
import time
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
start = time.process_time()
found = triangulate(px, rig, progress=Notes())
assert np.abs(found.position).max() < 1e-6
assert numba.config.CACHE_DIR == given
print(time.process_time() - start)
"""


def run(cache):
    """CPU seconds of the first call in a new process, and what it said."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache), "LOCALAPPDATA": str(cache), "HOME": str(cache)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *notes, seconds = done.stdout.splitlines()
    return float(seconds), notes


@pytest.mark.slow
def test_kernels_are_compiled_once_and_in_time(tmp_path):
    """Measured: 7.5 s of CPU time for the first call and 0.05 s for the first call of the next process."""
    first, notes = run(tmp_path)
    assert first < 15
    assert notes == ["Compiling the triangulation for this machine, once: about 10 s."]
    folders = [
        path for path in tmp_path.rglob(kernel_folder(*sources(kernels.triangulate.function)).name) if path.is_dir()
    ]
    assert len(folders) == 1
    assert list(folders[0].rglob("*.nbc"))
    again, notes = run(tmp_path)
    assert again < 2
    assert notes == []


def test_the_machine_code_is_kept_under_all_its_sources():
    assert sources(kernels.triangulate.function) == (kernels.__file__, projection.__file__)


@pytest.mark.slow
def test_kernels_work_where_no_cache_can_be_written(tmp_path):
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    before = set(Path(kernels.__file__).parent.rglob("*.nbc"))
    assert run(blocked / "cache")[0] < 15
    assert set(Path(kernels.__file__).parent.rglob("*.nbc")) == before
