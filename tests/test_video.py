"""Frames are exact whatever the container, the rate, the rotation; broken files are refused in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipose.errors import DataError, VideoError
from multipose.opencv import cv2
from multipose.sources import read_picture
from multipose.video import FrameSource, ImageFolder, VideoFile, View, open_source, write_picture, write_video

Rgb = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 96, 64
COUNT = 90


def numbered(number: int, width: int = WIDTH, height: int = HEIGHT) -> Rgb:
    """A picture that shows its number as ten bars, with a red mark at the top left and a blue one at the top right."""
    picture = np.full((height, width, 3), 40, dtype=np.uint8)
    for bit in range(10):
        if number >> bit & 1:
            picture[24:56, 2 + 9 * bit : 9 + 9 * bit] = 220
    picture[:16, :16] = (230, 20, 20)
    picture[:16, -16:] = (20, 20, 230)
    return picture


def number_of(picture: Rgb) -> int:
    return sum(1 << bit for bit in range(10) if picture[32:48, 4 + 9 * bit : 7 + 9 * bit].mean() > 130)


def encode(
    path: Path,
    times: list[int],
    *,
    rate: int = 30,
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
) -> None:
    """Write numbered frames at the given times (in ticks of 1 / rate), by PyAV itself."""
    with av.open(str(path), "w") as container:
        options = options or ({"g": "12", "bf": "3"} if codec == "libx264" else {})
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.codec_context.time_base = Fraction(1, rate)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts = time
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def steady(folder: Path) -> Path:
    path = folder / "steady.mp4"
    write_video(path, (numbered(i) for i in range(COUNT)), 30, key_interval=12, crf=18)
    return path


@pytest.fixture(scope="module", params=["mp4", "mkv", "avi", "mov"])
def reordered(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A video with B-frames, which are stored in another order than shown."""
    path = folder / f"reordered.{request.param}"
    encode(path, list(range(COUNT)))
    return path


def check_exact(video: FrameSource, wanted: list[int]) -> None:
    found = [(index, number_of(picture)) for index, picture in video.read(wanted)]
    assert found == [(index, index) for index in sorted(set(wanted))]


def test_all_frames_in_order(reordered: Path) -> None:
    video = VideoFile(reordered)
    assert len(video) == COUNT
    assert video.fps == pytest.approx(30, rel=1e-3)
    assert video.size == (WIDTH, HEIGHT)
    assert [(index, number_of(picture)) for index, picture in video] == [(i, i) for i in range(COUNT)]
    np.testing.assert_allclose(video.times, np.arange(COUNT) / 30, atol=1e-3)


def test_frames_by_number_after_seeking(reordered: Path) -> None:
    video = VideoFile(reordered)
    for wanted in ([COUNT - 1], [0], [11, 12, 13], [1, 40, 41, 88], [50, 3, 50]):
        check_exact(video, wanted)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, COUNT - 1), max_size=6))
def test_any_choice_of_frames_is_exact(steady: Path, wanted: list[int]) -> None:
    check_exact(VideoFile(steady), wanted)


def test_open_groups_of_frames_are_exact(folder: Path) -> None:
    path = folder / "open.mp4"
    encode(path, list(range(COUNT)), options={"g": "10", "bf": "3", "x264-params": "open-gop=1:scenecut=0"})
    video = VideoFile(path)
    for index in range(0, COUNT, 7):
        check_exact(video, [index])


def test_variable_rate_goes_by_timestamps(folder: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).integers(1, 5, size=40)).tolist()
    encode(folder / "variable.mp4", times)
    video = VideoFile(folder / "variable.mp4")
    assert video.fps is None
    np.testing.assert_allclose(video.times, (np.array(times) - times[0]) / 30, atol=1e-4)
    check_exact(video, [0, 17, 39])


def test_video_that_does_not_begin_at_zero(folder: Path) -> None:
    encode(folder / "late.mkv", list(range(45, 75)))
    video = VideoFile(folder / "late.mkv")
    assert len(video) == 30
    assert video.times[0] == 0
    assert video.fps == pytest.approx(30, rel=1e-3)
    check_exact(video, [0, 5, 29])


def test_a_dropped_frame_makes_the_rate_variable(folder: Path) -> None:
    encode(folder / "dropped.mp4", [*range(20), *range(21, 41)])
    assert VideoFile(folder / "dropped.mp4").fps is None


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3), (-90, 3)])
def test_rotation_flag_is_obeyed(folder: Path, degrees: int, turns: int) -> None:
    path = folder / f"turned{degrees}.mp4"
    encode(path, list(range(8)), rotation=degrees)
    video = VideoFile(path)
    upright = np.rot90(numbered(5), turns)
    assert video.size == (upright.shape[1], upright.shape[0])
    _, picture = next(video.read([5]))
    assert np.abs(picture.astype(int) - upright).mean() < 6
    _, gray = next(video.read_gray([5]))
    assert np.abs(gray.astype(int) - cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)).mean() < 1.5


def test_written_video_keeps_colours_and_count(folder: Path) -> None:
    path = folder / "colours.mp4"
    assert write_video(path, [numbered(i) for i in range(5)], 25, crf=10) == 5
    video = VideoFile(path)
    assert video.fps == 25
    picture = dict(video)[3]
    assert np.abs(picture[4:12, 4:12].mean((0, 1)) - (230, 20, 20)).max() < 12
    assert np.abs(picture[4:12, -12:-4].mean((0, 1)) - (20, 20, 230)).max() < 12


@pytest.mark.parametrize(("pixel_format", "size"), [("yuv420p", (98, 62)), ("yuv444p", (97, 61)), ("rgb24", (97, 61))])
def test_gray_pictures_are_those_of_the_colours(folder: Path, pixel_format: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (3, 6, 9, 3), dtype=np.uint8)
    frames = [cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR) for picture in small]
    path = folder / f"gray_{pixel_format}.mov"
    codec = "qtrle" if pixel_format == "rgb24" else "libx264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = VideoFile(path)
    colours = dict(video.read([0, 2]))
    grays = dict(video.read_gray([2, 0]))
    assert list(grays) == [0, 2]
    for index, gray in grays.items():
        assert gray.shape == (size[1], size[0])
        expected = cv2.cvtColor(colours[index], cv2.COLOR_RGB2GRAY).astype(int)
        assert np.abs(gray - expected).mean() < 1.5
        assert np.percentile(np.abs(gray - expected), 99) < 8


def test_odd_sizes_need_full_colour(folder: Path) -> None:
    frames = [numbered(i, 97, 65) for i in range(3)]
    with pytest.raises(DataError, match="97x65"):
        write_video(folder / "odd.mp4", frames, 30)
    write_video(folder / "odd.mp4", frames, 30, pixel_format="yuv444p")
    assert VideoFile(folder / "odd.mp4").size == (97, 65)


def test_writing_is_all_or_nothing(folder: Path) -> None:
    def breaks() -> Iterator[Rgb]:
        yield numbered(0)
        raise RuntimeError("the source failed")

    target = folder / "half" / "video.mp4"
    with pytest.raises(RuntimeError, match="the source failed"):
        write_video(target, breaks(), 30)
    assert list(target.parent.iterdir()) == []
    with pytest.raises(DataError, match="no frames"):
        write_video(target, [], 30)
    with pytest.raises(DataError, match="frame 1 has shape"):
        write_video(target, [numbered(0), numbered(1, 48, 48)], 30)
    with pytest.raises(VideoError, match=r"\.webm"):
        write_video(folder / "a.webm", [numbered(0)], 30)
    with pytest.raises(DataError, match="fps"):
        write_video(target, [numbered(0)], 0)
    assert list(target.parent.iterdir()) == []


def test_same_frames_give_the_same_file(folder: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name, (numbered(i) for i in range(10)), 30, threads=1, reproducible=True)
    assert (folder / "a.mp4").read_bytes() == (folder / "b.mp4").read_bytes()


def test_what_is_no_video_is_refused(folder: Path) -> None:
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video " * 100)
    for path, text in (
        (folder / "missing.mp4", "There is no file"),
        (folder / "empty.mp4", "empty"),
        (folder / "text.mp4", "cannot be read"),
        (folder, "folder"),
    ):
        with pytest.raises(VideoError, match=text) as caught:
            VideoFile(path)
        assert str(path) in str(caught.value)


def test_sound_without_pictures_is_refused(folder: Path) -> None:
    path = folder / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="no video"):
        VideoFile(path)


@pytest.mark.parametrize(
    ("name", "text"), [("steady.mp4", "truncated"), ("cut.mkv", "truncated"), ("cut.avi", "truncated")]
)
def test_truncated_video_is_refused(folder: Path, steady: Path, name: str, text: str) -> None:
    whole = steady if name == "steady.mp4" else folder / f"whole{name}"
    if whole != steady:
        encode(whole, list(range(COUNT)))
    cut = folder / f"cut_{name}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoError, match=text):
        VideoFile(cut)


@pytest.mark.parametrize("lost", [range(5, 10), range(1, 2), range(20, 25)])
def test_empty_frames_of_an_avi_are_gaps(folder: Path, lost: range) -> None:
    """Nothing is missing: the writer noted frames that the camera dropped by empty chunks."""
    there = [i for i in range(25) if i not in lost]
    encode(folder / "gaps.avi", there, codec="mjpeg", pixel_format="yuvj420p")
    encode(folder / "gaps.mkv", there, codec="mjpeg", pixel_format="yuvj420p")
    source, same = VideoFile(folder / "gaps.avi"), VideoFile(folder / "gaps.mkv")
    assert len(source) == len(there)
    np.testing.assert_allclose(source.times, same.times, atol=2e-3)
    assert (source.fps is None) == (same.fps is None)
    assert [index for index, _ in source] == list(range(len(there)))


def test_an_avi_that_ends_with_empty_frames_is_whole(folder: Path) -> None:
    path = folder / "end.avi"
    encode(path, list(range(20)), codec="mjpeg", pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    at = data.find(b"strh") + 8 + 32  # the length of the stream, in frames
    assert int.from_bytes(data[at : at + 4], "little") == 20
    data[at : at + 4] = (23).to_bytes(4, "little")
    path.write_bytes(data)
    assert len(VideoFile(path)) == 20
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="truncated"):
        VideoFile(path)


def test_empty_frames_among_reordered_ones_are_refused(folder: Path) -> None:
    there = [i for i in range(25) if i not in range(5, 10)]
    encode(folder / "holes.avi", there)
    with pytest.raises(VideoError, match="left 5 frames empty.*without B-frames"):
        VideoFile(folder / "holes.avi")


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [("a.h264", "libx264", "yuv420p"), ("a.mjpeg", "mjpeg", "yuvj420p"), ("a.hevc", "libx265", "yuv420p")],
)
def test_raw_streams_say_that_they_have_no_times(folder: Path, name: str, codec: str, pixel_format: str) -> None:
    path = folder / name
    encode(path, list(range(12)), codec=codec, pixel_format=pixel_format)
    with pytest.raises(VideoError, match=rf"{name} is a raw stream.*no times.*-framerate FPS -i {name} -c copy a.mp4"):
        VideoFile(path)


def test_recording_that_was_never_finished_is_explained(folder: Path) -> None:
    encode(folder / "unfinished.mp4", list(range(30)))  # this one has its index at the end
    data = (folder / "unfinished.mp4").read_bytes()
    (folder / "unfinished.mp4").write_bytes(data[: data.rfind(b"moov") - 4])
    with pytest.raises(VideoError, match="moov"):
        VideoFile(folder / "unfinished.mp4")


def test_damage_in_the_middle_names_the_frame(folder: Path, steady: Path) -> None:
    data = bytearray(steady.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(255 - byte for byte in data[middle : middle + 2000])
    (folder / "damaged.mp4").write_bytes(data)
    with pytest.raises(VideoError, match=r"damaged\.mp4: .*frame"):
        list(VideoFile(folder / "damaged.mp4"))


def test_index_outside_is_an_error(steady: Path) -> None:
    with pytest.raises(DataError, match=f"0 to {COUNT - 1}; asked for {COUNT}"):
        next(VideoFile(steady).read([COUNT]))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(folder: Path) -> None:
    path = folder / "long.mp4"
    still = np.zeros((480, 640, 3), dtype=np.uint8)
    write_video(path, (still for _ in range(900)), 30, preset="ultrafast")
    process = psutil.Process()
    video = iter(VideoFile(path))
    for _ in range(100):
        next(video)
    before = process.memory_info().rss
    for _ in video:
        pass
    assert process.memory_info().rss - before < 40e6  # 900 frames are 830 MB


def test_two_readers_at_once(steady: Path) -> None:
    video = VideoFile(steady)
    for (_, one), (_, other) in zip(video.read(range(10)), video.read(range(40, 50)), strict=True):
        assert number_of(other) == number_of(one) + 40


def test_image_folder_is_ordered_by_number(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        write_picture(tmp_path / f"img{number}.png", numbered(number))
    (tmp_path / "notes.txt").write_text("not a picture")
    for spec in (tmp_path, str(tmp_path / "*.png"), [tmp_path / f"img{i}.png" for i in (10, 1, 2)]):
        source = open_source(spec)
        assert source.frame_numbers.tolist() == [1, 2, 10]
        assert [number_of(picture) for _, picture in source] == [1, 2, 10]
        assert [(index, number_of(picture)) for index, picture in source.read([2, 0])] == [(0, 1), (2, 10)]
        assert source.fps is None
        assert np.isnan(source.times).all()
    assert ImageFolder(tmp_path, fps=10).times.tolist() == [0, 0.1, 0.9]


@pytest.mark.parametrize("stray", ["mean", "mean2", "a_img001", "img001_2"])
def test_an_odd_picture_is_refused_by_name(tmp_path: Path, stray: str) -> None:
    """It used to renumber all the others without a word."""
    for name in ("img001", "img002", "img004", stray):
        write_picture(tmp_path / f"{name}.png", numbered(1))
    with pytest.raises(VideoError, match=f"'{stray}'.*take it out"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("hidden", ["._img001.png", ".DS_Store.png", "._img002.png"])
def test_hidden_files_are_no_pictures(tmp_path: Path, hidden: str) -> None:
    write_picture(tmp_path / "img001.png", numbered(1))
    (tmp_path / hidden).write_bytes(b"\0\5\x16\7" + b"\0" * 200)
    assert ImageFolder(tmp_path).frame_numbers.tolist() == [1]
    assert ImageFolder(tmp_path / "*.png").frame_numbers.tolist() == [1]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_pictures_of_16_bits_are_scaled_by_what_they_hold(tmp_path: Path, bits: int) -> None:
    """One factor for the folder, from its brightest picture."""
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    bright, dark = levels << (bits - 8), levels << max(bits - 10, 0)
    cv2.imwrite(str(tmp_path / "img1.tif"), dark)
    cv2.imwrite(str(tmp_path / "img2.png"), bright)
    pictures = [picture[..., 0] for _, picture in ImageFolder(tmp_path)]
    assert (pictures[1] == levels).all()
    assert (pictures[0] == dark >> (bits - 8)).all()
    assert (read_picture(tmp_path / "img2.png")[..., 1] == levels).all()


def test_a_picture_beyond_the_bits_of_the_others_is_told(tmp_path: Path) -> None:
    for i in range(200):  # more than are looked at
        cv2.imwrite(str(tmp_path / f"img{i}.tif"), np.full((4, 4), 4000 if i == 1 else 900, np.uint16))
    with pytest.raises(VideoError, match=r"img1\.tif holds levels up to 4000, more than the 10 bits"):
        list(ImageFolder(tmp_path))


def test_a_tiff_of_many_pages_is_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "front.tif"
    cv2.imwritemulti(str(path), [np.full((6, 8), 9 * i, np.uint8) for i in range(25)])
    source = open_source(path)
    assert (len(source), source.size, source.fps) == (25, (8, 6), None)
    assert source.frame_numbers.tolist() == list(range(25))
    assert [int(picture[0, 0, 0]) for _, picture in source.read([24, 0, 3])] == [0, 27, 216]
    with pytest.raises(VideoError, match=r"front\.tif holds 25 pictures"):
        read_picture(path)
    with pytest.raises(VideoError, match="holds 25 pictures"):
        ImageFolder(tmp_path)
    with pytest.raises(DataError, match="frames 0 to 24; asked for 25"):
        list(source.read([25]))


def test_a_tiff_of_one_page_is_a_picture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "front7.tif"), np.full((6, 8), 9, np.uint8))
    assert open_source(tmp_path / "front7.tif").frame_numbers.tolist() == [7]


def test_pages_of_12_bits(tmp_path: Path) -> None:
    path = tmp_path / "front.tiff"
    cv2.imwritemulti(str(path), [np.full((6, 8), level, np.uint16) for level in (400, 4095)])
    assert [int(picture[0, 0, 0]) for _, picture in open_source(path)] == [25, 255]


def test_bad_folders_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="No pictures"):
        ImageFolder(tmp_path)
    with pytest.raises(VideoError, match="no folder"):
        ImageFolder(tmp_path / "missing")
    with pytest.raises(VideoError, match="empty list"):
        ImageFolder([])
    write_picture(tmp_path / "1.png", numbered(1))
    write_picture(tmp_path / "2.png", numbered(2, 48, 48))
    with pytest.raises(VideoError, match=r"2\.png has 48x48 pixels, but 1\.png has 96x64"):
        list(ImageFolder(tmp_path))
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(VideoError, match=r"2\.png cannot be read"):
        list(ImageFolder(tmp_path))
    with pytest.raises(VideoError, match="There is no picture"):
        ImageFolder([tmp_path / "3.png"])


def test_pictures_keep_their_colours(tmp_path: Path) -> None:
    write_picture(tmp_path / "ä.png", numbered(3))
    np.testing.assert_array_equal(read_picture(tmp_path / "ä.png"), numbered(3))
    with pytest.raises(DataError, match=r"\.gif"):
        write_picture(tmp_path / "a.gif", numbered(3))


def test_pictures_that_ask_for_rotation_are_turned(tmp_path: Path) -> None:
    """EXIF orientation 6: to be shown turned by 90 degrees clockwise."""
    done, data = cv2.imencode(".jpg", numbered(5)[:, :, ::-1])
    assert done
    tag = b"MM\x00\x2a\x00\x00\x00\x08" + b"\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + b"\x00" * 4
    segment = b"Exif\x00\x00" + tag
    exif = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    (tmp_path / "turned.jpg").write_bytes(data.tobytes()[:2] + exif + data.tobytes()[2:])
    source = ImageFolder(tmp_path)
    assert source.size == (HEIGHT, WIDTH)
    assert np.abs(next(iter(source))[1].astype(int) - np.rot90(numbered(5), -1)).mean() < 6


def test_open_source_finds_the_kind(steady: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "7.png", numbered(7))
    assert isinstance(open_source(steady), VideoFile)
    assert isinstance(open_source(tmp_path / "7.png"), ImageFolder)
    view = View(open_source(steady))
    assert open_source(view) is view
    with pytest.raises(VideoError, match="There is no file"):
        open_source(tmp_path / "missing.mp4")


class Still:
    """A source of one picture."""

    path = Path("still")
    fps = None
    times = np.zeros(1)
    frame_numbers = np.zeros(1, dtype=np.int64)

    def __init__(self, picture: Rgb) -> None:
        self.picture = picture
        self.size = (picture.shape[1], picture.shape[0])

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        yield 0, self.picture

    def read(self, indices: object) -> Iterator[tuple[int, Rgb]]:
        yield 0, self.picture


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.integers(-3, 4), st.sampled_from([0.5, 1.0, 2.0]))
def test_points_move_with_the_picture(flip: bool, turns: int, scale: float) -> None:
    """A blob painted at a point is found where from_source says, and to_source leads back."""
    point = np.array([50.0, 26.0])
    picture = np.zeros((72, 88, 3), dtype=np.uint8)
    cv2.circle(picture, (50, 26), 6, (255, 255, 255), -1)
    view = View(Still(picture), crop=(12, 8, 64, 56), flip=flip, quarter_turns=turns, scale=scale)
    seen = next(iter(view))[1]
    assert seen.shape == (view.size[1], view.size[0], 3)
    weight = seen[..., 0].astype(float)
    v, u = np.indices(weight.shape)
    found = np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(view.from_source(point), found, atol=0.05)
    np.testing.assert_allclose(view.to_source(view.from_source(point)), point, atol=1e-12)


def test_scaling_to_whole_pixels_uses_the_exact_ratio() -> None:
    view = View(Still(np.zeros((101, 203, 3), dtype=np.uint8)), scale=0.33)
    assert view.size == (67, 33)
    np.testing.assert_allclose(view.from_source([202.5, 100.5]), [66.5, 32.5])  # the far corner of the last pixel
    np.testing.assert_allclose(view.from_source([-0.5, -0.5]), [-0.5, -0.5])


def test_impossible_views() -> None:
    source = Still(np.zeros((10, 20, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="does not lie inside"):
        View(source, crop=(5, 0, 20, 10))
    with pytest.raises(DataError, match="scale"):
        View(source, scale=0.0)


def test_real_videos_hold_the_frames_they_promise(recordings: Callable[[str], Path]) -> None:
    video = VideoFile(recordings("mouse_four_views") / "back" / "back.mp4")
    assert (len(video), video.size, video.fps) == (120, (1280, 1024), 30.0)
    every = dict(video.read(range(30, 40)))
    _, alone = next(video.read([37]))
    np.testing.assert_array_equal(every[37], alone)


@pytest.mark.slow
def test_a_real_video_whose_first_frame_says_how_to_read_the_others(recordings: Callable[[str], Path]) -> None:
    """Lossless H.264 of an older x264: decoders that start at a later key frame see green."""
    video = VideoFile(recordings("openfield") / "videos" / "m3v1mp4.mp4")
    wanted = [3, 370, 423, 800, 2300]
    expected = {index: picture for index, picture in video if index in wanted}
    read = dict(video.read(wanted))
    assert list(read) == wanted
    for index in wanted:
        np.testing.assert_array_equal(read[index], expected[index])
    (_, alone), *_ = video.read([1500])
    assert alone[..., 1].mean() < 1.2 * alone[..., 0].mean()  # grey, not green


@pytest.mark.parametrize("suffix", ["mkv", "avi", "mp4"])
def test_a_title_in_an_old_encoding_is_no_hindrance(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"titled.{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "cafXY"
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(5):
            picture = np.full((48, 64, 3), 20 * level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert b"cafXY" in content
    path.write_bytes(content.replace(b"cafXY", b"caf\xe9\xff"))
    assert len(VideoFile(path)) == 5
