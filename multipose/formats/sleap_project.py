"""SLEAP's .slp projects: skeleton and labels. Layout: HDF5, `metadata` with JSON in its attribute `json`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from multipose.errors import DataError, FormatError
from multipose.hdf5 import has, open_hdf5, read_dataset
from multipose.skeleton import Skeleton

_EDGE, _SYMMETRY = 1, 2  # the types of SLEAP's links


def read_skeleton(path: str | os.PathLike[str]) -> Skeleton:
    """Nodes, edges and symmetric pairs of a .slp project; of an analysis .h5 nodes and edges.

    Raises:
        FormatError: the file is missing or no such file, or has no skeleton.
    """
    place = Path(path)
    with open_hdf5(place) as file:
        if has(file, "node_names"):
            nodes = _texts(read_dataset(file, "node_names"))
            edges = _texts(read_dataset(file, "edge_names")) if has(file, "edge_names") else []
            pairs: list[tuple[str, str]] = []
            links = list(zip(edges[::2], edges[1::2], strict=False))
        else:
            text = file["metadata"].attrs.get("json") if has(file, "metadata") else None
            if text is None:
                raise FormatError(f"{place} is no project of SLEAP: it has neither metadata nor node_names.")
            nodes, links, pairs = _read_metadata(place, text)
    try:
        return Skeleton(tuple(nodes), tuple(links), tuple(pairs))
    except DataError as error:
        raise FormatError(f"{place}: its skeleton cannot be used ({error}).") from None


def _read_metadata(path: Path, text: Any) -> tuple[list[str], list[tuple[str, str]], list[tuple[str, str]]]:
    """Names of the nodes, edges, and symmetric pairs, each pair once."""
    try:
        table = json.loads(text)
        skeleton = table["skeletons"][0]
        names = [str(node["name"]) for node in table["nodes"]]
        nodes = [names[int(node["id"])] for node in skeleton["nodes"]]
        kinds: list[int] = []
        links: dict[int, list[tuple[str, str]]] = {_EDGE: [], _SYMMETRY: []}
        for link in skeleton["links"]:
            kind = _kind_of(link.get("type"), kinds)
            ends = names[int(link["source"])], names[int(link["target"])]
            if ends[::-1] not in links[kind] or kind == _EDGE:
                links[kind].append(ends)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: its skeleton cannot be read ({type(error).__name__}: {error}).") from None
    return nodes, links[_EDGE], links[_SYMMETRY]


def _kind_of(written: Any, kinds: list[int]) -> int:
    """The type of a link; a repeated one is written as the number of the first of its kind."""
    if written is None:
        return _EDGE
    if "py/reduce" in written:
        kinds.append(int(written["py/reduce"][1]["py/tuple"][0]))
        return kinds[-1]
    return kinds[int(written["py/id"]) - 1]


def _texts(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values.ravel()]
