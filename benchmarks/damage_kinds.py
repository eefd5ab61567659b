"""What can befall a file: damages of its bytes, of its place in the folder, and of the values in it, by its layout.

Each damage changes the file at a path, with chance from a generator. `benchmarks/damage.py` makes them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import safetensors.torch
import toml
import torch

from multipose.documents import read_arrays, write_arrays

Random = np.random.Generator
Change = Callable[[Path, Random], None]
WITNESS = "RAN"  # in a project's folder: a program in a file ran
NESTED = "[" * 100_000


class Touch:
    """Unpickled, it makes a file: the witness that something in a file ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def witness_of(path: Path) -> Path:
    return next(parent for parent in path.parents if (parent / ".multipose").is_dir()) / WITNESS


# Of bytes


def cut_at(share: float) -> Change:
    return lambda path, _: os.truncate(path, int(share * path.stat().st_size))


def cut_last_byte(path: Path, _: Random) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path, _: Random) -> None:
    os.truncate(path, 0)


def flips(count: int, low: float = 0.0, high: float = 1.0) -> Change:
    def change(path: Path, random: Random) -> None:
        data = np.fromfile(path, np.uint8)
        for at in random.integers(int(low * len(data)), max(int(high * len(data)), 1), count):
            data[at] ^= 1 << random.integers(8)
        data.tofile(path)

    return change


def zeros(path: Path, random: Random) -> None:
    data = np.fromfile(path, np.uint8)
    start = int(random.integers(0, len(data)))
    data[start : start + 4096] = 0
    data.tofile(path)


def zeros_in_the_middle(path: Path, _: Random) -> None:
    data = np.fromfile(path, np.uint8)
    data[len(data) // 2 : len(data) // 2 + 4096] = 0
    data.tofile(path)


def zeros_at_the_head(path: Path, _: Random) -> None:
    data = np.fromfile(path, np.uint8)
    data[:64] = 0
    data.tofile(path)


def noise(path: Path, random: Random) -> None:
    path.write_bytes(random.bytes(2000))


def junk_behind(path: Path, random: Random) -> None:
    with path.open("ab") as file:
        file.write(random.bytes(2000))


# Of its place in the folder


def pipe(path: Path, _: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path, _: Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def loop(path: Path, _: Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def dangling(path: Path, _: Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def folder(path: Path, _: Random) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path, _: Random) -> None:
    path.unlink()


def unreadable(path: Path, _: Random) -> None:
    """For another user than root, who the commands then run as."""
    path.chmod(0)


def huge(path: Path, _: Random) -> None:
    os.truncate(path, 10**11)


def other(name: str) -> Change:
    """Another file, beside it or at a path from the project on, in its place."""

    def change(path: Path, _: Random) -> None:
        source = path.with_name(name) if "/" not in name else witness_of(path).with_name(name.split("/", 1)[0])
        shutil.copy(source if "/" not in name else source / name.split("/", 1)[1], path)

    return change


PLACE: dict[str, Change] = {
    change.__name__: change for change in (pipe, device, loop, dangling, folder, gone, unreadable)
}
BYTES: dict[str, Change] = PLACE | {
    "empty": empty,
    "cut at 10 %": cut_at(0.1),
    "cut at 50 %": cut_at(0.5),
    "cut at 90 %": cut_at(0.9),
    "cut by a byte": cut_last_byte,
    "1 bit": flips(1),
    "10 bits": flips(10),
    "100 bits": flips(100),
    "10 bits in the head": flips(10, 0.0, 0.02),
    "zeros": zeros,
    "zeros in the middle": zeros_in_the_middle,
    "zeros at the head": zeros_at_the_head,
    "noise": noise,
    "junk behind": junk_behind,
}
CHANCE = frozenset(name for name in BYTES if name not in PLACE and name not in ("empty", "noise"))
"""Damages of bytes that may leave another valid text behind, where no checksum, range or decoder can tell."""


# Of texts


def written(*texts: str | bytes) -> Change:
    def change(path: Path, random: Random) -> None:
        text = texts[int(random.integers(len(texts)))]
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return change


def encoded(encoding: str) -> Change:
    return lambda path, _: path.write_bytes(("" + path.read_text("utf-8")).encode(encoding))


def latin(path: Path, _: Random) -> None:
    text = path.read_bytes()
    middle = text.find(b"\n", len(text) // 2) + 1
    path.write_bytes(text[:middle] + b"\xe4" + text[middle:])


def zero_bytes(path: Path, _: Random) -> None:
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2] + b"\0\0" + text[len(text) // 2 :])


def replaced(*pairs: tuple[str, str]) -> Change:
    """One of several replacements in a text."""

    def change(path: Path, random: Random) -> None:
        text = path.read_text(encoding="utf-8")
        fitting = [pair for pair in pairs if pair[0] in text]
        old, new = fitting[int(random.integers(len(fitting)))]
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def added(text: str) -> Change:
    def change(path: Path, _: Random) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    return change


TEXT: dict[str, Change] = BYTES | {
    "huge": huge,
    "UTF-16": encoded("utf-16"),
    "UTF-16 without a mark": encoded("utf-16-le"),
    "latin-1": latin,
    "zero bytes": zero_bytes,
}
HARMLESS = frozenset({"UTF-16"})

# Of trees: TOML and JSON

BAD_VALUES: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "1e300": 1e300,
    "-1e300": -1e300,
    "2^80": 2**80,
    "text": "text",
    "path": "../../x",
    "long text": "x" * 200_000,
    "empty text": "",
    "list": [],
    "list of lists": [[[]]],
    "table": {"a": 1},
    "yes": True,
}


def _leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from _leaves(value, (*path, key))


def _read_tree(path: Path) -> tuple[Any, Callable[[Any], str]]:
    text = path.read_text(encoding="utf-8")
    return (tomllib.loads(text), toml.dumps) if path.suffix == ".toml" else (json.loads(text), json.dumps)


def in_tree(value: Any, within: str = "") -> Change:
    """One value somewhere in a TOML or JSON (within a key) becomes another; without a value it is taken out."""

    def change(path: Path, random: Random) -> None:
        tree, dump = _read_tree(path)
        places = [place for place in _leaves(tree) if not within or within in place]
        place = places[int(random.integers(len(places)))]
        parent = tree
        for key in place[:-1]:
            parent = parent[key]
        if value is None:
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        path.write_text(dump(tree), encoding="utf-8")

    return change


def replaced_by_null(path: Path, random: Random) -> None:
    tree = json.loads(path.read_text(encoding="utf-8"))
    places = list(_leaves(tree))
    place = places[int(random.integers(len(places)))]
    parent = tree
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = None
    path.write_text(json.dumps(tree), encoding="utf-8")


def of_tree(within: str = "") -> dict[str, Change]:
    label = f"{within}: " if within else ""
    kinds: dict[str, Change] = {
        f"{label}a value is {name}": in_tree(value, within) for name, value in BAD_VALUES.items()
    }
    return kinds | {f"{label}a value is missing": in_tree(None, within)}


TOML = (
    TEXT | of_tree() | {"nested 100000 deep": written("a = " + NESTED), "a line of 10 MB": added("\n#" + "x" * 10**7)}
)
JSON = (
    TEXT
    | of_tree()
    | {
        "nested 100000 deep": written(NESTED, '{"a":' * 100_000),
        "a list": written("[1, 2]"),
        "a number": written("7"),
        "null": written("null"),
        "a value is null": replaced_by_null,
        "an empty object": written("{}"),
        "a number of 5000 digits": written('{"a": ' + "9" * 5000 + "}"),
    }
)


# Of tables


def _change_rows(path: Path, change: Callable[[list[list[str]]], None]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def cell(value: str, head: int = 1, column: str = "") -> Change:
    """One cell below the header, where something stands; of a column."""

    def change(path: Path, random: Random) -> None:
        def set_one(rows: list[list[str]]) -> None:
            places = [
                (i, k)
                for i in range(head, len(rows))
                for k in range(len(rows[i]))
                if rows[i][k] and (not column or rows[0][k] == column)
            ]
            row, place = places[int(random.integers(len(places)))]
            rows[row][place] = value

        _change_rows(path, set_one)

    return change


def rows_changed(change_of: Callable[[list[list[str]], Random], None]) -> Change:
    return lambda path, random: _change_rows(path, lambda rows: change_of(rows, random))


def _without_column(rows: list[list[str]], random: Random) -> None:
    place = int(random.integers(len(rows[0])))
    for row in rows:
        del row[place : place + 1]


def _column_twice(rows: list[list[str]], random: Random) -> None:
    place = int(random.integers(len(rows[0])))
    for row in rows:
        row.append(row[place])


def _row_twice(rows: list[list[str]], random: Random) -> None:
    rows.append(list(rows[int(random.integers(len(rows) // 2, len(rows)))]))


def _short_row(rows: list[list[str]], random: Random) -> None:
    del rows[int(random.integers(len(rows) // 2, len(rows)))][1:]


def _long_row(rows: list[list[str]], random: Random) -> None:
    rows[int(random.integers(len(rows) // 2, len(rows)))].append("more")


def _renamed(rows: list[list[str]], random: Random) -> None:
    rows[0][int(random.integers(len(rows[0])))] = "other"


def table(head: int = 1, **more: Change) -> dict[str, Change]:
    values = {
        "nan": "nan", "inf": "inf", "1e300": "1e300", "-1e300": "-1e300", "-1": "-1", "2^63": str(2**63),
        "text": "text",
        "200k signs": "x" * 200_000, "path": "../../x", "device": "/dev/zero", "half": "0.5", "empty": "",
        "5000 digits": "9" * 5000,
    }  # fmt: skip
    return (
        TEXT
        | {f"a cell is {name}": cell(value, head) for name, value in values.items()}
        | {
            "column missing": rows_changed(_without_column),
            "column twice": rows_changed(_column_twice),
            "column renamed": rows_changed(_renamed),
            "row twice": rows_changed(_row_twice),
            "row too short": rows_changed(_short_row),
            "row too long": rows_changed(_long_row),
            "no rows": rows_changed(lambda rows, _: rows.__delitem__(slice(head, None))),
            "open quote": added('"'),
        }
        | more
    )


# Of HDF5


def _datasets(file: h5py.File, kinds: str = "fiubSUO") -> list[str]:
    found: list[str] = []
    file.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) and item.dtype.kind in kinds else None
    )
    return sorted(found)


def hdf5_value(value: float, name: str = "") -> Change:
    """One value of a dataset of floats."""

    def change(path: Path, random: Random) -> None:
        with h5py.File(path, "r+") as file:
            names = [name] if name else [item for item in _datasets(file, "f") if file[item].size]
            chosen = file[names[int(random.integers(len(names)))]]
            chosen[tuple(int(random.integers(size)) for size in chosen.shape)] = value

    return change


def hdf5_dataset(make: Callable[[h5py.Group, str, Any, dict[str, Any]], None], name: str = "") -> Change:
    """One dataset is made anew; its attributes stay where that is possible."""

    def change(path: Path, random: Random) -> None:
        with h5py.File(path, "r+") as file:
            names = [name] if name else _datasets(file)
            chosen = names[int(random.integers(len(names)))]
            values, attributes = file[chosen][()], dict(file[chosen].attrs)
            parent, own = file[chosen].parent, chosen.rpartition("/")[2]
            del parent[own]
            make(parent, own, values, attributes)
            if own in parent and isinstance(parent.get(own, getlink=True), h5py.HardLink):
                for key, value in attributes.items():
                    if key not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS"):
                        parent[own].attrs[key] = value

    return change


def _declare(last: int) -> Callable[[h5py.Group, str, Any, dict[str, Any]], None]:
    def make(group: h5py.Group, name: str, values: Any, _: dict[str, Any]) -> None:
        value = np.asarray(values)
        kind = value.dtype if value.dtype.kind in "fiu" else np.dtype("f8")
        shape = [*value.shape[:-1], max(last // max(int(np.prod(value.shape[:-1])), 1) // 8, 1)]
        group.create_dataset(name, shape, kind, chunks=tuple(min(max(length, 1), 64) for length in shape))

    return make


def _outside(group: h5py.Group, name: str, _values: Any, _attributes: dict[str, Any]) -> None:
    group[name] = h5py.ExternalLink("/etc/passwd", "/a")


def _soft_loop(group: h5py.Group, name: str, _values: Any, _attributes: dict[str, Any]) -> None:
    group[name] = h5py.SoftLink(f"{group.name.rstrip('/')}/{name}")


def _as_group(group: h5py.Group, name: str, _values: Any, _attributes: dict[str, Any]) -> None:
    group.create_group(name)


def _texts(group: h5py.Group, name: str, values: Any, _: dict[str, Any]) -> None:
    group.create_dataset(name, data=np.full(np.shape(values), "text", dtype=object), dtype=h5py.string_dtype())


def _references(group: h5py.Group, name: str, values: Any, _: dict[str, Any]) -> None:
    made = group.create_dataset(name, np.shape(values), dtype=h5py.ref_dtype)
    if made.size:
        made[(0,) * made.ndim] = group.ref


def _ragged(group: h5py.Group, name: str, values: Any, _: dict[str, Any]) -> None:
    group.create_dataset(name, np.shape(values), dtype=h5py.vlen_dtype(np.float64))


def _shorter(group: h5py.Group, name: str, values: Any, _: dict[str, Any]) -> None:
    value = np.asarray(values)
    group.create_dataset(name, data=value[:-1] if value.ndim else np.array([values, values]))


def _turned(group: h5py.Group, name: str, values: Any, _: dict[str, Any]) -> None:
    group.create_dataset(name, data=np.asarray(values).T[None])


def _scalar(group: h5py.Group, name: str, _values: Any, _attributes: dict[str, Any]) -> None:
    group[name] = 1.0


def _filled(group: h5py.Group, name: str, values: Any, _: dict[str, Any]) -> None:
    """Texts become one another; numbers become the same."""
    value = np.asarray(values)
    group.create_dataset(name, data=np.full_like(value, value.ravel()[0]) if value.size else value)


def hdf5_attribute(value: Any) -> Change:
    """One attribute of the file becomes something else; without a value it is taken out."""

    def change(path: Path, random: Random) -> None:
        with h5py.File(path, "r+") as file:
            nodes = [node for node in ("/", *_datasets(file)) if set(file[node].attrs) - {"DIMENSION_LIST"}] or ["/"]
            if not len(file[nodes[0]].attrs):
                file["/"].attrs["note"] = 1
            node = file[
                nodes[0] if len(file["/"].attrs) and random.integers(2) else nodes[int(random.integers(len(nodes)))]
            ]
            names = sorted(set(node.attrs) - {"DIMENSION_LIST", "REFERENCE_LIST"}) or sorted(node.attrs)
            name = names[int(random.integers(len(names)))]
            if value is None:
                del node.attrs[name]
            elif name != "_NCProperties" or not isinstance(value, bytes):
                node.attrs[name] = value

    return change


def renamed(name: str, new: str) -> Change:
    """The second of the texts of a dataset becomes another; "" for the first one."""

    def change(path: Path, _: Random) -> None:
        with h5py.File(path, "r+") as file:
            values = file[name][()]
            values[1] = values[0] if not new else new.encode() if isinstance(values[0], bytes) else new
            file[name][...] = values

    return change


def attribute(name: str, *values: Any) -> Change:
    def change(path: Path, random: Random) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = values[int(random.integers(len(values)))]

    return change


def hostile_attributes(path: Path, _: Random) -> None:
    """Every attribute of every group holds a program, as PyTables would unpickle it."""
    program = np.bytes_(pickle.dumps([Touch(witness_of(path))], 0))
    with h5py.File(path, "r+") as file:
        groups = ["/"]
        file.visititems(lambda name, item: groups.append(name) if isinstance(item, h5py.Group) else None)
        for group in groups:
            for name in {*file[group].attrs, "TITLE", "info", "non_index_axes", "pandas_type"}:
                file[group].attrs[name] = program


def hostile_text_attribute(path: Path, _: Random) -> None:
    """The attribute that pandas reads first, with the rest as it was."""
    with h5py.File(path, "r+") as file:
        for group in file.values():
            if isinstance(group, h5py.Group):
                group.attrs["info"] = np.bytes_(pickle.dumps({1: Touch(witness_of(path))}, 0))


def hostile_block(path: Path, _: Random) -> None:
    with h5py.File(path, "r+") as file:
        group = next(item for item in file.values() if isinstance(item, h5py.Group))
        name = next((name for name in group if name.startswith(("block0_values", "table"))), None) or next(iter(group))
        del group[name]
        block = group.create_dataset(name, (1,), dtype=h5py.vlen_dtype(np.uint8))
        block[0] = np.frombuffer(pickle.dumps(Touch(witness_of(path))), np.uint8)
        for key, value in (("CLASS", "VLARRAY"), ("PSEUDOATOM", "object"), ("VERSION", "1.4")):
            block.attrs[key] = np.bytes_(value)


HDF5: dict[str, Change] = BYTES | {
    **{f"a value is {name}": hdf5_value(value) for name, value in
       {"inf": np.inf, "-inf": -np.inf, "1e300": 1e300, "-1e12": -1e12, "1e12": 1e12}.items()},
    "declares 19 TB": hdf5_dataset(_declare(19 * 10**12)),
    "declares 250 MB": hdf5_dataset(_declare(250 * 10**6)),
    "dataset missing": hdf5_dataset(lambda *_: None),
    "dataset in another file": hdf5_dataset(_outside),
    "dataset is a loop": hdf5_dataset(_soft_loop),
    "dataset is a group": hdf5_dataset(_as_group),
    "dataset of texts": hdf5_dataset(_texts),
    "dataset of references": hdf5_dataset(_references),
    "dataset of lists": hdf5_dataset(_ragged),
    "dataset too short": hdf5_dataset(_shorter),
    "dataset turned": hdf5_dataset(_turned),
    "dataset a scalar": hdf5_dataset(_scalar),
    "dataset all the same": hdf5_dataset(_filled),
    "attribute missing": hdf5_attribute(None),
    "attribute a text": hdf5_attribute("text"),
    "attribute a number": hdf5_attribute(-7.5),
    "attribute nan": hdf5_attribute(np.nan),
    "attribute a list": hdf5_attribute(np.arange(3)),
    "attribute no UTF-8": hdf5_attribute(np.bytes_(b"\xff\xfe\xfa")),
    "hostile attributes": hostile_attributes,
}  # fmt: skip


# Of npz


def array(change_of: Callable[[np.ndarray], np.ndarray], name: str = "", *, checksum: bool = True) -> Change:
    """An array of an npz, with its checksum mended or not."""

    def change(path: Path, random: Random) -> None:
        values = read_arrays(path) if checksum else dict(np.load(path))
        names = [name] if name else sorted(key for key in values if key != "sha256")
        chosen = names[int(random.integers(len(names)))]
        values[chosen] = change_of(values[chosen])
        if checksum:
            write_arrays(path, **values)
        else:
            np.savez(path, **values)

    return change


def floats(change_of: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda value: change_of(value.astype(np.float64)) if value.dtype.kind in "fiub" else value[..., :0]


def one_float(bad: float) -> Callable[[np.ndarray], np.ndarray]:
    def change_of(value: np.ndarray) -> np.ndarray:
        changed = np.array(value, dtype=np.float64)
        changed.reshape(-1)[changed.size // 2 : changed.size // 2 + 1] = bad
        return changed

    return floats(change_of)


def without_array(path: Path, random: Random) -> None:
    values = read_arrays(path)
    del values[sorted(values)[int(random.integers(len(values)))]]
    write_arrays(path, **values)


def declared_array(path: Path, random: Random) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[int(random.integers(len(members)))]
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    members[name] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    _write_zip(path, members)


def swollen_array(path: Path, random: Random) -> None:
    """A member that unpacks to gigabytes of zeros."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[int(random.integers(len(members)))]
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 26,)})
    members[name] = head.getvalue() + bytes(1 << 29)
    _write_zip(path, members)


def hostile_array(path: Path, random: Random) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[int(random.integers(len(members)))]
    content = io.BytesIO()
    np.save(content, np.array([Touch(witness_of(path))], dtype=object), allow_pickle=True)
    members[name] = content.getvalue()
    _write_zip(path, members)


def pickled(path: Path, _: Random) -> None:
    path.write_bytes(pickle.dumps(Touch(witness_of(path))))


def _write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


NPZ: dict[str, Change] = BYTES | {
    **{f"a value is {name}": array(one_float(value)) for name, value in
       {"nan": np.nan, "inf": np.inf, "1e300": 1e300, "-1": -1.0}.items()},
    "an array of texts": array(lambda value: np.full(value.shape, "text")),
    "an array of dates": array(lambda value: np.full(value.shape, np.datetime64(0, "s"))),
    "an array too short": array(lambda value: value[:-1] if value.ndim else np.array([1, 2])),
    "an array turned": array(lambda value: value.T[None]),
    "an array empty": array(lambda value: value.ravel()[:0]),
    "an array changed, checksum as it was": array(floats(lambda value: value * 1.01 + 1), checksum=False),
    "an array missing": without_array,
    "declares 8 TB": declared_array,
    "swells to 512 MB": swollen_array,
    "hostile array": hostile_array,
    "a pickle": pickled,
}  # fmt: skip


def _one_negative(covariance: np.ndarray) -> np.ndarray:
    changed = covariance.copy()
    place = int(np.argmax(np.diag(changed)))
    changed[place, place] *= -1
    return changed


COVARIANCE: dict[str, Change] = NPZ | {
    "negative": array(lambda c: -c, "covariance"),
    "zero": array(lambda c: c * 0, "covariance"),
    "all NaN": array(lambda c: c * np.nan, "covariance"),
    "one variance negative": array(_one_negative, "covariance"),
    "asymmetric": array(lambda c: c + np.triu(np.sqrt(np.outer(np.diag(c), np.diag(c)))), "covariance"),
    "10 x 10": array(lambda c: c[:10, :10], "covariance"),
    "x 1e12": array(lambda c: c * 1e12, "covariance", checksum=False),
}
CORNERS: dict[str, Change] = NPZ | {
    "board no JSON": array(lambda _: np.array("no JSON"), "board"),
    "board of huge numbers": array(lambda b: np.array(str(b).replace('"columns": 8', '"columns": 100000000')), "board"),
    "board nested": array(lambda _: np.array(NESTED), "board"),
}


# Of networks


def weights(change_of: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """All weights of a network, and the hash is mended."""

    def change(path: Path, _: Random) -> None:
        tensors = safetensors.torch.load_file(path)
        changed = {n: change_of(t).contiguous() if t.is_floating_point() else t for n, t in tensors.items()}
        _with_hash(path, safetensors.torch.save(changed))

    return change


def tensor(kind: str) -> Change:
    """One tensor is gone, more, or of another shape, and the hash is mended."""

    def change(path: Path, random: Random) -> None:
        tensors = safetensors.torch.load_file(path)
        name = sorted(tensors)[int(random.integers(len(tensors)))]
        if kind == "missing":
            del tensors[name]
        elif kind == "more":
            tensors["stranger"] = torch.ones(3)
        elif kind == "shape":
            tensors[name] = torch.ones(7, 7)
        elif kind == "huge" or kind == "infinite":
            tensors[name] = torch.full_like(tensors[name], 1e30 if kind == "huge" else float("inf"))
        _with_hash(path, safetensors.torch.save(tensors))

    return change


def tensor_header(header: bytes | None, length: int | None = None) -> Change:
    """Another header of a safetensors file, and the hash is mended."""

    def change(path: Path, _: Random) -> None:
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        new = data[8 : 8 + size] if header is None else header
        _with_hash(path, struct.pack("<Q", len(new) if length is None else length) + new + data[8 + size :])

    return change


def _with_hash(path: Path, data: bytes) -> None:
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(data)
    description = path.with_name("model.toml")
    description.write_text(description.read_text().replace(before, hashlib.sha256(data).hexdigest()))


WEIGHTS: dict[str, Change] = BYTES | {
    "all NaN": weights(lambda t: t * float("nan")),
    "all zero": weights(lambda t: t * 0),
    "one tensor infinite": tensor("infinite"),
    "one tensor huge": tensor("huge"),
    "one tensor missing": tensor("missing"),
    "one tensor more": tensor("more"),
    "one tensor of another shape": tensor("shape"),
    "header nested": tensor_header(b'{"a":' * 100_000),
    "header declares 8 EB": tensor_header(None, 2**63 - 1),
    "header declares terabytes": tensor_header(
        b'{"a":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8000000000000]}}'
    ),
    "a pickle": pickled,
}


def checkpoint(state_of: Callable[[dict[str, Any], Path], Any], head: bytes = b"multipose checkpoint ") -> Change:
    """A checkpoint whose hash is right, but not what it holds."""

    def change(path: Path, _: Random) -> None:
        data = path.read_bytes()
        content = torch.load(io.BytesIO(data[data.index(b"\n") + 1 :]), map_location="cpu", weights_only=True)
        new = io.BytesIO()
        torch.save(state_of(content, path), new)
        path.write_bytes(head + hashlib.sha256(new.getbuffer()).hexdigest().encode() + b"\n" + new.getvalue())

    return change


def _nan_network(content: dict[str, Any], _: Path) -> Any:
    for value in content["state"]["network"].values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    return content


def _state_without(random_name: int) -> Callable[[dict[str, Any], Path], Any]:
    def change_of(content: dict[str, Any], _: Path) -> Any:
        names = sorted(content["state"])
        content["state"][names[random_name % len(names)]] = None
        return content

    return change_of


CHECKPOINT: dict[str, Change] = BYTES | {
    "state empty": checkpoint(lambda content, _: content | {"state": {}}),
    "state a list": checkpoint(lambda content, _: content | {"state": [1, 2]}),
    "content a number": checkpoint(lambda *_: 3),
    "another identity": checkpoint(lambda content, _: content | {"identity": "other"}),
    "another version": checkpoint(lambda content, _: content | {"schema_version": "new"}),
    "network all NaN": checkpoint(_nan_network),
    **{f"state: part {n} is nothing": checkpoint(_state_without(n)) for n in range(8)},
    "a program": checkpoint(lambda _, path: {"state": Touch(witness_of(path))}),
    "a pickle": pickled,
}


# Of pictures and videos


def png_size(width: int, height: int, *, stored: bool = False) -> Change:
    """A PNG that declares a size, and holds next to nothing or all of it, black."""

    def change(path: Path, _: Random) -> None:
        def chunk(name: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        line = zlib.compressobj(9)
        data = b"".join(line.compress(bytes(1 + width)) for _ in range(height if stored else 1)) + line.flush()
        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))

    return change


def jpg_size(path: Path, _: Random) -> None:
    """A JPEG that declares 65500 x 65500."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    path.write_bytes(bytes(data))


def resized(path: Path, _: Random) -> None:
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (100, 70)))


PICTURE: dict[str, Change] = BYTES | {
    "huge": huge,
    "declares 65500 x 65500": png_size(65500, 65500),
    "declares 2^31 x 2^31": png_size(2**31 - 1, 2**31 - 1),
    "30000 x 30000, stored": png_size(30000, 30000, stored=True),
    "1 x 1": png_size(1, 1, stored=True),
    "0 x 0": png_size(0, 0),
    "a jpg that declares 65500 x 65500": jpg_size,
    "another size": resized,
}


def in_box(name: bytes, count: int) -> Change:
    """Bits flipped within a box of an MP4."""

    def change(path: Path, random: Random) -> None:
        data = np.fromfile(path, np.uint8)
        raw = data.tobytes()
        at = raw.index(name)
        size = struct.unpack(">I", raw[at - 4 : at])[0]
        for place in random.integers(at + 4, min(at - 4 + size, len(data)), count):
            data[place] ^= 1 << random.integers(8)
        data.tofile(path)

    return change


def in_frames(count: int, width: int = 0) -> Change:
    """Bits flipped (or bytes zeroed) in the middle half of an MP4's frames."""

    def change(path: Path, random: Random) -> None:
        data = np.fromfile(path, np.uint8)
        raw = data.tobytes()
        start = raw.index(b"mdat") + 4
        size = struct.unpack(">I", raw[start - 8 : start - 4])[0] - 8
        for place in random.integers(start + size // 4, start + 3 * size // 4, count):
            if width:
                data[place : place + width] = 0
            else:
                data[place] ^= 1 << random.integers(8)
        data.tofile(path)

    return change


def declared_count(box: bytes, skip: int, value: int) -> Change:
    """A number in a box of an MP4: entries of a table, or a size."""

    def change(path: Path, _: Random) -> None:
        data = bytearray(path.read_bytes())
        at = data.index(box) + 4 + skip
        data[at : at + 4] = struct.pack(">I", value)
        path.write_bytes(bytes(data))

    return change


VIDEO: dict[str, Change] = BYTES | {"huge": huge}
MP4: dict[str, Change] = VIDEO | {
    **{f"{count} bits in moov, {n}": in_box(b"moov", count) for count in (1, 10) for n in "abc"},
    **{f"{count} bits in the frames, {n}": in_frames(count) for count in (1, 40) for n in "ab"},
    "4 KB of zeros in the frames": in_frames(1, 4096),
    "64 zeros in the frames, 3 times": in_frames(3, 64),
    "declares 2^32 frames": declared_count(b"stsz", 8, 2**32 - 1),
    "declares 2^31 durations": declared_count(b"stts", 4, 2**31),
    "declares 2^31 key frames": declared_count(b"stss", 4, 2**31),
    "declares 65500 x 65500": declared_count(b"avc1", 24, (65500 << 16) + 65500),
    "moov of 4 GB": declared_count(b"moov", -8, 2**32 - 1),
}
