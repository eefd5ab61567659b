"""Damages every file that multipose reads, runs the command line on it, and tells what came of it.

    export OMP_NUM_THREADS=1
    python benchmarks/damage.py --prepare PROJECT          # calibrated, without trained networks (they find nothing)
    python benchmarks/damage.py PROJECT --count 500 --seed 0

PROJECT may be any finished copy of the sample project (`multipose demo`). Each damage is made on a fresh copy; its
place and its kind come from the seed. The commands that read the file run one after another, each with limits on time
and memory, and end in one of these classes; the last six are faults:

- clear: an error that names the file; told: a result, and a warning that names it; right: the result of the undamaged
  project (or a cache that was made again);
- vague: an error that does not name the file; silent: another result without a word; traceback; hang; memory; code: a
  program in the file ran (or the process crashed).

Prints a line for each fault and the counts by file and class. POSIX only.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import multipose
from multipose.cli.main import COMMANDS, main
from multipose.documents import read_arrays
from multipose.pose2d import PoseModel
from multipose.pose2d.model import MODEL_FILE, WEIGHTS_FILE
from multipose.pose2d.network import PoseNetwork
from multipose.project import Project
from multipose.skeleton import Skeleton
from multipose.tracks import load_tracks, save_tracks
from multipose.video import VideoFile, write_video

FAULTS = ("vague", "silent", "traceback", "hang", "memory", "code")
FRAMES = 40  # of the recording that is predicted, in a prepared project
Random = np.random.Generator
Change = Callable[[Path, Random], None]


@dataclass(frozen=True)
class Target:
    """A file, the damages made to it, the commands that read it, and what they make (compared with the undamaged)."""

    name: str
    path: str
    changes: dict[str, Change]
    commands: tuple[str, ...]
    result: str = ""


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    seconds: float
    megabytes: float
    text: str
    timed_out: bool


class Touch:
    """Unpickled, it makes a file: the witness that something in a file ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# Damages of bytes: for every file


def cut(path: Path, random: Random) -> None:
    os.truncate(path, int(random.uniform(0.02, 0.98) * path.stat().st_size))


def empty(path: Path, _: Random) -> None:
    os.truncate(path, 0)


def flip(path: Path, random: Random) -> None:
    data = np.fromfile(path, np.uint8)
    for place in random.integers(0, len(data), random.choice([1, 10, 100])):
        data[place] ^= 1 << random.integers(8)
    data.tofile(path)


def zeros(path: Path, random: Random) -> None:
    data = np.fromfile(path, np.uint8)
    start = int(random.integers(0, len(data)))
    data[start : start + 4096] = 0
    data.tofile(path)


def noise(path: Path, random: Random) -> None:
    path.write_bytes(random.bytes(2000))


def pipe(path: Path, _: Random) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path, _: Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def loop(path: Path, _: Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def folder(path: Path, _: Random) -> None:
    path.unlink()
    path.mkdir()


def huge(path: Path, _: Random) -> None:
    os.truncate(path, 10**11)


def other_view(path: Path, _: Random) -> None:
    shutil.copy(path.with_name("left.mp4"), path)


BYTES: dict[str, Change] = {
    change.__name__: change for change in (cut, empty, flip, zeros, noise, pipe, device, loop, folder)
}
TEXT = BYTES | {"huge": huge}  # not for videos, which may be large

# Damages of values


def replaced(*pairs: tuple[str, str]) -> Change:
    """One of several replacements in a text."""

    def change(path: Path, random: Random) -> None:
        text = path.read_text(encoding="utf-8")
        fitting = [pair for pair in pairs if pair[0] in text]
        old, new = fitting[int(random.integers(len(fitting)))]
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def written(*texts: str) -> Change:
    return lambda path, random: path.write_text(texts[int(random.integers(len(texts)))], encoding="utf-8")


def number_of(key: str) -> Change:
    """The number behind a key of a TOML becomes one that cannot be."""

    def change(path: Path, random: Random) -> None:
        value = str(random.choice(["nan", "inf", "-1.0", "1e300", '"text"', "[]"]))
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(f"{key} = {value}" if line.startswith(f"{key} =") else line for line in lines) + "\n")

    return change


def cell(*values: str) -> Change:
    """One cell of a table below its header."""

    def change(path: Path, random: Random) -> None:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        row = int(random.integers(1, len(rows)))
        rows[row][int(random.integers(len(rows[row])))] = str(random.choice(values))
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    return change


def dataset(name: str, *values: float) -> Change:
    """One value of a dataset in an HDF5 file."""

    def change(path: Path, random: Random) -> None:
        with h5py.File(path, "r+") as file:
            place = tuple(int(random.integers(size)) for size in file[name].shape)
            file[name][place] = random.choice(values)

    return change


def attribute(name: str, *values: Any) -> Change:
    def change(path: Path, random: Random) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = values[int(random.integers(len(values)))]

    return change


def declared(name: str) -> Change:
    """A dataset that declares terabytes and stores nothing."""

    def change(path: Path, _: Random) -> None:
        with h5py.File(path, "r+") as file:
            kind, shape = file[name].dtype, list(file[name].shape)
            del file[name]
            shape[-1] = 10**12 // 8
            file.create_dataset(name, shape, kind, chunks=tuple(min(length, 64) for length in shape))

    return change


def array(change_of: Callable[[np.ndarray, Random], np.ndarray], name: str, checksum: bool) -> Change:
    """An array of an npz, with its checksum mended or not."""

    def change(path: Path, random: Random) -> None:
        values = dict(np.load(path)) if checksum else read_arrays(path)
        values[name] = change_of(values[name], random)
        np.savez(path, **values)

    return change


def declared_array(path: Path, _: Random) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("covariance.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def hostile_attribute(path: Path, _: Random) -> None:
    with h5py.File(path, "r+") as file:
        for node in ("/", "df_with_missing"):
            for name in ("TITLE", "info", "non_index_axes", "pandas_type"):
                file[node].attrs[name] = np.bytes_(pickle.dumps([Touch(witness_of(path))], 0))


def hostile_block(path: Path, _: Random) -> None:
    with h5py.File(path, "r+") as file:
        group = file["df_with_missing"]
        del group["block0_values"]
        block = group.create_dataset("block0_values", (1,), dtype=h5py.vlen_dtype(np.uint8))
        block[0] = np.frombuffer(pickle.dumps(Touch(witness_of(path))), np.uint8)
        for name, value in (("CLASS", "VLARRAY"), ("PSEUDOATOM", "object"), ("VERSION", "1.4")):
            block.attrs[name] = np.bytes_(value)


def weights(value: float) -> Change:
    """All weights of a network become one value, and the hash is mended."""

    def change(path: Path, _: Random) -> None:
        import safetensors.torch
        import torch

        tensors = safetensors.torch.load_file(path)
        filled = {n: torch.full_like(t, value) if t.is_floating_point() else t for n, t in tensors.items()}
        before = hashlib.sha256(path.read_bytes()).hexdigest()
        safetensors.torch.save_file(filled, path)
        after = hashlib.sha256(path.read_bytes()).hexdigest()
        description = path.with_name(MODEL_FILE)
        description.write_text(description.read_text().replace(before, after))

    return change


def witness_of(path: Path) -> Path:
    return next(parent for parent in path.parents if (parent / "multipose.toml").is_file()) / "RAN"


JSON = written("[1, 2]", "7", "null", "{}", "[" * 100_000, '{"products": null, "schema_version": 1}')
LOCK = written("", "{}", "[" * 100_000, '{"pid": 1e30, "host": "x", "since": ""}')
FOCAL, BENT = "matrix = [ [ ", "distortions = [ "
MODEL_KEYS = ("scale", "presence_slope", "presence_offset", "covariance_floor", "covariance_spread", "backbone")
COVARIANCE: dict[str, Change] = {
    "negative": array(lambda c, _: -c, "covariance", False),
    "zero": array(lambda c, _: c * 0, "covariance", False),
    "nan": array(lambda c, _: c * np.nan, "covariance", False),
    "asymmetric": array(lambda c, _: c + np.triu(np.sqrt(np.outer(np.diag(c), np.diag(c)))), "covariance", False),
    "small": array(lambda c, _: c[:10, :10], "covariance", False),
    "x 1e12": array(lambda c, _: c * 1e12, "covariance", True),
    "declares 8 TB": declared_array,
}

TARGETS = (
    Target(
        "toml",
        "multipose.toml",
        TEXT | {"nesting": written("a = " + "[" * 100_000), "square": number_of("square"), "unit": number_of("unit")},
        ("status",),
    ),
    Target(
        "manifest",
        "recordings.csv",
        TEXT | {"cell": cell("../../x", "x" * 200_000, "**", "/dev/zero", "x" * 300)},
        ("status", "predict day2"),
        "recordings/day2/keypoints2d.nc",
    ),
    Target(
        "labels",
        "labels/labels.csv",
        TEXT | {"cell": cell("../../x", "x" * 200_000, "nan", "1e300", "-1", "99999999", "absent")},
        ("status", "label check"),
    ),
    Target(
        "board",
        "calibration/board/front.mp4",
        BYTES | {"other view": other_view},
        ("calibrate",),
        "calibration/board/rig.toml",
    ),
    Target("corners", "calibration/board/corners.npz", BYTES, ("view corners --to c.html",), "c.html"),
    Target(
        "rig",
        "calibration/board/rig.toml",
        BYTES
        | {
            "unit": replaced(('unit = "mm"', 'unit = "km"'), ('unit = "mm"', "unit = 3")),
            "matrix": replaced(*((FOCAL, FOCAL + value) for value in ("1e300", "-", "nan, "))),
            "distortions": replaced(*((BENT, BENT + value) for value in ("1e10", "inf, "))),
            "size": replaced(("size = [ 480", "size = [ -480"), ("size = [ 480", "size = [ 1e300")),
        },
        ("reconstruct day2",),
        "recordings/day2/trajectories3d.nc",
    ),
    Target(
        "covariance",
        "calibration/board/covariance.npz",
        BYTES | COVARIANCE,
        ("kinematics day2",),
        "recordings/day2/kinematics.nc",
    ),
    Target(
        "keypoints",
        "recordings/day2/keypoints2d.nc",
        BYTES
        | {
            "position": dataset("position", 1e12, np.inf),
            "confidence": dataset("confidence", -0.5, 3.4),
            "covariance": dataset("covariance", -1.0, np.inf),
            "fps": attribute("fps", 0.0, np.nan, "fast", -3.0),
            "unit": attribute("unit", "mm", 3),
            "kind": attribute("kind", "trajectories3d", 1),
            "declares": declared("position"),
        },
        ("reconstruct day2", "view keypoints day2 --to k.html"),
        "recordings/day2/trajectories3d.nc",
    ),
    Target(
        "trajectories",
        "recordings/day2/trajectories3d.nc",
        BYTES
        | {
            "position": dataset("position", np.inf),
            "covariance": dataset("covariance", -1.0, np.inf),
            "unit": attribute("unit", 3, ""),
            "declares": declared("position"),
        },
        ("kinematics day2", "view player day2"),
        "recordings/day2/kinematics.nc",
    ),
    Target("video", "videos/day2/front.mp4", BYTES, ("predict day2",), "recordings/day2/keypoints2d.nc"),
    Target(
        "model",
        f"models/front/{MODEL_FILE}",
        BYTES | {key: number_of(key) for key in MODEL_KEYS},
        ("predict day2",),
        "recordings/day2/keypoints2d.nc",
    ),
    Target(
        "weights",
        f"models/front/{WEIGHTS_FILE}",
        BYTES | {"nan": weights(np.nan), "zero": weights(0.0)},
        ("predict day2",),
        "recordings/day2/keypoints2d.nc",
    ),
    Target("records", "recordings/day2/provenance.json", TEXT | {"values": JSON}, ("status", "reconstruct day2")),
    Target("hashes", ".multipose/hashes.json", TEXT | {"values": JSON}, ("status",)),
    Target("lock", ".multipose/lock", {"values": LOCK}, ("reconstruct day2",)),
    Target(
        "import",
        "in/CollectedData_me.h5",
        BYTES
        | {
            "hostile attribute": hostile_attribute,
            "hostile block": hostile_block,
            "declares": declared("df_with_missing/block0_values"),
        },
        ("label import in/CollectedData_me.h5 --view front --recording other",),
    ),
)


def prepare(project: Path) -> None:
    """The sample project, calibrated, with the true key points as found, and networks that were not trained."""
    sample = Path(multipose.__file__).parent.parent / "sample_data"
    shutil.copytree(sample, project, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in ("front", "left", "right"):
        video = project / "videos" / "day2" / f"{name}.mp4"
        frames = [
            picture for _, picture in zip(range(FRAMES), (picture for _, picture in VideoFile(video)), strict=False)
        ]
        write_video(video, frames, 30.0)
    skeleton = Project.open(project).config.skeleton
    for name in ("front", "left", "right"):
        network = PoseNetwork("efficientnet_lite0", len(skeleton), pretrained=False).eval()
        PoseModel(network, "efficientnet_lite0", Skeleton(skeleton.keypoints), 0.5).save(project / "models" / name)
    truth = load_tracks(project / "truth" / "day2_keypoints2d.nc").isel(time=slice(FRAMES))
    (project / "recordings" / "day2").mkdir(parents=True)
    save_tracks(truth, project / "recordings" / "day2" / "keypoints2d.nc")
    with (project / "multipose.toml").open("a") as file:
        file.write('\n[kinematics.distances]\nhead = ["nose", "neck"]\n')
    for command in (
        "calibrate",
        "reconstruct day2",
        "kinematics day2",
        "view player day2",
        "label export out",
        "status",
    ):
        done = run(project, command, 600, 1 << 40)
        if done.code:
            raise SystemExit(f"{command} failed on the undamaged project:\n{done.text}")
    shutil.copytree(project / "out" / "front" / "labeled-data" / "day1", project / "in")
    (project / "in" / "CollectedData_multipose.h5").rename(project / "in" / "CollectedData_me.h5")
    shutil.rmtree(project / "out")
    (project / ".multipose" / "lock").unlink(missing_ok=True)


def run(project: Path, command: str, seconds: float, most_bytes: int) -> Run:
    """Run a command in a forked process, so that libraries are loaded once."""
    out = project.parent / "out.txt"
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        with out.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(project)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            main(command.split(), standalone_mode=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001  (a forked process must end here, whatever comes)
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    timed_out, peak = False, 0
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        peak = max(peak, _resident(pid))
        timed_out = time.monotonic() - began > seconds
        if timed_out or peak > most_bytes:
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(0.02)
    peak = max(peak, usage.ru_maxrss * 1024)
    text = out.read_text(encoding="utf-8", errors="replace")
    return Run(os.waitstatus_to_exitcode(status), time.monotonic() - began, peak / 1e6, text, timed_out)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def content(path: Path) -> Any:
    """What is compared of a product: the values of its arrays, or its text without what changes from run to run."""
    if path.suffix == ".nc" and path.is_file():
        try:
            with h5py.File(path) as file:
                return {name: file[name][()].tobytes() for name in sorted(file) if isinstance(file[name], h5py.Dataset)}
        except OSError:
            return None
    return path.read_bytes() if path.is_file() else None


def judge(target: Target, command: str, project: Path, done: Run, wanted: tuple[Any, str], most_bytes: int) -> str:
    name = Path(target.path).name
    flat = "".join(done.text.split())  # the console breaks lines
    if (project / "RAN").exists() or (done.code < 0 and not done.timed_out and done.megabytes * 1e6 <= most_bytes):
        return "code"
    if done.timed_out:
        return "hang"
    if done.megabytes * 1e6 > most_bytes:
        return "memory"
    if "Traceback (most recent" in done.text:
        return "traceback"
    if done.code:
        return "clear" if name in flat or Path(target.path).parent.name in flat else "vague"
    same = content(project / target.result) == wanted[0] if target.result else done.text == wanted[1]
    if same or command == "status":  # which says what is there, and takes no values from it
        return "right"
    return "told" if name in flat or f"{Path(target.path).stem}:" in flat else "silent"


def damages(count: int, seed: int, only: str | None) -> Iterator[tuple[Target, str, int]]:
    """Target, kind and seed of each damage; all kinds of all targets in turn, in an order that the seed draws."""
    pairs = [(target, kind) for target in TARGETS for kind in target.changes if only in (None, target.name)]
    random = np.random.default_rng(seed)
    for number in range(count):
        if number % len(pairs) == 0:
            order = random.permutation(len(pairs))
        yield *pairs[order[number % len(pairs)]], seed * 1_000_003 + number


def main_program() -> None:
    arguments = parse()
    if arguments.prepare:
        prepare(arguments.project)
        return
    for module in ("torch", *(module for module, _ in COMMANDS.values()), "multipose.pipeline.running"):
        __import__(module)
    most = int(arguments.gigabytes * 1e9)
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "project"
        wanted: dict[tuple[str, str], tuple[Any, str]] = {}
        for target, kind, seed in damages(arguments.count, arguments.seed, arguments.only):
            for command in target.commands:
                key = (target.name, command)
                if key not in wanted:
                    shutil.copytree(arguments.project, place, symlinks=True)
                    done = run(place, command, 10 * arguments.seconds, 1 << 40)
                    wanted[key] = (content(place / target.result) if target.result else None, done.text)
                    shutil.rmtree(place)
                shutil.copytree(arguments.project, place, symlinks=True)
                target.changes[kind](place / target.path, np.random.default_rng(seed))
                done = run(place, command, arguments.seconds, most)
                verdict = judge(target, command, place, done, wanted[key], most)
                counts[target.name, verdict] += 1
                if verdict in FAULTS or arguments.verbose:
                    last = (done.text.strip().splitlines() or [""])[-1][:200]
                    print(
                        f"{verdict:9s} | {target.name} | {kind}, seed {seed} | {command} | rc {done.code}, "
                        f"{done.seconds:.1f} s, {done.megabytes:.0f} MB | {last}",
                        flush=True,
                    )
                shutil.rmtree(place)
    verdicts = sorted({verdict for _, verdict in counts})
    print(json.dumps({verdict: sum(n for (_, v), n in counts.items() if v == verdict) for verdict in verdicts}))
    print(json.dumps({f"{name} {verdict}": n for (name, verdict), n in sorted(counts.items())}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=lambda text: Path(text).absolute())
    parser.add_argument("--prepare", action="store_true", help="make the project instead")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[target.name for target in TARGETS])
    parser.add_argument("--seconds", type=float, default=20.0, help="limit of each command")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="limit of each command")
    parser.add_argument("--verbose", action="store_true", help="print every damage")
    return parser.parse_args()


if __name__ == "__main__":
    main_program()
