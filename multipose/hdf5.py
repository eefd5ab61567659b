"""HDF5 files of others: opened without surprises, and no dataset read before its size is known to be honest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from multipose.errors import FormatError
from multipose.files import check_file

_ALWAYS = 16 << 20  # bytes that a dataset may have, however little of it is stored
_MOST_COMPRESSION = 1100  # deflate cannot shrink by more than 1032


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises:
        FormatError: it is missing, no regular file, or damaged; also where HDF5 finds that only while reading.
    """
    place = Path(path)
    check_file(place)
    try:
        with h5py.File(place, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, RecursionError) as error:
        # what h5py raises for damaged headers, chunks, types and names; UnicodeDecodeError is a ValueError
        raise FormatError(
            f"{place} is not a readable HDF5 file ({type(error).__name__}: {error}). Copy or export it again."
        ) from error


def has(group: h5py.Group, name: str) -> bool:
    """Whether a group holds something of this name, in its own file."""
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def dataset_of(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset whose values lie in its own file, plain (numbers, texts or records of them), and of an honest size.

    Raises:
        FormatError: it is missing, lies in another file, holds something else, or declares much more than is stored.
    """
    where = f"{group.file.filename}, {group.name.rstrip('/')}/{name}"
    item = group[name] if has(group, name) else None
    if not isinstance(item, h5py.Dataset):
        raise FormatError(f"{where}: a dataset was expected there, and there is none in the file itself.")
    if item.is_virtual or item.external:
        raise FormatError(f"{where}: the values lie in another file, which is not read. Export the table again.")
    if item.shape is None or not _is_plain(item.dtype):
        raise FormatError(f"{where}: holds {item.dtype}; numbers or texts were expected.")
    declared, stored = item.size * item.dtype.itemsize, item.id.get_storage_size()
    if declared > max(_ALWAYS, stored * _MOST_COMPRESSION):
        raise FormatError(
            f"{where}: declares {declared:,} bytes (shape {item.shape}), of which {stored:,} are stored. The file is "
            "damaged or was never written to its end; copy or export it again."
        )
    return item


def read_dataset(group: h5py.Group, name: str) -> npt.NDArray[Any]:
    """The values of such a dataset.

    Raises:
        FormatError: as of `dataset_of`.
    """
    return np.asarray(dataset_of(group, name)[()])


def check_datasets(path: str | os.PathLike[str]) -> None:
    """Check all datasets of a file before a library reads it whole.

    Raises:
        FormatError: as of `dataset_of`.
    """
    with open_hdf5(path) as file:
        for name in file:
            if has(file, name) and isinstance(file[name], h5py.Group):
                continue
            dataset_of(file, name)


def _is_plain(kind: np.dtype[Any]) -> bool:
    if kind.fields is not None:
        return all(_is_plain(field[0]) for field in kind.fields.values())
    base = kind.base
    return base.kind in "biufSU" or h5py.check_string_dtype(base) is not None
