"""multipose evaluate"""

from __future__ import annotations

from collections.abc import Mapping
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
    type=click.Choice(["random", "blocks", "recording"]),
    help="How folds are made: at random (the default), contiguous blocks of each recording, which is harder, or whole "
    "recordings, which is hardest; without --folds each recording is left out once.",
)
@click.option(
    "--label-curve",
    "counts",
    callback=lambda _context, _option, text: _counts(text),
    help="With --folds: learn from these many pictures, one after the other, e.g. 10,20,40,all.",
)
@click.option(
    "--compare",
    metavar="NETWORK",
    help="With --labels: another network, by its name in the project (shared, or a view's) or its folder; both are "
    "judged on the same points.",
)
@click.option("--unseen", is_flag=True, help="With --labels: leave out pictures that training has seen.")
@click.option(
    "--labelled-again",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Second labels of some of the same frames, a table as labels.csv: how well a person repeats himself. By "
    "default, but not with --labels, what multipose.toml names.",
)
@click.option(
    "--worst",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --labels or --folds: write the N worst pictures as PNG files, with labels, points and ellipses.",
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

    With --labels the trained networks are judged on the labels in a file. With --folds (or --split recording) networks
    are trained anew, each on a part of the project's labels, and judged on the rest. With neither, the figures of the
    pictures that were held out from training are shown, which flatter a little.
    """
    from multipose.pipeline.evaluation import cross_validate_model, evaluate_labels, held_out_figures
    from multipose.pipeline.label_files import is_own_table
    from multipose.pipeline.plan import label_rows, open_hashes
    from multipose.pipeline.training_data import find_model
    from multipose.progress import RichProgress
    from multipose.project import Project

    crossed = folds is not None or options["split"] == "recording"
    _check(labels_path, folds, counts, crossed, options)
    project = Project.find(folder)
    names = project.select_views(views)
    if labels_path is not None and len(names) > 1 and not is_own_table(labels_path):
        raise click.UsageError(f"{labels_path} does not say of which view its labels are: say it with one --view.")
    if labels_path is None:
        names = tuple(dict.fromkeys(project.network_of(view) for view in names))
    else:
        for view in names:
            if not is_own_table(labels_path) or label_rows(labels_path, (view,)):
                find_model(project, project.network_of(view))  # one that is missing is told before others are judged
    progress, hashes = RichProgress(), open_hashes(project)
    again, worst = options["labelled_again"], options["worst"] or 0
    results = {}
    for name in names:
        if crossed:
            progress.note(f"Network {name}: {f'{folds} folds' if folds else 'each recording is left out once'}")
            results[name] = cross_validate_model(
                project,
                name,
                hashes,
                folds=folds,
                split=options["split"] or "random",
                budget={key: options[key] for key in ("minutes", "cpu_minutes", "steps")},
                seed=options["seed"],
                counts=counts,
                labelled_again=again,
                worst=worst,
                threads=options["threads"],
                progress=progress,
            )
        elif labels_path is not None:
            found = evaluate_labels(
                project,
                name,
                labels_path,
                hashes,
                compare=options["compare"],
                unseen=options["unseen"],
                labelled_again=again,
                worst=worst,
                threads=options["threads"],
                progress=progress,
            )
            if found is not None:
                results[name] = found
        else:
            results[name] = held_out_figures(project, name, hashes, labelled_again=again, progress=progress)
    if not results:
        raise click.ClickException(f"{labels_path} has no labels of {', '.join(names)}.")
    return Result({"views": results}, _describe(results))


def _check(
    labels_path: Path | None,
    folds: int | None,
    counts: tuple[int | None, ...],
    crossed: bool,
    options: Mapping[str, Any],
) -> None:
    """Refuse options that do not go together."""
    if labels_path is not None and crossed:
        raise click.UsageError("Give --labels or --folds (or --split), not both.")
    if len(counts) > 1 and not crossed:
        raise click.UsageError("--label-curve trains networks anew: say with --folds into how many parts.")
    if options["split"] in ("random", "blocks") and folds is None:
        raise click.UsageError(f"--split {options['split']} needs --folds: into how many parts?")
    for name in ("compare", "unseen"):
        if options[name] and labels_path is None:
            raise click.UsageError(f"--{name} needs --labels: labels of pictures that training has not seen.")
    if options["worst"] and labels_path is None and not crossed:
        raise click.UsageError(
            "--worst needs --labels or --folds; the worst pictures held out from training are on the network's page."
        )


def _describe(results: Mapping[str, Any]) -> str:
    """The figures of all views in words and tables."""
    rows = [
        _figures(f"{name}, {view}" if view else name, part)
        for name, result in results.items()
        for view, part in {"": result, **result.get("views", {})}.items()
    ]
    header = ["network", "mean px", "±", "median px", "RMS px", "95 % below px", "within 5 px %", "points"]
    curves = [
        [name, count, number(part["mean_px"]), number(part["median_px"]), number(part["p95_px"])]
        for name, result in results.items()
        for count, part in result.get("label_curve", {}).items()
    ]
    keypoints = list(dict.fromkeys(name for result in results.values() for name in result["keypoints"]))
    by_keypoint = [
        [
            name,
            *(
                number(result[figures].get(name))
                for result in results.values()
                for figures in ("keypoints", "keypoints_p95")
            ),
        ]
        for name in keypoints
    ]
    columns = [text for name in results for text in (f"{name}: mean px", "95 % below")]
    lines = [
        *(f"{name}: {result['judged_on']}." for name, result in results.items()),
        "",
        table(rows, header),
        "±: standard error of the mean, over pictures.",
        "",
        table(by_keypoint, ["key point", *columns]),
        "",
        *([table(curves, ["network", "pictures", "mean px", "median px", "95 % below px"]), ""] if curves else []),
        *(line for name, result in results.items() for line in _describe_further(name, result)),
        *(f"page: {result['page']}" for result in results.values() if result.get("page")),
    ]
    return "\n".join(lines).rstrip()


def _figures(name: str, result: Mapping[str, Any]) -> list[str]:
    """A row of the first table."""
    pixels = ("mean_px", "mean_px_se", "median_px", "rmse_px", "p95_px")
    share = None if result["pck5"] is None else 100 * result["pck5"]
    return [name, *(number(result.get(key)) for key in pixels), number(share, 1), str(result["n"])]


def _describe_further(name: str, result: Mapping[str, Any]) -> list[str]:
    """What some evaluations tell beside errors: the repeat error of a person, another network, pictures written."""
    lines = []
    noise, other = result.get("label_noise"), result.get("comparison")
    if noise is not None:
        rows = [
            [point, str(part["n"]), *(number(part[key]) for key in ("repeat_px", "label_sd_px", "network_px"))]
            for point, part in noise["keypoints"].items()
        ]
        header = ["labelled twice", "points", "repeat px", "label noise px", "network px"]
        person, network = (
            f"{number(noise[f'{who}_px'])} px (median {number(noise[f'{who}_median_px'])} px)"
            for who in ("repeat", "network")
        )
        said = f"{name}: on average a person repeats himself to {person}, in {noise['pictures']} pictures"
        if noise["network_n"]:
            said += f"; the network is off by {network} on {noise['network_n']} of the same points"
        lines += [f"{said}.", table(rows, header), ""]
    if other is not None:
        first, second = other["first"], other["second"]
        low, high = other["interval_px"]
        rows = [
            [point, *(number(part[key]) for key in ("first_px", "second_px", "difference_px", "low_px", "high_px"))]
            for point, part in other["keypoints"].items()
        ]
        better = {"first": f"{first} is better", "second": f"{second} is better"}.get(other["better"], "undecided")
        lines += [
            f"{second} less {first}: {number(other['difference_px'])} px ({number(low)} to {number(high)}): {better}.",
            table(rows, ["key point", f"{first} px", f"{second} px", "difference px", "from", "to"]),
            *([f"page: {other['page']}"] if "page" in other else []),
            "",
        ]
    if result.get("worst"):
        lines.append(f"{name}: {len(result['worst'])} worst pictures in {Path(result['worst'][0]).parent}")
    return lines
