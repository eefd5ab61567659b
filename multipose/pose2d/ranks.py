"""Several processes that train one network together, each on a device of its own.

Every rank takes its part of each batch and finds its share of the gradient of the whole batch's loss; the sum of all
shares is the gradient that one process would have found, up to the order of summation. So all ranks make the same
step from the same weights. The sum is an explicit all-reduce: the hooks of torch's DistributedDataParallel average
instead, and act only in `backward`, where this training takes gradients by threads.

What depends on clocks (the learning rate, when to look at the held-out pictures, when to stop) is the first rank's
word.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from multipose.pose2d.processes import run_processes
from multipose.progress import SILENT, Progress


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is."""

    number: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the first one, which writes the files."""
        return self.number == 0

    def total(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Sums of every tensor over all ranks."""
        if self.count == 1:
            return list(parts)
        flat = torch.cat([part.flatten() for part in parts])
        torch.distributed.all_reduce(flat)
        sizes = [part.numel() for part in parts]
        return [piece.view_as(part) for piece, part in zip(torch.split(flat, sizes), parts, strict=True)]

    def agree(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The first rank's values."""
        if self.count == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.broadcast(shared, 0)
        return [float(value) for value in shared]


ALONE = Ranks()


def run_ranks(
    work: Callable[..., Any], devices: Sequence[str], options: dict[str, Any], *, progress: Progress = SILENT
) -> Any:
    """Call work(device=..., ranks=..., progress=..., **options) in a process for each device; the first one's result.

    Args:
        work: a function of a module; it, its options and its result must be picklable.
        devices: one a process, "cuda:0", "cuda:1", ..., or "cpu" several times.
        options: its other arguments.
        progress: is told what the first rank tells.

    Raises:
        ModelError, MultiposeError: as of `run_processes`.
    """
    with tempfile.TemporaryDirectory(prefix="multipose_ranks_") as folder:
        meeting = Path(folder) / "meeting"
        each = [(work, number, tuple(devices), options, meeting) for number in range(len(devices))]
        return run_processes(_run_rank, each, progress=progress)[0]


def _run_rank(
    work: Callable[..., Any],
    number: int,
    devices: Sequence[str],
    options: dict[str, Any],
    meeting: Path,
    *,
    progress: Progress,
) -> Any:
    device = torch.device(devices[number])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are on this machine
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=number,
        world_size=len(devices),
    )
    ranks = Ranks(number, len(devices))
    try:
        result = work(device=devices[number], ranks=ranks, progress=progress if ranks.leads else SILENT, **options)
        return result if ranks.leads else None
    finally:
        torch.distributed.destroy_process_group()
