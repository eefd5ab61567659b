"""multipose kinematics"""

from __future__ import annotations

import click

from multipose.cli.options import Result, number, project_option, reporting, table


@click.command("kinematics")
@click.argument("names", nargs=-1, metavar="[RECORDING]...")
@project_option
@reporting
def command(names: tuple[str, ...], folder: str) -> Result:
    """Measure angles, distances and speeds on 3D trajectories.

    What is measured stands in multipose.toml, in the sections [kinematics.angles] and its like. Every value has a
    standard deviation. Without names all recordings whose kinematics are missing or stale are done.
    """
    from multipose.geometry import unit_for_people
    from multipose.pipeline.kinematics import measure_recording
    from multipose.pipeline.plan import describe, judge_all, open_hashes
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    hashes, progress = open_hashes(project), RichProgress()
    recordings = project.select(names)
    if not names:
        products = [describe(project, "kinematics", recording.name) for recording in recordings]
        unsettled = {item.product.subject for item in judge_all(project, products, hashes) if not item.settled}
        recordings = tuple(recording for recording in recordings if recording.name in unsettled)
    results = {}
    with project.lock():
        for recording in recordings:
            results[recording.name] = measure_recording(project, recording, hashes, progress=progress)
    if not results:
        return Result({"recordings": {}}, "The kinematics of every recording are up to date (name one to do it anew).")
    lines = []
    for name, result in results.items():
        rows = []
        for quantity, row in result["quantities"].items():
            unit, factor = unit_for_people(row["unit"])
            rows.append([quantity, number(factor * row["median"], 3), number(factor * row["median_sd"], 3), unit])
        lines += [f"{name}: medians over time; the calibration's error is {result['calibration_error']}", ""]
        if rows:
            lines += [table(rows, ["quantity", "value", "sd", "unit"]), ""]
        lines += [f"  {result[key]}" for key in ("kinematics", "table", "page")]
    return Result({"recordings": results}, "\n".join(lines))
