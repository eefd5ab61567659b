"""What runs a network: torch, OpenVINO or ONNX Runtime, behind one contract. The reference is torch in float32.

OpenVINO and ONNX Runtime are optional, run on the CPU only, and get a graph for each size of pictures, made when that
size is first seen; so does torch where `torch.compile` makes kernels for a GPU. All compute the same network; they
differ in speed and, below float32, in the last digits.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from multipose.config import Runtime
from multipose.errors import InstallationError, ModelError
from multipose.pose2d import export
from multipose.pose2d.rounding import round_weights

Pictures = npt.NDArray[np.uint8]

RUNTIMES: tuple[str, ...] = tuple(name for name in get_args(Runtime) if name != "auto")
"""All runtimes; a name without a number format means float32."""
REFERENCE = "torch"

# torch says so of Python 3.13.0 alone; guards are looked at once a batch, where nobody sees the difference.
_SLOWER_GUARDS = r"Guards may run slower on Python 3\.13\.0"


class Engine(ABC):
    """A network ready to run.

    Attributes:
        name: one of `RUNTIMES`.
        version: of the program that runs it.
        device: where the logits are.
    """

    name: str
    version: str
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def __call__(self, pictures: Pictures) -> Tensor:
        """Logits (n, keypoint, h / 4, w / 4), float32, of prepared pictures (n, h, w, 3). Threads may call it.

        Raises:
            ModelError: this runtime does not know an operation of the network.
        """

    @property
    def precision(self) -> str:
        """The numbers that it computes with."""
        return "bfloat16" if self.name.endswith("-bfloat16") else "float32"

    def __str__(self) -> str:
        return f"{self.name.removesuffix('-bfloat16')} {self.version}, {self.precision}, {self.device.type}"


class TorchEngine(Engine):
    """torch itself.

    Args:
        network: on the device, in evaluation mode.
        device: where it runs.
        bfloat16: convolutions in bfloat16; else all in float32.
    """

    version = str(torch.__version__)

    def __init__(self, network: Callable[[Tensor], Tensor], device: torch.device, *, bfloat16: bool = False) -> None:
        self.name = "torch-bfloat16" if bfloat16 else "torch"
        self.device = device
        self._network = network
        self._bfloat16 = bfloat16

    def __call__(self, pictures: Pictures) -> Tensor:
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bfloat16):
            return self._network(torch.from_numpy(pictures).to(self.device))


Graph = Callable[[Pictures], Tensor]


class _GraphEngine(Engine):
    """An engine that makes a graph for each shape of its input."""

    def __init__(self) -> None:
        self._graphs: dict[export.Shape, Graph] = {}
        self._lock = threading.Lock()

    def __call__(self, pictures: Pictures) -> Tensor:
        n, height, width, channels = pictures.shape
        shape = (n, height, width, channels)
        with self._lock:
            if shape not in self._graphs:
                try:
                    self._graphs[shape] = self._make_graph(shape)
                except Exception as error:  # each program has exceptions of its own
                    raise ModelError(
                        f"The runtime {self.name} ({self.version}) cannot run this network: {error}. Take torch."
                    ) from error
        return self._graphs[shape](pictures)

    @abstractmethod
    def _make_graph(self, shape: export.Shape) -> Graph:
        """What runs the network on pictures of this shape; its result is the caller's."""


class CompiledEngine(_GraphEngine):
    """torch with kernels that `torch.compile` makes for the device: fast on GPUs, after a minute of compilation.

    Args:
        network: on the device, in evaluation mode.
        device: where it runs.
        bfloat16: convolutions in bfloat16; else all in float32.
        compiler: backend of `torch.compile`, by name or itself.
    """

    version = str(torch.__version__)

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        *,
        bfloat16: bool = False,
        compiler: str | Callable[..., Any] = "inductor",
    ) -> None:
        super().__init__()
        self.name = "torch-compiled-bfloat16" if bfloat16 else "torch-compiled"
        self.device = device
        self._engine = TorchEngine(torch.compile(network, dynamic=False, backend=compiler), device, bfloat16=bfloat16)

    def __call__(self, pictures: Pictures) -> Tensor:
        """As of `Engine`; what is left over for the last batch is filled up, so that no graph is made for it."""
        n, *size = pictures.shape
        full = max((shape[0] for shape in self._graphs if [*shape[1:]] == size), default=n)
        if n >= full:
            return super().__call__(np.ascontiguousarray(pictures))
        return super().__call__(np.concatenate([pictures, np.zeros((full - n, *size), np.uint8)]))[:n]

    def _make_graph(self, shape: export.Shape) -> Graph:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _SLOWER_GUARDS, RuntimeWarning)
            self._engine(np.zeros(shape, np.uint8))
        return self._engine


class OpenVinoEngine(_GraphEngine):
    """OpenVINO on the CPU.

    Args:
        network: on the CPU, in evaluation mode.
        bfloat16: convolutions in bfloat16, where the CPU has instructions for it.
        threads: of the CPU in all.
        streams: calls that run side by side; each gets its share of the threads.

    Raises:
        InstallationError: it is not installed.
        ModelError: the CPU has no instructions for bfloat16.
    """

    def __init__(self, network: nn.Module, *, bfloat16: bool = False, threads: int = 1, streams: int = 1) -> None:
        super().__init__()
        with _without_telemetry():
            import openvino
        self.name = "openvino-bfloat16" if bfloat16 else "openvino"
        self.version = openvino.__version__.split("-")[0]
        self._openvino = openvino
        self._network = network
        self._core = openvino.Core()
        if bfloat16 and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ModelError("This CPU has no instructions for bfloat16. Take the runtime openvino.")
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
        }

    def _make_graph(self, shape: export.Shape) -> Graph:
        traced = export.trace(self._network, shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            graph = self._openvino.convert_model(traced, example_input=torch.zeros(shape, dtype=torch.uint8))
            graph.reshape(list(shape))
            compiled = self._core.compile_model(graph, "CPU", self._settings)
        own = threading.local()  # a request serves one call at a time

        def run(pictures: Pictures) -> Tensor:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            result = own.request.infer([np.ascontiguousarray(pictures)], share_inputs=True)
            return torch.from_numpy(np.asarray(result[0], dtype=np.float32))

        return run


class OnnxRuntimeEngine(_GraphEngine):
    """ONNX Runtime on the CPU, in float32.

    Args:
        network: on the CPU, in evaluation mode.
        threads: that each call uses.

    Raises:
        InstallationError: it is not installed.
    """

    name = "onnxruntime"

    def __init__(self, network: nn.Module, *, threads: int = 1) -> None:
        super().__init__()
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        self.version = str(onnxruntime.__version__)
        self._onnxruntime = onnxruntime
        self._network = network
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1

    def _make_graph(self, shape: export.Shape) -> Graph:
        content = export.onnx_bytes(self._network, shape)
        session = self._onnxruntime.InferenceSession(content, self._options, providers=["CPUExecutionProvider"])

        def run(pictures: Pictures) -> Tensor:
            (logits,) = session.run([export.OUTPUT_NAME], {export.INPUT_NAME: np.ascontiguousarray(pictures)})
            return torch.from_numpy(np.asarray(logits))

        return run


def create_engine(
    name: str,
    network: nn.Module,
    device: torch.device,
    *,
    threads: int = 1,
    streams: int = 1,
    samples: Sequence[Pictures] = (),
) -> Engine:
    """The engine called `name`.

    Args:
        name: one of `RUNTIMES`.
        network: on the device, in evaluation mode.
        device: where it runs; all but torch run on the CPU alone.
        threads: of the CPU in all.
        streams: calls that run side by side, at most `threads`.
        samples: some prepared pictures (n, h, w, 3), for what bfloat16 rounds (see `rounding`).

    Raises:
        InstallationError: the runtime is not installed.
        ModelError: there is no such runtime, or it does not run on this device.
    """
    if name not in RUNTIMES:
        raise ModelError(f"There is no runtime {name!r}; there are auto, {', '.join(RUNTIMES)}.")
    bfloat16 = name.endswith("-bfloat16")
    if name.startswith("torch"):
        make = CompiledEngine if name.startswith("torch-compiled") else TorchEngine
        return make(round_weights(network, samples) if bfloat16 else network, device, bfloat16=bfloat16)
    if device.type != "cpu":
        raise ModelError(f"The runtime {name} runs on the CPU alone, not on {device.type}. Take torch, or device cpu.")
    lacking = [package for package in _packages(name) if importlib.util.find_spec(package) is None]
    if lacking:
        extra = "openvino" if name.startswith("openvino") else "onnx"
        raise InstallationError(
            f"The runtime {name} needs {' and '.join(lacking)}, not installed here. Install it with\n"
            f"    pip install 'multipose[{extra}]'"
        )
    if name == "onnxruntime":
        return OnnxRuntimeEngine(network, threads=max(1, threads // streams))
    rounded = round_weights(network, samples) if bfloat16 else network
    return OpenVinoEngine(rounded, bfloat16=bfloat16, threads=threads, streams=streams)


def installed_runtimes(device: torch.device) -> list[str]:
    """The runtimes that can be tried on a device; whether the CPU knows bfloat16 shows when an engine is made.

    On CPUs with AVX2 at most torch computes bfloat16 by software, 35 times slower than float32 (measured on an AMD
    EPYC): there it is not tried.

    `torch.compile` pays on GPUs alone, which need triton for it: on a CPU it took longer than most videos do.
    """
    names = [name for name in RUNTIMES if name.startswith("torch") or device.type == "cpu"]
    if device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2"):
        names.remove("torch-bfloat16")
    if device.type != "cuda":
        names = [name for name in names if not name.startswith("torch-compiled")]
    return [name for name in names if all(importlib.util.find_spec(package) is not None for package in _packages(name))]


def _packages(name: str) -> tuple[str, ...]:
    """What must be installed besides multipose."""
    if name == "onnxruntime":
        return ("onnx", "onnxruntime")
    return {"openvino": ("openvino",), "torch-compiled": ("triton",)}.get(name.removesuffix("-bfloat16"), ())


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """While the block runs, OpenVINO finds no `openvino_telemetry`, which would send word of every import unasked."""
    missing = object()
    before: Any = sys.modules.get("openvino_telemetry", missing)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        if before is missing:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = before
