"""Progress of long work: a protocol that every verb speaks, a silent one, and one drawn by rich on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID


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
    def __init__(self, bars: RichBars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self._bars.update(self._task, advance=amount, note=note)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.refresh()
        self._bars.stop()


class RichProgress:
    """Bars with the time that is left, and notes, on standard error (standard output stays free for results)."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, soft_wrap=True)

    def task(self, description: str, total: float | None = None) -> Task:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            redirect_stdout=False,
        )
        return _RichTask(bars, bars.add_task(description, total=total, note=""))

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)
