"""multipose add"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multipose.cli.options import Result, project_option, reporting


@click.command("add")
@click.argument("name", required=False)
@click.argument("videos", nargs=-1, metavar="[VIEW=VIDEO]...")
@click.option("--pattern", help="Find many recordings by the names of their files: '{animal}_{trial}_{view}.avi'.")
@click.option(
    "--in",
    "base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the pattern is looked for; by default the current folder.",
)
@click.option("--calibration", default="", metavar="SESSION", help="Calibration session that holds for the recordings.")
@click.option("--offset", "offsets", multiple=True, metavar="VIEW=N", help="Frame of a view that falls on time 0.")
@click.option("--timestamps", multiple=True, metavar="VIEW=FILE", help="Times of a view's frames, one a line.")
@click.option(
    "--time-unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    help="Unit of the timestamps; without it seconds, if the videos' rate allows that.",
)
@click.option(
    "--keypoints", multiple=True, metavar="VIEW=FILE", help="2D key points of a view that another program made."
)
@click.option("--replace", is_flag=True, help="Replace recordings of the same names.")
@click.option("--extend", is_flag=True, help="Add views, or what is said of them, to the recording that is there.")
@click.option("--dry-run", is_flag=True, help="Show what would be added, write nothing.")
@project_option
@reporting
def command(name: str | None, videos: tuple[str, ...], folder: str, **options: Any) -> Result:
    """Add recordings to the project: one, or many by a pattern.

    One:  multipose add day1 back=day1/back.mp4 top=day1/top.mp4

    Many: multipose add --pattern '{animal}_{trial}_{view}.avi' --dry-run
    """
    from multipose.pipeline.recordings import (
        Found,
        describe_recording,
        extend_recording,
        find_recordings,
        look_into,
        make_recording,
    )
    from multipose.progress import RichProgress
    from multipose.project import Project

    if (name is None) == (options["pattern"] is None):
        raise click.UsageError("Give either the NAME of one recording with its videos, or --pattern for many.")
    if options["extend"] and (name is None or options["replace"]):
        raise click.UsageError("--extend goes with the NAME of one recording, and without --replace.")
    project = Project.find(folder)
    if name is None:
        for option in ("offsets", "timestamps", "keypoints", "time_unit"):
            if options[option]:
                named = "offset" if option == "offsets" else option.replace("_", "-")
                raise click.UsageError(f"--{named} goes with one recording, not with --pattern.")
        found = find_recordings(project, options["pattern"], options["base"], options["calibration"])
    else:
        recording = make_recording(
            project,
            name,
            videos,
            calibration=options["calibration"],
            offsets=options["offsets"],
            timestamps=options["timestamps"],
            keypoints=options["keypoints"],
            time_unit=options["time_unit"] or "",
        )
        if options["extend"]:
            recording = extend_recording(project, recording)
        found = Found((recording,), ())
    extended = project.with_recordings(found.recordings, replace=options["replace"] or options["extend"])
    clocks = look_into(extended, found.recordings, RichProgress())
    if not options["dry_run"]:
        with project.lock():
            extended.save_manifest()
    lines = [describe_recording(recording, clocks[recording.name], project.views) for recording in found.recordings]
    lines += [f"left out: {path}: {reason}" for path, reason in found.skipped]
    count = f"{len(found.recordings)} recording{'s' if len(found.recordings) != 1 else ''}"
    lines.append(f"Would add {count}; nothing is written." if options["dry_run"] else f"Added {count}.")
    data = {
        "recordings": {
            recording.name: {
                "videos": recording.videos,
                "keypoints": recording.keypoints,
                "moments": len(clocks[recording.name].time),
                "fps": clocks[recording.name].fps,
                "matched_by": clocks[recording.name].rule,
                "notes": clocks[recording.name].notes,
            }
            for recording in found.recordings
        },
        "skipped": [{"path": path, "reason": reason} for path, reason in found.skipped],
        "written": not options["dry_run"],
    }
    return Result(data, "\n".join(lines))
