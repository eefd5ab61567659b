"""Videos and pictures that are damaged: counted, told per view, refused beyond a share; sizes that are lies."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from multipose.board import Chessboard
from multipose.calibration.detection import detect_board
from multipose.errors import DataError, VideoError
from multipose.picture_sizes import declared_size
from multipose.sources import View, read_picture, write_picture
from multipose.video import VideoFile, count_corrupt, damage_of, open_source, tell_damage, write_video

COUNT = 120


def scene() -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    ground = random.integers(0, 255, (64, 96, 3), dtype=np.uint8)
    for number in range(COUNT):
        yield np.roll(ground, number, axis=1)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 frames, a key frame every 30."""
    path = tmp_path_factory.mktemp("film") / "whole.mp4"
    write_video(path, scene(), 30.0, crf=18, key_interval=30)
    return path


def damaged(film: Path, path: Path, places: list[float], length: int = 60) -> Path:
    """The film with zeros at some shares of its picture data."""
    data = bytearray(film.read_bytes())
    start = data.index(b"mdat") + 4
    for share in places:
        place = start + int(share * (len(data) - start - length))
        data[place : place + length] = bytes(length)
    path.write_bytes(data)
    return path


def read_all(source: VideoFile | View) -> int:
    return sum(1 for _ in source)


def fails(path: Path) -> bool:
    try:
        read_all(VideoFile(path))
    except VideoError:
        return True
    return False


def test_a_sound_film_is_not_accused(film: Path, heard: Any) -> None:
    video = VideoFile(film)
    assert read_all(video) == COUNT
    assert (damage_of(video), count_corrupt(video)) == ("", 0)
    list(video.read([100, 3, 50]))
    tell_damage({"top": video}, heard)
    assert heard.notes == []


def test_motion_jpeg_is_told_where_its_decoder_stumbles(tmp_path: Path, heard: Any) -> None:
    sound, path = tmp_path / "sound.avi", tmp_path / "a.avi"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for picture in scene():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    video = VideoFile(sound)
    assert (read_all(video), damage_of(video)) == (COUNT, "")
    told = []
    for seed in range(8):  # which damages a decoder notices differs between versions of FFmpeg
        data, random = bytearray(sound.read_bytes()), np.random.default_rng(seed)
        for place in random.integers(20_000, 30_000, 12):
            data[place] ^= 1 << random.integers(8)
        path.write_bytes(data)
        try:
            video = VideoFile(path)
            assert read_all(video) == COUNT
        except VideoError:  # a header was hit
            continue
        told.append(count_corrupt(video))
        tell_damage({"top": video}, heard)
    assert 0 < max(told) < 10
    assert any("top" in note and "corrupt" in note for note in heard.notes)


def test_damaged_frames_are_counted_and_told_per_view(film: Path, tmp_path: Path, heard: Any) -> None:
    """Whether the decoder notices, goes on in silence, or gives up depends on where the zeros fall."""
    counted = 0
    for share in np.linspace(0.05, 0.95, 10):
        path = damaged(film, tmp_path / "a.mp4", [share])
        source = View(VideoFile(path), flip=True)
        heard.notes.clear()
        try:
            assert read_all(source) == COUNT
        except VideoError as error:
            assert f"{path}: damaged at or just after frame" in str(error)  # noqa: PT017
            continue
        assert 1 <= count_corrupt(source) <= 6
        tell_damage({"top": source}, heard)
        (note,) = heard.notes
        assert note.startswith(f"! View top: {path}: {count_corrupt(source)} of 120 frames")
        assert "up to the next key frames" in note
        counted += 1
    assert counted >= 3


def test_beyond_a_share_the_film_is_refused(film: Path, tmp_path: Path) -> None:
    path = damaged(film, tmp_path / "a.mp4", np.linspace(0.05, 0.95, 40).tolist())
    with pytest.raises(VideoError, match=r"a\.mp4: (of 120 frames \d+ up to \d+ are corrupt|damaged at)"):
        read_all(VideoFile(path))


def test_board_detection_tells_it_too(film: Path, tmp_path: Path, heard: Any) -> None:
    shares = np.linspace(0.05, 0.95, 10)
    path = next(path for share in shares if not fails(path := damaged(film, tmp_path / "a.mp4", [share])))
    detect_board({"top": path}, Chessboard(5, 4, 10.0, "mm"), progress=heard, threads=1)
    assert any(note.startswith("! View top: ") and "corrupt" in note for note in heard.notes)


def test_numbers_of_frames_that_differ_within_an_mp4_are_told(film: Path, tmp_path: Path) -> None:
    data = bytearray(film.read_bytes())
    place = data.index(b"stts") + 8  # entries: (count, ticks); the first speaks of all frames
    assert struct.unpack(">III", data[place : place + 12])[:2] == (1, COUNT)
    data[place + 4 : place + 8] = struct.pack(">I", COUNT // 2)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(VideoError, match=r"a\.mp4"):
        read_all(VideoFile(tmp_path / "a.mp4"))


def test_flipped_bits_in_the_index_never_leave_the_errors_of_multipose(film: Path, tmp_path: Path) -> None:
    whole = np.frombuffer(film.read_bytes(), np.uint8)
    data = film.read_bytes()
    start = data.index(b"moov")
    end = start + int.from_bytes(data[start - 4 : start], "big")
    random = np.random.default_rng(0)
    for number in range(40):
        changed = whole.copy()
        for place in random.integers(start, end, 1 + number % 10):
            changed[place] ^= 1 << random.integers(8)
        (tmp_path / "a.mp4").write_bytes(changed.tobytes())
        try:
            assert read_all(VideoFile(tmp_path / "a.mp4")) > 0
        except (VideoError, DataError) as error:
            assert "a.mp4" in str(error)  # noqa: PT017  (what it says is looked at, where there is one)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".ppm"])
def test_sizes_are_read_from_headers(tmp_path: Path, suffix: str) -> None:
    write_picture(tmp_path / f"a{suffix}", np.full((21, 34, 3), 99, dtype=np.uint8))
    assert declared_size((tmp_path / f"a{suffix}").read_bytes()) == (34, 21)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".ppm"])
def test_pictures_that_declare_impossible_sizes_take_no_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, np.full((21, 34, 3), 99, dtype=np.uint8))
    data = bytearray(path.read_bytes())
    if suffix == ".png":
        data[16:24] = struct.pack(">II", 65500, 65500)
    elif suffix == ".bmp":
        data[18:26] = struct.pack("<ii", 65500, -65500)
    elif suffix == ".jpg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", 65500, 65500)
    else:
        data = bytearray(bytes(data).replace(b"34 21", b"65500 65500", 1))
    path.write_bytes(data)
    with pytest.raises(VideoError, match=rf"a\{suffix} says that its pictures have 65500 x 65500 pixels"):
        read_picture(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"P6 ", b"P6 12", b"GIF89a"])
def test_cut_headers_state_no_size(content: bytes) -> None:
    assert declared_size(content) is None


def test_a_view_does_not_grow_beyond_any_picture(film: Path) -> None:
    with pytest.raises(VideoError, match=r"whole\.mp4, at the scale 1e\+09, says that its pictures have"):
        View(VideoFile(film), scale=1e9)


def test_patterns_through_all_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"\*\* would go through all folders"):
        open_source(f"{tmp_path}/**")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "a.mp4")
        with pytest.raises(VideoError, match=r"a\.mp4"):
            open_source(tmp_path / "a.mp4")
