"""Training by two processes, gloo between them, against one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from multipose.errors import DataError, ModelError
from multipose.pose2d.augmentation import Augmentation
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.model import PoseModel
from multipose.pose2d.training import train, train_on

Make = Callable[..., PoseDataset]
CROPS = Augmentation(crop=64, zoom=0.1)


@pytest.mark.slow
def test_two_processes_train_the_network_of_one(make_discs: Make, tmp_path: Path, heard: Any) -> None:
    """Eight steps: weights agree as far as sums of floats in another order do; the first process alone writes."""
    dataset = make_discs(12)
    options = {"steps": 8, "augmentation": CROPS, "pretrained": True}
    alone = train(dataset, tmp_path / "one", threads=1, device="cpu", **options)
    two = train_on(["cpu", "cpu"], dataset, tmp_path / "two", threads=2, progress=heard, **options)
    begun = train(dataset, tmp_path / "begun", threads=1, device="cpu", augmentation=CROPS, steps=1)
    one, other, start = (result.model.network.state_dict() for result in (alone, two, begun))
    learned = [name for name in one if not torch.equal(one[name], start[name])]
    assert len(learned) > 20
    for name in learned:
        moved = (one[name] - start[name]).norm()
        assert (one[name] - other[name]).norm() < 0.02 * moved, name
    assert two.history["loss"].tolist() == pytest.approx(alone.history["loss"].tolist(), rel=1e-4)
    assert PoseModel.load(tmp_path / "two").fingerprint() == two.model.fingerprint()
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "metrics.csv",
        "model.toml",
        "weights.safetensors",
    ]
    taken = two.model.training["steps"]  # fewer where the held-out error no longer falls
    assert taken == alone.model.training["steps"]
    assert heard.done == 100 * taken // 8


@pytest.mark.slow
def test_what_a_process_raises_is_raised(make_discs: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="budget"):
        train_on(["cpu", "cpu"], make_discs(6), tmp_path, steps=-1)


def test_a_batch_is_not_shared_among_more_devices_than_it_has_crops(make_discs: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="4 crops can be shared by 1 to 4 devices, got 5"):
        train_on(["cpu"] * 5, make_discs(6), tmp_path, steps=1)
    with pytest.raises(ModelError, match="cannot work on the device 'cuda:7'"):
        train_on(["cpu", "cuda:7"], make_discs(6), tmp_path, steps=1)
