"""Work in several processes at once, with one progress for all, and errors that arrive whole.

Processes are spawned, since a forked one cannot use a GPU, and end with the one that started them.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessException, start_processes

from multipose.errors import ModelError, MultiposeError
from multipose.progress import SILENT, Progress, Task

_POLL_SECONDS = 0.2
_LAST_WORDS_SECONDS = 10.0  # for processes that Ctrl-C interrupted, to save what they did


def run_processes(
    work: Callable[..., Any], each: Sequence[tuple[Any, ...]], *, progress: Progress = SILENT
) -> list[Any]:
    """Call work(*arguments, progress=...) in a process of its own for each of several tuples of arguments.

    The first error ends all of them.

    Args:
        work: a function of a module; it, its arguments and its result must be picklable.
        each: the arguments.
        progress: is told what all processes tell.

    Returns:
        The results, in the order of the arguments.

    Raises:
        ModelError: a process ended without an error of its own (killed, or short of memory).
        MultiposeError: what one of them raised.
    """
    with tempfile.TemporaryDirectory(prefix="multipose_processes_") as name:
        queue = get_context("spawn").SimpleQueue()
        context = start_processes(  # type: ignore[no-untyped-call]
            _work, (work, tuple(each), name, queue), len(each), join=False, start_method="spawn"
        )
        heard = _Heard(queue, progress)
        try:
            while not context.join(timeout=_POLL_SECONDS):
                heard.pass_on()
            heard.pass_on()
        except ProcessException as failure:
            errors = [pickle.loads(path.read_bytes()) for path in sorted(Path(name).glob("error_*"))]
            if errors:
                raise errors[0] from None
            raise ModelError(f"A process of the training ended: {failure}") from failure
        except KeyboardInterrupt:
            deadline = time.monotonic() + _LAST_WORDS_SECONDS
            for process in context.processes:
                process.join(max(0.0, deadline - time.monotonic()))
            raise
        finally:
            heard.close()
            for process in context.processes:
                process.kill()
        return [pickle.loads((Path(name) / f"result_{number}").read_bytes()) for number in range(len(each))]


def share_out(
    work: Callable[..., Any], items: Sequence[str], places: Sequence[str], *, progress: Progress = SILENT
) -> dict[str, Any]:
    """Call work(item, place, progress=...) for every item; each place has a process, and takes the next when free.

    Args:
        work: as of `run_processes`.
        items: names of what is to be done; notes and tasks begin with them.
        places: devices, say.
        progress: is told what all processes tell.

    Returns:
        The result of each item, in their order.

    Raises:
        ModelError, MultiposeError: as of `run_processes`.
    """
    waiting = get_context("spawn").SimpleQueue()
    for item in [*items, *(None for _ in places)]:
        waiting.put(item)
    parts = run_processes(_serve, [(work, place, waiting) for place in places], progress=progress)
    done = {item: result for part in parts for item, result in part.items()}
    return {item: done[item] for item in items}


def _serve(work: Callable[..., Any], place: str, waiting: Any, *, progress: Teller) -> dict[str, Any]:
    done = {}
    while (item := waiting.get()) is not None:
        done[item] = work(item, place, progress=progress.about(item))
    return done


def _work(number: int, work: Callable[..., Any], each: Sequence[tuple[Any, ...]], name: str, queue: Any) -> None:
    try:
        result = work(*each[number], progress=Teller(queue, number))
        (Path(name) / f"result_{number}").write_bytes(pickle.dumps(result))
    except MultiposeError as error:
        (Path(name) / f"error_{number}").write_bytes(pickle.dumps(error))
        raise


class Teller:
    """A progress that puts what it is told into a queue.

    Args:
        queue: to the process that started this one.
        number: of this process.
        subject: that notes and descriptions of tasks begin with.
    """

    def __init__(self, queue: Any, number: int, subject: str = "") -> None:
        self._queue, self._number, self._subject = queue, number, subject

    def about(self, subject: str) -> Teller:
        """The same, speaking of one subject."""
        return Teller(self._queue, self._number, f"{subject}: ")

    def task(self, description: str, total: float | None = None) -> _ToldTask:
        return _ToldTask(self._queue, self._number, self._subject + description, total)

    def note(self, text: str) -> None:
        self._queue.put((self._number, "note", self._subject + text))


class _ToldTask:
    def __init__(self, queue: Any, number: int, *description: Any) -> None:
        self._queue, self._number, self._description = queue, number, description

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._queue.put((self._number, "advance", amount, note))

    def __enter__(self) -> _ToldTask:
        self._queue.put((self._number, "begin", *self._description))
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put((self._number, "end"))


class _Heard:
    """Passes on to a progress what processes put into a queue; the tasks of each are nested."""

    def __init__(self, queue: Any, progress: Progress) -> None:
        self._queue, self._progress = queue, progress
        self._tasks: dict[int, list[Task]] = {}

    def pass_on(self) -> None:
        while not self._queue.empty():
            number, kind, *values = self._queue.get()
            tasks = self._tasks.setdefault(number, [])
            if kind == "begin":
                tasks.append(self._progress.task(*values).__enter__())
            elif kind == "note":
                self._progress.note(*values)
            elif kind == "advance":
                tasks[-1].advance(*values)
            elif kind == "end":
                tasks.pop().__exit__(None, None, None)

    def close(self) -> None:
        """End the tasks that are still under way."""
        for tasks in self._tasks.values():
            while tasks:
                tasks.pop().__exit__(None, None, None)
