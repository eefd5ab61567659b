"""CPU seconds that `import multipose` and `multipose --help` take, as whole processes.

    python benchmarks/startup.py [runs]

Prints the minimum and the median over the runs, and the same for an empty Python process to compare with.
Asked for: `import multipose` under 0.15 s, `multipose --help` under 0.25 s.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import multipose": [sys.executable, "-c", "import multipose"],
    "multipose --help": [str(Path(sys.executable).parent / "multipose"), "--help"],
    "multipose train --help": [str(Path(sys.executable).parent / "multipose"), "train", "--help"],
}


def cpu_seconds(command: list[str]) -> float:
    """User and system seconds of one finished process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(f"{'command':24} {'min':>8} {'median':>8}  CPU seconds over {runs} runs")
    for name, command in COMMANDS.items():
        cpu_seconds(command)
        times = [cpu_seconds(command) for _ in range(runs)]
        print(f"{name:24} {min(times):8.3f} {statistics.median(times):8.3f}")


if __name__ == "__main__":
    main()
