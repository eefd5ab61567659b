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
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessException, start_processes

from multipose.errors import ModelError, MultiposeError
from multipose.progress import SILENT, Progress, Task

_POLL_SECONDS = 0.2


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
        ModelError: a process ended without an error of its own (killed, or short of memory).
        MultiposeError: what one of them raised.
    """
    with tempfile.TemporaryDirectory(prefix="multipose_ranks_") as name:
        queue = get_context("spawn").SimpleQueue()
        context = start_processes(  # type: ignore[no-untyped-call]
            _run_rank, (work, tuple(devices), options, name, queue), len(devices), join=False, start_method="spawn"
        )
        reader = _Reader(queue, progress)
        try:
            while not context.join(timeout=_POLL_SECONDS):
                reader.drain()
            reader.drain()
        except ProcessException as failure:
            errors = [pickle.loads(path.read_bytes()) for path in sorted(Path(name).glob("error_*"))]
            if errors:
                raise errors[0] from None
            raise ModelError(f"A process of the training ended: {failure}") from failure
        finally:
            reader.close()
            for process in context.processes:
                process.kill()
        return pickle.loads((Path(name) / "result").read_bytes())


def _run_rank(
    number: int, work: Callable[..., Any], devices: Sequence[str], options: dict[str, Any], name: str, queue: Any
) -> None:
    folder, device = Path(name), torch.device(devices[number])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are on this machine
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=number,
        world_size=len(devices),
    )
    try:
        told = _Told(queue) if number == 0 else SILENT
        result = work(device=devices[number], ranks=Ranks(number, len(devices)), progress=told, **options)
        if number == 0:
            (folder / "result").write_bytes(pickle.dumps(result))
    except MultiposeError as error:
        (folder / f"error_{number}").write_bytes(pickle.dumps(error))
        raise
    finally:
        torch.distributed.destroy_process_group()


class _Told:
    """A progress, and a task of it, that puts what it is told into a queue."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def task(self, description: str, total: float | None = None) -> _Told:
        self._queue.put(("task", description, total))
        return self

    def note(self, text: str) -> None:
        self._queue.put(("note", text))

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._queue.put(("advance", amount, note))

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(("end",))


class _Reader:
    """Passes on to a progress what was put into the queue."""

    def __init__(self, queue: Any, progress: Progress) -> None:
        self._queue, self._progress = queue, progress
        self._tasks: list[Task] = []

    def drain(self) -> None:
        while not self._queue.empty():
            kind, *values = self._queue.get()
            if kind == "task":
                self._tasks.append(self._progress.task(*values).__enter__())
            elif kind == "note":
                self._progress.note(*values)
            elif kind == "advance" and self._tasks:
                self._tasks[-1].advance(*values)
            elif kind == "end" and self._tasks:
                self._tasks.pop().__exit__(None, None, None)

    def close(self) -> None:
        """End the tasks that are still under way."""
        while self._tasks:
            self._tasks.pop().__exit__(None, None, None)
