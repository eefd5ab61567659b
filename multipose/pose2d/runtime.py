"""Where and how work runs: the device, the thread budget, and items read ahead in a thread; how busy each part was."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
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


def list_gpus() -> tuple[str, ...]:
    """Names of all GPUs that networks can be trained on."""
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def choose_batch_size(device: torch.device) -> int:
    """Pictures to give a network at once: one on a CPU, where each thread has a picture of its own, 16 on a GPU.

    On a CPU larger batches are slower: the memory of their feature maps comes from the system anew for every layer.
    Measured with pictures of 480 x 360 and two threads: 0.04 s a picture one by one, 0.065 s in batches of 8.
    """
    return 1 if device.type == "cpu" else 16


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


def thread_count(threads: int | None) -> int:
    """Threads of the budget; None stands for all cores.

    Raises:
        ModelError: fewer than one.
    """
    count = threads if threads is not None else (os.cpu_count() or 1)
    if not isinstance(count, int | np.integer) or count < 1:
        raise ModelError(f"threads is a whole number of at least 1, got {count!r}.")
    return count


@contextmanager
def share_threads(threads: int | None, device: torch.device, *, together: bool = False) -> Iterator[Workers]:
    """Workers for as many threads as the budget says (None: all cores; on a GPU one), while the block runs.

    With `together` there is one worker whose calls use all threads: for items that need the results of those before.
    """
    budget = thread_count(threads)
    torch_before, opencv_before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(budget if together else 1)
    opencv.set_threads(1)
    count = budget if device.type == "cpu" and not together else 1
    executor = ThreadPoolExecutor(count, thread_name_prefix="pose2d")
    try:
        yield Workers(executor, count)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(torch_before)
        opencv.set_threads(opencv_before)


class Stopwatch:
    """Wall seconds that the calls of one part of the work took in all."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def watch(self, function: Callable[[Item], Result]) -> Callable[[Item], Result]:
        """The same function, its time counted, whichever thread calls it."""

        def watched(item: Item) -> Result:
            started = time.perf_counter()
            try:
                return function(item)
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - started

        return watched

    def watch_items(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, the time to get each counted."""
        iterator = iter(items)
        following = self.watch(lambda _: next(iterator, _END))
        while (item := following(None)) is not _END:
            yield item  # type: ignore[misc]


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
