"""Videos: exact frames of a file by PyAV, and the writing of H.264.

A source never skips, doubles or invents a frame: where a file does not hold what it promises, reading raises
VideoError. Sources of other kinds, and the protocol that all of them keep, are in `multipose.sources`; their names can
be had here too. This module is the only one that imports PyAV.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from multipose.errors import DataError, VideoError
from multipose.files import atomic_path
from multipose.opencv import cv2
from multipose.picture_sizes import check_pixels
from multipose.progress import Progress
from multipose.sources import (
    PICTURE_SUFFIXES,
    Floats,
    FrameSource,
    Gray,
    ImageFolder,
    Ints,
    PagedImage,
    Rgb,
    SourceSpec,
    View,
    count_pages,
    read_picture,
    wanted_frames,
    write_picture,
)

__all__ = [
    "PICTURE_SUFFIXES",
    "FrameSource",
    "Gray",
    "ImageFolder",
    "PagedImage",
    "Rgb",
    "SourceSpec",
    "VideoFile",
    "View",
    "count_corrupt",
    "damage_of",
    "open_source",
    "read_picture",
    "tell_damage",
    "write_picture",
    "write_video",
]

# Pixel formats whose first plane holds the gray levels, a byte each.
_FULL_RANGE = ("gray", "yuvj420p", "yuvj422p", "yuvj444p")
_PLANAR = ("yuv420p", "yuv422p", "yuv444p", "nv12", *_FULL_RANGE)
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
_RAW_STREAMS = ("h264", "hevc", "vvc", "mjpeg", "mpjpeg", "m4v", "mpegvideo", "obu", "vc1", "h263", "h261", "rawvideo")
_SEEK_GAIN = 16  # frames between two wanted ones above which a seek to a key frame is cheaper than decoding on
# Titles may be in any old encoding. PyAV does not decode them strictly from version 19 on, and has no such option.
_LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_STEADY = 0.1  # a frame may miss the steady clock by this share of the interval before the rate counts as variable
_NEVER_WRITTEN = re.compile(rb"\x00\x00[\x00-\x02]")
_MOST_CORRUPT = 0.05  # of a video's frames that the decoder may mark corrupt before the video is refused
_REENCODE = "(ffmpeg -i IN -c:v libx264 -crf 15 OUT.mp4)"
_REPAIR = f"Copy the file again from the recording computer, or re-encode it {_REENCODE}."


def open_source(spec: SourceSpec) -> FrameSource:
    """Open a video file, a folder of pictures, a glob of pictures ("cal/*.png"), a TIFF of many pages or a list of
    pictures.

    Raises:
        VideoError: there is nothing there, or it cannot be read.
    """
    if isinstance(spec, FrameSource):
        return spec
    if not isinstance(spec, str | os.PathLike):
        return ImageFolder(spec)
    path = Path(spec)
    if path.is_dir() or (not path.exists() and glob.has_magic(str(path))):
        return ImageFolder(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return PagedImage(path) if count_pages(path) > 1 else ImageFolder([path])
    return VideoFile(path)


@dataclass(frozen=True, eq=False)
class _Index:
    """The frames of a video: their presentation times in stream ticks, ascending, and where key frames are.

    Where the container stores no presentation times although frames are reordered (H.264 with B-frames in AVI), frames
    are `counted`: the decoder's order is theirs, and reading always starts at the beginning. `damaged` are indices of
    frames whose bytes no encoder writes.
    """

    pts: Ints
    keys: Ints
    key_positions: Ints
    counted: bool
    damaged: frozenset[int] = frozenset()


class VideoFile:
    """The frames of a video file, decoded exactly.

    The file is indexed when it is opened, by reading its packets without decoding them: number and time of every frame
    are known from then on. Rotation and mirroring that the file asks for (as telephones do) are carried out. Several
    readers may run at once; each holds its own decoder and a few frames.

    Args:
        path: a file that FFmpeg's libraries can decode.
        threads: threads of the decoder; 0: one for each core.

    Raises:
        VideoError: the file is missing, empty, not a video, truncated, or its frames cannot be told apart by time.

    Attributes:
        corrupt: indices of the frames read so far of which the decoder says that the file is damaged there.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 0) -> None:
        self.path = Path(path)
        self.corrupt: set[int] = set()
        self._threads = threads
        self._stops_at_damage = False
        _check_file(self.path)
        with _messages(self.path), self._open() as (container, stream):
            self._index = _index_packets(self.path, container, stream)
            self._tick = Fraction(stream.time_base or Fraction(1, 1000))
            rate = stream.average_rate
            self._stops_at_damage = stream.codec_context.name == "mjpeg"
        self.times: Floats = (self._index.pts - self._index.pts[0]) * float(self._tick)
        self.fps: float | None = _steady_rate(self.times, None if not rate else float(rate), float(self._tick))
        self.frame_numbers: Ints = np.arange(len(self._index.pts))
        self._stored_size: tuple[int, int] | None = None
        self._turn = (1, 0, 0, 1)
        first = next(self._decode(0))[1]
        self._stored_size = (first.width, first.height)
        self._turn = _display_turn(self.path, first)
        self.size: tuple[int, int] = self._stored_size if self._turn[0] else (first.height, first.width)

    def __len__(self) -> int:
        return len(self._index.pts)

    def __repr__(self) -> str:
        rate = "variable rate" if self.fps is None else f"{self.fps:g} fps"
        return f"VideoFile({str(self.path)!r}: {len(self)} frames, {self.size[0]}x{self.size[1]}, {rate})"

    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        for index, frame in self._decode(0):
            yield index, self._picture(frame, index)

    @property
    def key_frames(self) -> Ints:
        """Indices of the frames that can be read without decoding others before them, as far as they are known."""
        return self._index.keys.copy()

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        """Give (index, picture) of the wanted frames in ascending order, each once, seeking where that saves work."""
        for index, frame in self._read(indices):
            yield index, self._picture(frame, index)

    def read_gray(self, indices: Iterable[int]) -> Iterator[tuple[int, Gray]]:
        """As `read`, but gray pictures (height, width), without a detour over RGB where the file stores gray levels."""
        for index, frame in self._read(indices):
            yield index, self._gray_picture(frame, index)

    def _read(self, indices: Iterable[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        wanted = wanted_frames(indices, len(self), self.path)
        frames: Iterator[tuple[int, av.VideoFrame]] | None = None
        at = -1
        for index in wanted:
            if frames is None or self._last_key(index) > at + _SEEK_GAIN:
                frames = self._decode(index)
            for at, frame in frames:
                if at == index:
                    yield index, frame
                    break

    def _last_key(self, index: int) -> int:
        place = int(np.searchsorted(self._index.keys, index, side="right")) - 1
        return int(self._index.keys[place]) if place >= 0 else 0

    def _open(self) -> _Opened:
        return _Opened(self.path, self._threads, self._stops_at_damage)

    def _decode(self, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames from `start` on, as of `_decode_on`.

        Of Motion JPEG the decoder tells damage only where it is told to stop at it. Such a frame is noted and read
        again without that, until there are so many that the camera rather than damage is the reason.
        """
        while self._stops_at_damage:
            try:
                for index, frame in self._decode_on(start):
                    yield index, frame
                    start = index + 1
                return
            except VideoError:
                if start >= len(self):
                    raise
            self._stops_at_damage = False
            frames = self._decode_on(start)
            index, frame = next(frames)
            frames.close()
            self.corrupt.add(start)
            self._stops_at_damage = len(self.corrupt) <= max(1, _MOST_CORRUPT * len(self))
            yield index, frame
            start += 1
        yield from self._decode_on(start)

    def _decode_on(self, start: int) -> Generator[tuple[int, av.VideoFrame], None, None]:
        """Decode from the frame `start` on to the end, checking that each is the next one of the index.

        A key frame after which the decoder starts too late (an open group, a container that seeks inexactly), or says
        that what it gives is corrupt, is given up for an earlier one, in the end for the beginning of the file: slower,
        never wrong. Every decoder gives the file's first frame before it seeks, for what the file says there of its
        encoder may change how all frames are to be read (lossless H.264 by an older x264).
        """
        pts = self._index.pts
        place = int(np.searchsorted(self._index.keys, start, side="right")) - 1
        with _messages(self.path):
            while place >= 1 and not self._index.counted:
                with self._open() as (container, stream):
                    next(container.decode(stream), None)
                    if _seek(container, stream, int(self._index.key_positions[place])):
                        frames = container.decode(stream)
                        first = _wanted(frames, int(pts[self._index.keys[place]]), int(pts[start]))
                        if first is not None:
                            yield from self._check_order(start, itertools.chain((first,), frames))
                            return
                place //= 2
            with self._open() as (container, stream):
                for index, frame in self._check_order(0, container.decode(stream)):
                    if index >= start:
                        yield index, frame

    def _check_order(self, start: int, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        pts = self._index.pts
        index = start
        try:
            for frame in frames:
                if index == len(pts):
                    raise VideoError(f"{self.path}: it promises {index} frames, but more can be decoded. {_REPAIR}")
                if frame.pts != pts[index] and not self._index.counted:
                    raise VideoError(f"{self.path}: frame {index} of {len(pts)} cannot be decoded. {_REPAIR}")
                if frame.is_corrupt or index in self._index.damaged:
                    self._note_corrupt(index)
                yield index, frame
                index += 1
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.path}: damaged at or just after frame {index} of {len(pts)} ({error.strerror}). {_REPAIR}"
            ) from error
        if index < len(pts):
            raise VideoError(f"{self.path}: only the frames up to {index - 1} can be decoded of {len(pts)}. {_REPAIR}")

    def _note_corrupt(self, index: int) -> None:
        self.corrupt.add(index)
        if len(self.corrupt) > max(1, _MOST_CORRUPT * len(self)):
            raise VideoError(
                f"{self.path}: of {len(self)} frames {len(self.corrupt)} up to {index} are corrupt, and so are those "
                f"that build on them. {_REPAIR}"
            )

    def _picture(self, frame: av.VideoFrame, index: int) -> Rgb:
        self._check_size(frame, index)
        return _turn_picture(np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8), self._turn)

    def _gray_picture(self, frame: av.VideoFrame, index: int) -> Gray:
        self._check_size(frame, index)
        if frame.format.name not in _PLANAR:
            return np.asarray(cv2.cvtColor(self._picture(frame, index), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        plane = frame.planes[0]
        luma = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        if frame.format.name in _FULL_RANGE or frame.color_range == ColorRange.JPEG:
            gray = np.ascontiguousarray(luma)
        else:  # of the levels 16 (black) to 235 (white) to 0 to 255, as swscale does on the way to RGB
            gray = np.asarray(cv2.convertScaleAbs(cv2.max(luma, 16), alpha=255 / 219, beta=-16 * 255 / 219), np.uint8)
        return _turn_picture(gray, self._turn)

    def _check_size(self, frame: av.VideoFrame, index: int) -> None:
        if (frame.width, frame.height) != self._stored_size:
            raise VideoError(
                f"{self.path}: frame {index} has {frame.width}x{frame.height} pixels, the frames before it "
                f"{self._stored_size}. {_REPAIR}"
            )


def _wanted(frames: Iterable[av.VideoFrame], key: int, wanted: int) -> av.VideoFrame | None:
    """The frame of the wanted time, if all from the key frame's time on are sound and it comes in its turn."""
    for frame in frames:
        if frame.pts is None or frame.pts > wanted or (frame.pts >= key and frame.is_corrupt):
            return None
        if frame.pts == wanted:
            return frame
    return None


def _seek(container: Any, stream: Any, position: int) -> bool:
    try:
        container.seek(position, stream=stream, backward=True, any_frame=False)
    except av.FFmpegError:
        return False  # no such place in the container's own index; the caller goes on to an earlier one
    return True


class _Opened:
    """Context manager: an open container and its first video stream, with threads set."""

    def __init__(self, path: Path, threads: int, stops_at_damage: bool) -> None:
        self._path = path
        self._threads = threads
        self._stops_at_damage = stops_at_damage

    def __enter__(self) -> tuple[Any, Any]:
        self._container = av.open(str(self._path), **_LENIENT)
        if not self._container.streams.video:
            self._container.close()
            raise VideoError(f"{self._path} holds no video (only sound or data). Give the file with the pictures.")
        stream: Any = self._container.streams.video[0]
        if stream.codec_context is None:  # for a codec that FFmpeg does not know
            self._container.close()
            raise VideoError(f"{self._path}: no decoder knows how its pictures are encoded. {_REPAIR}")
        check_pixels(stream.codec_context.width, stream.codec_context.height, self._path)
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = self._threads
        if self._stops_at_damage:
            stream.codec_context.options = {"err_detect": "explode"}
        return self._container, stream

    def __exit__(self, *_: object) -> None:
        self._container.close()


class _messages:  # noqa: N801  (reads as a statement: with _messages(path))
    """Context manager: turn FFmpeg's errors, and those of PyAV about values that cannot be, into VideoError."""

    def __init__(self, path: Path, *, reading: bool = True) -> None:
        self._path = path
        self._reading = reading

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, av.FFmpegError) and not self._reading:
            raise VideoError(f"{self._path}: the video cannot be written ({error.strerror}).") from error
        if isinstance(error, av.FFmpegError):
            raise VideoError(f"{self._path}: {_explain(self._path, error)}") from error
        if self._reading and isinstance(
            error, ValueError | OverflowError | ZeroDivisionError | UnicodeError | MemoryError
        ):
            raise VideoError(f"{self._path}: cannot be read as a video ({error}). {_REPAIR}") from error


def _explain(path: Path, error: av.FFmpegError) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and b"moov" not in _top_boxes(path):
        return (
            "the file starts like an MP4 but its index (moov) is missing: the recording or the copy was cut off before "
            "it was finished. Copy it again; a camera's own repair tool may save it."
        )
    if isinstance(error, av.EOFError):
        return f"the file ends in the middle of a part. {_REPAIR}"
    return f"cannot be read as a video ({error.strerror}). {_REPAIR}"


def _top_boxes(path: Path) -> set[bytes]:
    """Names of the outermost boxes of an MP4 (ISO/IEC 14496-12, 4.2)."""
    names = set()
    end = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place + 8 <= end:
            file.seek(place)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            names.add(header[4:8])
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if length < 8:
                break
            place += length
    return names


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise VideoError(f"{path} is a folder; a video file was expected. For a folder of pictures use ImageFolder.")
    if not path.is_file():
        raise VideoError(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes). Copy it again from the recording computer.")


def _index_packets(path: Path, container: Any, stream: Any) -> _Index:
    if container.format.name in _RAW_STREAMS:
        raise VideoError(
            f"{path} is a raw stream ({container.format.name}): it carries no times and no frame rate. Put it into a "
            "container at the rate that it was filmed with, without loss: "
            f"ffmpeg -framerate FPS -i {path.name} -c copy {path.stem}.mp4"
        )
    promised = len(stream.index_entries) if _is_mp4(container) else 0  # complete before a packet is read
    prefix = _length_prefix(stream.codec_context)
    unsound: list[int] = []
    packets = []
    for packet in container.demux(stream):
        if packet.size > 0:
            packets.append((packet.pts, packet.dts, packet.is_keyframe, packet.is_discard))
            if prefix and packet.pts is not None and not _is_sound(bytes(packet), prefix):
                unsound.append(packet.pts)
    there = len(packets)
    if _is_avi(container):  # says its number of frames, and those that its writer left empty, in the header
        promised = stream.frames
        there = max((dts + 1 for _, dts, _, _ in packets if dts is not None), default=0)
        if _is_whole_avi(path):
            there = max(there, promised)  # the last ones are empty
    if there < promised:
        raise VideoError(
            f"{path} is truncated: its index promises {promised} frames, {there} are there. Copy it again from "
            f"the recording computer, or keep what is there by re-encoding it {_REENCODE}."
        )
    shown = [(pts, dts, is_key) for pts, dts, is_key, is_discard in packets if not is_discard]
    if not shown:
        raise VideoError(f"{path} holds no frames. {_REPAIR}")
    counted = any(pts is None for pts, _, _ in shown) or (_is_avi(container) and stream.codec_context.has_b_frames)
    times = [dts if counted else pts for pts, dts, _ in shown]
    if None in times:
        raise VideoError(f"{path}: frame {times.index(None)} carries no time at all. {_REPAIR}")
    order = np.sort(np.array(times, dtype=np.int64))
    if counted and _is_avi(container) and (np.diff(order) > 1).any():
        raise VideoError(
            f"{path}: its writer left {int(order[-1]) + 1 - len(order)} frames empty, and its frames are reordered "
            "without a time of their own, so that the times of the others are not known. Record without B-frames "
            "(ffmpeg: -bf 0), or into .mp4 or .mkv."
        )
    if (np.diff(order) == 0).any():
        frame = int(np.flatnonzero(np.diff(order) == 0)[0]) + 1
        raise VideoError(f"{path}: the frames {frame - 1} and {frame} carry the same time. {_REPAIR}")
    if _is_mp4(container):
        _check_mp4(path, stream, order, len(packets))
    _check_duration(path, stream, order)
    keys = sorted((pts, pts if dts is None else dts) for pts, dts, is_key in shown if is_key and not counted)
    places = np.searchsorted(order, np.array([key for key, _ in keys], dtype=np.int64))
    damaged = frozenset() if counted else frozenset(np.flatnonzero(np.isin(order, unsound)).tolist())
    return _Index(
        order, places.astype(np.int64), np.array([place for _, place in keys], dtype=np.int64), counted, damaged
    )


def _length_prefix(codec: Any) -> int:
    """How many bytes say the length of each part (NAL unit) of a packet of H.264 or HEVC; 0 where they are not so."""
    extra, name = codec.extradata or b"", codec.name
    at = {"h264": 4, "hevc": 21}.get(name, len(extra))
    return (extra[at] & 3) + 1 if at < len(extra) and extra[0] == 1 else 0


def _is_sound(packet: bytes, prefix: int) -> bool:
    """Whether a packet's parts fill it, and hold nothing that encoders must escape (ITU-T H.264, 7.4.1).

    Stretches of zeros, which a bad copy leaves, decode to something else than was filmed, often without a complaint.
    """
    place = 0
    while place + prefix <= len(packet):
        start = place + prefix
        place = start + int.from_bytes(packet[place:start], "big")
        end = min(place, len(packet))
        while end > start and packet[end - 1] == 0:  # some writers leave zeros behind a part
            end -= 1
        if _NEVER_WRITTEN.search(packet, start, end):
            return False
    return place == len(packet)


def _check_mp4(path: Path, stream: Any, pts: Ints, count: int) -> None:
    """An MP4 says its number of frames and how long they last in several places, which damage sets apart."""
    if stream.frames > count and not any(entry.size == 0 for entry in stream.index_entries):
        raise VideoError(
            f"{path} is damaged: its index speaks of {stream.frames} frames, {count} can be found by it. {_REPAIR}"
        )
    lasts = (stream.duration or 0) * float(stream.time_base)
    reached = float(pts[-1] - pts[0]) * float(stream.time_base)
    if lasts and reached > lasts + max(1.0, _STEADY * lasts):
        raise VideoError(
            f"{path} is damaged: it says that it lasts {lasts:.2f} s, but a frame is shown {reached:.2f} s after the "
            f"first. {_REPAIR}"
        )


def _is_mp4(container: Any) -> bool:
    return "mp4" in container.format.name.split(",")


def _is_avi(container: Any) -> bool:
    return "avi" in container.format.name.split(",")


def _is_whole_avi(path: Path) -> bool:
    """Whether the file is as long as the RIFF chunks that it is made of say."""
    end, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place + 8 <= end:
            file.seek(place)
            head = file.read(8)
            if head[:4] != b"RIFF":
                break
            size = int.from_bytes(head[4:], "little")
            place += 8 + size + size % 2
    return 0 < place <= end + 1  # a last byte of padding may be missing


def _check_duration(path: Path, stream: Any, pts: Ints) -> None:
    """Matroska has no count of frames, but says how long the track lasts once the recording was closed properly."""
    stated = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))
    if stated is None or len(pts) < 2:
        return
    hours, minutes, seconds = (float(part) for part in stated.groups())
    lasts = hours * 3600 + minutes * 60 + seconds
    interval = float(np.diff(pts).max()) * float(stream.time_base)
    reached = float(pts[-1]) * float(stream.time_base) + interval
    if lasts > reached + min(1.0, 3 * interval + 0.05):
        raise VideoError(
            f"{path} is truncated: it should last {lasts:.2f} s, its frames end at {reached:.2f} s. "
            "Copy it again from the recording computer."
        )


def _steady_rate(times: Floats, nominal: float | None, tick: float) -> float | None:
    """Frames per second where the frames follow a steady clock, else None."""
    if len(times) < 2:
        return nominal
    rate = (len(times) - 1) / float(times[-1])
    if nominal is not None and abs(nominal - rate) * float(times[-1]) < 0.5:
        rate = nominal  # the exact figure, free of the rounding of the last frame's time
    missed = np.abs(times - np.arange(len(times)) / rate).max()
    # Times are rounded to ticks; yet one lost frame, which bends the line by half an interval or more, must show.
    rounding = max(min(1.5 * tick, 0.45 / rate), 0.0 if _is_whole(1 / (rate * tick)) else 0.55 * tick)
    return rate if missed <= max(_STEADY / rate, rounding) else None


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 0.05


def _display_turn(path: Path, frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Signs (a, b, c, d) of the display matrix: a source pixel (x, y) is shown at (a x + c y, b x + d y).

    The matrix is that of ISO/IEC 14496-12, 8.3.2 (tkhd), as FFmpeg hands it on.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return (1, 0, 0, 1)
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5] / 65536
    turn = tuple(round(float(value)) for value in (a, b, c, d))
    off = max(abs(float(value) - whole) for value, whole in zip((a, b, c, d), turn, strict=True))
    if off > 1e-3 or sorted(map(abs, turn)) != [0, 0, 1, 1] or abs(turn[0]) != abs(turn[3]):
        raise VideoError(
            f"{path} asks to be shown turned or stretched by the matrix ({a:.3f}, {b:.3f}, {c:.3f}, {d:.3f}); only "
            f"quarter turns and mirroring are supported. Re-encode it upright {_REENCODE}."
        )
    return turn[0], turn[1], turn[2], turn[3]


def _turn_picture(picture: Rgb, turn: tuple[int, int, int, int]) -> Rgb:
    if turn == (1, 0, 0, 1):
        return picture
    a, b, c, d = turn
    if a == 0:
        picture, right, down = picture.swapaxes(0, 1), c, b
    else:
        right, down = a, d
    return np.ascontiguousarray(picture[:: 1 if down > 0 else -1, :: 1 if right > 0 else -1])


def count_corrupt(source: FrameSource) -> int:
    """How many of the frames that were read from a source the decoder marked as damaged."""
    root = source.source if isinstance(source, View) else source
    return len(root.corrupt) if isinstance(root, VideoFile) else 0


def damage_of(source: FrameSource) -> str:
    """What the decoder found wrong in the frames that were read from a source, in words; "" where that is nothing."""
    if isinstance(source, View):
        return damage_of(source.source)
    if not isinstance(source, VideoFile) or not source.corrupt:
        return ""
    first = sorted(source.corrupt)
    keys = np.append(source.key_frames, len(source))
    ends = keys[np.searchsorted(keys, first, side="right").clip(max=len(keys) - 1)]
    doubtful = len({index for start, end in zip(first, ends.tolist(), strict=True) for index in range(start, end)})
    listed = ", ".join(map(str, first[:5])) + (", ..." if len(first) > 5 else "")
    verb = "is" if len(first) == 1 else "are"
    return (
        f"{source.path}: {len(first)} of {len(source)} frames {verb} corrupt ({listed}), and what was filmed may "
        f"be shown wrongly in {doubtful} up to the next key frames. {_REPAIR}"
    )


def tell_damage(sources: Mapping[str, FrameSource], progress: Progress) -> None:
    """Warn of the damage in what was read of each view."""
    for view, source in sources.items():
        if damage := damage_of(source):
            progress.note(f"! View {view}: {damage}")


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[Rgb],
    fps: float,
    *,
    crf: float = 23.0,
    preset: str = "medium",
    pixel_format: str = "yuv420p",
    key_interval: int | None = None,
    threads: int = 0,
    reproducible: bool = False,
) -> int:
    """Write RGB frames as an H.264 video, whole or not at all, and return how many there were.

    Args:
        path: .mp4, .mov, .mkv or .avi.
        frames: uint8 pictures (height, width, 3) of one size; width and height even for yuv420p.
        crf: quality, 0 (lossless) to 51; 18 is hard to tell from the original.
        preset: x264's trade of time for size, "ultrafast" to "veryslow".
        pixel_format: "yuv420p" plays everywhere; "yuv444p" keeps odd sizes and full colour.
        key_interval: frames from one key frame to the next at most; by default x264's 250.
        threads: of the encoder; 0: one for each core.
        reproducible: the same frames and threads give the same bytes. For that x264's macroblock tree is left out,
            whose compiled code was seen to differ from run to run on small pictures; the file grows by 15 to 50 %.

    Raises:
        DataError: there are no frames, they differ in size, or the size cannot be encoded.
        VideoError: the suffix names no container, or the encoder fails.
    """
    place = Path(path)
    container_name = _CONTAINERS.get(place.suffix.lower())
    if container_name is None:
        raise VideoError(f"{place}: a video is written as {', '.join(_CONTAINERS)}, got the suffix {place.suffix!r}.")
    if not np.isfinite(fps) or fps <= 0:
        raise DataError(f"{place}: fps must be a positive number, got {fps!r}.")
    options = {"crf": f"{crf:g}", "preset": preset}
    if key_interval is not None:
        options["g"] = str(key_interval)
    if reproducible:
        options["mbtree"] = "0"
    flags = {"movflags": "+faststart"} if container_name in ("mp4", "mov") else {}
    count = 0
    with _messages(place, reading=False), atomic_path(place) as temporary:
        container = av.open(str(temporary), "w", format=container_name, options=flags)
        with container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(100_000), options=options)
            stream.pix_fmt = pixel_format
            stream.codec_context.thread_count = threads
            size: tuple[int, int] | None = None
            for picture in frames:
                if size is None:
                    size = _check_encodable(place, picture, pixel_format)
                    stream.width, stream.height = size
                if picture.shape != (size[1], size[0], 3) or picture.dtype != np.uint8:
                    raise DataError(
                        f"{place}: frame {count} has shape {picture.shape} and type {picture.dtype}; expected "
                        f"({size[1]}, {size[0]}, 3) and uint8 as the first."
                    )
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts = count
                container.mux(stream.encode(frame))
                count += 1
            if count == 0:
                raise DataError(f"{place}: no frames were given; a video needs at least one.")
            container.mux(stream.encode())
    return count


def _check_encodable(path: Path, picture: Rgb, pixel_format: str) -> tuple[int, int]:
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise DataError(f"{path}: frames must be RGB pictures (height, width, 3), got the shape {picture.shape}.")
    height, width = picture.shape[:2]
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        raise DataError(
            f"{path}: {width}x{height} pixels cannot be encoded as yuv420p, which needs even sizes. "
            'Crop or pad the frames, or pass pixel_format="yuv444p".'
        )
    return width, height
