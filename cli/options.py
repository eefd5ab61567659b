"""What commands have in common: their options, how results are printed, and how failures are told."""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from multipose.errors import MultiposeError

Function = TypeVar("Function", bound=Callable[..., Any])

# Threads of OpenMP that wait for each other otherwise spin, and on a machine that also does other work every step of a
# network then takes about five times as long (measured: 10 s instead of 2 s with a load of 6 on two cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Result:
    """What a command hands back: plain values for `--json`, and words for a person."""

    data: Mapping[str, Any]
    text: str


def reporting(function: Callable[..., Result]) -> Callable[..., None]:
    """Give a command `--json` and `--debug`: it returns a Result, and errors become one message and an exit code.

    Exit codes: 0 done, 1 an error that multipose raised on purpose or a file that cannot be used, 2 wrong usage, 130
    interrupted.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
    @click.option("--debug", is_flag=True, help="Show where in the program an error arose.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, debug: bool, **options: Any) -> None:
        try:
            result = function(*args, **options)
        except MultiposeError as error:
            if debug:
                raise
            raise click.ClickException(str(error)) from None
        except OSError as error:  # the disk is full, a folder may not be written, a path cannot exist
            if debug:
                raise
            raise click.ClickException(f"Cannot use {error.filename or 'a file'}: {error.strerror or error}.") from None
        except KeyboardInterrupt:
            if debug:
                raise
            click.echo("\nInterrupted. What is finished is kept; the same command goes on from there.", err=True)
            raise click.exceptions.Exit(130) from None
        text = json.dumps(plain(result.data), ensure_ascii=False) if as_json else result.text
        click.echo(text if as_json or not sys.stdout.isatty() else wrap_lines(text, shutil.get_terminal_size().columns))

    return run


def wrap_lines(text: str, width: int) -> str:
    """The text with lines of no more than `width` columns, broken between words; what goes on is indented by two more.

    For terminals only: programs that read the output get whole lines.
    """
    wrapped = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        parts = textwrap.wrap(
            line,
            max(width, len(indent) + 20),
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )
        wrapped += parts if len(line) > width else [line]
    return "\n".join(wrapped)


def plain(value: Any) -> Any:
    """Values as JSON knows them: arrays as lists, unknown (NaN) as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def project_option(function: Function) -> Function:
    """`--project DIR`; the command gets the folder where the search for the project begins."""
    return click.option(
        "--project",
        "folder",
        type=click.Path(exists=True, file_okay=False),
        default=".",
        metavar="DIR",
        help="The project's folder; by default the one that holds the current folder.",
    )(function)


def _limit_threads(ctx: click.Context, option: click.Parameter, value: int | None) -> int:
    """Set the limits that numerical libraries read when they are imported, which comes later."""
    if value is None:
        usable = getattr(os, "sched_getaffinity", None)  # a batch system may allow fewer cores than there are
        return len(usable(0)) if usable else os.cpu_count() or 1
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(value)
    return value


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    callback=_limit_threads,
    help="Threads to use in all, by default one per core.",
)
"""`--threads N`; the command gets their number."""


def table(rows: list[list[str]], header: list[str]) -> str:
    """Columns of text, numbers to the right, within the terminal's width (80 columns where there is none).

    Headers take several lines where the table is too wide; if that is not enough, further columns follow below, with
    the first column again.
    """
    limit = shutil.get_terminal_size((80, 24)).columns
    body = [max((len(row[i]) for row in rows), default=0) for i in range(len(header))]
    widths = [max(len(name), width) for name, width in zip(header, body, strict=True)]
    least = [max(*(len(word) for word in [*name.split(), ""]), width) for name, width in zip(header, body, strict=True)]
    while _whole(widths) > limit and widths != least:
        widest = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        widths[widest] -= 1
    parts = [[0]]
    for column in range(1, len(header)):
        if len(parts[-1]) > 1 and _whole([widths[i] for i in [*parts[-1], column]]) > limit:
            parts.append([0])
        parts[-1].append(column)
    return "\n\n".join(_block(rows, header, widths, part) for part in parts)


def _whole(widths: list[int]) -> int:
    """Width of a line of columns."""
    return sum(widths) + 2 * (len(widths) - 1)


def _block(rows: list[list[str]], header: list[str], widths: list[int], columns: list[int]) -> str:
    """Some columns of a table, with the header's words on as many lines as they need."""
    named = {i: textwrap.wrap(header[i], max(widths[i], 1), break_on_hyphens=False) for i in columns}
    height = max(len(words) for words in named.values())
    heads = [[([""] * (height - len(named[i])) + named[i])[line] for i in columns] for line in range(height)]
    right = {i: bool(rows) and all(_is_number(row[i]) for row in rows) for i in columns}
    lines = [
        "  ".join(
            cell.rjust(widths[i]) if right[i] else cell.ljust(widths[i]) for cell, i in zip(cells, columns, strict=True)
        ).rstrip()
        for cells in [*heads, *([row[i] for i in columns] for row in rows)]
    ]
    return "\n".join([*lines[:height], "-" * max(len(line) for line in lines[:height]), *lines[height:]])


def _is_number(text: str) -> bool:
    return text[:1] in "0123456789+-" or text == ""


def number(value: float | None, digits: int = 2) -> str:
    """A figure for a table, "-" where it is unknown."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
