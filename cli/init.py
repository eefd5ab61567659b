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
@click.option("--keypoints", multiple=True, callback=_split, help="Body parts: nose,left_ear,right_ear")
@click.option(
    "--from",
    "like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take body parts, lines and left/right pairs from a file instead: SLEAP's .slp, .h5 or .csv, DeepLabCut's "
    "config.yaml or a table of it, movement's .nc, or a .csv of multipose.",
)
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

    if bool(keypoints) == (options["like"] is not None):
        raise click.UsageError("Name the body parts with --keypoints, or a file that does with --from, not both.")
    project = make_project(folder, views, keypoints, edges, **options)
    skeleton = project.config.skeleton
    steps = [
        "multipose add NAME "
        + (" ".join(f"{view}=VIDEO" for view in project.views) if len(project.views) > 1 else "VIDEO"),
        "multipose status",
    ]
    if len(project.views) > 1:
        steps.insert(0, f"put videos of the board into {project.folder / 'calibration'}/<session>/<view>.mp4")
    text = "\n".join(
        [
            f"Made the project {project.config.name!r} in {project.folder}.",
            f"Key points: {', '.join(skeleton.keypoints)}",
            "Left and right: "
            + (", ".join("/".join(pair) for pair in skeleton.pairs) or "none (say pairs in multipose.toml)"),
            *([f"Lines: {', '.join('-'.join(edge) for edge in skeleton.edges)}"] if skeleton.edges else []),
            f"Look through {project.folder / 'multipose.toml'}, then:",
            *(f"  {number}. {step}" for number, step in enumerate(steps, start=1)),
        ]
    )
    data = {"folder": str(project.folder), "views": project.views, "keypoints": skeleton.keypoints}
    return Result(data | {"pairs": skeleton.pairs, "edges": skeleton.edges}, text)
