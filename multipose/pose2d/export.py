"""Networks for other programs: as ONNX, and as the traced graph that OpenVINO reads.

A network is traced: run once on an empty picture, its operations written down. So nothing needs to be known of what
is inside it, and the graph holds for pictures of that one size.
"""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from multipose.errors import InstallationError
from multipose.files import atomic_path

if TYPE_CHECKING:
    from multipose.pose2d.model import PoseModel

INPUT_NAME, OUTPUT_NAME = "pictures", "logits"
_OPSET = 17  # the oldest that holds all operations used; read by every ONNX Runtime since 1.12

Shape = tuple[int, int, int, int]


def trace(network: nn.Module, shape: Shape) -> torch.jit.ScriptModule:
    """The operations of a network on the CPU for RGB uint8 pictures of one shape (n, h, w, 3)."""
    with torch.no_grad(), warnings.catch_warnings():
        # Sizes become constants of the graph, which is meant; and torch announces a successor of its tracing.
        warnings.simplefilter("ignore")
        example = torch.zeros(shape, dtype=torch.uint8)
        traced: torch.jit.ScriptModule = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def onnx_bytes(network: nn.Module, shape: Shape) -> bytes:
    """A network on the CPU as an ONNX model for RGB uint8 pictures of one shape (n, h, w, 3); logits come out.

    Raises:
        InstallationError: the package onnx is missing.
    """
    if importlib.util.find_spec("onnx") is None:
        raise InstallationError(
            "Writing ONNX needs the package onnx. Install it with\n    pip install 'multipose[onnx]'"
        )
    buffer: Any = io.BytesIO()  # taken, though not annotated
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter tells of its successor, of constants that it did not fold, of sizes that become constants.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(shape, dtype=torch.uint8),),
            buffer,
            dynamo=False,
            opset_version=_OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
        )
    return bytes(buffer.getvalue())


def export_onnx(model: PoseModel, path: str | os.PathLike[str], size: tuple[int, int], *, batch_size: int = 1) -> None:
    """Write a pose network as an ONNX file, for programs that are not multipose.

    The file's input `pictures` is what `PoseModel.prepare` makes of RGB pictures of the size given: uint8
    (batch_size, h, w, 3), shrunk by the model's scale and padded with black to multiples of 32. Its output `logits` is
    (batch_size, keypoint, h / 4, w / 4), as `pose2d.network` describes; the cell (i, j) of the highest value lies at
    ((j, i) + 0.5) * 4 - 0.5 px of the input.

    Args:
        model: the network.
        path: the file; appears whole or not at all.
        size: (width, height) of the pictures it will see.
        batch_size: pictures at once.

    Raises:
        InstallationError: the package onnx is missing.
    """
    height, width = model.prepared_size(size)
    content = onnx_bytes(model.network, (batch_size, height, width, 3))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
