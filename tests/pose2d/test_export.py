from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multipose.errors import InstallationError
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.engines import create_engine
from multipose.pose2d.export import export_onnx
from multipose.pose2d.training import TrainingResult


def test_another_program_gets_the_same_logits(
    trained: TrainingResult, make_discs: Callable[..., PoseDataset], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = replace(trained.model, scale=0.5)
    export_onnx(model, tmp_path / "discs.onnx", (190, 120))
    onnx.checker.check_model(onnx.load(tmp_path / "discs.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "discs.onnx", providers=["CPUExecutionProvider"])
    prepared = model.prepare(make_discs(1, (190, 120)).picture(0))[None]
    (logits,) = session.run(["logits"], {"pictures": prepared})
    expected = create_engine("torch", model.network, torch.device("cpu"))(prepared)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3)
    assert [place.name for place in tmp_path.iterdir()] == ["discs.onnx"]


def test_without_onnx_it_says_what_to_install(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r"multipose\[onnx\]"):
        export_onnx(trained.model, tmp_path / "discs.onnx", (96, 80))
    assert list(tmp_path.iterdir()) == []
