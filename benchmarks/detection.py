"""Speed of the search for a ChArUco board in a 1280 x 1024 video, and what is found, beside aniposelib.

    OMP_NUM_THREADS=1 python benchmarks/detection.py [--peer PYTHON] [--folder FOLDER] [--long MINUTES]

The video is rendered (and kept in the folder): a board of 8 x 11 squares is carried through an arena, goes, and comes
again; in half of the frames there is none, in some it leaves the picture or moves fast. The whole of `detect_board` is
timed, decoding included, with two threads. PYTHON is that of an environment with aniposelib and an OpenCV that it works
with (aniposelib 0.5 needs `opencv-contrib-python<4.7 numpy<2 pandas<3`); its `CharucoBoard.detect_video` is timed on
the same file, once with `skip=1` (every frame) and once as it comes, with `skip=20` (every 20th until a board is seen).

A board counts as found where six corners or more were; it is lost where aniposelib found one and we did not.

With `--long MINUTES` a recording so long of four views is made of pieces of that video, in which the board is shown six
times, for 3 % of the time, and two of the views never see it. Printed are the time that `detect_board` takes with its
300 instants, and how many of them show the board, beside 300 that are spread evenly.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from multipose.board import CharucoBoard
from multipose.calibration import detect_board
from multipose.corners import Corners
from multipose.synthetic import Moment, arena, board_poses, prepare, render, sample_rig
from multipose.video import VideoFile, write_video

BOARD = CharucoBoard(columns=8, rows=11, square=24.0, marker=18.75, unit="mm", dictionary="4X4_1000")
SIZE, DISTANCE, THREADS, FEWEST = (1280, 1024), 650.0, 2, 6
SHOWN = ((60, 180), (270, 330), (390, 420))  # frames with the board, of 420
FRAMES = 420
CLIP, KEYS = 240, 120  # frames of a piece of the long recording, and from one key frame to the next
PEER = """
import json, sys, time, resource
from aniposelib.boards import CharucoBoard
board = CharucoBoard(8, 11, 24.0, 18.75, marker_bits=4, dict_size=1000)
began = time.perf_counter()
rows = board.detect_video(sys.argv[1], skip=int(sys.argv[2]))
wall = time.perf_counter() - began
usage = resource.getrusage(resource.RUSAGE_SELF)
json.dump({"wall": wall, "cpu": usage.ru_utime + usage.ru_stime,
           "corners": {row["framenum"]: len(row["corners"]) for row in rows}}, sys.stdout)
"""


def film_board(frames: int = FRAMES, shown: tuple[tuple[int, int], ...] = SHOWN) -> Iterator[np.ndarray]:
    """RGB pictures of one camera: the board in the given frames, moving while a picture is taken."""
    rig = sample_rig(3, SIZE, distance=DISTANCE)
    stage = prepare(arena(), rig.cameras[0], samples=2)
    parts, exposed = 9, 3  # poses a frame, and those of them during which the shutter is open
    poses = board_poses(rig, BOARD, parts * frames, steps=25 * parts)
    empty = Moment()
    for frame in range(frames):
        here = any(first <= frame < end for first, end in shown)
        moment = Moment(board=BOARD, board_poses=poses[parts * frame : parts * frame + exposed]) if here else empty
        yield render(stage, moment, seed=frame)


def make_video(folder: Path) -> Path:
    """The video, rendered unless it is there."""
    path = folder / f"board_{SIZE[0]}x{SIZE[1]}_{FRAMES}.mp4"
    if not path.exists():
        print(f"rendering {path} ...", flush=True)
        write_video(path, film_board(), 30, crf=23, preset="veryfast", key_interval=60)
    return path


def make_long_video(folder: Path, short: Path, minutes: float) -> tuple[Path, np.ndarray]:
    """The long video, put together of two clips without encoding them anew, and which of its frames show the board."""
    path = folder / f"long_{minutes:g}.mp4"
    source = VideoFile(short)
    empty, board = range(60), [*range(120, 180), *range(179, 59, -1), *range(60, 120)]
    clips = {}
    for name, numbers in (("empty", [*empty, *empty[::-1]] * 2), ("board", board)):
        clips[name] = folder / f"clip_{name}.mp4"
        pictures = dict(source.read(numbers))
        write_video(clips[name], (pictures[number] for number in numbers), 30, crf=23, key_interval=KEYS)
    n_clips = round(minutes * 60 * 30 / CLIP)
    shown = np.zeros(n_clips, dtype=bool)
    places = np.linspace(0.07, 0.9, 6) * n_clips
    share = max(1, round(0.03 * n_clips / 6))
    for place in places.astype(int):
        shown[place : place + share] = True
    with av.open(str(path), "w") as output:
        stream, start, length = None, 0, 0
        for has_board in shown:
            with av.open(str(clips["board" if has_board else "empty"])) as part:
                pieces = part.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(pieces)
                    length = round(CLIP / 30 / pieces.time_base)
                for packet in part.demux(pieces):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + start, packet.dts + start
                        packet.stream = stream
                        output.mux(packet)
            start += length
    return path, np.repeat(shown, CLIP)


def time_long(folder: Path, short: Path, minutes: float) -> None:
    """Print what a long recording takes and gives."""
    path, shown = make_long_video(folder, short, minutes)
    seen = {"crop": None, "scale": 1.0}
    away = {"crop": (0, 0, 400, 300), "scale": 1.0}
    # Copies of the file's name, so that every view is decoded by itself, as four files would be.
    copies = {name: folder / f"{path.stem}_{name}.mp4" for name in ("a", "b", "c", "d")}
    for copy in copies.values():
        copy.unlink(missing_ok=True)
        os.link(path, copy)
    views = {"a": seen, "b": seen, "c": away, "d": away}
    wall, cpu = time.perf_counter(), time.process_time()
    corners = detect_board(copies, BOARD, views=views, threads=THREADS)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    boards = int((corners.counts()[0] >= FEWEST).sum())
    even = np.linspace(0, len(shown) - 1, len(corners.frames)).round().astype(int)
    evenly = detect_board({"a": path}, BOARD, frames=even, max_frames=None, threads=THREADS)
    print(
        f"{minutes:g} min, 4 views, {len(shown)} frames each, board shown in {shown.mean():.1%}: {wall:.0f} s wall, "
        f"{cpu:.0f} CPU s; of {len(corners.frames)} instants {boards} with a board found, "
        f"spread evenly {int((evenly.counts()[0] >= FEWEST).sum())}"
    )


def find_ours(path: Path) -> tuple[Corners, float, float]:
    """Corners, wall seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    corners = detect_board({"view": path}, BOARD, max_frames=None, threads=THREADS)
    return corners, time.perf_counter() - wall, time.process_time() - cpu


def find_theirs(python: str, path: Path, skip: int) -> tuple[dict[int, int], float, float]:
    """Number of corners by frame, wall seconds and CPU seconds of aniposelib."""
    process = subprocess.run([python, "-c", PEER, str(path), str(skip)], stdout=subprocess.PIPE, check=True)
    result = json.loads(process.stdout)
    return {int(frame): count for frame, count in result["corners"].items()}, result["wall"], result["cpu"]


def show(name: str, wall: float, cpu: float, boards: int, note: str = "") -> None:
    print(f"{name:22} {FRAMES / wall:9.1f} {FRAMES / cpu:11.1f} {boards:7d}  {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", default=os.environ.get("ANIPOSELIB_PYTHON"), help="python that has aniposelib")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "multipose_detection")
    parser.add_argument("--long", type=float, metavar="MINUTES", help="time a long recording instead")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    path = make_video(given.folder)
    if given.long:
        time_long(given.folder, path, given.long)
        return
    print(f"{'':22} {'frames/s':>9} {'per CPU s':>11} {'boards':>7}")
    corners, wall, cpu = find_ours(path)
    found = corners.counts()[0] >= FEWEST
    show("multipose", wall, cpu, int(found.sum()))
    for skip in (1, 20) if given.peer else ():
        theirs, their_wall, their_cpu = find_theirs(given.peer, path, skip)
        boards = [frame for frame, count in theirs.items() if count >= FEWEST]
        lost = [frame for frame in boards if not found[frame]]
        note = f"we are {their_wall / wall:.1f} x as fast, {their_cpu / cpu:.1f} x by CPU; lost {lost or 'none'}"
        show(f"aniposelib, skip={skip}", their_wall, their_cpu, len(boards), note)


if __name__ == "__main__":
    main()
