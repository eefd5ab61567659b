from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from multipose.pose2d import runtime_choice
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.runtime_choice import Measurement, choose_runtime, fastest, measure_runtimes
from multipose.pose2d.training import TrainingResult

CPU = torch.device("cpu")


def test_the_fastest_that_leaves_points_where_they_are() -> None:
    measured = {
        "torch": Measurement(0.08, 0.0),
        "openvino": Measurement(0.04, 1e-5),
        "openvino-bfloat16": Measurement(0.02, 0.12),
    }
    assert fastest(measured) == "openvino"
    assert fastest(measured | {"openvino-bfloat16": Measurement(0.02, 0.08)}) == "openvino-bfloat16"
    assert fastest({"torch": Measurement(0.08, 0.0)}) == "torch"


def test_what_is_measured(trained: TrainingResult, make_discs: Callable[..., PoseDataset]) -> None:
    pictures = [make_discs(1, seed=i).picture(0) for i in range(3)]
    measured = measure_runtimes(trained.model, pictures, CPU, ["torch", "torch-bfloat16"])
    assert measured["torch"].moved_px == 0
    assert 0 < measured["torch-bfloat16"].moved_px < 0.2
    assert all(one.seconds > 0 for one in measured.values())
    blank = [np.zeros((64, 64, 3), np.uint8)]
    assert measure_runtimes(trained.model, blank, CPU, ["torch-bfloat16"])["torch-bfloat16"].moved_px == np.inf


def test_it_is_measured_once(
    trained: TrainingResult,
    make_discs: Callable[..., PoseDataset],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    measured: list[dict[str, Measurement]] = []

    def measure(*_: object, **__: object) -> dict[str, Measurement]:
        measured.append({"torch": Measurement(0.02, 0.0), "torch-bfloat16": Measurement(0.01, moved)})
        return measured[-1]

    monkeypatch.setattr(runtime_choice, "measure_runtimes", measure)
    cache = tmp_path / "cache" / "runtimes.json"
    model, pictures = trained.model, [make_discs(1).picture(0)]

    def choose(threads: int = 1) -> str:
        return choose_runtime(model, pictures, CPU, threads=threads, streams=1, expected=200, cache=cache)

    moved = np.inf  # nothing was seen: not to be kept
    assert [choose(), choose()] == ["torch", "torch"]
    assert len(measured) == 2
    moved = 0.05
    assert [choose(), choose()] == ["torch-bfloat16", "torch-bfloat16"]
    assert len(measured) == 3
    assert choose(threads=2) == "torch-bfloat16"
    assert len(measured) == 4
    key = next(iter(json.loads(cache.read_text())))
    damages = ['{"damaged": ', "[" * 100_000, "7", json.dumps({key: {}}), json.dumps({key: {"torch": 3}})]
    damages += [json.dumps({key: {"torch": {"seconds": seconds, "moved_px": 0.0}}}) for seconds in ("soon", -1.0)]
    for number, damage in enumerate(damages):
        cache.write_text(damage)
        assert choose() == "torch-bfloat16"
        assert len(measured) == 5 + number
    (tmp_path / "file").write_text("")
    nowhere = tmp_path / "file" / "runtimes.json"
    assert choose_runtime(model, pictures, CPU, threads=1, streams=1, expected=200, cache=nowhere) == "torch-bfloat16"
