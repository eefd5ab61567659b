"""multipose demo"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multipose.cli.options import Result, number, reporting, table, threads_option


@click.command("demo")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Wall time to train each of the networks.")
@click.option(
    "--labels",
    type=click.IntRange(min=2),
    metavar="N",
    help="Learn from so many labelled frames of each view.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of all chance.", show_default=True)
@threads_option
@reporting
def command(folder: Path, minutes: float | None, labels: int | None, seed: int, threads: int) -> Result:
    """Run the whole chain on a small rendered rig with known truth.

    The sample project is copied to FOLDER; its cameras are calibrated, a network is trained for each view, and a
    recording that no network has seen is reconstructed, smoothed and compared with the truth. Under six minutes.
    """
    from multipose.pipeline.demo import MINUTES, run_demo
    from multipose.progress import RichProgress

    result = run_demo(
        folder, minutes=minutes or MINUTES, labels=labels, seed=seed, threads=threads, progress=RichProgress()
    )
    return Result(result, _describe(result, folder))


def _describe(result: dict[str, Any], folder: Path) -> str:
    unit, smoothed = result["unit"], result["smoothed"]
    rows = [
        [
            "median 3D error",
            f"{number(result['median_error'])} {unit}",
            f"{number(result['median_error_percent'])} % of the animal's {number(result['animal_length'], 1)} {unit}",
        ],
        ["95 % of 3D errors below", f"{number(result['p95_error'])} {unit}", ""],
        ["95 % regions hold the truth in", *_coverage(result)],
        [
            "smoothed: median, 95 % below",
            f"{number(smoothed['median_error'])}, {number(smoothed['p95_error'])} {unit}",
            "of the same points",
        ],
        ["smoothed: 95 % regions hold", *_coverage(smoothed)],
        [
            "points reconstructed",
            f"{number(100 * result['reconstructed_fraction'], 1)} %",
            "of those that two views see",
        ],
        [
            "camera centres, largest error",
            f"{number(result['camera_center_error'])} {unit}",
            f"{number(result['camera_center_error_percent'], 3)} % of the distance",
        ],
        [
            "calibration, RMS",
            f"{number(result['calibration']['rms_px'], 3)} px",
            f"{number(result['calibration']['held_out_rms_px'], 3)} px on boards left out",
        ],
        *(
            [
                f"network {view}, mean error",
                f"{number(network['held_out_mean_px'])} px",
                "on held-out labelled pictures",
            ]
            for view, network in result["views"].items()
        ),
        ["time", f"{number(result['seconds'], 0)} s", ""],
    ]
    return "\n".join(
        [
            table(rows, ["day2, compared with the truth", "", ""]),
            "",
            f"player:  {result['player']}",
            f"reports: {result['calibration']['page']}",
            *(f"         {network['page']}" for network in result["views"].values()),
            f"Look around in {folder}; `multipose status --project {folder}` says what else it can make.",
        ]
    )


def _coverage(figures: dict[str, Any]) -> list[str]:
    """The shares of the points within the regions that should hold 95 and 50 %, as two cells."""
    return [
        f"{number(100 * figures['coverage_95'], 1)} %",
        f"{number(100 * figures['coverage_50'], 1)} % in the 50 % regions",
    ]
