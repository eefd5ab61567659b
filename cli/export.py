"""multipose export"""

from __future__ import annotations

from pathlib import Path

import click

from multipose.cli.options import Result, project_option, reporting


@click.command("export")
@click.argument("names", nargs=-1, metavar="[RECORDING]...")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "movement", "deeplabcut", "anipose"]),
    required=True,
    help="csv: tables for anything; movement: netCDF; deeplabcut: 2D, csv and h5 per view; anipose: 3D csv.",
)
@click.option("--to", "target", type=click.Path(file_okay=False, path_type=Path), help="Folder; by default exports/.")
@click.option("--smoothed", is_flag=True, help="The smoothed trajectories instead of those of single frames.")
@project_option
@reporting
def command(names: tuple[str, ...], kind: str, target: Path | None, smoothed: bool, folder: str) -> Result:
    """Write results in the formats of other tools.

    Without names all recordings are written.
    """
    from multipose.pipeline.exports import export_recording
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    place = target or project.folder / "exports"
    written = {
        recording.name: [
            str(path)
            for path in export_recording(project, recording, kind, place, smoothed=smoothed, progress=RichProgress())
        ]
        for recording in project.select(names)
    }
    return Result({"recordings": written}, "\n".join(path for paths in written.values() for path in paths))
