"""The project that `benchmarks/damage.py` damages: its files, each with its damages and the commands that read it."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import toml
import xarray as xr
from damage_kinds import (
    BYTES,
    CHECKPOINT,
    CORNERS,
    COVARIANCE,
    HDF5,
    JSON,
    MP4,
    NESTED,
    NPZ,
    PICTURE,
    PLACE,
    TEXT,
    TOML,
    VIDEO,
    WEIGHTS,
    Change,
    added,
    attribute,
    cell,
    hdf5_value,
    hostile_block,
    hostile_text_attribute,
    in_tree,
    of_tree,
    other,
    renamed,
    replaced,
    table,
    written,
)

import multipose
from multipose.formats import deeplabcut, movement
from multipose.formats import table as own_table
from multipose.labels import Labels
from multipose.pose2d.model import MODEL_FILE, WEIGHTS_FILE
from multipose.project import Project
from multipose.tracks import load_tracks, save_tracks
from multipose.video import VideoFile, write_picture, write_video

VIEWS = ("front", "left", "right")
FRAMES = 40  # of the recording that is reconstructed
CLIP = 25  # of what networks are run on
LABELLED = 12  # frames of each view
BOARDS = 10  # pictures of the board, as pictures
STEPS = 6  # of a network's training


def _line(text: str, path: Path, random: np.random.Generator) -> None:
    lines = path.read_text().splitlines()
    lines[int(random.integers(1, len(lines)))] = text
    path.write_text("\n".join(lines) + "\n")


def _made_and(change: Change, path: Path, random: np.random.Generator) -> None:
    path.touch()
    change(path, random)


@dataclass(frozen=True)
class Target:
    """A file, the damages made to it, the commands that read it, and what they make (compared with the undamaged).

    `plain` files are texts in which a flipped bit may leave another valid value behind, where nothing can tell;
    `allowed` are damages that leave a project that may be, with another result.
    """

    name: str
    path: str
    changes: dict[str, Change]
    commands: tuple[str, ...]
    result: str = ""
    plain: bool = False
    allowed: frozenset[str] = frozenset()


SMOOTH = "recordings/day2/trajectories3d_smooth.nc"
TRACKS = "recordings/day2/trajectories3d.nc"
FOUND = "recordings/clip/keypoints2d.nc"
PLAYER = "recordings/day2/player.html"
RIG = "calibration/board/rig.toml"
FOCAL, BENT = "matrix = [ [ ", "distortions = [ "

CONFIG = TOML | {
    "min_views of 10^11": replaced(("min_confidence = 0.85", "min_views = 99999999999")),
    "max_error_px of 1e-300": replaced(("min_confidence = 0.85", "max_error_px = 1e-300")),
    "a limb of 1e300": added('\n[smoothing]\nlimb_lengths = [["nose", "neck", 1e300]]\n'),
    "scale of a view 1e9": added("\n[view.front]\nscale = 1e9\n"),
    "scale of a view 1e-9": added("\n[view.front]\nscale = 1e-9\n"),
    "crop beyond the picture": added("\n[view.front]\ncrop = [0, 0, 100000, 100000]\n"),
    "crop of 2^70": added("\n[view.front]\ncrop = [0, 0, 1180591620717411303424, 5]\n"),
    "a quarter turn": added("\n[view.front]\nquarter_turns = 1\n"),
    "board of 10^9 squares": replaced(("columns = 8", "columns = 1000000000")),
    "board of 10^4 squares": replaced(("columns = 8", "columns = 10000")),
    "unit of the board": replaced(('unit = "mm"', 'unit = "km"')),
    "dictionary": replaced(('"4X4_50"', '"9X9_5"')),
    "max_boards of 10^12": replaced(("max_boards = 12", "max_boards = 1000000000000")),
    "backbone a path": added('\n[training]\nbackbone = "../../x"\n'),
    "batch_size of 10^12": replaced(("mirror = false", "mirror = false\nbatch_size = 1000000000000")),
    "labelled_again a device": added('\n[training]\nlabelled_again = "/dev/zero"\n'),
    "views twice": replaced(('views = ["front"', 'views = ["front", "front"')),
    "a view a path": replaced(('views = ["front"', 'views = ["../../front"')),
    "a key point a path": replaced(('    "nose",', '    "../../nose",')),
    "10^5 key points": replaced(('    "nose",', '    "nose",' + "".join(f'"k{i}",' for i in range(100_000)))),
    "version 2^70": replaced(("schema_version = 1", "schema_version = 1180591620717411303424")),
    "another kinematic": added('\n[kinematics.angles]\na = ["nose", "nose", "nose"]\n'),
}
MANIFEST = table(
    1,
    **{
        "a pattern **": cell("**", column="front"),
        "a pattern /**/*": cell("/**/*", column="front"),
        "a pattern of pipes": cell("videos/*/*", column="front"),
        "a folder of all": cell("/", column="front"),
        "a name of 300": cell("x" * 300, column="name"),
        "a name of 100k": cell("x" * 100_000, column="name"),
        "name a path": cell("../../x", column="name"),
        "offsets of 10^9": written(
            "name,front,left,right,calibration,offset_front\n"
            "day2,videos/day2/front.mp4,videos/day2/left.mp4,videos/day2/right.mp4,board,1000000000\n"
            "clip,videos/clip/front.mp4,videos/day2/left.mp4,,board,1000000000\n"
        ),
        "offsets of 10^30": written(
            "name,front,left,right,calibration,offset_front\n"
            f"clip,videos/clip/front.mp4,videos/day2/left.mp4,,board,1{'0' * 30}\n"
        ),
        "a session of elsewhere": cell("../../x", column="calibration"),
    },
)
LABELS = table(
    1,
    **{
        "frame without a picture": cell("123456", column="frame"),
        "frame negative": cell("-5", column="frame"),
        "view unknown": cell("behind", column="view"),
        "recording unknown": cell("day9", column="recording"),
        "recording a path": cell("../../x", column="recording"),
        "state unknown": cell("perhaps", column="state"),
        "key point unknown": cell("wing", column="keypoint"),
        "schema of tomorrow": cell("9", column="schema_version"),
    },
)
RIG_FILE = (
    TOML
    | of_tree("matrix")
    | of_tree("distortions")
    | of_tree("size")
    | of_tree("translation")
    | {
        "unit km": replaced(('unit = "mm"', 'unit = "km"')),
        "focal length 1e300": in_tree([[1e300, 0.0, 240.0], [0.0, 1e300, 180.0], [0.0, 0.0, 1.0]], "matrix"),
        "matrix of another shape": replaced((FOCAL, "matrix = [ 0.0, [ ")),
        "focal length negative": replaced((FOCAL, FOCAL + "-")),
        "focal length 1e-300": in_tree([[1e-300, 0.0, 240.0], [0.0, 1e-300, 180.0], [0.0, 0.0, 1.0]], "matrix"),
        "distortion 1e10": replaced((BENT, BENT + "1e10, ")),
        "size negative": replaced(("size = [ 480", "size = [ -480")),
        "size 10^30": replaced(("size = [ 480", "size = [ 1000000000000000000000000000000")),
        "names twice": replaced(('name = "left"', 'name = "front"')),
        "a name of elsewhere": replaced(('name = "left"', 'name = "behind"')),
        "another rig": other("truth/rig.toml"),
    }
)
KEYPOINTS = HDF5 | {
    "confidence -0.5": hdf5_value(-0.5, "confidence"),
    "confidence 3.4": hdf5_value(3.4, "confidence"),
    "covariance -1": hdf5_value(-1.0, "covariance"),
    "one covariance NaN": hdf5_value(np.nan, "covariance"),
    "confidence NaN": hdf5_value(np.nan, "confidence"),
    "keypoint renamed": renamed("keypoint", "nase"),
    "keypoint twice": renamed("keypoint", ""),
    "fps": attribute("fps", 0.0, np.nan, "fast", -3.0),
    "fps infinite": attribute("fps", np.inf),
    "unit mm": attribute("unit", "mm"),
    "kind": attribute("kind", "trajectories3d", 1),
    "shared_error": attribute("shared_error", 5.0, "much", -1.0, np.nan),
    "of another recording": other("truth/day1_keypoints2d.nc"),
    "trajectories in place": other("trajectories3d.nc"),
}
MOVEMENT = {name: change for name, change in KEYPOINTS.items() if not name.startswith(("keypoint", "trajectories"))}
TRAJECTORIES = HDF5 | {
    "covariance -1": hdf5_value(-1.0, "covariance"),
    "one covariance NaN": hdf5_value(np.nan, "covariance"),
    "unit": attribute("unit", 3, ""),
    "key points in place": other("keypoints2d.nc"),
    "of another recording": other("truth/day1_trajectories3d.nc"),
}
MODEL = TOML | of_tree("calibration") | of_tree("skeleton") | of_tree("scale") | {
    "backbone unknown": replaced(('backbone = "efficientnet_lite0"', 'backbone = "../../x"')),
    "scale 1e-9": in_tree(1e-9, "scale"),
    "scale 0": in_tree(0.0, "scale"),
    "of another view": other("models/left/model.toml"),
}  # fmt: skip
IMPORT_H5 = HDF5 | {"hostile block": hostile_block, "hostile info": hostile_text_attribute}
SLEAP = HDF5 | {
    "scores NaN": hdf5_value(np.nan, "point_scores"),
    "scores negative": hdf5_value(-1.0, "point_scores"),
    "positions 1e12": hdf5_value(1e12, "tracks"),
    "node twice": renamed("node_names", ""),
    "node a path": renamed("node_names", "../../x"),
    "of another view": other("left.h5"),
}
STAMPS = TEXT | {
    f"a line is {name}": partial(_line, text)
    for name, text in {"nan": "nan", "inf": "inf", "1e300": "1e300", "-1": "-1", "text": "noon", "10^5000": "9" * 5000,
                       "200k signs": "x" * 200_000, "two numbers": "0.1 0.2", "huge": str(2**90)}.items()
}  # fmt: skip


LOCK = {
    name: partial(_made_and, change)
    for name, change in {
        **BYTES,
        "empty object": written("{}"),
        "pid 1e30": written('{"pid": 1e30, "host": "x", "since": ""}'),
        "pid 10^30": written('{"pid": 1' + "0" * 30 + ', "host": "x", "since": ""}'),
        "pid inf": written('{"pid": Infinity, "host": "x", "since": ""}'),
        "nested": written(NESTED),
        "huge": lambda path, _: os.truncate(path, 10**11),
    }.items()
    if not name.startswith(("cut", "zeros", "1", "gone"))
}


def _foreign(kind: str, suffix: str, changes: dict[str, Change], *, plain: bool = False) -> Target:
    path, result = f"in/{kind}/front.{suffix}", f"recordings/of_{kind}/trajectories3d.nc"
    return Target(f"found {kind}", path, changes, (f"reconstruct of_{kind}",), result, plain)


TARGETS = (
    Target("lock", ".multipose/lock", LOCK, ("status", "kinematics day2")),
    Target("hashes", ".multipose/hashes.json", JSON, ("status",)),
    Target("records", "recordings/day2/provenance.json", JSON, ("status", "kinematics day2"), plain=True),
    Target("records of a network", "models/front/provenance.json", JSON, ("status",), plain=True),
    Target("records of a rig", "calibration/board/provenance.json", JSON, ("status", "view corners board"), plain=True),
    Target("evaluation", "models/front/evaluation.json", JSON, ("evaluate",), plain=True),
    Target("held out", "models/front/held_out.npz", NPZ, ("reconstruct day2",), TRACKS, allowed=frozenset({"gone"})),
    Target("pictures' record", "labels/frames/day1/front/extracted.json", JSON, ("label export out",), "out/front",
           plain=True),
    Target("toml", "multipose.toml", CONFIG, ("status", "reconstruct day2 --smooth", "predict clip"), SMOOTH,
           plain=True),
    Target("manifest", "recordings.csv", MANIFEST, ("status", "predict clip"), FOUND, plain=True),
    Target("labels", "labels/labels.csv", LABELS, ("label check", "label export out"), plain=True),
    Target("labelled picture", "labels/frames/day1/front/000000.png", PICTURE,
           ("label export out", "evaluate --view front --labels labels/labels.csv"), "out/front"),
    Target("import h5", "in/labels/CollectedData_me.h5", IMPORT_H5,
           ("label import in/labels/CollectedData_me.h5 --view front --replace",), "labels/labels.csv"),
    Target("import csv", "in/labels/CollectedData_me.csv", table(3),
           ("label import in/labels/CollectedData_me.csv --view front --replace",), "labels/labels.csv",
           plain=True),
    Target("import own", "in/own/own.csv", LABELS,
           ("label import in/own/own.csv --view front --recording day1",
            "evaluate --labels in/own/own.csv --view front"),
           plain=True),
    Target("import picture", "in/labels/img000000.png", PICTURE,
           ("label import in/labels/CollectedData_me.csv --view front --replace",), "labels"),
    Target("labelled again", "in/own/own.csv", LABELS, ("evaluate --view front --labelled-again in/own/own.csv",),
           plain=True),
    Target("frames to label", "in/frames.csv", table(1, **{"frame of 10^9": cell("1000000000", column="frame")}),
           ("label extract --frames in/frames.csv",), plain=True),
    _foreign("deeplabcut_csv", "csv", table(3), plain=True),
    _foreign("deeplabcut_h5", "h5", IMPORT_H5),
    _foreign("sleap_h5", "h5", SLEAP),
    _foreign("sleap_csv", "csv", table(1, **{"score 3.4": cell("-3.4", column="nose.score")}), plain=True),
    _foreign("movement", "nc", MOVEMENT),
    _foreign("own_csv", "csv", table(1, **{"confidence 3.4": cell("3.4", column="confidence")}), plain=True),
    Target("timestamps", "in/times/front.txt", STAMPS, ("reconstruct timed",), "recordings/timed/trajectories3d.nc",
           plain=True),
    Target("board video", "calibration/board/front.mp4", MP4 | {"of another view": other("left.mp4")},
           ("calibrate board",), RIG),
    Target("board picture", "calibration/cards/front/000003.png", PICTURE, ("calibrate cards",),
           "calibration/cards/rig.toml"),
    Target("corners", "calibration/board/corners.npz", CORNERS, ("view corners board --to c.html",), "c.html"),
    Target("rig", RIG, RIG_FILE, ("reconstruct day2", "view rig board --to r.html"), TRACKS, plain=True),
    Target("rig of anipose", "calibration/anipose/rig.toml", RIG_FILE, ("view rig anipose --to r.html",), "r.html",
           plain=True),
    Target("rig of fisheyes", "calibration/fisheye/rig.toml", RIG_FILE, ("view rig fisheye --to r.html",), "r.html",
           plain=True),
    Target("rig of telecentric lenses", "calibration/far/rig.toml", RIG_FILE, ("view rig far --to r.html",), "r.html",
           plain=True),
    Target("covariance", "calibration/board/covariance.npz", COVARIANCE, ("kinematics day2",),
           "recordings/day2/kinematics.nc"),
    Target("keypoints", "recordings/day2/keypoints2d.nc", KEYPOINTS,
           ("reconstruct day2", "view keypoints day2 --to k.html", "export day2 --format deeplabcut --to out"), TRACKS),
    Target("trajectories", TRACKS, TRAJECTORIES,
           ("kinematics day2", "view player day2", "export day2 --format anipose --to out"),
           "recordings/day2/kinematics.nc"),
    Target("smooth trajectories", SMOOTH, TRAJECTORIES, ("export day2 --format csv --smoothed --to out",), "out"),
    Target("kinematics", "recordings/day2/kinematics.nc", HDF5, ("status", "kinematics day2"),
           "recordings/day2/kinematics.nc"),
    Target("place of a table", "recordings/day2/trajectories3d.csv", PLACE, ("reconstruct day2",), TRACKS),
    Target("place of a rig", RIG, PLACE, ("calibrate board",), RIG),
    Target("place of key points", FOUND, PLACE, ("predict clip",), FOUND),
    Target("place of a page", PLAYER, PLACE, ("view player day2",), PLAYER),
    Target("place of a picture", "labels/frames/day1/left/000000.png", PLACE, ("label export out",), "out/left"),
    Target("video", "videos/clip/front.mp4", MP4, ("predict clip",), FOUND),
    Target("video avi", "in/film.avi", VIDEO, ("predict avi",), "recordings/avi/keypoints2d.nc"),
    Target("video mkv", "in/film.mkv", VIDEO, ("predict mkv",), "recordings/mkv/keypoints2d.nc"),
    Target("raw stream", "in/film.h264", VIDEO, ("add raw front=in/film.h264",)),
    Target("picture", "in/stills/000004.png", PICTURE, ("predict stills",), "recordings/stills/keypoints2d.nc"),
    Target("pages", "in/pages.tif", VIDEO, ("predict pages",), "recordings/pages/keypoints2d.nc"),
    Target("model", f"models/front/{MODEL_FILE}", MODEL, ("predict clip",), FOUND),
    Target("weights", f"models/front/{WEIGHTS_FILE}", WEIGHTS, ("predict clip",), FOUND),
    Target("checkpoint", "models/left/checkpoint.pt", CHECKPOINT, (f"train --view left --steps {STEPS} --seed 0",)),
    Target("fold's network", f"models/front/fold_networks/1_of_2/{MODEL_FILE}", MODEL,
           (f"train --view front --from front --folds 2 --steps {STEPS} --seed 0",)),
    Target("fold's weights", f"models/front/fold_networks/1_of_2/{WEIGHTS_FILE}", WEIGHTS,
           (f"train --view front --from front --folds 2 --steps {STEPS} --seed 0",)),
)  # fmt: skip


def prepare(project: Path, run: Callable[[Path, str], None]) -> None:
    """The sample project with few frames and labels, calibrated, tracked and measured, and networks of a few steps.

    Args:
        project: a folder that is made.
        run: runs a command line of multipose in the project, and ends the program where it fails.
    """
    sample = Path(multipose.__file__).parent.parent / "sample_data"
    shutil.copytree(sample, project, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (project / ".multipose").mkdir()
    config = project / "multipose.toml"
    text = config.read_text(encoding="utf-8")
    text = text.replace("mirror = true ", "mirror = false ").replace("# max_boards = 150 ", "max_boards = 12 ")
    text = text.replace('# lens = "auto" ', 'lens = "k1" ')
    config.write_text(text + '\n[kinematics.distances]\nhead = ["nose", "neck"]\n', encoding="utf-8")
    pictures = {view: _first(project / "videos" / "day2" / f"{view}.mp4", FRAMES) for view in VIEWS}
    for view in VIEWS:
        write_video(project / "videos" / "day2" / f"{view}.mp4", pictures[view], 30.0)
    truth = load_tracks(project / "truth" / "day2_keypoints2d.nc").isel(time=slice(FRAMES))
    _write_videos(project, pictures["front"][:CLIP])
    _write_labels(project)
    _write_found(project, truth)
    _write_manifest(project)
    _write_cards(project)
    (project / "recordings" / "day2").mkdir(parents=True)
    save_tracks(truth, project / "recordings" / "day2" / "keypoints2d.nc")
    for command in (
        "calibrate board",
        f"train --view front --steps {STEPS} --seed 0 --folds 2",
        f"train --view right --steps {STEPS} --seed 0",
        "label export out",
    ):
        run(project, command)
    with interrupted_training():
        run(project, f"train --view left --steps {STEPS} --seed 0")
    shutil.copytree(project / "out" / "front" / "labeled-data" / "day1", project / "in" / "labels")
    for suffix in (".h5", ".csv"):
        (project / "in" / "labels" / f"CollectedData_multipose{suffix}").rename(
            project / "in" / "labels" / f"CollectedData_me{suffix}"
        )
    shutil.copytree(project / "labels" / "frames" / "day1", project / "in" / "own" / "day1")
    shutil.rmtree(project / "out")
    _write_rigs(project)
    for command in ("reconstruct day2 --smooth", "kinematics day2", "view player day2", "predict clip", "status"):
        run(project, command)
    (project / ".multipose" / "lock").unlink(missing_ok=True)


@contextmanager
def interrupted_training() -> Iterator[None]:
    """While the block runs, a training of this process (and of those forked from it) ends after half of its steps."""
    from multipose.pose2d import training

    before = training.noting_interrupts

    @contextmanager
    def noting() -> Iterator[Callable[[], bool]]:
        count = itertools.count(1)
        yield lambda: next(count) >= STEPS // 2

    training.noting_interrupts = noting
    try:
        yield
    finally:
        training.noting_interrupts = before


def _first(path: Path, count: int) -> list[Any]:
    return [picture for _, picture in itertools.islice(VideoFile(path), count)]


def _write_videos(project: Path, pictures: list[Any]) -> None:
    (project / "videos" / "clip").mkdir()
    write_video(project / "videos" / "clip" / "front.mp4", pictures, 30.0)
    inside = project / "in"
    inside.mkdir()
    write_video(inside / "film.mkv", pictures, 30.0)
    for name, codec, pixels in (("film.avi", "mjpeg", "yuvj420p"), ("film.h264", "h264", "yuv420p")):
        with av.open(str(inside / name), "w") as container:
            stream = container.add_stream(codec, rate=30)
            stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixels
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    (inside / "stills").mkdir()
    for number, picture in enumerate(pictures):
        write_picture(inside / "stills" / f"{number:06d}.png", picture)
    cv2.imwritemulti(str(inside / "pages.tif"), [picture[..., ::-1] for picture in pictures[:8]])


def _write_labels(project: Path) -> None:
    path = project / "labels" / "labels.csv"
    names = Project.open(project).config.skeleton.keypoints
    labels = Labels.load(path, names)
    chosen = sorted(labels.table["frame"].unique())[:: max(1, 300 // LABELLED)][:LABELLED]
    few = Labels(labels.table[labels.table["frame"].isin(chosen)], names)
    few.save(path)
    (project / "in" / "own").mkdir()
    few.save(project / "in" / "own" / "own.csv")
    (project / "in" / "frames.csv").write_text("recording,view,frame\nday1,front,7\nday1,left,8\nday2,front,3\n")


def _write_found(project: Path, truth: xr.Dataset) -> None:
    """The true key points in the forms of other programs, a folder for each form."""
    for kind in ("deeplabcut_csv", "deeplabcut_h5", "sleap_h5", "sleap_csv", "movement", "own_csv", "times"):
        (project / "in" / kind).mkdir()
    for view in VIEWS:
        one = truth.sel(view=[view])
        deeplabcut.write_keypoints(one, project / "in" / "x")
        for suffix in ("csv", "h5"):
            written = next((project / "in" / "x").glob(f"{view}*.{suffix}"))
            written.rename(project / "in" / f"deeplabcut_{suffix}" / f"{view}.{suffix}")
        movement.write_keypoints(one, project / "in" / "movement" / f"{view}.nc")
        own_table.write_keypoints(one, project / "in" / "own_csv" / f"{view}.csv")
        (project / "in" / "times" / f"{view}.txt").write_text("".join(f"{i / 30:.6f}\n" for i in range(FRAMES)))
        position = one["position"].values[0, :, 0]
        score = np.where(np.isfinite(position[..., 0]), 0.9, np.nan)
        names = [str(name) for name in one["keypoint"].values]
        with h5py.File(project / "in" / "sleap_h5" / f"{view}.h5", "w") as file:
            file["tracks"] = position.transpose(2, 1, 0)[None]
            file["point_scores"] = score.T[None]
            file["node_names"] = np.array(names, dtype="S")
            file["track_names"] = np.array(["mouse"], dtype="S")
            file["track_occupancy"] = np.ones((FRAMES, 1), dtype=np.uint8)
        rows = [
            ",".join(
                ["track", "frame_idx", "instance.score", *(f"{n}.{x}" for n in names for x in ("x", "y", "score"))]
            )
        ]
        for frame in range(FRAMES):
            values = np.concatenate([position[frame], score[frame, :, None]], axis=-1).ravel()
            rows.append(
                ",".join(["mouse", str(frame), "0.9", *("" if np.isnan(v) else repr(float(v)) for v in values)])
            )
        (project / "in" / "sleap_csv" / f"{view}.csv").write_text("\n".join(rows) + "\n")
    shutil.rmtree(project / "in" / "x")


def _write_manifest(project: Path) -> None:
    columns = [
        "name",
        *VIEWS,
        "calibration",
        *(f"{kind}_{view}" for kind in ("keypoints", "timestamps") for view in VIEWS),
    ]
    rows: list[dict[str, str]] = [
        {"name": name, "calibration": "board", **{view: f"videos/{name}/{view}.mp4" for view in VIEWS}}
        for name in ("day1", "day2")
    ]
    for name, path in (("clip", "videos/clip/front.mp4"), ("avi", "in/film.avi"), ("mkv", "in/film.mkv"),
                       ("stills", "in/stills"), ("pages", "in/pages.tif")):  # fmt: skip
        rows.append({"name": name, "calibration": "board", "front": path})
    for kind, suffix in (("deeplabcut_csv", "csv"), ("deeplabcut_h5", "h5"), ("sleap_h5", "h5"), ("sleap_csv", "csv"),
                         ("movement", "nc"), ("own_csv", "csv")):  # fmt: skip
        found = {f"keypoints_{view}": f"in/{kind}/{view}.{suffix}" for view in VIEWS}
        rows.append({"name": f"of_{kind}", "calibration": "board", **found})
    timed = {f"keypoints_{view}": f"in/own_csv/{view}.csv" for view in VIEWS}
    timed |= {f"timestamps_{view}": f"in/times/{view}.txt" for view in VIEWS}
    rows.append({"name": "timed", "calibration": "board", **timed})
    lines = [",".join(columns), *(",".join(row.get(column, "") for column in columns) for row in rows)]
    (project / "recordings.csv").write_text("\n".join(lines) + "\n")


def _write_cards(project: Path) -> None:
    for view in VIEWS:
        source = VideoFile(project / "calibration" / "board" / f"{view}.mp4")
        numbers = np.linspace(0, len(source) - 1, BOARDS).astype(int)
        (project / "calibration" / "cards" / view).mkdir(parents=True)
        for number, (_, picture) in enumerate(source.read(numbers)):
            write_picture(project / "calibration" / "cards" / view / f"{number:06d}.png", picture)


def _write_rigs(project: Path) -> None:
    """The calibrated rig in other forms: as anipose writes it, and with other lenses."""
    text = (project / RIG).read_text(encoding="utf-8")
    for name in ("anipose", "fisheye", "far"):
        rig = toml.loads(text)
        for table_of in rig.values():
            if "matrix" in table_of:
                table_of["distortions"] = {"anipose": 5, "fisheye": 4, "far": 2}[name] * [0.0]
                if name == "fisheye":
                    table_of["fisheye"] = True
                if name == "far":
                    table_of["model"] = "telecentric"
                    table_of["matrix"] = [[3.0, 0.0, 240.0], [0.0, 3.0, 180.0], [0.0, 0.0, 1.0]]
        (project / "calibration" / name).mkdir()
        (project / "calibration" / name / "rig.toml").write_text(toml.dumps(rig), encoding="utf-8")
