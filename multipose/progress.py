"""Progress of long work: a protocol that every verb speaks, a silent one, and one drawn by rich on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBars


_LINE_SECONDS = 10.0  # between two lines in a log


class Task(Protocol):
    """One piece of work under way; a context manager."""

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Report `amount` more of the total done, with a short note to show beside the bar."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Where verbs report to. Library functions take one as `progress` and are silent by default."""

    def task(self, description: str, total: float | None = None) -> Task:
        """Begin a task of `total` units (None: unknown)."""

    def note(self, text: str) -> None:
        """Say one line to the person who waits."""


class _SilentTask:
    def advance(self, amount: float = 1.0, note: str = "") -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Silent:
    def task(self, description: str, total: float | None = None) -> Task:
        return _SilentTask()

    def note(self, text: str) -> None:
        pass


SILENT: Progress = _Silent()


class _RichTask:
    def __init__(self, display: _Display, description: str, total: float | None) -> None:
        self._display = display
        self._new: tuple[str, float | None] = (description, total)

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._bars.update(self._task, advance=amount, note=note)

    def __enter__(self) -> Self:
        self._bars = self._display.open()
        description, total = self._new
        self._task = self._bars.add_task(description, total=total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop_task(self._task)
        self._display.close()


class _Display:
    """Bars of all tasks under way at a time; only one can be on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = 0

    def open(self) -> RichBars:
        """The bars, for one more task."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        if not self._open:
            self._bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=self._console,
                redirect_stdout=False,
            )
            self._bars.start()
        self._open += 1
        return self._bars

    def close(self) -> None:
        """One task less; with the last one the bars stay on the screen as they are."""
        self._open -= 1
        self._bars.refresh()
        if not self._open:
            self._bars.stop()


class _Lines:
    """Lines on tasks under way, for a log: one at most every so many seconds, whatever the number of tasks."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._last = time.monotonic()

    def is_due(self) -> bool:
        now = time.monotonic()
        if now - self._last < _LINE_SECONDS:
            return False
        self._last = now
        return True


class _LineTask:
    def __init__(self, lines: _Lines, description: str, total: float | None) -> None:
        self._lines, self._description, self._total = lines, description, total
        self._done, self._note = 0.0, ""

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._done += amount
        self._note = note
        if self._lines.is_due():
            self._lines.say(self._describe(time.monotonic() - self._begun))

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.say(f"{self._describe(None)}, took {_clock(time.monotonic() - self._begun)}")

    def _describe(self, elapsed: float | None) -> str:
        """What is done, out of how much, and the time left if it goes on as fast as in the `elapsed` seconds."""
        text = f"{self._description} {self._done:.6g}" + ("" if self._total is None else f"/{self._total:.6g}")
        if elapsed is not None and self._total and 0 < self._done < self._total:
            text += f", {_clock(elapsed * (self._total - self._done) / self._done)} left"
        return f"{text}  {self._note}".rstrip()


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class RichProgress:
    """Bars with the time that is left, and notes, on standard error (standard output stays free for results).

    Where that is no terminal, a line at most every ten seconds instead, and one when a task ends.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, soft_wrap=True)
        self._display = _Display(self._console)
        self._lines = _Lines(self.note)

    def task(self, description: str, total: float | None = None) -> Task:
        if not self._console.is_terminal:
            return _LineTask(self._lines, description, total)
        return _RichTask(self._display, description, total)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)
