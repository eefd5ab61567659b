"""Full disks and kills: is anything lost, and does the next run finish as if nothing had been?

    export OMP_NUM_THREADS=1
    python benchmarks/damage.py --prepare PROJECT
    python benchmarks/damage_stops.py PROJECT --kills 40 --levels 10

Kills: a command is started on a fresh copy and gets SIGKILL or SIGINT at a random share of the CPU time that it takes;
then the same command runs again. Full disks: the copy lies on a tmpfs with so many bytes free (which takes root); then
there is room, and the same command runs again. What the second run leaves must be what an undisturbed run leaves, and
no other file of the project may be gone or changed in between. Prints a line for each, and the counts as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from damage import _run_here, _state, content, load_everything
from damage_targets import STEPS

COMPARED = (".nc", ".toml", ".csv", ".npz", ".safetensors", ".h5", ".png")
LEVELS = (0, 4 << 10, 32 << 10, 128 << 10, 512 << 10, 1 << 20, 2 << 20, 3 << 20, 6 << 20, 20 << 20)
CHEAP = (
    "reconstruct day2 --smooth",
    "export day2 --format movement --to out",
    "export day2 --format deeplabcut --to out",
    "kinematics day2",
    "label export out",
    "label import in/labels/CollectedData_me.csv --view front --replace",
    "add more front=videos/day2/front.mp4 left=videos/day2/left.mp4 --replace",
    "predict clip",
    "reconstruct of_sleap_h5",
)
DEAR = ("calibrate board", f"train --view left --steps {STEPS} --seed 0", "run --threads 1")


@dataclass(frozen=True)
class Ended:
    """How a process ended; `stopped` where it got the signal before."""

    code: int
    cpu: float
    text: str
    stopped: bool


def run(project: Path, command: str, number: int = 0, after: float = 0.0) -> Ended:
    """Run a command in a forked process; it gets the signal once it took so much CPU time."""
    out = Path(tempfile.gettempdir()) / f"stops-{os.getpid()}.txt"
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _run_here(project, command, out, 0)
    cpu, stopped = 0.0, False
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        cpu = _state(pid)[0]
        if number and not stopped and cpu >= after:
            os.kill(pid, number)
            stopped = True
        time.sleep(0.005)
    text = out.read_text(encoding="utf-8", errors="replace")
    out.unlink()
    return Ended(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, text, stopped)


def files_of(project: Path) -> dict[str, Any]:
    """The values of every file of a project that is not a page, a record or a cache."""
    return {
        str(path.relative_to(project)): content(path)
        for path in sorted(project.rglob("*"))
        if path.is_file() and path.suffix in COMPARED and not path.name.startswith(".") and path.name != "metrics.csv"
    }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]


class Reference:
    """What a command does to a copy of the project that is left alone."""

    def __init__(self, project: Path, place: Path) -> None:
        self.project, self.place, self.known = project, place, {}
        self.before = files_of(project)

    def of(self, command: str) -> tuple[float, dict[str, Any]]:
        if command not in self.known:
            copy(self.project, self.place)
            done = run(self.place, command)
            if done.code:
                raise SystemExit(f"{command} failed on the undamaged project:\n{done.text}")
            self.known[command] = done.cpu, files_of(self.place)
        return self.known[command]


def copy(project: Path, place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(project, place, symlinks=True)


def lost(place: Path, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Files that are neither what they were nor what the command makes of them."""
    now = files_of(place)
    return [
        name
        for name in sorted(before)
        if name not in now
        or (now[name] != before[name] and now[name] != after.get(name) and after.get(name) == before[name])
    ]


def judge(name: str, ended: Ended, again: Ended, gone: list[str], differing: list[str]) -> str:
    verdict = "right"
    if "Traceback (most recent" in ended.text + again.text:
        verdict = "traceback"
    elif ended.code < 0 and not ended.stopped:
        verdict = "crash"
    elif gone:
        verdict = "lost"
    elif again.code:
        verdict = "held up"
    elif differing:
        verdict = "differs"
    if verdict == "right":
        print(f"right | {name} | rc {ended.code}, then {again.code}", flush=True)
    else:
        last = (again.text if again.code else ended.text).strip().splitlines()[-1:] or [""]
        print(
            f"{verdict} | {name} | rc {ended.code}, then {again.code} | {gone} {differing[:5]} | {last[0][:200]}",
            flush=True,
        )
    return verdict


def kill_some(reference: Reference, place: Path, count: int, seed: int, dear: bool) -> Counter[str]:
    random, counts = np.random.default_rng(seed), Counter[str]()
    for number in range(count):
        commands = DEAR if dear and number % 8 == 7 else CHEAP
        command = commands[int(random.integers(len(commands)))]
        sent = (signal.SIGKILL, signal.SIGINT)[number % 2]
        cpu, wanted = reference.of(command)
        copy(reference.project, place)
        ended = run(place, command, sent, float(random.uniform(0.02, 1.0)) * cpu)
        gone = lost(place, reference.before, wanted)
        again = run(place, command)
        verdict = judge(f"{sent.name} | {command}", ended, again, gone, differences(files_of(place), wanted))
        counts[f"{sent.name} {verdict}{'' if ended.stopped else ' (too late)'}"] += 1
    return counts


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def fill_disks(reference: Reference, levels: int, dear: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    size = sum(path.stat().st_size for path in reference.project.rglob("*") if path.is_file())
    with small_disk(2 * (size >> 20) + 100) as disk:
        place, ballast = disk / "project", disk / "ballast"
        for place_of, free in enumerate(LEVELS[:levels]):
            for command in (*CHEAP, *(DEAR[:2] if dear and place_of % 3 == 1 else ())):
                _, wanted = reference.of(command)
                copy(reference.project, place)
                room = shutil.disk_usage(disk).free
                with ballast.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, max(room - free, 1))
                ended = run(place, command)
                gone = lost(place, reference.before, wanted)
                ballast.unlink()
                again = run(place, command)
                verdict = judge(
                    f"{free:,} bytes free | {command}", ended, again, gone, differences(files_of(place), wanted)
                )
                told = "/" in ended.text.strip().splitlines()[-1] if ended.code else True
                if not told:
                    print(f"vague | {free:,} bytes free | {command} | {ended.text.strip()[-200:]}", flush=True)
                counts[
                    f"{free:,} bytes free: {'failed' if ended.code else 'done'}, {verdict if told else 'vague'}"
                ] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=lambda text: Path(text).absolute())
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--levels", type=int, default=len(LEVELS), help="of free bytes on the disk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cheap", action="store_true", help="without calibrating, training and running the whole chain"
    )
    arguments = parser.parse_args()
    load_everything(arguments.project)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        shutil.copytree(arguments.project, base, symlinks=True)
        shutil.rmtree(base / "models" / "front" / "fold_networks", ignore_errors=True)
        reference = Reference(base, Path(scratch) / "reference")
        counts = kill_some(reference, Path(scratch) / "project", arguments.kills, arguments.seed, not arguments.cheap)
        print(json.dumps(counts, sort_keys=True), flush=True)
        counts = fill_disks(reference, arguments.levels, not arguments.cheap)
        print(json.dumps(counts, sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
