from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from multipose.errors import InstallationError, ModelError
from multipose.pose2d import engines
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.engines import RUNTIMES, CompiledEngine, create_engine, installed_runtimes
from multipose.pose2d.training import TrainingResult

CPU = torch.device("cpu")


def need(name: str) -> None:
    if name not in installed_runtimes(CPU):
        pytest.skip(f"the runtime {name} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_other_runtimes_compute_the_same_network(
    name: str, trained: TrainingResult, make_discs: Callable[..., PoseDataset]
) -> None:
    need(name)
    network = trained.model.network
    reference, other = (create_engine(which, network, CPU) for which in ("torch", name))
    for n, size in ((1, (96, 64)), (2, (64, 96))):
        pictures = np.stack([make_discs(1, size, seed=i).picture(0) for i in range(n)])
        torch.testing.assert_close(other(pictures), reference(pictures), atol=1e-3, rtol=1e-3)
    assert other.precision == "float32"
    assert str(other).startswith(name)


@pytest.mark.parametrize("name", ["torch-bfloat16", "openvino-bfloat16"])
def test_bfloat16_leaves_key_points_where_they_are(
    name: str, trained: TrainingResult, make_discs: Callable[..., PoseDataset]
) -> None:
    need(name)
    pictures = [make_discs(1, (96, 64), seed=i).picture(0) for i in range(30)]
    samples = [picture[None] for picture in pictures[:4]]
    try:
        engine = create_engine(name, trained.model.network, CPU, samples=samples)
    except ModelError as error:
        pytest.skip(str(error))
    exact = create_engine("torch", trained.model.network, CPU)
    moved, seen = [], []
    for picture in pictures[4:]:
        a, b = (trained.model.estimate(picture[None], (96, 64), which) for which in (exact, engine))
        moved.append(np.hypot(*(a.position[0] - b.position[0]).T))
        seen.append(a.confidence[0] > 0.5)
    assert np.median(np.stack(moved)[np.stack(seen)]) < 0.1
    assert engine.precision == "bfloat16"


@pytest.mark.slow
def test_compiled_kernels_compute_the_same_network(
    trained: TrainingResult, make_discs: Callable[..., PoseDataset]
) -> None:
    """By a compiler that makes no kernels, on the CPU: one graph for all batches of a size, none for a smaller rest."""
    network, graphs = trained.model.network, []

    def compiler(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        # as torch warns on Python 3.13.0; warnings are errors here
        warnings.warn("Guards may run slower on Python 3.13.0. Consider upgrading.", RuntimeWarning, stacklevel=1)
        graphs.append(graph)
        return graph

    engine = CompiledEngine(network, CPU, compiler=compiler)
    pictures = np.stack([make_discs(1, (96, 64), seed=i).picture(0) for i in range(3)])
    reference = create_engine("torch", network, CPU)
    for batch in (pictures, pictures[:1], pictures[1:]):
        torch.testing.assert_close(engine(batch), reference(batch), atol=1e-4, rtol=1e-4)
    assert len(graphs) == 1  # no break either
    engine(pictures[:, :, :64])
    assert len(graphs) == 2
    assert str(engine).startswith("torch-compiled 2.")


def test_compiled_kernels_are_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    names = ["torch", "torch-bfloat16", "torch-compiled", "torch-compiled-bfloat16"]
    assert installed_runtimes(torch.device("cuda")) == names
    assert installed_runtimes(torch.device("mps")) == names[:2]
    assert not {*names[2:]} & {*installed_runtimes(CPU)}


def test_openvino_serves_threads_and_sends_no_word_home(trained: TrainingResult) -> None:
    need("openvino")
    engine = create_engine("openvino", trained.model.network, CPU, threads=2, streams=2)
    pictures = np.random.default_rng(0).integers(0, 255, (12, 1, 64, 64, 3), dtype=np.uint8)
    alone = [engine(picture) for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(engine, pictures))
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
    assert "openvino_telemetry" not in sys.modules


class _Strange(torch.nn.Module):
    """A network with an operation that no other runtime knows."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        maps = pictures.permute(0, 3, 1, 2).float()
        return torch.linalg.matrix_exp(maps[:, :, ::4, ::4])


def test_a_network_that_cannot_be_compiled_is_told(trained: TrainingResult) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError("no kernels here")

    with pytest.raises(ModelError, match="(?s)torch-compiled .* cannot run this network: .*no kernels here"):
        CompiledEngine(trained.model.network, CPU, compiler=fail)(np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_network_that_a_runtime_cannot_run_is_told(name: str) -> None:
    need(name)
    with pytest.raises(ModelError, match=f"The runtime {name} .* cannot run this network: "):
        create_engine(name, _Strange(), CPU)(np.zeros((1, 32, 32, 3), np.uint8))


def test_runtimes_that_are_not_there(trained: TrainingResult, monkeypatch: pytest.MonkeyPatch) -> None:
    network = trained.model.network
    with pytest.raises(ModelError, match="no runtime 'tensorrt'; there are auto, torch"):
        create_engine("tensorrt", network, CPU)
    with pytest.raises(ModelError, match="runs on the CPU alone, not on cuda"):
        create_engine("openvino", network, torch.device("cuda"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r"multipose\[onnx\]"):
        create_engine("onnxruntime", network, CPU)
    for capability, names in (("AVX512", ["torch", "torch-bfloat16"]), ("AVX2", ["torch"]), ("DEFAULT", ["torch"])):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert installed_runtimes(CPU) == names
    assert set(RUNTIMES) > {"torch", "openvino"}


def test_telemetry_is_only_hidden_while_openvino_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", sys)
    with engines._without_telemetry():
        assert sys.modules["openvino_telemetry"] is None
    assert sys.modules["openvino_telemetry"] is sys
