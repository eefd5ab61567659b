"""The error of pose networks by cross-validation, on labels in DeepLabCut's form: one fold after the other.

    export OMP_NUM_THREADS=1
    python benchmarks/accuracy.py openfield/CollectedData_Pranav.csv --cpu-minutes 6 --pairs leftear,rightear
    python benchmarks/accuracy.py treadmill_mirror/CollectedData.csv --cpu-minutes 20 --only 0,1

Prints a line of JSON a fold, then one of all folds together: errors in px of the original pictures, by key point,
shares of the labels in their ellipses, the confidence's calibration. A key point without a label counts as absent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from multipose.formats.deeplabcut import read_labels
from multipose.pose2d import (
    Evaluation,
    PoseDataset,
    choose_folds,
    dataset_from_labels,
    evaluate,
    join_evaluations,
    train,
)
from multipose.pose2d.crossvalidation import draw_pictures
from multipose.skeleton import Skeleton

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)


def main() -> None:
    arguments = parse()
    dataset = load(arguments.labels, arguments.pairs)
    parts = []
    for number, judged in enumerate(choose_folds(dataset, arguments.folds, arguments.split, arguments.seed)):
        if arguments.only and number not in arguments.only:
            continue
        learned = draw_pictures(
            dataset.subset(np.setdiff1d(np.arange(len(dataset)), judged)), arguments.pictures, arguments.seed
        )
        started = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            trained = train(learned, folder, cpu_minutes=arguments.cpu_minutes, threads=1, device="cpu")
        minutes = (time.process_time() - started) / 60
        parts.append(evaluate(trained.model, dataset.subset(judged), threads=1, device="cpu"))
        about = {"fold": number, "pictures": len(learned), "cpu_minutes": round(minutes, 2)}
        print(json.dumps(about | describe(parts[-1])), flush=True)
    print(json.dumps({"folds": len(parts)} | describe(join_evaluations(parts))))


def load(path: Path, pairs: list[tuple[str, str]]) -> PoseDataset:
    """The labelled pictures of one camera."""
    read, files = read_labels(path, view="camera")
    pictures = {(recording, "camera", frame): picture for (recording, frame), picture in files.items()}
    return dataset_from_labels(read, pictures, "camera", Skeleton(read.keypoints, pairs=tuple(pairs)))


def describe(evaluation: Evaluation) -> dict[str, object]:
    """The figures, rounded."""
    ellipses = {f"{100 * level:g} %": round(evaluation.coverage(level), 3) for level in LEVELS}
    return {"ellipses": ellipses} | shorten(evaluation.to_dict())


def shorten(values: dict[str, object]) -> dict[str, object]:
    """Numbers to three digits behind the point."""
    return {
        key: shorten(value) if isinstance(value, dict) else round(value, 3) if isinstance(value, float) else value
        for key, value in values.items()
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--cpu-minutes", type=float, default=6.0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--split", default="random", choices=["random", "blocks"])
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--only", type=lambda text: [int(part) for part in text.split(",")], help="these folds")
    parser.add_argument("--pictures", type=int, help="learn from so many of the pictures")
    parser.add_argument("--pairs", type=lambda text: [tuple(text.split(","))], default=[], help="LEFT,RIGHT")
    return parser.parse_args()


if __name__ == "__main__":
    main()
