"""multipose predict"""

from __future__ import annotations

import click

from multipose.cli.options import Result, number, project_option, reporting, table, threads_option


@click.command("predict")
@click.argument("names", nargs=-1, metavar="[RECORDING]...")
@click.option(
    "--from",
    "given",
    multiple=True,
    metavar="VIEW=FILE",
    help="Take the key points of a view of the one RECORDING from a file of another program (SLEAP analysis .h5, "
    "DeepLabCut .h5 or .csv). The manifest remembers it.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures at once; instead of multipose.toml's.")
@threads_option
@project_option
@reporting
def command(
    names: tuple[str, ...], given: tuple[str, ...], batch_size: int | None, threads: int, folder: str
) -> Result:
    """Find the key points in the videos of recordings.

    Without names all recordings whose key points are missing or stale are done. Pictures are decoded, prepared and
    looked at side by side; the table says how many frames a second went through, and which of the three limits it.
    """
    from multipose.pipeline.plan import describe, judge_all, open_hashes
    from multipose.pipeline.prediction import predict_recording
    from multipose.pipeline.recordings import look_into, take_keypoints_from
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    hashes, progress = open_hashes(project), RichProgress()
    results = {}
    with project.lock():
        if given:
            if len(names) != 1:
                raise click.UsageError("--from goes with exactly one RECORDING.")
            project = take_keypoints_from(project, project.recording(names[0]), given)
            look_into(project, [project.recording(names[0])], progress)
            project.save_manifest()
        recordings = project.select(names)
        if not names:
            products = [describe(project, "train", name) for name in project.model_names]
            products += [describe(project, "predict", recording.name) for recording in recordings]
            unsettled = {
                judgement.product.subject
                for judgement in judge_all(project, products, hashes)
                if judgement.product.stage == "predict" and not judgement.settled
            }
            recordings = tuple(recording for recording in recordings if recording.name in unsettled)
        for recording in recordings:
            results[recording.name] = predict_recording(
                project, recording, hashes, batch_size=batch_size, threads=threads, progress=progress
            )
    if not results:
        return Result({"recordings": {}}, "The key points of every recording are up to date (name one to do it anew).")
    rows = [
        [
            name,
            view,
            str(report["frames"]),
            number(report["fps"], 1),
            str(report.get("limited_by", "")),
            str(report["runtime"]) + (", following" if report.get("followed") else ""),
        ]
        for name, result in results.items()
        for view, report in result["views"].items()
    ]
    lines = [table(rows, ["recording", "view", "frames", "frames/s", "limited by", "by"])]
    lines += [
        f"{name}: {', '.join(result['unlike'])} looks unlike everything that was labelled; frames to label: "
        f"{result['frames_to_label']}"
        for name, result in results.items()
        if result["unlike"]
    ]
    lines += [
        f"! {name}, {view}: {report['corrupt']} of the video's frames are corrupt; what was found there and after them "
        "may be wrong."
        for name, result in results.items()
        for view, report in result["views"].items()
        if report.get("corrupt")
    ]
    return Result({"recordings": results}, "\n".join(lines))
