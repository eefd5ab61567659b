"""multipose calibrate"""

from __future__ import annotations

from contextlib import nullcontext
from math import degrees
from typing import TYPE_CHECKING, Any

import click

from multipose.cli.options import Result, number, project_option, reporting, table, threads_option

if TYPE_CHECKING:
    from multipose.project import Project


@click.command("calibrate")
@click.argument("sessions", nargs=-1, metavar="[SESSION]...")
@click.option(
    "--lens",
    type=click.Choice(["auto", "k1", "brown", "fisheye", "rational"]),
    help="Instead of multipose.toml's; auto takes for each camera the simplest that no other clearly beats on boards "
    "left out.",
)
@click.option("--max-boards", type=click.IntRange(min=3), help="Pictures of the board to use per view, at most.")
@click.option(
    "--origin",
    metavar="SESSION:FRAME",
    help="Put the world on the board that lies on the floor in this frame; instead of multipose.toml's.",
)
@click.option(
    "--up",
    type=click.Choice(["x", "-x", "y", "-y", "z", "-z"]),
    help="The axis of that world that points up; instead of multipose.toml's.",
)
@click.option(
    "--axes",
    metavar="RECORDING:A,B,C",
    help="Put the world on three key points that stand still in a recording: A is the origin, x points to B, and C "
    "lies beside x in the plane of x and y; instead of multipose.toml's.",
)
@click.option(
    "--scale",
    metavar="RECORDING:A,B=LENGTH",
    help="Let the true distance of two key points of a recording count instead of the side of the board's squares; "
    "instead of multipose.toml's.",
)
@click.option(
    "--bent-board/--flat-board",
    default=None,
    help="Whether the board may be bent, so that its deflection is estimated too; instead of multipose.toml's.",
)
@click.option(
    "--intrinsics",
    metavar="SESSION",
    help="Take the lenses from this session of close-ups, in which every view saw the board by itself, and only the "
    "poses from the others; instead of multipose.toml's.",
)
@click.option(
    "--offset",
    "offsets",
    multiple=True,
    metavar="VIEW=N",
    help="Frame of a view that falls on instant 0 of the board's recording, where the videos have unequal numbers of "
    "frames or did not begin together; 0 for all says that they did. Instead of multipose.toml's.",
)
@click.option(
    "--check",
    metavar="RECORDING",
    help="Calibrate nothing: test with the key points of this recording whether its rig still fits. With a SESSION: "
    "test that one's rig with boards that were filmed later, as the session named here.",
)
@click.option(
    "--baseline",
    metavar="RECORDING",
    help="With --check: a recording of a time when the rig was right; the constant offsets of its key points are taken "
    "off, so that smaller changes stand out.",
)
@click.option(
    "--refine",
    is_flag=True,
    help="With --check: refine the poses of cameras that moved, and write the rig beside the old one.",
)
@threads_option
@project_option
@reporting
def command(
    sessions: tuple[str, ...],
    check: str | None,
    baseline: str | None,
    refine: bool,
    offsets: tuple[str, ...],
    threads: int,
    folder: str,
    **settings: Any,
) -> Result:
    """Calibrate the cameras from pictures of the board.

    Without names all sessions in calibration/ that have pictures of the board are calibrated. With --check nothing is:
    key points of a recording say whether the rig still fits.
    """
    from multipose.pipeline.recordings import read_offsets

    settings["offsets"] = read_offsets(offsets) if offsets else None
    if check is not None:
        _refuse_with_check(settings)
        return _check(check, sessions, baseline, refine, threads, folder)
    if baseline is not None or refine:
        raise click.UsageError("--baseline and --refine go with --check RECORDING.")
    from multipose.errors import ProjectError
    from multipose.pipeline.calibration import calibrate_session
    from multipose.pipeline.plan import open_hashes
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    chosen = sessions or tuple(name for name in project.sessions if project.board_sources(name))
    if not chosen:
        raise ProjectError(_describe_lacking(project))
    with project.lock():
        reports = [
            calibrate_session(
                project,
                session,
                open_hashes(project),
                settings=settings,
                threads=threads,
                progress=RichProgress(),
            )
            for session in chosen
        ]
    data = reports[0] if len(reports) == 1 else {"sessions": {report["session"]: report for report in reports}}
    return Result(data, "\n\n".join(describe_calibration(report) for report in reports))


def _refuse_with_check(settings: dict[str, Any]) -> None:
    given = [
        f"--{'offset' if name == 'offsets' else name.replace('_', '-')}"
        for name, value in settings.items()
        if value is not None
    ]
    if given:
        raise click.UsageError(f"--check calibrates nothing, so {', '.join(given)} cannot go with it.")


def _check(
    name: str, sessions: tuple[str, ...], baseline: str | None, refine: bool, threads: int, folder: str
) -> Result:
    from multipose.pipeline.checking import check_boards, check_recording
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    is_recording = name in [recording.name for recording in project.recordings]
    with project.lock() if refine else nullcontext():  # without --refine nothing is written
        if sessions:
            if len(sessions) > 1 or baseline is not None or is_recording:
                raise click.UsageError(
                    "calibrate SESSION --check OTHER tests the rig of one session with the boards of another one, "
                    "without a baseline; for a recording leave SESSION out: its rig is known."
                )
            values = check_boards(project, name, sessions[0], refine=refine, threads=threads, progress=RichProgress())
        else:
            values = check_recording(
                project,
                project.recording(name),
                baseline=None if baseline is None else project.recording(baseline),
                refine=refine,
                progress=RichProgress(),
            )
    return Result(values, _describe_check(values, refine))


def _describe_check(values: dict[str, Any], refine: bool) -> str:
    """What a check found, for a person."""
    rows = [
        [
            name,
            camera["finding"],
            number(camera["leave_one_out_px"], 1),
            number(camera["epipolar_px"], 1),
            *_change(camera),
            number(camera["statistic"], 0),
            str(camera["n_points"]),
        ]
        for name, camera in values["cameras"].items()
    ]
    header = ["camera", "finding", "left out px", "epipolar px", "turn deg (sd)"]
    header += [f"shift {values['unit']} (sd)", "statistic", "points"]
    lines = [
        f"Rig of session {values['session']}, seen in {values['recording']} at {values['n_instants']} instants",
        "",
        table(rows, header),
        "",
        f"A camera has moved where its statistic is above {number(values['price'], 0)} and its picture displaced by a "
        "pixel or more.",
        *values["sentences"],
    ]
    refined = values["refined"]
    if refined is not None:
        errors = ", ".join(
            f"{view} {number(before, 1)} -> {number(after, 1)}"
            for view, (before, after) in refined["held_out_px"].items()
        )
        lines += [
            f"Refined: {', '.join(refined['cameras'])}. Each view against the others, on the second half of the "
            f"recording with poses from the first (median, px): {errors or 'too few points to tell'}",
            f"rig: {refined['rig']} (to use it, put it in the place of rig.toml)",
        ]
    elif refine:
        lines.append("Nothing was refined: that takes cameras that moved, and nothing else being wrong.")
    return "\n".join(lines)


def _change(camera: dict[str, Any]) -> list[str]:
    """Turn and shift of a camera with their standard deviations; of one that did not move they mean nothing."""
    if "moved" not in camera["finding"]:
        return ["", ""]
    return [
        f"{number(degrees(camera['turn_rad']))} ({number(degrees(camera['turn_sd_rad']))})",
        f"{number(camera['shift'], 1)} ({number(camera['shift_sd'], 1)})",
    ]


def describe_calibration(report: dict[str, Any]) -> str:
    """A session's report for a person."""
    rows = [
        [
            name,
            number(camera["held_out_rms_px"], 3),
            number(camera["rms_px"], 3),
            camera["lens"],
            str(camera["boards"]),
            number(100 * camera["coverage"], 0),
        ]
        for name, camera in report["cameras"].items()
    ]
    low, high = report["held_out_interval_px"]
    between = "" if low is None else f" (95 % between {number(low, 3)} and {number(high, 3)})"
    lines = [
        f"Session {report['session']}: {report['boards_used']} boards used",
        f"world: {report['world']}; lengths in {report['unit']}",
        "",
        table(rows, ["camera", "left out px", "RMS px", "lens", "boards", "coverage %"]),
        "",
        f"RMS over all corners {number(report['rms_px'], 3)} px fitted, {number(report['held_out_rms_px'], 3)} px on "
        f"boards left out one at a time{between}",
        f"measured on boards left out: diagonals {number(report['diagonal_mean_percent'], 3)} % off on average, "
        f"sides of squares {number(report['square_error_percent'])} % (RMS)",
        *(f"! {verdict['text']}" for verdict in report["verdicts"]),
        f"rig: {report['rig']}",
        f"report: {report['page']}",
    ]
    return "\n".join(lines)


def _describe_lacking(project: Project) -> str:
    """That no view has pictures of the board, and what lies where they should."""
    from multipose.project import VIDEO_SUFFIXES
    from multipose.sources import PICTURE_SUFFIXES

    folder, views = project.folder / "calibration", project.views
    said = f"There are no pictures of the board. Put them into {folder}/<session>/<view>.mp4, for the views "
    said += f"{', '.join(views)}."
    known = (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known) if folder.is_dir() else []
    if found:
        listed = ", ".join(project.relative(path) for path in found[:4]) + (", ..." if len(found) > 4 else "")
        said += (
            f" There are {len(found)} videos and pictures whose names are no views': {listed}. Rename them, or say in "
            f"multipose.toml which they are: [calibration.sessions.board], {views[0]} = "
            f'"{project.relative(found[0])}".'
        )
    return said
