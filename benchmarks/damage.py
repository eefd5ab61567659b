"""Damages every file that multipose reads, runs the command line on it, and tells what came of it.

    export OMP_NUM_THREADS=1
    python benchmarks/damage.py --prepare PROJECT          # the sample project, small; networks of a few steps
    python benchmarks/damage.py PROJECT --count 500 --seed 0
    python benchmarks/damage.py PROJECT --only rig --only covariance

The files and their damages are those of `damage_targets.py` and `damage_kinds.py`. Each damage is made on a fresh copy;
its place comes from the seed. The commands that read the file run one after another, each with limits on time and
memory, and end in one of these classes; the last six are faults:

- clear: an error that names the file; told: a result, and words about the file that the undamaged project does not get;
  right: the result of the undamaged project (or a cache that was made again); plausible: another result from bits or
  cuts of a text that has no checksum, which left other values that can be;
- vague: an error that does not name the file; silent: another result without a word; traceback; hang; memory; code: a
  program in the file ran (or the process crashed).

Prints a line for each fault and the counts by file and class. POSIX only; files that may not be read are tried as
another user, which takes root.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from damage_kinds import CHANCE, WITNESS
from damage_targets import TARGETS, Target, prepare

import multipose
from multipose.cli.main import COMMANDS, main

FAULTS = ("vague", "silent", "traceback", "hang", "memory", "code")
NOBODY = 65534
_LARGE = 1 << 20  # bytes


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    seconds: float
    megabytes: float
    text: str
    timed_out: bool


def run(project: Path, command: str, seconds: float, most_bytes: int, user: int = 0) -> Run:
    """Run a command in a forked process, so that libraries are loaded once."""
    out = project.parent / "out.txt"
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _run_here(project, command, out, user)
    timed_out, peak = False, 0
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        worked, waits, resident = _state(pid)
        peak = max(peak, resident)
        late = time.monotonic() - began
        timed_out = worked > seconds or (late > seconds and waits and worked < late / 10) or late > 10 * seconds
        if timed_out or peak > most_bytes:
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(0.02)
    peak = max(peak, usage.ru_maxrss * 1024)
    text = out.read_text(encoding="utf-8", errors="replace")
    return Run(os.waitstatus_to_exitcode(status), time.monotonic() - began, peak / 1e6, text, timed_out)


def _run_here(project: Path, command: str, out: Path, user: int) -> None:
    with out.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["COLUMNS"] = "1000"
    os.chdir(project)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    try:
        main(command.split(), standalone_mode=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  (a forked process must end here, whatever comes)
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _state(pid: int) -> tuple[float, bool, int]:
    """Seconds of CPU time that a process took, whether it waits, and its memory in bytes.

    On a machine with other work, time on the clock alone says little.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, False, 0
    worked = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return worked, fields[0] != "R", int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def _values(dataset: h5py.Dataset) -> Any:
    values = np.asarray(dataset[()])
    return values.tolist() if values.dtype.hasobject else values.tobytes()  # texts are objects


def content(path: Path) -> Any:
    """What is compared of a product: the values of its arrays, its bytes, or those of the files in it."""
    if path.is_dir():
        return {str(child.relative_to(path)): content(child) for child in sorted(path.rglob("*")) if child.is_file()}
    if path.suffix in (".nc", ".h5") and path.is_file():
        try:
            with h5py.File(path) as file:
                return {name: _values(file[name]) for name in sorted(file) if isinstance(file[name], h5py.Dataset)}
        except OSError:
            return None
    return path.read_bytes() if path.is_file() else None


def judge(target: Target, kind: str, command: str, project: Path, done: Run, wanted: tuple[Any, str], most: int) -> str:
    """The class of a run."""
    path = Path(target.path)
    names = (path.name, str(path.parent), f"{path.stem}:", f" {path.stem} ")
    if (project / WITNESS).exists() or (done.code < 0 and not done.timed_out and done.megabytes * 1e6 <= most):
        return "code"
    if done.timed_out:
        return "hang"
    if done.megabytes * 1e6 > most:
        return "memory"
    if "Traceback (most recent" in done.text:
        return "traceback"
    if done.code:
        return "clear" if any(name in done.text for name in names[:2]) else "vague"
    same = content(project / target.result) == wanted[0] if target.result else done.text == wanted[1]
    if same or command == "status":  # which says what is there, and takes no values from it
        return "right"
    before = set(wanted[1].splitlines())
    if any(name in line for line in done.text.splitlines() if line not in before for name in names):
        return "told"
    unknowable = kind in CHANCE if target.plain else kind in target.allowed
    return "plausible" if unknowable else "silent"


def damages(count: int | None, seed: int, only: list[str]) -> Iterator[tuple[Target, str, int]]:
    """Target, kind and seed of each damage: each kind of each target once, or so many that chance draws."""
    pairs = [(target, kind) for target in TARGETS for kind in target.changes if not only or target.name in only]
    random = np.random.default_rng(seed)
    if count is not None:
        order = np.concatenate([random.permutation(len(pairs)) for _ in range(-(-count // len(pairs)))])
        pairs = [pairs[place] for place in order[:count]]
    for number, (target, kind) in enumerate(pairs):
        yield target, kind, seed * 1_000_003 + number


def load_everything(project: Path) -> None:
    """Import all of multipose and load its compiled kernels, so that forked commands find them."""
    for module in pkgutil.walk_packages(multipose.__path__, "multipose."):
        importlib.import_module(module.name)
    for module_name, _ in COMMANDS.values():
        importlib.import_module(module_name)
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as nothing:
        place, folder, streams = Path(scratch) / "project", Path.cwd(), (sys.stdout, sys.stderr)
        shutil.copytree(project, place, symlinks=True)
        os.chdir(place)
        sys.stdout = sys.stderr = nothing
        try:
            for command in ("reconstruct day2 --smooth", "kinematics day2"):
                main(command.split(), standalone_mode=False)
        finally:
            os.chdir(folder)
            sys.stdout, sys.stderr = streams


def damage_all(arguments: argparse.Namespace) -> Counter[tuple[str, str]]:
    """Make the damages, print what is at fault, and count."""
    most = int(arguments.gigabytes * 1e9)
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        base, place = Path(scratch) / "base", Path(scratch) / "project"
        shutil.copytree(arguments.project, base, symlinks=True)
        wanted: dict[tuple[str, str, int], tuple[Any, str]] = {}
        for target, kind, seed in damages(arguments.count, arguments.seed, arguments.only):
            user = NOBODY if kind == "unreadable" and os.geteuid() == 0 else 0
            for command in target.commands:
                key = (target.result, command, user)
                if key not in wanted:
                    copy_project(base, place, user)
                    done = run(place, command, 10 * arguments.seconds, 1 << 40, user)
                    wanted[key] = (content(place / target.result) if target.result else None, done.text)
                copy_project(base, place, user, target.path)
                target.changes[kind](place / target.path, np.random.default_rng(seed))
                done = run(place, command, arguments.seconds, most, user)
                verdict = judge(target, kind, command, place, done, wanted[key], most)
                counts[target.name, verdict] += 1
                if verdict in FAULTS or arguments.verbose:
                    last = (done.text.strip().splitlines() or [""])[-1][:250]
                    print(
                        f"{verdict:9s} | {target.name} | {kind}, seed {seed} | {command} | rc {done.code}, "
                        f"{done.seconds:.1f} s, {done.megabytes:.0f} MB | {last}",
                        flush=True,
                    )
    return counts


def copy_project(project: Path, place: Path, user: int, damaged: str = "") -> None:
    """A fresh copy; large files but the damaged one are links, for commands write files anew."""

    def copy(source: str, target: str) -> None:
        if os.path.getsize(source) > _LARGE and not source.endswith(damaged or "/"):
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(project, place, symlinks=True, copy_function=copy)
    if user:
        for path in (place, *place.rglob("*")):
            if path.is_dir() or path.stat().st_size <= _LARGE:
                os.chown(path, user, user)


def prepare_here(project: Path) -> None:
    project.parent.mkdir(parents=True, exist_ok=True)

    def run_or_end(folder: Path, command: str) -> None:
        done = run(folder, command, 600, 1 << 40)
        if done.code not in (0, 130):
            raise SystemExit(f"{command} failed on the undamaged project:\n{done.text}")

    prepare(project, run_or_end)


def main_program() -> None:
    arguments = parse()
    if arguments.prepare:
        prepare_here(arguments.project)
        return
    load_everything(arguments.project)
    counts = damage_all(arguments)
    verdicts = sorted({verdict for _, verdict in counts})
    print(json.dumps({verdict: sum(n for (_, v), n in counts.items() if v == verdict) for verdict in verdicts}))
    print(json.dumps({f"{name} {verdict}": n for (name, verdict), n in sorted(counts.items())}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=lambda text: Path(text).absolute())
    parser.add_argument("--prepare", action="store_true", help="make the project instead")
    parser.add_argument("--count", type=int, help="so many, drawn by chance; by default each kind of each file once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], choices=[target.name for target in TARGETS])
    parser.add_argument("--seconds", type=float, default=20.0, help="limit of each command")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="limit of each command")
    parser.add_argument("--verbose", action="store_true", help="print every damage")
    return parser.parse_args()


if __name__ == "__main__":
    main_program()
