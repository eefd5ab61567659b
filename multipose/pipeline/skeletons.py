"""Key points, lines and left/right pairs as files of other programs name them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from multipose.errors import DataError, FormatError
from multipose.files import check_file
from multipose.formats import deeplabcut_project, sleap_project
from multipose.formats.deeplabcut import read_names
from multipose.formats.movement import read_keypoints
from multipose.pipeline.foreign import guess_format
from multipose.skeleton import Skeleton, guess_pairs
from multipose.text import read_rows


def read_skeleton(path: Path) -> Skeleton:
    """The skeleton that a file names: SLEAP's .slp, .h5 or .csv, DeepLabCut's config.yaml or tables, movement's .nc,
    or our own .csv of labels or key points. Pairs that the file does not tell are guessed from the names.

    Raises:
        FormatError: the file has none of these formats, or names nothing.
    """
    check_file(path)
    try:
        skeleton = _read(path)
    except DataError as error:
        raise FormatError(f"{path}: {error}") from error
    return skeleton if skeleton.pairs else replace(skeleton, pairs=guess_pairs(skeleton.keypoints))


def _read(path: Path) -> Skeleton:
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return deeplabcut_project.read_skeleton(path)
    if suffix == ".slp":
        return sleap_project.read_skeleton(path)
    if suffix == ".csv":
        columns = read_rows(path).columns() if _is_long(path) else {}
        if columns:
            return Skeleton(tuple(dict.fromkeys(name for name in columns["keypoint"] if name)))
    kind = guess_format(path)
    if kind == "sleap" and suffix != ".csv":
        return sleap_project.read_skeleton(path)
    if kind == "sleap":
        header = read_rows(path).cells[0]
        return Skeleton(tuple(name.removesuffix(".x") for name in header if name.endswith(".x")))
    if kind == "movement":
        return Skeleton(tuple(map(str, read_keypoints(path)["keypoint"].values)))
    return Skeleton(read_names(path))


def _is_long(path: Path) -> bool:
    """Whether a table has a row for each point, with a column of their names."""
    return "keypoint" in next(iter(read_rows(path).cells), [])
