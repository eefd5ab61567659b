"""Trains on stored pictures of discs, resuming where it can, so that a test can kill it.

Arguments: the pictures, the folder, seconds between checkpoints.
"""

from __future__ import annotations

import signal
import sys

import numpy as np

from multipose.pose2d.augmentation import Augmentation
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.recipe import TrainingSettings
from multipose.pose2d.training import train
from multipose.skeleton import Skeleton

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    stored = np.load(sys.argv[1])
    n = len(stored["xy"])
    names = tuple(map(str, range(n)))
    skeleton = Skeleton(("red", "green", "blue"))
    dataset = PoseDataset(tuple(stored["pictures"]), stored["xy"], np.full((n, 3), "visible"), skeleton, names, names)
    train(
        dataset,
        sys.argv[2],
        steps=60,
        resume=True,
        threads=1,
        augmentation=Augmentation(crop=64),
        settings=TrainingSettings(batch=4),
        checkpoint_seconds=float(sys.argv[3]),
    )
