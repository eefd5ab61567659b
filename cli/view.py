"""multipose view"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from multipose.cli.options import Result, project_option, reporting


@click.group("view")
def command() -> None:
    """Make pictures of the rig, boards, labels, key points and trajectories."""


def _output_option(function: Any) -> Any:
    return click.option(
        "--to", "target", type=click.Path(path_type=Path), help="Where to write; by default beside the results."
    )(function)


def _written(paths: list[Path]) -> Result:
    return Result({"paths": [str(path) for path in paths]}, "\n".join(str(path) for path in paths))


@command.command("player")
@click.argument("names", nargs=-1, metavar="[RECORDING]...")
@project_option
@reporting
def player(names: tuple[str, ...], folder: str) -> Result:
    """The 3D player of recordings, with their reprojection errors."""
    from multipose.pipeline.plan import open_hashes
    from multipose.pipeline.reconstruction import make_player
    from multipose.project import Project

    project = Project.find(folder)
    with project.lock():
        pages = [make_player(project, recording, open_hashes(project)) for recording in project.select(names)]
    return _written([Path(page["player"]) for page in pages])


@command.command("rig")
@click.argument("session", required=False)
@_output_option
@project_option
@reporting
def rig(session: str | None, target: Path | None, folder: str) -> Result:
    """Where the cameras stand and look."""
    from multipose.pipeline.pictures import rig_page
    from multipose.project import Project

    project = Project.find(folder)
    with project.lock() if target is None else nullcontext():
        return _written([rig_page(project, session, target)])


@command.command("corners")
@click.argument("session", required=False)
@_output_option
@project_option
@reporting
def corners(session: str | None, target: Path | None, folder: str) -> Result:
    """Where in the pictures the board was seen."""
    from multipose.pipeline.pictures import corners_page
    from multipose.project import Project

    project = Project.find(folder)
    with project.lock() if target is None else nullcontext():
        return _written([corners_page(project, session, target)])


@command.command("keypoints")
@click.argument("name", metavar="RECORDING")
@click.option("--frame", "moment", type=click.IntRange(min=0), default=0, show_default=True, help="Moment, from 0.")
@_output_option
@project_option
@reporting
def keypoints(name: str, moment: int, target: Path | None, folder: str) -> Result:
    """Key points over the pictures of all views at one moment."""
    from multipose.pipeline.pictures import keypoints_page
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    return _written([keypoints_page(project, project.recording(name), moment, target, progress=RichProgress())])


@command.command("sheet")
@click.argument("name", metavar="RECORDING")
@click.option("--view", "view_name", help="Which view; by default the first.")
@click.option("--count", type=click.IntRange(min=1), default=12, show_default=True, help="Number of frames.")
@click.option("--whole", is_flag=True, help="Whole frames, not only the part around the animal.")
@_output_option
@project_option
@reporting
def sheet(name: str, view_name: str | None, count: int, whole: bool, target: Path | None, folder: str) -> Result:
    """One picture with frames, evenly chosen, cropped to the animal, and the key points drawn on them."""
    from multipose.pipeline.pictures import sheet_picture
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    recording = project.recording(name)
    return _written([sheet_picture(project, recording, view_name, count, target, whole=whole, progress=RichProgress())])


@command.command("video")
@click.argument("name", metavar="RECORDING")
@click.option("--view", "views", multiple=True, help="Only this view; repeatable.")
@click.option("--names", is_flag=True, help="Write the names beside the points.")
@click.option("--reprojected", is_flag=True, help="Draw also the 3D points, projected into the view, as rings.")
@click.option("--smoothed", is_flag=True, help="With --reprojected: the smoothed trajectories.")
@_output_option
@project_option
@reporting
def video(
    name: str,
    views: tuple[str, ...],
    names: bool,
    reprojected: bool,
    smoothed: bool,
    target: Path | None,
    folder: str,
) -> Result:
    """Videos with the key points drawn on them, and frame numbers; --to names a folder."""
    from multipose.pipeline.pictures import labelled_videos
    from multipose.progress import RichProgress
    from multipose.project import Project

    if smoothed and not reprojected:
        raise click.UsageError("--smoothed says which 3D points are drawn: give --reprojected, too.")
    project = Project.find(folder)
    return _written(
        labelled_videos(
            project,
            project.recording(name),
            views,
            target,
            names=names,
            reprojected="smoothed" if smoothed else "single" if reprojected else "",
            progress=RichProgress(),
        )
    )


@command.command("labels")
@click.option("--view", "views", multiple=True, help="Only this view; repeatable.")
@click.option("--recording", "recordings", multiple=True, help="Only this recording; repeatable.")
@click.option(
    "--count", type=click.IntRange(min=1), default=120, show_default=True, help="Pictures on the page, at most."
)
@_output_option
@project_option
@reporting
def labels(views: tuple[str, ...], recordings: tuple[str, ...], count: int, target: Path | None, folder: str) -> Result:
    """The labelled pictures with their points, names and states; what looks like a slip comes first."""
    from multipose.pipeline.pictures import label_page
    from multipose.project import Project

    return _written([label_page(Project.find(folder), views, recordings, count, target)])
