"""What kill -9 costs a training: one fold, trained undisturbed and with two kills, on labels in DeepLabCut's form.

    export OMP_NUM_THREADS=1
    python benchmarks/interruption.py openfield/CollectedData_Pranav.csv --steps 400

Prints a line of JSON: errors in px on the pictures of the fold that neither training saw, at which steps the kills
came, and whether the two networks are the same to the bit.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from accuracy import load

from multipose.pose2d import PoseModel, choose_folds, evaluate, train
from multipose.pose2d.checkpoints import CHECKPOINT_FILE, load_checkpoint

KILLS = (0.35, 0.7)  # shares of the steps


def main() -> None:
    arguments = parse()
    dataset = load(arguments.labels, [])
    judged = choose_folds(dataset, 5)[0]
    if arguments.folder:
        learned = dataset.subset(np.setdiff1d(np.arange(len(dataset)), judged))
        train(
            learned,
            arguments.folder,
            steps=arguments.steps,
            resume=True,
            threads=1,
            device="cpu",
            checkpoint_seconds=5.0,
        )
        return
    with tempfile.TemporaryDirectory() as scratch:
        undisturbed, killed = Path(scratch) / "undisturbed", Path(scratch) / "killed"
        kills = [kill_at(arguments, killed, round(share * arguments.steps)) for share in KILLS]
        for folder in (killed, undisturbed):
            subprocess.run(command(arguments, folder), check=True, stderr=subprocess.DEVNULL)
        models = [PoseModel.load(folder) for folder in (undisturbed, killed)]
    errors = [evaluate(model, dataset.subset(judged), threads=1, device="cpu") for model in models]
    same = all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(*(model.network.state_dict().values() for model in models), strict=True)
    )
    figures = {
        name: {"mean_px": round(error.mean_px, 4), "median_px": round(error.median_px, 4)}
        for name, error in zip(("undisturbed", "killed"), errors, strict=True)
    }
    print(json.dumps({"pictures": len(judged), "kills_at_checkpoint_step": kills, "same_bits": same} | figures))


def kill_at(arguments: argparse.Namespace, folder: Path, step: int) -> int:
    """Train until a checkpoint of at least this step is written, kill, and return the checkpoint's step."""
    process = subprocess.Popen(command(arguments, folder), stderr=subprocess.DEVNULL)
    checkpoint = folder / CHECKPOINT_FILE
    while process.poll() is None:
        if checkpoint.exists():
            found = int(load_checkpoint(checkpoint, None)["step"])
            if found >= step:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return found
        time.sleep(0.5)
    raise SystemExit(f"Training ended before step {step} was in a checkpoint. Take more --steps.")


def command(arguments: argparse.Namespace, folder: Path) -> list[str]:
    return [sys.executable, __file__, str(arguments.labels), "--steps", str(arguments.steps), "--folder", str(folder)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
