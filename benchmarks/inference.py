"""Speed of pose networks on one thread of the CPU: the network alone, whole videos, single pictures as they come.

python benchmarks/inference.py                                    # networks alone, beside a default DeepLabCut's
python benchmarks/inference.py --model MODEL --video VIDEO        # also that network over that video, decoding included
python benchmarks/inference.py --model MODEL --video VIDEO --only latency        # pictures as they come, alone

Seconds are CPU seconds of the process, all of whose work is held to one thread (of a video's frames the decoder's
thread comes on top, and counts). Of the network alone the fastest of a few calls; of videos the seconds of many frames
less those of few, so that what happens once (imports, graphs, samples) does not count. `moved` is the median distance
of key points from those of torch in float32, which needs a trained network. The videos of 256 x 256 and
2048 x 2048 pixels are VIDEO: the middle of its pictures, and its pictures with grey around them. Of pictures as they
come, those are timed in which the animal is followed (with the searches that are due in every 50th), and those in which
it is lost: the median picture of the video is shown in its place, and then it comes back.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from inference_peer import BATCH_SIZE, DeepLabCutResNet50

from multipose.errors import ModelError
from multipose.pose2d import PoseModel, Tracker, create_engine, predict_to_file
from multipose.pose2d.dataset import Picture
from multipose.pose2d.engines import installed_runtimes
from multipose.pose2d.network import PoseNetwork
from multipose.pose2d.runtime_choice import measure_runtimes
from multipose.sources import FrameSource
from multipose.video import VideoFile, write_video

CPU = torch.device("cpu")
FEW, MANY = 100, 400  # frames
STREAMED, AWAY = 300, 30  # pictures of a stream that are timed: with the animal, and without it
SMALL, LARGE = 256, 2048  # sides of pictures, px


def cpu_seconds(work: Callable[[], object], repeats: int = 8) -> float:
    """The smallest CPU seconds of a few calls, after one that does not count."""
    work()
    best = np.inf
    for _ in range(repeats):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return float(best)


def measure_networks(runtimes: list[str]) -> None:
    """The default network of every runtime, and DeepLabCut's."""
    network = PoseNetwork("efficientnet_lite0", 4).eval().to(memory_format=torch.channels_last)
    random = np.random.default_rng(0)
    print(f"{'network alone':34}{'640x480':>22}{'256x256':>22}\n{'':34}" + 2 * f"{'ms':>11}{'1/s':>11}")
    full: dict[str, float] = {}
    for name in runtimes:
        row = f"{name:34}"
        for height, width in ((480, 640), (256, 256)):
            pictures = random.integers(0, 255, (1, height, width, 3), dtype=np.uint8)
            try:
                engine = create_engine(name, network, CPU, samples=[pictures])
            except ModelError:
                break
            seconds = cpu_seconds(lambda: engine(pictures))  # noqa: B023 (called at once)
            full.setdefault(name, seconds)
            row += f"{1e3 * seconds:11.1f}{1 / seconds:11.1f}"
        print(row, flush=True)
    fastest = min(full.values())
    pictures = torch.from_numpy(random.integers(0, 255, (BATCH_SIZE, 480, 640, 3), dtype=np.uint8))
    for label, group_norm in (("DeepLabCut ResNet-50", True), ("the same without normalisation", False)):
        peer = DeepLabCutResNet50(4, group_norm=group_norm).eval()
        with torch.inference_mode():
            seconds = cpu_seconds(lambda: peer(pictures), repeats=2) / BATCH_SIZE  # noqa: B023
        print(
            f"{label:34}{1e3 * seconds:11.1f}{1 / seconds:11.1f}   {seconds / fastest:.1f} times the fastest above, "
            f"{seconds / full.get('torch', np.nan):.1f} times torch",
            flush=True,
        )


def measure_exactness(model: PoseModel, source: FrameSource, runtimes: list[str]) -> None:
    """How far key points move from torch in float32, on pictures all over the video."""
    wanted = np.linspace(0, len(source) - 1, 40).astype(int).tolist()
    pictures = [picture for _, picture in source.read(wanted)]
    measured = measure_runtimes(model, pictures, CPU, runtimes)
    print(f"\n{'moved, px (median)':34}" + "".join(f"{name:>20}" for name in measured))
    print(f"{'':34}" + "".join(f"{measured[name].moved_px:20.4f}" for name in runtimes if name in measured))


def measure_videos(model: PoseModel, videos: dict[str, FrameSource], runtimes: list[str]) -> None:
    """Frames per CPU second of `predict_to_file`, decoding included."""
    print(f"\n{'whole videos, frames per CPU s':34}{'whole pictures':>20}{'followed':>20}{'decoding alone':>20}")
    for label, source in videos.items():
        for name in runtimes:
            row = f"{label + ', ' + name:34}"
            for follow in (False, True):
                if follow and source.size[0] == SMALL:  # a crop would be the whole picture
                    row += f"{'':20}"
                    continue
                many = FEW // 4 if source.size[0] == LARGE and not follow else min(MANY, len(source))
                few = many // 4
                spent = [_predict_seconds(model, source, count, name, follow) for count in (few, many)]
                row += f"{(many - few) / (spent[1] - spent[0]):20.1f}"
            print(row + f"{_decoded_per_second(source):20.1f}", flush=True)


def _decoded_per_second(source: FrameSource) -> float:
    count = min(MANY, len(source))
    started = time.process_time()
    for _ in source.read(range(count)):
        pass
    return count / (time.process_time() - started)


def _predict_seconds(model: PoseModel, source: FrameSource, count: int, name: str, follow: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        predict_to_file(
            {"view": model},
            {"view": source},
            Path(folder) / "keypoints2d.nc",
            frames={"view": np.arange(count)},
            threads=1,
            runtime=name,
            follow=follow,
        )
        return time.process_time() - started


def measure_followed(model: PoseModel, source: FrameSource, runtimes: list[str]) -> None:
    """How much the points of a followed animal differ from those of whole pictures (torch or OpenVINO, float32)."""
    name = "openvino" if "openvino" in runtimes else "torch"
    engine = create_engine(name, model.network, CPU)
    tracker = Tracker(model, source.size, engine)
    moved, more_confident, larger = [], [], []
    for index, picture in source:
        if index == MANY:
            break
        found = tracker.track(picture)
        whole = model.estimate(model.prepare(picture)[None], source.size, engine)
        seen = whole.confidence[0] > 0.5
        moved.append(np.hypot(*(found.position - whole.position)[0][seen].T))
        more_confident.append((found.confidence - whole.confidence)[0])
        traces = [np.trace(one.covariance[0], axis1=-2, axis2=-1)[seen] for one in (found, whole)]
        larger.append(traces[0] / traces[1])
    distance, confidence, ratio = (np.concatenate(parts) for parts in (moved, more_confident, larger))
    print(
        f"\nfollowed against whole pictures, {len(moved)} frames, {tracker.searches} searches: points apart "
        f"{np.median(distance):.3f} px (median), {np.quantile(distance, 0.9):.3f} (90 %), "
        f"{np.quantile(distance, 0.99):.3f} (99 %), {distance.max():.1f} (most); confidence by "
        f"{np.quantile(np.abs(confidence), 0.95):.4f} (95 %); variance times {np.median(ratio):.4f} (median)"
    )


def measure_latency(model: PoseModel, source: FrameSource, runtimes: list[str]) -> None:
    """Seconds from a picture to its points, one picture after another: of an animal that is there, goes and returns."""
    columns = ("CPU: median", "95 %", "99 %", "most", "wall: median", "99 %", "most")
    print(f"\n{'a picture to its points, ms':34}" + "".join(f"{column:>14}" for column in columns))
    wanted = np.linspace(0, len(source) - 1, 15).astype(int).tolist()
    empty = np.median([picture for _, picture in source.read(wanted)], axis=0).astype(np.uint8)
    pictures = [picture for _, picture in source.read(range(min(MANY, len(source))))]
    for side in (None, LARGE):
        for name in runtimes:
            _measure_stream(model, pictures, empty, name, side)


def _measure_stream(model: PoseModel, pictures: list[Picture], empty: Picture, name: str, side: int | None) -> None:
    """Two rows of the table: pictures with the animal, and those without it up to where it is found again."""

    def show(picture: Picture) -> Picture:
        return picture if side is None else place_on_canvas(picture, side)

    samples = [model.prepare(picture)[None] for picture in pictures[:4]]
    engine = create_engine(name, model.network, CPU, samples=samples, threads=1)
    size = show(empty).shape[1::-1]
    tracker = Tracker(model, size, engine)
    tracker.warm_up()
    for picture in pictures[:20]:
        tracker.track(show(picture))
    followed = [_time_picture(tracker, show(picture)) for picture in pictures[20 : 20 + STREAMED]]
    searches = tracker.searches
    lost = [_time_picture(tracker, show(empty)) for _ in range(AWAY)]
    back = 0
    while not lost[-1][2] and back < AWAY:
        lost.append(_time_picture(tracker, show(pictures[back])))
        back += 1
    for label, rows in (("followed", followed), ("lost", lost)):
        cpu, wall, found = np.array(rows).T
        quantiles = [*np.quantile(cpu, (0.5, 0.95, 0.99, 1)), *np.quantile(wall, (0.5, 0.99, 1))]
        row = f"{f'{size[0]}x{size[1]}, {name}, {label}':34}" + "".join(f"{1e3 * one:14.1f}" for one in quantiles)
        print(f"{row}   of {len(rows)}, {int(found.sum())} with points", flush=True)
    print(f"{'':34}{searches} searches while followed, {tracker.searches - searches} later; back in picture {back}")


def _time_picture(tracker: Tracker, picture: Picture) -> tuple[float, float, bool]:
    """CPU and wall seconds of one picture, and whether any point was seen in it."""
    started, wall_started = time.process_time(), time.perf_counter()
    found = tracker.track(picture)
    return time.process_time() - started, time.perf_counter() - wall_started, bool((found.confidence > 0.5).any())


def place_on_canvas(picture: Picture, side: int) -> Picture:
    """A square picture of another size: the middle of this one, or grey around it."""
    height, width = picture.shape[:2]
    shown = [min(length, side) for length in (width, height)]
    x, y = ((length - part) // 2 for length, part in zip((width, height), shown, strict=True))
    left, top = ((side - part) // 2 for part in shown)
    canvas = np.full((side, side, 3), 120, np.uint8)
    canvas[top : top + shown[1], left : left + shown[0]] = picture[y : y + shown[1], x : x + shown[0]]
    return canvas


def on_canvas(source: FrameSource, side: int, folder: Path) -> VideoFile:
    """The video's first frames on square pictures of another size."""
    frames = (place_on_canvas(picture, side) for _, picture in source.read(range(min(MANY // 2, len(source)))))
    path = folder / f"{side}.mp4"
    write_video(path, frames, fps=30.0)
    return VideoFile(path, threads=1)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained network")
    parser.add_argument("--runtime", action="append", help="only this one (repeatable); by default all installed")
    parser.add_argument("--video", type=Path, help="a video that it was trained for")
    parser.add_argument("--only", choices=["latency"], help="only this part")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {' '.join(f'{load:.2f}' for load in os.getloadavg())}; torch {torch.__version__}")
    runtimes = arguments.runtime or installed_runtimes(CPU)
    if arguments.only is None:
        measure_networks(runtimes)
    if arguments.model is not None and arguments.video is not None:
        model, source = PoseModel.load(arguments.model), VideoFile(arguments.video, threads=1)
        if arguments.only is None:
            measure_exactness(model, source, runtimes)
            measure_followed(model, source, runtimes)
            with tempfile.TemporaryDirectory() as folder:
                videos = {side: on_canvas(source, side, Path(folder)) for side in (SMALL, LARGE)}
                every = [videos[SMALL], source, videos[LARGE]]
                measure_videos(model, {f"{one.size[0]}x{one.size[1]}": one for one in every}, runtimes)
        measure_latency(model, source, runtimes)
    print(f"load {' '.join(f'{load:.2f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
