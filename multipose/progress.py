"""Progress of long work: a protocol that every verb speaks, a silent one, and one drawn by rich on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichBars


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


class RichProgress:
    """Bars with the time that is left, and notes, on standard error (standard output stays free for results)."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, soft_wrap=True)
        self._display = _Display(self._console)

    def task(self, description: str, total: float | None = None) -> Task:
        return _RichTask(self._display, description, total)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)
