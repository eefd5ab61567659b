from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multipose.errors import DataError, ModelError
from multipose.pose2d.augmentation import Augmentation
from multipose.pose2d.batches import make_batches, split_held_out
from multipose.pose2d.checkpoints import CHECKPOINT_FILE
from multipose.pose2d.dataset import PoseDataset, ShrunkPictures, join_datasets
from multipose.pose2d.model import PoseModel
from multipose.pose2d.recipe import TrainingSettings
from multipose.pose2d.training import TrainingResult, train
from multipose.progress import SILENT, Task
from multipose.skeleton import Skeleton

Make = Callable[..., PoseDataset]
SMALL_CROPS = Augmentation(crop=64, zoom=0.1, blur=0.0, contrast=0.0, brightness=0.0, gamma=0.0, noise=0.0, dark=0.0)
FEW: dict[str, Any] = {
    "steps": 3,
    "threads": 1,
    "augmentation": SMALL_CROPS,
    "settings": TrainingSettings(batch=2, learning_rate=1e-4),
}


class Notes:
    """A progress that keeps what is noted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def task(self, description: str, total: float | None = None) -> Task:
        return SILENT.task(description, total)

    def note(self, text: str) -> None:
        self.texts.append(text)


class _Interrupted:
    """A task that is interrupted at the second step."""

    def __init__(self) -> None:
        self._steps = 0

    def __enter__(self) -> _Interrupted:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._steps += "step" in note
        if self._steps == 2:
            raise KeyboardInterrupt


class Interrupting(Notes):
    """A progress whose tasks are interrupted, as by Ctrl-C."""

    def task(self, description: str, total: float | None = None) -> Task:
        return _Interrupted()


def inverted(dataset: PoseDataset) -> PoseDataset:
    """The same discs in negative, under other names."""
    pictures = tuple(255 - dataset.picture(item) for item in range(len(dataset)))
    return replace(dataset, pictures=pictures, names=tuple(f"negative/{name}" for name in dataset.names))


@pytest.mark.slow
def test_added_pictures_are_learned_and_both_kinds_are_judged(
    trained: TrainingResult, make_discs: Make, tmp_path: Path
) -> None:
    old, new = make_discs(24, absent=0.3), inverted(make_discs(11, seed=300))
    settings = TrainingSettings(batch=4)
    result = train(
        old, tmp_path, steps=40, threads=1, augmentation=SMALL_CROPS, start=trained.model, added=new, settings=settings
    )
    assert result.before["added"].mean_px > 10
    assert result.parts["added"].mean_px < result.before["added"].mean_px / 3
    assert result.parts["old"].mean_px < result.before["old"].mean_px + 1
    assert set(result.parts["added"].names) <= set(new.names)
    assert result.parts["old"].names == trained.held_out.names  # what the old network never saw
    training = PoseModel.load(tmp_path).training
    assert training["added_pictures"] == 10
    assert training["parts"]["added"]["n"] == 1
    assert training["parts"]["old"]["mean_px"] == pytest.approx(result.parts["old"].mean_px)


@pytest.mark.slow
def test_an_interrupted_refinement_ends_with_the_same_network(
    trained: TrainingResult, make_discs: Make, tmp_path: Path
) -> None:
    old, new = make_discs(6), inverted(make_discs(4, seed=300))
    options: dict[str, Any] = {**FEW, "start": trained.model, "added": new, "checkpoint_seconds": 0.0}
    undisturbed = train(old, tmp_path / "a", **options)
    with pytest.raises(KeyboardInterrupt):
        train(old, tmp_path / "b", progress=Interrupting(), **options)
    assert (tmp_path / "b" / CHECKPOINT_FILE).exists()
    resumed = train(old, tmp_path / "b", resume=True, **options)
    a, b = (result.model.network.state_dict() for result in (undisturbed, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert resumed.before["added"].mean_px == undisturbed.before["added"].mean_px


def test_each_batch_has_its_share_of_added_pictures(make_discs: Make) -> None:
    random = np.random.default_rng(0)
    dataset = make_discs(9)
    flat = tuple(np.full((64, 64, 3), 10 * (item + 1), dtype=np.uint8) for item in range(9))
    dataset = replace(dataset, pictures=flat, xy=random.uniform(20, 44, dataset.xy.shape))
    plain = replace(SMALL_CROPS, turn=0.0, whole=True, zoom=0.0)
    batches = make_batches(dataset, ShrunkPictures(dataset, 1.0), plain, 3, 0, 0, added=2, added_share=0.4)
    seen = np.array([[int(crop.max()) // 10 - 1 for crop in next(batches)[0]] for _ in range(14)])
    assert (np.sort(seen, axis=1)[:, 2] >= 7).all()
    assert (np.sort(seen, axis=1)[:, 1] < 7).all()
    olds, news = seen[seen < 7], seen[seen >= 7]
    assert np.bincount(olds, minlength=7).tolist() == [4] * 7
    assert np.bincount(news)[7:].tolist() == [7, 7]


def test_what_was_held_out_stays_held_out(make_discs: Make) -> None:
    dataset = make_discs(20)
    before = ("discs/3", "discs/17", "gone")
    assert split_held_out(dataset, 0.1, 5, before)[1].names == ("discs/3", "discs/17")
    more = split_held_out(dataset, 0.2, 5, before)[1].names
    assert len(more) == 4
    assert {"discs/3", "discs/17"} < set(more)


def test_new_key_points_are_learned_beside_the_known_ones(
    trained: TrainingResult, make_discs: Make, tmp_path: Path
) -> None:
    dataset, notes = make_discs(4, seed=70), Notes()
    extended = PoseDataset(
        dataset.pictures,
        np.concatenate([dataset.xy[:, [2]], dataset.xy.mean(1, keepdims=True), dataset.xy[:, [0]]], axis=1),
        np.full((4, 3), "visible"),
        Skeleton(("blue", "middle", "red")),
        dataset.groups,
        dataset.names,
    )
    still = {**FEW, "settings": replace(FEW["settings"], learning_rate=1e-12)}
    result = train(extended, tmp_path, start=trained.model, progress=notes, **still)
    assert "Key points learned anew: middle; dropped: green." in notes.texts
    now, before = (model.network.state_dict()["output.weight"] for model in (result.model, trained.model))
    torch.testing.assert_close(now[[0, 2]], before[[2, 0]], rtol=0, atol=1e-6)
    assert np.nanmedian(result.held_out.error[:, [0, 2]]) < 2.5
    assert np.nanmin(result.held_out.error[:, 1]) > 2


def test_what_does_not_fit_is_told(trained: TrainingResult, make_discs: Make, tmp_path: Path) -> None:
    dataset = make_discs(4)
    other = replace(trained.model, backbone="timm:resnet18")
    with pytest.raises(ModelError, match="has the backbone timm:resnet18, but efficientnet_lite0 is asked for"):
        train(dataset, tmp_path, start=other, **FEW)
    with pytest.raises(ModelError, match="say with which one to start"):
        train(dataset, tmp_path, added=inverted(dataset), **FEW)
    with pytest.raises(DataError, match="4 pictures stand in two of the sets"):
        train(dataset, tmp_path, start=trained.model, added=dataset, **FEW)
    with pytest.raises(DataError, match="same key points"):
        join_datasets([dataset, replace(dataset, skeleton=Skeleton(("a", "b", "c")))])
