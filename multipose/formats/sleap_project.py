"""SLEAP's .slp projects: skeleton and labels. Layout: HDF5, `metadata` with JSON in its attribute `json`."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd

from multipose.errors import DataError, FormatError
from multipose.hdf5 import has, open_hdf5, read_dataset
from multipose.labels import Labels
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


def read_labels(path: str | os.PathLike[str], *, view: str) -> tuple[Labels, dict[tuple[str, int], Path]]:
    """The points that people placed in a .slp project; predicted instances are left out.

    A recording is named after its video's file. An instance without a track is named after its place in the frame.
    Points that are marked invisible are occluded, those without a position absent.

    Returns:
        The labels, and for each (recording, frame) the video and number of its picture, as a path where no file is.

    Raises:
        FormatError: the file is missing or no such project, or holds no labels of a person.
    """
    place = Path(path)
    skeleton = read_skeleton(place)
    with open_hdf5(place) as file:
        missing = [name for name in ("frames", "instances", "points", "videos_json") if not has(file, name)]
        if missing:
            raise FormatError(f"{place} lacks {', '.join(missing)}; it is no project of SLEAP with labels.")
        frames, instances, points = (read_dataset(file, name) for name in ("frames", "instances", "points"))
        videos = [_video_name(place, text) for text in _texts(read_dataset(file, "videos_json"))]
        tracks = _texts(read_dataset(file, "tracks_json")) if has(file, "tracks_json") else []
        version = float(file["metadata"].attrs.get("format_id", 1.2)) if has(file, "metadata") else 1.2
    shift = 0.5 if version < 1.1 else 0.0  # pixels' centres lay at halves then
    rows: list[dict[str, Any]] = []
    try:
        for frame in frames:
            own = instances[int(frame["instance_id_start"]) : int(frame["instance_id_end"])]
            placed = [instance for instance in own if int(instance["instance_type"]) == 0]
            for number, instance in enumerate(placed):
                track = int(instance["track"])
                name = str(json.loads(tracks[track])[1]) if 0 <= track < len(tracks) else f"individual_{number}"
                known = points[int(instance["point_id_start"]) : int(instance["point_id_end"])]
                for keypoint, point in zip(skeleton.keypoints, known, strict=True):
                    x, y = float(point["x"]) - shift, float(point["y"]) - shift
                    state = "absent" if math.isnan(x + y) else "visible" if point["visible"] else "occluded"
                    rows.append(
                        {
                            "recording": videos[int(frame["video"])].stem,
                            "view": view,
                            "frame": int(frame["frame_idx"]),
                            "individual": name,
                            "keypoint": keypoint,
                            "x": math.nan if state == "absent" else x,
                            "y": math.nan if state == "absent" else y,
                            "state": state,
                        }
                    )
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise FormatError(f"{place}: its labels cannot be read ({type(error).__name__}: {error}).") from None
    if not rows:
        raise FormatError(f"{place} holds no points that a person placed.")
    sources = {video.stem: video for video in videos}
    table = pd.DataFrame(rows)
    return Labels(table, skeleton.keypoints), {
        (str(name), int(frame)): sources[name] / f"frame_{frame}"
        for name, frame in table[["recording", "frame"]].drop_duplicates().itertuples(index=False)
    }


def _video_name(path: Path, text: str) -> Path:
    """Where a video was when the project was saved: on any computer, with either kind of slash."""
    try:
        table = json.loads(text)
        name = str(table.get("backend", {}).get("filename") or table["filename"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: videos_json cannot be read ({error}).") from None
    if name == ".":
        raise FormatError(f"{path} holds its pictures itself, which is not read. Save it in SLEAP without them.")
    return Path(name.replace("\\", "/"))


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
