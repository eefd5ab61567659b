"""Tables of pandas in HDF5: read as pandas reads them, opened by pandas when written here, and nothing in them runs."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from multipose.errors import FormatError
from multipose.formats.deeplabcut import read_labels, write_keypoints
from multipose.formats.pandas_hdf import read_frame, write_frame
from multipose.tracks import keypoints2d

KEY = "df_with_missing"
COLUMNS = pd.MultiIndex.from_product([["änna"], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"])
ANIMALS = pd.MultiIndex.from_product(
    [["anna"], ["a", "b"], ["nose"], ["x", "y"]], names=["scorer", "individuals", "bodyparts", "coords"]
)
ROWS = {
    "numbers": pd.Index([10, 11, 13]),
    "names": pd.Index(["a/img1.png", "a/img2.png", "bä/img3.png"]),
    "three columns": pd.MultiIndex.from_tuples([("labeled-data", "day1", f"img{i}.png") for i in range(3)]),
}


def frame_of(rows: pd.Index, columns: pd.MultiIndex = COLUMNS) -> pd.DataFrame:
    values = np.arange(12.0).reshape(3, 4)
    values[1, 2:] = np.nan
    return pd.DataFrame(values, index=rows, columns=columns)


def by_pandas(frame: pd.DataFrame, path: Path, layout: Any = "fixed") -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        frame.to_hdf(path, key=KEY, mode="w", format=layout)
    return path


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns", [COLUMNS, ANIMALS], ids=["one animal", "several"])
@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_reads_what_pandas_writes(tmp_path: Path, rows: str, columns: pd.MultiIndex, layout: str) -> None:
    if layout == "table" and rows == "three columns":
        pytest.skip("pandas cannot write it")
    frame = frame_of(ROWS[rows], columns)
    read = read_frame(by_pandas(frame, tmp_path / "a.h5", layout))
    pd.testing.assert_frame_equal(read, frame, check_index_type=False, check_column_type=False)
    assert list(read.columns.names) == list(columns.names)


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_blocks_of_several_types_keep_the_order_of_columns(tmp_path: Path, layout: str) -> None:
    frame = frame_of(ROWS["numbers"])
    frame["änna", "nose", "y"] = [1, 2, 3]
    frame["änna", "tail", "x"] = np.array([1.5, 2.5, 3.5], dtype=np.float32)
    read = read_frame(by_pandas(frame, tmp_path / "a.h5", layout))
    assert read.columns.tolist() == frame.columns.tolist()
    np.testing.assert_array_equal(read.to_numpy(np.float64), frame.to_numpy(np.float64))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns", [COLUMNS, ANIMALS], ids=["one animal", "several"])
def test_pandas_reads_what_is_written(tmp_path: Path, rows: str, columns: pd.MultiIndex) -> None:
    frame = frame_of(ROWS[rows], columns)
    write_frame(frame, tmp_path / "a.h5", KEY)
    for read in (pd.read_hdf(tmp_path / "a.h5"), pd.read_hdf(tmp_path / "a.h5", KEY), read_frame(tmp_path / "a.h5")):
        assert isinstance(read, pd.DataFrame)
        pd.testing.assert_frame_equal(read, frame, check_index_type=False, check_column_type=False)
    with pd.HDFStore(tmp_path / "a.h5", "a") as store:  # as DeepLabCut's refinement does: read, change, write again
        store[KEY] = store[KEY] + 1
    assert read_frame(tmp_path / "a.h5").iloc[0, 0] == 1


def test_deeplabcut_s_way_of_reading_an_analysed_video(tmp_path: Path) -> None:
    dataset = keypoints2d(np.arange(8.0).reshape(1, 2, 1, 2, 2), views=["top"], keypoints=["nose", "tail"], fps=10)
    _, h5 = write_keypoints(dataset, tmp_path, name="day1")
    frame = pd.read_hdf(h5)
    assert isinstance(frame, pd.DataFrame)
    scorer = frame.columns.get_level_values(0)[0]
    assert frame[scorer]["tail"]["x"].to_numpy().tolist() == [2.0, 6.0]
    assert frame.columns.get_level_values("bodyparts").unique().tolist() == ["nose", "tail"]
    assert frame.xs("likelihood", axis=1, level="coords").to_numpy().tolist() == [[1, 1], [1, 1]]


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def hostile_attribute(path: Path, ran: Path, node: str, name: str) -> None:
    with h5py.File(path, "a") as file:
        file[node].attrs[name] = np.bytes_(pickle.dumps([Runs(ran)], 0))


@pytest.mark.parametrize("name", ["non_index_axes", "info"])
def test_a_hostile_attribute_of_a_table_is_refused(tmp_path: Path, name: str) -> None:
    path = by_pandas(frame_of(ROWS["names"]), tmp_path / "CollectedData_me.h5", "table")
    hostile_attribute(path, tmp_path / "ran", KEY, name)
    with pytest.raises(FormatError, match=rf"CollectedData_me\.h5, /{KEY}: the attribute {name}: .*opcode .*refused"):
        read_labels(path, view="top")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["TITLE", "name", "errors", "encoding", "FLAVOR"])
def test_an_attribute_that_is_not_needed_is_not_unpickled(tmp_path: Path, name: str) -> None:
    path = by_pandas(frame_of(ROWS["names"]), tmp_path / "a.h5")
    for node in ("/", KEY, f"{KEY}/axis0_level0", f"{KEY}/block0_values"):
        hostile_attribute(path, tmp_path / "ran", node, name)
    with contextlib.suppress(FormatError):
        read_frame(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("node", ["block0_values", "axis1", "axis0_level1"])
def test_a_block_of_pickled_objects_is_refused(tmp_path: Path, node: str) -> None:
    path = by_pandas(frame_of(ROWS["names"]), tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        attributes = dict(file[KEY][node].attrs)
        del file[KEY][node]
        block = file[KEY].create_dataset(node, (1,), dtype=h5py.vlen_dtype(np.uint8))
        block[0] = np.frombuffer(pickle.dumps(Runs(tmp_path / "ran")), np.uint8)
        for name, value in {**attributes, "CLASS": np.bytes_("VLARRAY"), "PSEUDOATOM": np.bytes_("object")}.items():
            block.attrs[name] = value
    with pytest.raises(FormatError, match=rf"a\.h5, /{KEY}/{node}: .*(numbers|texts)"):
        read_frame(path)
    assert not (tmp_path / "ran").exists()


def test_tables_that_lie_elsewhere_or_declare_what_is_not_there_are_refused(tmp_path: Path) -> None:
    path = by_pandas(frame_of(ROWS["numbers"]), tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file[KEY]["block0_values"]
        file[KEY]["block0_values"] = h5py.ExternalLink("other.h5", "/secret")
    with pytest.raises(FormatError, match="none in the file itself"):
        read_frame(path)
    with h5py.File(path, "a") as file:
        del file[KEY]["block0_values"]
        file[KEY].create_dataset("block0_values", (10**12, 4), dtype=np.float64, chunks=(1000, 4))
    with pytest.raises(FormatError, match=r"declares 32,000,000,000,000 bytes.*0 are stored"):
        read_frame(path)


@pytest.mark.parametrize("cut", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_told(tmp_path: Path, cut: float) -> None:
    path = by_pandas(frame_of(ROWS["names"]), tmp_path / "a.h5", "table")
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(FormatError, match=r"a\.h5 is not a readable HDF5 file"):
        read_frame(path)


def test_flipped_bytes_never_leave_the_errors_of_multipose(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for layout in ("fixed", "table"):
        whole = by_pandas(frame_of(ROWS["numbers"]), tmp_path / "whole.h5", layout).read_bytes()[:20_000]
        rest = (tmp_path / "whole.h5").read_bytes()[20_000:]
        for _ in range(60):
            data = np.frombuffer(whole, np.uint8).copy()
            data[random.integers(0, len(data), 8)] = random.integers(0, 256, 8)
            (tmp_path / "a.h5").write_bytes(data.tobytes() + rest)
            with contextlib.suppress(FormatError):
                read_frame(tmp_path / "a.h5")
