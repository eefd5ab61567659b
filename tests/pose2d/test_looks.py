"""Three looks at a picture agree on where things are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.engines import Engine, Pictures
from multipose.pose2d.looks import look_thoroughly
from multipose.pose2d.model import PoseModel
from multipose.pose2d.training import TrainingResult


class Pooling(Engine):
    """A network whose maps are the pictures themselves, averaged over cells; remembers what it saw."""

    name, version = "torch", "none"

    def __init__(self) -> None:
        self.seen: list[Pictures] = []

    def __call__(self, pictures: Pictures) -> Tensor:
        self.seen.append(pictures)
        return functional.avg_pool2d(torch.from_numpy(pictures).float().permute(0, 3, 1, 2), 4)


def blob(x: float, y: float) -> Pictures:
    columns, rows = np.meshgrid(np.arange(128), np.arange(96))
    grey = 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 9.0**2))
    return np.repeat(grey.round().astype(np.uint8)[None, :, :, None], 3, axis=3)


@pytest.mark.parametrize(("x", "y"), [(64.0, 48.0), (30.5, 70.0), (101.0, 25.25)])
def test_the_mean_of_the_looks_lies_where_the_picture_does(x: float, y: float) -> None:
    """To a tenth of a cell; looks brought back wrongly would move it by whole cells."""
    engine = Pooling()
    logits = look_thoroughly(engine, blob(x, y))
    assert logits.shape == (1, 3, 24, 32)
    weight = logits[0, 0].double() ** 2
    columns, rows = torch.meshgrid(torch.arange(32), torch.arange(24), indexing="xy")
    found = [float((weight * place).sum() / weight.sum()) * 4 + 1.5 for place in (columns, rows)]
    assert found == pytest.approx([x, y], abs=0.4)
    assert len(engine.seen) == 3
    assert not np.array_equal(engine.seen[0], engine.seen[1])


def test_places_that_a_look_does_not_show_have_the_mean_of_the_others() -> None:
    """Of an even picture every mean is the same, but for black beside the border of the look that is zoomed out."""
    logits = look_thoroughly(Pooling(), np.full((2, 96, 128, 3), 120, np.uint8))
    assert torch.allclose(logits[:, :, 2:-2, 2:-2], torch.tensor(120.0))
    assert logits.min() > 90


def test_a_thorough_model_is_saved_as_such(
    trained: TrainingResult, tmp_path: Path, make_discs: Callable[..., PoseDataset]
) -> None:
    model = replace(trained.model, thorough=True)
    assert not trained.model.thorough  # its crops do not show whole pictures
    model.save(tmp_path)
    loaded = PoseModel.load(tmp_path)
    assert loaded.thorough
    fresh = make_discs(8, seed=77)
    pictures = [fresh.picture(item) for item in range(len(fresh))]
    once, thrice = (one.estimate_pictures(pictures, threads=1) for one in (trained.model, loaded))
    assert np.nanmedian(np.linalg.norm(thrice.position - fresh.xy, axis=-1)) < 2.5
    assert not np.array_equal(once.position, thrice.position)
