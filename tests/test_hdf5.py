"""HDF5 files that lie: what they declare, where their values are, and what they are made of."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from multipose.errors import FormatError
from multipose.hdf5 import check_datasets, has, open_hdf5, read_dataset


def test_plain_datasets_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["numbers"] = np.arange(3)
        file["texts"] = ["nose", "tail"]
        file.create_dataset("nan", data=np.full((1000, 1000), np.nan), compression="gzip")
    check_datasets(tmp_path / "a.h5")
    with open_hdf5(tmp_path / "a.h5") as file:
        assert read_dataset(file, "numbers").tolist() == [0, 1, 2]
        assert read_dataset(file, "texts").tolist() == [b"nose", b"tail"]
        assert has(file, "numbers")
        assert not has(file, "other")


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("tracks", (1, 2, 12, 10**11), dtype=np.float64, chunks=(1, 2, 12, 1000))
    with pytest.raises(FormatError, match=r"a\.h5, /tracks: declares 19,200,000,000,000 bytes"):
        check_datasets(tmp_path / "a.h5")


@pytest.mark.parametrize("megabytes", [20, 250])
def test_megabytes_that_were_never_stored_are_refused(tmp_path: Path, megabytes: int) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("tracks", (megabytes * 10**6 // 8,), dtype=np.float64, chunks=(1000,))
    with pytest.raises(FormatError, match=r"a\.h5, /tracks: declares .* 0 are stored"):
        check_datasets(tmp_path / "a.h5")


def test_values_in_other_files_and_objects_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = [1]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("other.h5", "/secret")
        file["soft"] = h5py.SoftLink("/nowhere")
        layout = h5py.VirtualLayout((1,), np.int64)
        layout[:] = h5py.VirtualSource("other.h5", "secret", (1,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("external", (3,), np.uint8, external=[(str(tmp_path / "a.txt"), 0, 3)])
        file.create_dataset("ragged", (1,), dtype=h5py.vlen_dtype(np.uint8))
    with open_hdf5(tmp_path / "a.h5") as file:
        for name, problem in {
            "linked": "none in the file itself",
            "soft": "none in the file itself",
            "missing": "none in the file itself",
            "virtual": "in another file",
            "external": "in another file",
            "ragged": "numbers or texts were expected",
        }.items():
            with pytest.raises(FormatError, match=rf"a\.h5, /{name}: .*{problem}"):
                read_dataset(file, name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    (tmp_path / "zero.h5").symlink_to("/dev/zero")
    for name, problem in {
        "pipe.h5": "no regular file",
        "loop.h5": "cannot be read",
        "zero.h5": "no regular file",
        "none.h5": "There is no file",
        ".": "is a folder",
        "a" * 300: "cannot be read",
    }.items():
        with pytest.raises(FormatError, match=problem), open_hdf5(tmp_path / name):
            pass
