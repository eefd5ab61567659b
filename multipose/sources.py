"""Where frames come from: the FrameSource protocol, folders of pictures, and views (crop, flip, turn, scale).

Frames are RGB pictures, uint8 (height, width, 3). The index of a frame is its place in the source, from 0.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError, VideoError
from multipose.excerpt import Excerpt
from multipose.files import atomic_path, natural_key
from multipose.opencv import cv2
from multipose.picture_sizes import check_pixels, declared_size

Rgb: TypeAlias = npt.NDArray[np.uint8]
Gray: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


@runtime_checkable
class FrameSource(Protocol):
    """Numbered pictures of one size.

    Attributes:
        path: the file or folder, for messages.
        size: (width, height) px.
        fps: frames per second; None where unknown or variable (then `times` tells).
        times: (n,) seconds since the first frame; NaN where unknown.
        frame_numbers: (n,) the source's own number of each frame, for labels and for matching views.
    """

    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def times(self) -> Floats: ...
    @property
    def frame_numbers(self) -> Ints: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        """Give (index, picture) of every frame in order, holding only a few in memory."""
        ...

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        """Give (index, picture) of the wanted frames in ascending order, each once.

        Raises:
            DataError: an index is not in 0 .. len - 1.
        """
        ...


SourceSpec: TypeAlias = str | os.PathLike[str] | FrameSource | Sequence[str | os.PathLike[str]]


def wanted_frames(indices: Iterable[int], count: int, path: Path) -> list[int]:
    """Indices ascending, each once.

    Raises:
        DataError: one is not in 0 .. count - 1.
    """
    wanted = sorted({int(index) for index in indices})
    outside = [index for index in wanted if not 0 <= index < count]
    if outside:
        raise DataError(f"{path} has the frames 0 to {count - 1}; asked for {', '.join(map(str, outside[:5]))}.")
    return wanted


class ImageFolder:
    """Pictures as frames, in the order of their numbers.

    A picture's frame number is the last whole number in its name (img0012.png: 12) if that tells all pictures apart;
    else they are numbered from 0 in natural order of their names. Pictures that ask for rotation (EXIF) are turned.

    Args:
        pictures: a folder, a glob, or a list of files.
        fps: frames per second of the frame numbers, if known.

    Raises:
        VideoError: there are no pictures there, or one is missing.
    """

    def __init__(
        self, pictures: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, fps: float | None = None
    ) -> None:
        if isinstance(pictures, str | os.PathLike):
            self.path = Path(pictures)
            files = _find_pictures(self.path)
        else:
            files = [Path(picture) for picture in pictures]
            if not files:
                raise VideoError("An empty list of pictures was given; at least one is needed.")
            self.path = files[0].parent
        for file in files:
            if not file.is_file():
                raise VideoError(f"There is no picture {file}.")
        files = sorted(files, key=lambda file: natural_key(str(file)))
        numbers = [int(found[-1]) if (found := re.findall(r"\d+", file.stem)) else -1 for file in files]
        if min(numbers) < 0 or len(set(numbers)) < len(numbers):
            numbers = list(range(len(files)))
        order = np.argsort(numbers, kind="stable")
        self.files: tuple[Path, ...] = tuple(files[i] for i in order)
        self.frame_numbers: Ints = np.array(numbers, dtype=np.int64)[order]
        self.fps = fps
        since = (self.frame_numbers - self.frame_numbers[0]).astype(np.float64)
        self.times: Floats = np.full(len(files), np.nan) if fps is None else since / fps
        height, width = read_picture(self.files[0]).shape[:2]
        self.size: tuple[int, int] = (width, height)

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.path)!r}: {len(self)} pictures, {self.size[0]}x{self.size[1]})"

    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        return self.read(range(len(self)))

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        """Give (index, picture) of the wanted pictures in ascending order, each once."""
        for index in wanted_frames(indices, len(self), self.path):
            picture = read_picture(self.files[index])
            if picture.shape[1::-1] != self.size:
                raise VideoError(
                    f"{self.files[index]} has {picture.shape[1]}x{picture.shape[0]} pixels, but {self.files[0].name} "
                    f"has {self.size[0]}x{self.size[1]}. All pictures of a view must have one size."
                )
            yield index, picture


def _find_pictures(path: Path) -> list[Path]:
    if path.is_dir():
        files = [child for child in path.iterdir() if child.suffix.lower() in PICTURE_SUFFIXES and child.is_file()]
    elif glob.has_magic(str(path)):
        if "**" in str(path):
            raise VideoError(f"{path}: ** would go through all folders below. Name the folder of the pictures.")
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    else:
        raise VideoError(f"There is no folder {path}.")
    if not files:
        raise VideoError(f"No pictures were found in {path} (looked for {', '.join(PICTURE_SUFFIXES)}).")
    return files


def read_picture(path: str | os.PathLike[str]) -> Rgb:
    """Read a picture file as RGB (height, width, 3), uint8.

    Raises:
        VideoError: the file is missing or is no picture.
    """
    place = Path(path)
    if not place.is_file():
        raise VideoError(f"There is no picture {place}.")
    data = place.read_bytes()
    check_pixels(*(declared_size(data) or (0, 0)), place)
    try:
        picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise VideoError(f"{place} cannot be read as a picture ({error.err or error}). Copy it again.") from error
    if picture is None:
        raise VideoError(f"{place} cannot be read as a picture; it is empty, damaged, or of an unknown kind.")
    return np.ascontiguousarray(picture[:, :, ::-1])


def check_picture(picture: object, where: str = "A picture") -> None:
    """Raise DataError unless a picture is an RGB uint8 array (h, w, 3) with at least one pixel."""
    if not isinstance(picture, np.ndarray):
        raise DataError(f"{where}: expected an array, RGB uint8 of shape (h, w, 3), got {type(picture).__name__}.")
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise DataError(
            f"{where}: expected RGB uint8 of shape (h, w, 3), got {picture.dtype} of shape {picture.shape}."
        )


def write_picture(path: str | os.PathLike[str], picture: Rgb) -> None:
    """Write an RGB picture (height, width, 3) as the kind of file that the suffix names, whole or not at all.

    Raises:
        DataError: the suffix names no kind of picture that can be written.
    """
    place = Path(path)
    if place.suffix.lower() not in PICTURE_SUFFIXES:
        raise DataError(f"{place}: a picture is written as {', '.join(PICTURE_SUFFIXES)}, got {place.suffix!r}.")
    done, data = cv2.imencode(place.suffix, np.ascontiguousarray(picture[:, :, ::-1]))
    if not done:
        raise DataError(f"{place}: the picture of shape {picture.shape} and type {picture.dtype} cannot be encoded.")
    with atomic_path(place) as temporary:
        temporary.write_bytes(data.tobytes())


class View:
    """A source seen through a crop, then a flip, then quarter turns, then a scale; a source itself.

    Args:
        source: where the frames come from.
        crop: (x, y, width, height) in the source's pixels; None for the whole picture.
        flip: mirror left and right (for what is seen in a mirror).
        quarter_turns: clockwise turns by 90 degrees (-1 is one turn counter-clockwise).
        scale: factor of the size; the size is rounded to whole pixels, and points move by the exact ratio of the sizes:
            x -> (x + 0.5) * width_after / width_before - 0.5.

    Raises:
        DataError: the crop is not inside the picture, or nothing would be left.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        crop: tuple[int, int, int, int] | None = None,
        flip: bool = False,
        quarter_turns: int = 0,
        scale: float = 1.0,
    ) -> None:
        self.source = source
        self.crop = (0, 0, *source.size) if crop is None else (crop[0], crop[1], crop[2], crop[3])
        self.flip = flip
        self.quarter_turns = quarter_turns % 4
        self.scale = scale
        x, y, width, height = self.crop
        if min(x, y) < 0 or min(width, height) < 1 or x + width > source.size[0] or y + height > source.size[1]:
            raise DataError(
                f"The crop (x, y, width, height) = {self.crop} does not lie inside the picture of {source.path}, "
                f"{source.size[0]}x{source.size[1]}."
            )
        self._turned = (height, width) if self.quarter_turns % 2 else (width, height)
        if not np.isfinite(scale) or scale <= 0 or min(self._turned) * scale < 0.5:
            raise DataError(f"The scale {scale!r} leaves nothing of the {width}x{height} picture of {source.path}.")
        self.size: tuple[int, int] = (max(1, round(self._turned[0] * scale)), max(1, round(self._turned[1] * scale)))
        check_pixels(*self.size, Path(f"{source.path}, at the scale {scale:g},"))

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def fps(self) -> float | None:
        return self.source.fps

    @property
    def times(self) -> Floats:
        return self.source.times

    @property
    def frame_numbers(self) -> Ints:
        return self.source.frame_numbers

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        for index, picture in self.source:
            yield index, self.look(picture)

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        """Give (index, picture) of the wanted frames in ascending order, each once."""
        for index, picture in self.source.read(indices):
            yield index, self.look(picture)

    def look(self, picture: Rgb) -> Rgb:
        """What the view shows of a picture of its source, RGB (height, width, 3) or gray (height, width)."""
        x, y, width, height = self.crop
        picture = picture[y : y + height, x : x + width]
        if self.flip:
            picture = picture[:, ::-1]
        picture = np.ascontiguousarray(np.rot90(picture, -self.quarter_turns))
        if self.size != self._turned:
            kind = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
            return np.asarray(cv2.resize(picture, self.size, interpolation=kind), dtype=np.uint8)
        return picture

    def from_source(self, px: npt.ArrayLike) -> Floats:
        """Points (..., 2) of the source's picture in this view's pixels."""
        x, y, width, height = self.crop
        u, v = np.moveaxis(np.asarray(px, dtype=np.float64), -1, 0)
        u, v = u - x, v - y
        if self.flip:
            u = width - 1 - u
        for _ in range(self.quarter_turns):
            u, v, height, width = height - 1 - v, u, width, height
        return np.stack([(u + 0.5) * (self.size[0] / width) - 0.5, (v + 0.5) * (self.size[1] / height) - 0.5], axis=-1)

    def to_source(self, px: npt.ArrayLike) -> Floats:
        """Points (..., 2) of this view in the source's pixels."""
        x, y, width, _ = self.crop
        u, v = np.moveaxis(np.asarray(px, dtype=np.float64), -1, 0)
        turned_width, turned_height = self._turned
        u, v = (u + 0.5) * (turned_width / self.size[0]) - 0.5, (v + 0.5) * (turned_height / self.size[1]) - 0.5
        for _ in range(self.quarter_turns):
            u, v, turned_width, turned_height = v, turned_width - 1 - u, turned_height, turned_width
        if self.flip:
            u = width - 1 - u
        return np.stack([u + x, v + y], axis=-1)


def excerpt_of(source: FrameSource) -> Excerpt:
    """Which part of the pictures of a file or folder a source shows."""
    if not isinstance(source, View):
        return Excerpt(str(source.path), source.size, (0, 0, *source.size))
    turned = source.crop[3:1:-1] if source.quarter_turns % 2 else source.crop[2:]
    scale = (source.size[0] / turned[0], source.size[1] / turned[1])
    return Excerpt(
        str(source.path), source.source.size, source.crop, source.flip, source.quarter_turns, scale
    )  # fmt: skip
