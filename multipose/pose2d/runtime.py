"""Where and how networks run: the device, its arithmetic, the thread budget, and pictures read ahead in a thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch

from multipose import opencv
from multipose.errors import ModelError
from multipose.opencv import cv2

Item = TypeVar("Item")
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


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Half precision on GPUs that are fast in it, for inference; float32 elsewhere."""
    halved = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=halved)


def describe(device: torch.device, threads: int) -> str:
    """What runs the network, for reports."""
    return f"torch, {device.type}" + (f", {threads} threads" if device.type == "cpu" else "")


@contextmanager
def share_threads(threads: int | None) -> Iterator[int]:
    """Give torch `threads` (None: all cores) and OpenCV one while the block runs; gives the number."""
    count = threads if threads is not None else (os.cpu_count() or 1)
    if count < 1:
        raise ModelError(f"threads must be at least 1, got {count}.")
    torch_before, opencv_before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    opencv.set_threads(1)
    try:
        yield count
    finally:
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
