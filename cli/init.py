"""multipose init"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multipose.cli.options import Result, reporting


def _split(ctx: click.Context, option: click.Parameter, value: tuple[str, ...]) -> list[str]:
    return [name.strip() for word in value for name in word.split(",") if name.strip()]


@click.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--views", multiple=True, required=True, callback=_split, help="Names of the cameras: back,mid,top")
@click.option("--keypoints", multiple=True, required=True, callback=_split, help="Body parts: nose,left_ear,right_ear")
@click.option(
    "--edge", "edges", multiple=True, metavar="A,B", help="A line to draw between two key points; repeatable."
)
@click.option(
    "--board",
    metavar="KIND,KEY=VALUE,...",
    help="The calibration board: charuco,columns=8,rows=11,square=24,marker=18.75,dictionary=4X4_1000,unit=mm "
    "(columns and rows count squares; with thickness=5 the board has a second print on its back), "
    "chessboard,columns=9,rows=6,square=25,unit=mm (inner corners) or "
    "aprilgrid,columns=6,rows=6,square=88,spacing=26.4,unit=mm (tags; Kalibr's tagSize and tagSpacing * tagSize).",
)
@click.option("--name", help="Name of the project; by default the folder's.")
@reporting
def command(folder: Path, views: list[str], keypoints: list[str], edges: tuple[str, ...], **options: Any) -> Result:
    """Make a project folder with a commented multipose.toml."""
    from multipose.pipeline.beginning import make_project

    project = make_project(folder, views, keypoints, edges, board=options["board"], name=options["name"])
    steps = [
        "multipose add NAME " + " ".join(f"{view}=VIDEO" for view in project.views),
        "multipose status",
    ]
    if len(project.views) > 1:
        steps.insert(0, f"put videos of the board into {project.folder / 'calibration'}/<session>/<view>.mp4")
    text = "\n".join(
        [
            f"Made the project {project.config.name!r} in {project.folder}.",
            f"Look through {project.folder / 'multipose.toml'}, then:",
            *(f"  {number}. {step}" for number, step in enumerate(steps, start=1)),
        ]
    )
    return Result({"folder": str(project.folder), "views": project.views}, text)
