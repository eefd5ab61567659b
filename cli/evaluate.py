"""multipose evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multipose.cli.options import Result, number, project_option, reporting, table, threads_option


def _counts(text: str | None) -> tuple[int | None, ...]:
    """Numbers of pictures, None for all."""
    if text is None:
        return (None,)
    try:
        counts = tuple(None if part.strip() == "all" else int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected whole numbers and all, as in 10,20,all; got {text!r}.") from None
    if len(set(counts)) < max(2, len(counts)):
        raise click.BadParameter(f"expected at least two different numbers of pictures, as in 10,20,all; got {text!r}.")
    return counts


@click.command("evaluate")
@click.option("--view", "views", multiple=True, help="Only the network of this view; repeatable.")
@click.option(
    "--labels",
    "labels_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Labels of "
    "one's own that training never saw: a table as labels.csv, or DeepLabCut's with pictures relative to it.",
)
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validate: train this many networks anew.")
@click.option(
    "--split",
    type=click.Choice(["random", "blocks"]),
    default="random",
    show_default=True,
    help="How folds are made: at random, or contiguous blocks of frames, which is harder.",
)
@click.option(
    "--label-curve",
    "counts",
    callback=lambda _context, _option, text: _counts(text),
    help="With --folds: learn from these many pictures, one after the other, e.g. 10,20,40,all.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Wall time for each fold, at most.")
@click.option("--cpu-minutes", type=click.FloatRange(min=0, min_open=True), help="CPU time for each fold, at most.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of the optimiser for each fold, at most.")
@click.option("--seed", type=int, default=0, show_default=True)
@threads_option
@project_option
@reporting
def command(
    views: tuple[str, ...],
    labels_path: Path | None,
    folds: int | None,
    folder: str,
    counts: tuple[int | None, ...],
    **options: Any,
) -> Result:
    """Measure the error of networks on labels they never saw.

    With --labels the trained networks are judged on the labels in a file. With --folds networks are trained anew, each
    on a part of the project's labels, and judged on the rest. With neither, the figures of the pictures that were held
    out from training are shown.
    """
    from multipose.pipeline.evaluation import cross_validate_model, evaluate_labels, held_out_figures
    from multipose.pipeline.plan import open_hashes
    from multipose.progress import RichProgress
    from multipose.project import Project

    if labels_path is not None and folds is not None:
        raise click.UsageError("Give --labels or --folds, not both.")
    if len(counts) > 1 and folds is None:
        raise click.UsageError("--label-curve trains networks anew: say with --folds into how many parts.")
    project = Project.find(folder)
    names = project.select_views(views)
    if labels_path is None:
        names = tuple(dict.fromkeys(project.network_of(view) for view in names))
    progress, hashes = RichProgress(), open_hashes(project)
    results = {}
    for name in names:
        if folds is not None:
            progress.note(f"Network {name}: {folds} folds")
            results[name] = cross_validate_model(
                project,
                name,
                hashes,
                folds=folds,
                split=options["split"],
                budget={key: options[key] for key in ("minutes", "cpu_minutes", "steps")},
                seed=options["seed"],
                counts=counts,
                threads=options["threads"],
                progress=progress,
            )
        elif labels_path is not None:
            found = evaluate_labels(project, name, labels_path, hashes, threads=options["threads"], progress=progress)
            if found is not None:
                results[name] = found
        else:
            results[name] = held_out_figures(project, name)
    if not results:
        raise click.ClickException(f"{labels_path} has no labels of {', '.join(names)}.")
    rows = [
        [
            name,
            number(result["mean_px"]),
            number(result["median_px"]),
            number(result["rmse_px"]),
            number(None if result["pck5"] is None else 100 * result["pck5"], 1),
            str(result["n"]),
        ]
        for name, result in results.items()
    ]
    curves = [
        [name, count, number(part["mean_px"]), number(part["median_px"]), number(part["p95_px"])]
        for name, result in results.items()
        for count, part in result.get("label_curve", {}).items()
    ]
    keypoints = list(dict.fromkeys(name for result in results.values() for name in result["keypoints"]))
    by_keypoint = [
        [name, *(number(result["keypoints"].get(name)) for result in results.values())] for name in keypoints
    ]
    lines = [
        table(rows, ["view", "mean px", "median px", "RMS px", "within 5 px %", "points"]),
        "",
        table(by_keypoint, ["mean px", *results]),
        "",
        *([table(curves, ["view", "pictures", "mean px", "median px", "95 % below px"]), ""] if curves else []),
        *(f"page: {result['page']}" for result in results.values() if result.get("page")),
    ]
    return Result({"views": results}, "\n".join(lines).rstrip())
