"""Tables of pandas in HDF5 files, as `DataFrame.to_hdf` writes them, by h5py alone.

Reading by pandas goes through PyTables, which unpickles attributes and object arrays, so that a file can run code. Here
numbers and texts of fixed width are read, and attributes that are pickled lists by a reader of plain values; what is
pickled otherwise is refused. Both layouts of pandas are read: "fixed" (a dataset for the values of each block, the
indices beside it) and "table" (one dataset of records, the columns' names in attributes). "fixed" is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from multipose.errors import DataError, FormatError
from multipose.files import atomic_path, check_room
from multipose.formats.plain_pickle import read_plain_pickle
from multipose.hdf5 import dataset_of, has, open_hdf5, read_dataset

_NONE = b"N."
_MOST_PICKLE = 64 << 20  # bytes of one attribute; those of a thousand columns are 30 KB


def read_frame(path: str | os.PathLike[str]) -> pd.DataFrame:
    """The only table of a file. Nothing in the file is executed.

    Raises:
        FormatError: the file is damaged, holds no table or several, or one with pickled objects.
    """
    place = Path(path)
    with open_hdf5(place) as file:
        groups = [file[name] for name in file if has(file, name) and isinstance(file[name], h5py.Group)]
        tables = [group for group in groups if _text(group.attrs, "pandas_type") in ("frame", "frame_table")]
        if len(tables) != 1:
            raise FormatError(f"{place} holds {len(tables) or 'no'} tables of pandas; one was expected.")
        return _read_fixed(tables[0]) if _text(tables[0].attrs, "pandas_type") == "frame" else _read_records(tables[0])


def write_frame(frame: pd.DataFrame, path: str | os.PathLike[str], key: str) -> None:
    """Write a table of float64 values whole or not at all, so that `pandas.read_hdf` gives it back.

    Args:
        frame: its columns are a MultiIndex of texts, its rows have texts or whole numbers as index, one or several.
        path: the .h5 file.
        key: name of the table in the file.
    """
    check_room(path, int(frame.memory_usage(index=True, deep=True).sum()))
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        _set(file, CLASS="GROUP", PYTABLES_FORMAT_VERSION="2.1", TITLE="", VERSION="1.0")
        group = file.create_group(key)
        _set(group, CLASS="GROUP", TITLE="", VERSION="1.0")
        _set(group, pandas_type="frame", encoding="UTF-8", errors="strict")
        group.attrs["ndim"], group.attrs["nblocks"] = 2, 1
        for name, index in (("axis0", frame.columns), ("block0_items", frame.columns), ("axis1", frame.index)):
            _write_index(group, name, index)
        _write_array(group, "block0_values", frame.to_numpy(dtype=np.float64))


def _read_fixed(group: h5py.Group) -> pd.DataFrame:
    columns, rows = _read_index(group, "axis0"), _read_index(group, "axis1")
    pieces: list[pd.DataFrame] = []
    for number in range(_whole(group, "nblocks")):
        values = read_dataset(group, f"block{number}_values")
        items = _read_index(group, f"block{number}_items")
        if values.dtype.kind not in "fiub" or values.ndim != 2:
            raise FormatError(_where(group, f"block{number}_values") + "a table of numbers was expected.")
        # PyTables marks what it keeps as pandas has it, (row, column); older files have it as blocks are in memory
        transposed = bool(group[f"block{number}_values"].attrs.get("transposed", False))
        values = values if transposed else values.T
        if values.shape != (len(rows), len(items)):
            raise FormatError(
                _where(group, f"block{number}_values")
                + f"expected {len(rows)} rows and {len(items)} columns, got the shape {values.shape}."
            )
        pieces.append(pd.DataFrame(values, index=rows, columns=items))
    if not pieces:
        raise FormatError(_where(group) + "the table holds no values.")
    return _join(group, pieces, columns)


def _join(group: h5py.Group, pieces: list[pd.DataFrame], columns: pd.Index) -> pd.DataFrame:
    frame = pieces[0] if len(pieces) == 1 else pd.concat(pieces, axis=1)
    if frame.columns.equals(columns):
        return frame.set_axis(columns, axis=1)
    if len(frame.columns) != len(columns) or columns.has_duplicates or frame.columns.has_duplicates:
        raise FormatError(_where(group) + "the blocks do not hold each column once.")
    place = frame.columns.get_indexer(columns)
    if (place < 0).any():
        raise FormatError(_where(group) + "the blocks lack a column.")
    return frame.iloc[:, place].set_axis(columns, axis=1)


def _read_index(group: h5py.Group, name: str) -> pd.Index:
    variety = _text(group.attrs, f"{name}_variety")
    if variety == "regular":
        regular: pd.Index = pd.Index(_read_labels(group, name))
        return regular
    if variety != "multi":
        raise FormatError(_where(group, name) + f"expected the index to be 'regular' or 'multi', got {variety!r}.")
    levels, codes, names = [], [], []
    for number in range(_whole(group, f"{name}_nlevels")):
        level = _read_labels(group, f"{name}_level{number}")
        code = read_dataset(group, f"{name}_label{number}")
        if code.ndim != 1 or code.dtype.kind not in "iu" or not np.isin(code, np.arange(len(level))).all():
            raise FormatError(_where(group, f"{name}_label{number}") + f"expected numbers from 0 to {len(level) - 1}.")
        levels.append(level)
        codes.append(code)
        names.append(_text(group[f"{name}_level{number}"].attrs, "name"))
    if not levels or len({len(code) for code in codes}) != 1:
        raise FormatError(_where(group, name) + "the levels of the index differ in length.")
    arrays = [np.asarray(level, dtype=object)[code] for level, code in zip(levels, codes, strict=True)]
    return pd.MultiIndex.from_arrays(arrays, names=names)


def _read_labels(group: h5py.Group, name: str) -> list[Any]:
    if _text(dataset_of(group, name).attrs, "kind") not in ("string", "integer", "float"):
        raise FormatError(_where(group, name) + "expected texts or numbers; pickled objects are not read.")
    values = read_dataset(group, name)
    if values.ndim != 1:
        raise FormatError(_where(group, name) + f"expected one dimension, got the shape {values.shape}.")
    return _decode(values)


def _read_records(group: h5py.Group) -> pd.DataFrame:
    table = dataset_of(group, "table")
    axes = _pickled(group, "non_index_axes")
    info = _pickled(group, "info")
    try:
        ((axis, labels),) = axes
        names = info[axis].get("names") if isinstance(info.get(axis), dict) else None
        columns = _columns_of(labels, names)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise FormatError(_where(group) + f"its attributes do not describe columns ({error}).") from error
    fields = table.dtype.names or ()
    blocks = [name for name in fields if name.startswith("values_block_")]
    if "index" not in fields or not blocks or set(fields) != {"index", *blocks}:
        raise FormatError(_where(group, "table") + f"expected an index and blocks of values, got {', '.join(fields)}.")
    records = table[()]
    rows = pd.Index(_decode(records["index"]))
    pieces = []
    for name in blocks:
        values = records[name].reshape(len(records), -1)
        if values.dtype.kind not in "fiub":
            raise FormatError(_where(group, "table") + f"{name} holds {values.dtype}; numbers were expected.")
        items = columns if len(blocks) == 1 else _columns_of(_pickled(group["table"], f"{name}_kind"), columns.names)
        if values.shape[1] != len(items):
            raise FormatError(
                _where(group, "table") + f"{name} has {values.shape[1]} columns, its attributes name {len(items)}."
            )
        pieces.append(pd.DataFrame(values, index=rows, columns=items))
    return _join(group, pieces, columns)


def _columns_of(labels: Any, names: Any) -> pd.Index:
    if not isinstance(labels, list) or not all(_is_label(label) for label in labels):
        raise ValueError("the columns are no list of texts or tuples of texts")
    if labels and isinstance(labels[0], tuple):
        return pd.MultiIndex.from_tuples(labels, names=names)
    return pd.Index(labels)


def _is_label(label: Any) -> bool:
    parts = label if isinstance(label, tuple) else (label,)
    return len(parts) <= 8 and all(isinstance(part, str | int | float) for part in parts)


def _pickled(node: h5py.Group | h5py.Dataset, name: str) -> Any:
    if name not in node.attrs:
        raise FormatError(_where(node) + f"the attribute {name} is missing.")
    if node.attrs.get_id(name).get_storage_size() > _MOST_PICKLE:
        raise FormatError(_where(node) + f"the attribute {name} is too long.")
    value = node.attrs[name]
    data = value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value)
    try:
        return read_plain_pickle(data)
    except DataError as error:
        raise FormatError(_where(node) + f"the attribute {name}: {error} Read the .csv beside the file.") from error


def _whole(group: h5py.Group, name: str) -> int:
    value = group.attrs.get(name)
    if not isinstance(value, np.integer) or not 0 <= value <= 1000:
        raise FormatError(_where(group) + f"the attribute {name} must be a small whole number, got {value!r}.")
    return int(value)


def _text(attributes: h5py.AttributeManager, name: str) -> str | None:
    value = attributes.get(name)
    if isinstance(value, bytes):
        return None if value == _NONE else value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _decode(values: npt.NDArray[Any]) -> list[Any]:
    """Texts of fixed width, or numbers."""
    if values.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in values.tolist()]
    return list(values.tolist())


def _where(node: h5py.Group | h5py.Dataset, name: str = "") -> str:
    return f"{node.file.filename}, {node.name}{'/' + name if name else ''}: "


def _write_index(group: h5py.Group, name: str, index: pd.Index) -> None:
    if not isinstance(index, pd.MultiIndex):
        _set(group, **{f"{name}_variety": "regular"})
        _write_labels(group, name, index.tolist(), index.name)
        return
    _set(group, **{f"{name}_variety": "multi"})
    group.attrs[f"{name}_nlevels"] = index.nlevels
    for number in range(index.nlevels):
        values = index.get_level_values(number)
        _write_labels(group, f"{name}_level{number}", levels := list(dict.fromkeys(values)), values.name)
        code = {value: place for place, value in enumerate(levels)}
        kind = np.min_scalar_type(-max(len(levels), 1))
        _write_array(group, f"{name}_label{number}", np.array([code[value] for value in values], dtype=kind))


def _write_labels(group: h5py.Group, name: str, labels: Sequence[Any], title: Any) -> None:
    if all(isinstance(label, str) for label in labels):
        encoded = [label.encode() for label in labels]
        _write_array(group, name, np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}"))
        _set(group[name], kind="string", nan_rep="")
    else:
        _write_array(group, name, np.array(labels, dtype=np.int64))
        _set(group[name], kind="integer")
    _set(group[name], name=None if title is None else str(title))


def _write_array(group: h5py.Group, name: str, values: npt.NDArray[Any]) -> None:
    dataset = group.create_dataset(name, data=values)
    _set(dataset, CLASS="ARRAY", FLAVOR="numpy", TITLE="", VERSION="2.4")
    dataset.attrs["transposed"] = np.uint8(1)


def _set(node: h5py.Group | h5py.Dataset, **attributes: str | None) -> None:
    """Attributes as PyTables keeps texts, of fixed width and in UTF-8, and None, as the bytes of its pickle."""
    for name, value in attributes.items():
        data = _NONE if value is None else value.encode()
        text = h5py.string_dtype("ascii" if value is None else "utf-8", max(len(data), 1))
        node.attrs.create(name, data if data else h5py.Empty(text), dtype=text)
