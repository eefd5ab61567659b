"""multipose reconstruct"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from multipose.cli.options import Result, number, project_option, reporting, table, threads_option

if TYPE_CHECKING:
    from multipose.pipeline.provenance import Hashes
    from multipose.progress import RichProgress
    from multipose.project import Project, Recording

_OFTEN_OFF = 0.02  # share of a view's points
_WORSE = 1.02  # ratio of distances of views held out from which smoothed points are not better


@click.command("reconstruct")
@click.argument("names", nargs=-1, metavar="[RECORDING]...")
@click.option("--method", type=click.Choice(["robust", "linear"]), help="Instead of multipose.toml's.")
@click.option("--min-confidence", type=click.FloatRange(0, 1), help="Instead of multipose.toml's.")
@click.option("--max-error-px", type=click.FloatRange(min=0, min_open=True), help="Instead of multipose.toml's.")
@click.option("--min-views", type=click.IntRange(min=2), help="Instead of multipose.toml's.")
@click.option(
    "--shared-error",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Share of a 3D point's variance that all views have in common, instead of what held-out labels or experience "
    "say.",
)
@click.option(
    "--remove-offsets",
    is_flag=True,
    default=None,
    help="Estimate a constant offset of each key point and view on these data and take it off.",
)
@click.option(
    "--offsets", "show_offsets", is_flag=True, help="Print the table of constant offsets, whatever their size."
)
@click.option(
    "--smooth/--no-smooth",
    "smoothed",
    default=None,
    help="Also solve all frames together: smoothed trajectories with uncertainty; by default as multipose.toml says.",
)
@click.option("--max-gap", type=click.IntRange(min=0), help="With --smooth: longest gap in frames that is written.")
@threads_option
@project_option
@reporting
def command(
    names: tuple[str, ...],
    show_offsets: bool,
    smoothed: bool | None,
    max_gap: int | None,
    threads: int,
    folder: str,
    **settings: Any,
) -> Result:
    """Turn 2D key points into 3D trajectories.

    Without names all recordings whose trajectories are missing or stale are done. Key points that another program found
    (`multipose add --keypoints`) are taken over first; those of networks come from `multipose predict`.
    """
    from multipose.pipeline.plan import open_hashes
    from multipose.pipeline.reconstruction import reconstruct_recording
    from multipose.pipeline.smoothing import smooth_recording
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    if smoothed is None:
        smoothed = project.config.smoothing.enabled or max_gap is not None
    elif not smoothed and max_gap is not None:
        raise click.UsageError("--max-gap is for --smooth.")
    hashes, progress = open_hashes(project), RichProgress()
    recordings = project.select(names)
    everything = bool(names) or any(value is not None for value in settings.values())
    results = {}
    with project.lock():
        for recording in recordings:
            _take_over(project, recording, hashes, threads, progress)
            if everything or _unsettled(project, "reconstruct", recording.name, hashes):
                results[recording.name] = reconstruct_recording(
                    project, recording, hashes, settings=settings, threads=threads, progress=progress
                )
            if smoothed and (
                everything or max_gap is not None or _unsettled(project, "smooth", recording.name, hashes)
            ):
                results.setdefault(recording.name, {})["smoothed"] = smooth_recording(
                    project, recording, hashes, settings={"max_gap": max_gap}, threads=threads, progress=progress
                )
    if not results:
        return Result(
            {"recordings": {}}, "The trajectories of every recording are up to date (name one to do it anew)."
        )
    lines = []
    for name, result in results.items():
        if "points" in result:
            lines += _describe(name, result, show_offsets)
        if "smoothed" in result:
            lines += _describe_smoothed(name, result["smoothed"])
    return Result({"recordings": results}, "\n".join(lines))


def _take_over(project: Project, recording: Recording, hashes: Hashes, threads: int, progress: RichProgress) -> None:
    """Bring the key points of other programs onto the recording's clock, where no network is needed for that."""
    if recording.is_brought and _unsettled(project, "predict", recording.name, hashes):
        from multipose.pipeline.prediction import predict_recording

        predict_recording(project, recording, hashes, threads=threads, progress=progress)


def _unsettled(project: Project, stage: str, recording: str, hashes: Hashes) -> bool:
    """Whether a product of a recording is missing or stale."""
    from multipose.pipeline.plan import describe, judge_all

    (judged,) = judge_all(project, [describe(project, stage, recording)], hashes)
    return not judged.settled


def _describe(name: str, result: dict[str, Any], show_offsets: bool) -> list[str]:
    """Lines on the points that were solved frame by frame."""
    from multipose.pipeline.reconstruction import large_offsets

    large = large_offsets(result["offsets_px"])
    views = ", ".join(f"{view} {number(value)}" for view, value in result["leave_one_out_px"].items())
    lines = [
        f"{name}: {result['points']} points, {number(100 * result['reconstructed_fraction'], 1)} % of those that "
        f"enough views saw; median reprojection error {number(result['median_reprojection_px'])} px",
        f"  each view against the others (median, px): {views}",
    ]
    lines += [_describe_low(result["low_confidence"])]
    lines += [*_describe_better(result["better_confidence"]), *_describe_missing(result["keypoints_without_3d"])]
    lines += [_describe_shared(result), *_describe_diagnostics(result["diagnostics"])]
    if large and not result["offsets_removed"]:
        lines.append(
            f"  ! {len(large)} constant offsets above 3 px, the largest {large[0][2]:.1f} px ({large[0][1]} in "
            f"view {large[0][0]}): they mean different points of the body, or the calibration no longer holds. "
            "--remove-offsets takes them off."
        )
    if large or show_offsets:
        lines += ["", _describe_offsets(result["offsets_px"]), ""]
    return [*lines, f"  {result['trajectories']}", f"  {result['diagnostics_page']}"]


def _describe_low(low: dict[str, dict[str, int]]) -> str:
    """A line on 2D points that were left out for their confidence: how many of each view, and of what most."""
    views = []
    for view, counts in low.items():
        most = max(counts, key=lambda name: counts[name]) if counts else ""
        views.append(f"{view} {sum(counts.values())}" + (f" ({most} {counts[most]})" if most else ""))
    return f"  2D points below the confidence threshold (most of): {', '.join(views)}"


def _describe_better(better: dict[str, Any] | None) -> list[str]:
    """A line on the threshold of the confidence that leaving one view out chooses, if it is clearly better."""
    if better is None:
        return []
    threshold = number(better["min_confidence"])
    return [
        f"  ! A confidence threshold of {threshold} would be better: of the {better['n_between']} points between, "
        f"{number(100 * better['confirmed'], 0)} % lie where the other views put them. Say min_confidence = "
        f"{threshold} in [reconstruction]."
    ]


def _describe_missing(lacking: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each key point that has hardly any position, why, and what to do."""
    why = {
        "inconsistent": "its two views disagree. If by a constant, try --remove-offsets; else look at its labels",
        "ambiguous": "its views agree in pairs on different places. Look at them: multipose view keypoints",
        "missing": "too few views agree. Look at them: multipose view keypoints; or lower min_views",
    }
    return [
        f"  ! {name}: {one['points']} of {one['possible']} points have 3D: {why.get(one['state'], one['state'])}."
        for name, one in lacking.items()
    ]


def _describe_shared(result: dict[str, Any]) -> str:
    """A line on what residuals cannot show, and who says so."""
    share = f"  {number(100 * result['shared_error'], 0)} % of a point's variance counts as common to all views"
    found = result["held_out_errors"]
    return (
        share
        + {
            "labels": f", by {found['points']} points at {found['times']} labelled times held out from training"
            if found
            else "",
            "usual": ", as with other networks: no points at labelled times held out in two views are known",
            "stated": ", as stated",
            "none": ": error bars hold what the views disagree by, not what they share",
        }[result["shared_error_source"]]
    )


def _describe_diagnostics(found: dict[str, Any]) -> list[str]:
    """Lines on the view that disagrees and on exchanged sides, where there is something to say."""
    lines = []
    first = found["views"][0]
    if (first["most_off"] or 0) > _OFTEN_OFF:
        lines.append(
            f"  ! {first['view']} is clearly off, and farther than every other view, in "
            f"{100 * first['most_off']:.0f} % of its points; its noise is {number(first['noise_px'])} px"
        )
    lines += [
        f"  ! {' and '.join(swap['pair'])} are exchanged in view {swap['view']}, frames "
        + ", ".join(f"{first}-{last}" for first, last in swap["frames"])
        for swap in found["swaps"]
    ]
    return lines


def _describe_smoothed(name: str, result: dict[str, Any]) -> list[str]:
    """Lines on the smoothed trajectories."""
    lasting = result["noise_autocorrelation"]
    lines = [
        f"{name}, smoothed: {result['points']} points, of which {result['bridged_points']} bridge gaps; standard "
        f"deviation of a coordinate {number(result['median_sd'])} {result['unit']} (median)",
        f"  2D errors correlate by {number(lasting['1'])} from frame to frame, by {number(lasting['10'])} over ten",
    ]
    worse = {key: ratio for key, ratio in result["held_out_ratio"].items() if ratio is not None and ratio > _WORSE}
    if worse:
        listed = ", ".join(f"{key} {100 * (ratio - 1):.0f} %" for key, ratio in worse.items())
        lines.append(
            f"  ! worse than single frames at foretelling a view that was held out: {listed}. They move faster than "
            "smoothing believes; take these key points from trajectories3d.nc, or film at a higher rate."
        )
    if result["limbs"]:
        limbs = ", ".join(
            f"{limb} {number(one['length'])} ({number(one['sd'])})" for limb, one in result["limbs"].items()
        )
        lines.append(f"  limbs, {result['unit']} (variation): {limbs}")
    return [*lines, f"  {result['trajectories']}", f"  {result['player']}"]


def _describe_offsets(offsets: dict[str, dict[str, list[float]]]) -> str:
    views = list(offsets)
    rows = [
        [name, *(f"{number(offsets[view][name][0], 1)},{number(offsets[view][name][1], 1)}" for view in views)]
        for name in offsets[views[0]]
    ]
    return table(rows, ["offset dx,dy (px)", *views])
