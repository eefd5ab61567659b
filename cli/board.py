"""multipose board"""

from __future__ import annotations

from pathlib import Path

import click

from multipose.cli.options import Result, project_option, reporting


@click.group("board")
def command() -> None:
    """Draw the calibration board."""


@command.command("draw")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.pdf")
@click.option(
    "--board",
    "described",
    metavar="KIND,KEY=VALUE,...",
    help="The board, as for `multipose init`; by default that of the project.",
)
@click.option(
    "--paper", default="A4", show_default=True, help="A4, A3, A2, A1, A0, letter, tabloid, or WIDTHxHEIGHT in mm."
)
@project_option
@reporting
def draw(path: Path, described: str | None, paper: str, folder: str) -> Result:
    """Write the board as a PDF that is true to scale, with its settings below it.

    A two-sided board has a page for each side, which say how to mount them.
    """
    from multipose.board import board_from_dict
    from multipose.formats.board_pdf import write_board_pdf
    from multipose.pipeline.beginning import read_board
    from multipose.pipeline.plan import project_board
    from multipose.project import Project

    if described is not None:
        board = board_from_dict(read_board(described).to_dict())
    else:
        board = project_board(Project.find(folder))
    text = write_board_pdf(board, path, paper)
    return Result(
        {"file": str(path), "board": board.to_dict()},
        f"{text}\n{path}\nPrint at 100 %, measure a square, and put what you measured into multipose.toml.",
    )
