"""multipose reconstruct"""

from __future__ import annotations

from typing import Any

import click

from multipose.cli.options import Result, number, project_option, reporting, table, threads_option

_OFTEN_OFF = 0.02  # share of a view's points


@click.command("reconstruct")
@click.argument("names", nargs=-1, metavar="[RECORDING]...")
@click.option("--method", type=click.Choice(["robust", "linear"]), help="Instead of multipose.toml's.")
@click.option("--min-confidence", type=click.FloatRange(0, 1), help="Instead of multipose.toml's.")
@click.option("--max-error-px", type=click.FloatRange(min=0, min_open=True), help="Instead of multipose.toml's.")
@click.option("--min-views", type=click.IntRange(min=2), help="Instead of multipose.toml's.")
@click.option(
    "--remove-offsets",
    is_flag=True,
    default=None,
    help="Estimate a constant offset of each key point and view on these data and take it off.",
)
@click.option(
    "--offsets", "show_offsets", is_flag=True, help="Print the table of constant offsets, whatever their size."
)
@threads_option
@project_option
@reporting
def command(names: tuple[str, ...], show_offsets: bool, threads: int, folder: str, **settings: Any) -> Result:
    """Turn 2D key points into 3D trajectories.

    Without names all recordings whose trajectories are missing or stale are done.
    """
    from multipose.pipeline.plan import describe, judge_all, open_hashes
    from multipose.pipeline.reconstruction import large_offsets, reconstruct_recording
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    hashes, progress = open_hashes(project), RichProgress()
    recordings = project.select(names)
    if not names and not any(value is not None for value in settings.values()):
        products = [describe(project, "reconstruct", recording.name) for recording in recordings]
        judged = judge_all(project, products, hashes)
        unsettled = {judgement.product.subject for judgement in judged if not judgement.settled}
        recordings = tuple(recording for recording in recordings if recording.name in unsettled)
    results = {}
    with project.lock():
        for recording in recordings:
            results[recording.name] = reconstruct_recording(
                project, recording, hashes, settings=settings, threads=threads, progress=progress
            )
    if not results:
        return Result(
            {"recordings": {}}, "The trajectories of every recording are up to date (name one to do it anew)."
        )
    lines = []
    for name, result in results.items():
        large = large_offsets(result["offsets_px"])
        views = ", ".join(f"{view} {number(value)}" for view, value in result["leave_one_out_px"].items())
        lines += [
            f"{name}: {result['points']} points, {number(100 * result['reconstructed_fraction'], 1)} % of those that "
            f"enough views saw; median reprojection error {number(result['median_reprojection_px'])} px",
            f"  each view against the others (median, px): {views}",
        ]
        lines += describe_diagnostics(result["diagnostics"])
        if large and not result["offsets_removed"]:
            lines.append(
                f"  ! {len(large)} constant offsets above 3 px, the largest {large[0][2]:.1f} px ({large[0][1]} in "
                f"view {large[0][0]}): they mean different points of the body, or the calibration no longer holds. "
                "--remove-offsets takes them off."
            )
        if large or show_offsets:
            lines += ["", _describe_offsets(result["offsets_px"]), ""]
        lines += [f"  {result['trajectories']}", f"  {result['diagnostics_page']}"]
    return Result({"recordings": results}, "\n".join(lines))


def describe_diagnostics(found: dict[str, Any]) -> list[str]:
    """Lines on the view that disagrees and on exchanged sides, where there is something to say."""
    lines = []
    first = found["views"][0]
    if (first["most_off"] or 0) > _OFTEN_OFF:
        lines.append(
            f"  ! {first['view']} is clearly off, and farther than every other view, in "
            f"{100 * first['most_off']:.0f} % of its points; {100 * first['within_95']:.0f} % lie where the others "
            "expect 95 %."
        )
    lines += [
        f"  ! {' and '.join(swap['pair'])} are exchanged in view {swap['view']}, frames "
        + ", ".join(f"{first}-{last}" for first, last in swap["frames"])
        for swap in found["swaps"]
    ]
    return lines


def _describe_offsets(offsets: dict[str, dict[str, list[float]]]) -> str:
    views = list(offsets)
    rows = [
        [name, *(f"{number(offsets[view][name][0], 1)},{number(offsets[view][name][1], 1)}" for view in views)]
        for name in offsets[views[0]]
    ]
    return table(rows, ["offset dx,dy (px)", *views])
