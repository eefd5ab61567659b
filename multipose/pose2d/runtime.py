"""Where and how networks run: the device, its arithmetic, the thread budget, and pictures read ahead in a thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch

from multipose import opencv
from multipose.errors import ModelError
from multipose.opencv import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def choose_device(device: str = "auto") -> torch.device:
    """The device to work on: "auto" takes a GPU where there is one; else "cpu", "cuda", "cuda:1", "mps", ...

    Raises:
        ModelError: this machine has no such device.
    """
    if device == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"This machine cannot work on the device {device!r}: {error}") from error
    return chosen


def choose_batch_size(device: torch.device) -> int:
    """Pictures to give a network at once: one on a CPU, where each thread has a picture of its own, 16 on a GPU.

    On a CPU larger batches are slower: the memory of their feature maps comes from the system anew for every layer.
    Measured with pictures of 480 x 360 and two threads: 0.04 s a picture one by one, 0.065 s in batches of 8.
    """
    return 1 if device.type == "cpu" else 16


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Half precision on GPUs that are fast in it, for inference; float32 elsewhere."""
    halved = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=halved)


def describe(device: torch.device, threads: int) -> str:
    """What runs the network, for reports."""
    return f"torch, {device.type}" + (f", {threads} threads" if device.type == "cpu" else "")


class Workers:
    """The threads of the budget, each running whole calls of torch and OpenCV.

    Pictures are shared out among threads instead of letting all threads work on every single layer: threads then wait
    for each other once a call, not a hundred times, which matters most where other programs want the cores as well.
    """

    def __init__(self, executor: ThreadPoolExecutor, count: int) -> None:
        self._executor = executor
        self.count = count

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """function(item) of every item, in order; at most one item more than there are threads is under way."""
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(self._executor.submit(function, item))
                if len(pending) > self.count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def share_threads(threads: int | None, device: torch.device) -> Iterator[Workers]:
    """Workers for as many threads as the budget says (None: all cores; on a GPU one), while the block runs."""
    count = threads if threads is not None else (os.cpu_count() or 1)
    if count < 1:
        raise ModelError(f"threads must be at least 1, got {count}.")
    torch_before, opencv_before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    opencv.set_threads(1)
    count = count if device.type == "cpu" else 1
    executor = ThreadPoolExecutor(count, thread_name_prefix="pose2d")
    try:
        yield Workers(executor, count)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(torch_before)
        opencv.set_threads(opencv_before)


def read_ahead(items: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """The same items in the same order, made in a thread of their own, at most `depth` ahead.

    An error there is raised here, in its place. Close it (`contextlib.closing`) where it may not be exhausted.
    """
    iterator = iter(items)
    executor = ThreadPoolExecutor(1, thread_name_prefix="read_ahead")
    try:
        pending = deque(executor.submit(next, iterator, _END) for _ in range(depth))
        while (item := pending.popleft().result()) is not _END:
            pending.append(executor.submit(next, iterator, _END))
            yield item  # type: ignore[misc]
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
