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
from multipose.files import atomic_path, check_file
from multipose.numbering import Numbering, number_names
from multipose.opencv import cv2
from multipose.picture_sizes import check_pixels, declared_size

Rgb: TypeAlias = npt.NDArray[np.uint8]
Gray: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Levels: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_MOST_BYTES = 1 << 30  # of a picture file
_PAGED = (".tif", ".tiff")
_ANY = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
_LOOKED_AT = 64  # pictures of 16 bits that are looked at to learn how many bits they use


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

    Which number of a name is the frame's is decided by all names together (`multipose.numbering`); `numbering` says it
    in words. Files whose names begin with a dot are left out. Pictures that ask for rotation (EXIF) are turned. Of
    pictures with 16 bits as many are used as the pictures hold, the same for all.

    Args:
        pictures: a folder, a glob, or a list of files.
        fps: frames per second of the frame numbers, if known.

    Raises:
        VideoError: there are no pictures there, one is missing, holds several pages, or its frame is not known.
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
        if len(files) == 1 and not re.search(r"\d", files[0].stem):  # one picture needs no number to be told apart
            self.numbering = Numbering(np.zeros(1, dtype=np.int64), "its being the only one", False)
        else:
            try:
                self.numbering = number_names([file.stem for file in files], str(self.path))
            except DataError as error:
                raise VideoError(str(error)) from None
        order = np.argsort(self.numbering.numbers)
        self.files: tuple[Path, ...] = tuple(files[i] for i in order)
        self.frame_numbers: Ints = self.numbering.numbers[order]
        self.fps = fps
        since = (self.frame_numbers - self.frame_numbers[0]).astype(np.float64)
        self.times: Floats = np.full(len(files), np.nan) if fps is None else since / fps
        first = _decode(self.files[0])
        self._bits = _common_bits([first], self.files) if first.dtype == np.uint16 else 8
        self.size: tuple[int, int] = (first.shape[1], first.shape[0])

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.path)!r}: {len(self)} pictures, {self.size[0]}x{self.size[1]})"

    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        return self.read(range(len(self)))

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        """Give (index, picture) of the wanted pictures in ascending order, each once."""
        for index in wanted_frames(indices, len(self), self.path):
            picture = _to_rgb(_decode(self.files[index]), self._bits, self.files[index])
            if picture.shape[1::-1] != self.size:
                raise VideoError(
                    f"{self.files[index]} has {picture.shape[1]}x{picture.shape[0]} pixels, but {self.files[0].name} "
                    f"has {self.size[0]}x{self.size[1]}. All pictures of a view must have one size."
                )
            yield index, picture


class PagedImage:
    """The pages of one TIFF as frames 0, 1, 2, ..., with no rate known.

    Raises:
        VideoError: the file is missing, or a page cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._count = count_pages(self.path)
        self.fps: float | None = None
        self.times: Floats = np.full(self._count, np.nan)
        self.frame_numbers: Ints = np.arange(self._count)
        first = self._page(0)
        self._bits = 8
        if first.dtype == np.uint16:
            self._bits = _bits_of([first, *(self._page(i) for i in _some(self._count))])
        self.size: tuple[int, int] = (first.shape[1], first.shape[0])

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"PagedImage({str(self.path)!r}: {len(self)} pages, {self.size[0]}x{self.size[1]})"

    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        return self.read(range(len(self)))

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        """Give (index, picture) of the wanted pages in ascending order, each once."""
        for index in wanted_frames(indices, len(self), self.path):
            picture = _to_rgb(self._page(index), self._bits, self.path)
            if picture.shape[1::-1] != self.size:
                raise VideoError(f"{self.path}: page {index} has another size than the first. Save pages of one size.")
            yield index, picture

    def _page(self, index: int) -> Levels:
        try:
            done, pages = cv2.imreadmulti(str(self.path), start=index, count=1, flags=_ANY)
        except cv2.error:
            done, pages = False, ()
        if not done:
            raise VideoError(f"{self.path}: page {index} of {self._count} cannot be read. Copy the file again.")
        return np.asarray(pages[0])


def count_pages(path: Path) -> int:
    """How many pictures a TIFF holds; 1 for every other kind of picture.

    Raises:
        VideoError: there is no such file.
    """
    if not path.is_file():
        raise VideoError(f"There is no picture {path}.")
    return max(1, int(cv2.imcount(str(path), _ANY))) if path.suffix.lower() in _PAGED else 1


def _find_pictures(path: Path) -> list[Path]:
    if path.is_dir():
        files = [child for child in path.iterdir() if child.suffix.lower() in PICTURE_SUFFIXES and child.is_file()]
    elif glob.has_magic(str(path)):
        if "**" in str(path):
            raise VideoError(f"{path}: ** would go through all folders below. Name the folder of the pictures.")
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    else:
        raise VideoError(f"There is no folder {path}.")
    files = sorted(child for child in files if not child.name.startswith("."))  # ._img000.png of macOS is no picture
    if not files:
        raise VideoError(f"No pictures were found in {path} (looked for {', '.join(PICTURE_SUFFIXES)}).")
    return files


def read_picture(path: str | os.PathLike[str]) -> Rgb:
    """Read a picture file as RGB (height, width, 3), uint8; of 16 bits as many are used as the picture holds.

    Raises:
        VideoError: the file is missing, is no picture, or holds several.
    """
    place = Path(path)
    levels = _decode(place)
    return _to_rgb(levels, _bits_of([levels]) if levels.dtype == np.uint16 else 8, place)


def _decode(path: Path) -> Levels:
    """The levels of a picture (height, width, 3) in OpenCV's order of colours, uint8 or uint16."""
    if not path.is_file():
        raise VideoError(f"There is no picture {path}.")
    check_file(path, VideoError)
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise VideoError(f"{path} has {size:,} bytes; a picture has at most {_MOST_BYTES:,}.")
    data = path.read_bytes()
    check_pixels(*(declared_size(data) or (0, 0)), path)
    try:
        picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _ANY) if data else None
    except cv2.error:  # sizes that no picture has, say
        picture = None
    if picture is None:
        raise VideoError(f"{path} cannot be read as a picture; it is empty, damaged, or of an unknown kind.")
    if picture.dtype not in (np.uint8, np.uint16):
        raise VideoError(f"{path} holds levels of the type {picture.dtype}. Save it with 8 or 16 bits.")
    if path.suffix.lower() in _PAGED and count_pages(path) > 1:
        raise VideoError(
            f"{path} holds {count_pages(path)} pictures. Give the file itself as the view's video, one file for a view."
        )
    return np.asarray(picture)


def _to_rgb(levels: Levels, bits: int, path: Path) -> Rgb:
    if levels.dtype == np.uint16:
        if int(levels.max()) >= 1 << bits:
            raise VideoError(
                f"{path} holds levels up to {levels.max()}, more than the {bits} bits of the other pictures that were "
                "looked at. Convert all of them to 8 bits by one factor."
            )
        levels = (levels >> (bits - 8)).astype(np.uint8)
    return np.ascontiguousarray(levels[:, :, ::-1], dtype=np.uint8)


def _bits_of(pictures: Sequence[Levels]) -> int:
    """How many bits pictures of 16 use: 8, 10, 12, 14 or 16."""
    highest = max(int(picture.max()) for picture in pictures)
    return next(bits for bits in (8, 10, 12, 14, 16) if highest < 1 << bits)


def _common_bits(known: list[Levels], files: Sequence[Path]) -> int:
    looked = (_decode(files[i]) for i in _some(len(files)))
    return _bits_of([*known, *(picture for picture in looked if picture.dtype == np.uint16)])


def _some(count: int) -> list[int]:
    """Up to `_LOOKED_AT` evenly spaced places of `count`."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, _LOOKED_AT)).round()})


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
