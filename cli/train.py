"""multipose train"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multipose.cli.options import Result, number, project_option, reporting, table, threads_option

if TYPE_CHECKING:
    from multipose.project import Project


@click.command("train")
@click.option("--view", "views", multiple=True, help="Train the network of this view; repeatable.")
@click.option(
    "--all", "everything", is_flag=True, help="Train the networks of all views, also those that are up to date."
)
@click.option(
    "--shared",
    is_flag=False,
    flag_value="",
    metavar="[VIEW,VIEW...]",
    help="Train one network with the labels of all views, or of these: a camera and its mirror, say.",
)
@click.option(
    "--from",
    "start",
    metavar="NETWORK",
    help="Begin with this trained network instead of ImageNet weights: one of the project (shared, or a view's), or "
    "the folder of another.",
)
@click.option(
    "--add",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="LABELS",
    help="With --from: labels of pictures that the network does not know, a table as labels.csv or DeepLabCut's with "
    "pictures relative to it. They are brought into the project, and learned in 3 minutes beside the old ones.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Wall time for each network, at most.")
@click.option("--cpu-minutes", type=click.FloatRange(min=0, min_open=True), help="CPU time for each network, at most.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of the optimiser for each network, at most.")
@click.option("--seed", type=int, help="Instead of multipose.toml's.")
@click.option(
    "--resume/--restart", default=None, help="Go on with an interrupted training; by default if it is the same."
)
@click.option(
    "--labelled-again",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Second labels of some of the same frames, a table as labels.csv, instead of multipose.toml's: the noise of "
    "labels is taken off the network's covariances.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    metavar="N",
    help="For few labels: also train N networks, each without a part of the labelled times, and calibrate the error "
    "bars on what they find there instead of on a tenth of the labels. Takes N times as long.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Replace a network also by one of a shorter training that is worse on the same held-out pictures.",
)
@click.option(
    "--devices",
    callback=lambda _context, _option, text: tuple(part.strip() for part in text.split(",")) if text else (),
    metavar="DEVICE,DEVICE...",
    help="GPUs, as in cuda:0,cuda:1: several networks are trained side by side, each on one of them, and a single one "
    "by all. By default all GPUs for several networks, and one for a single one.",
)
@threads_option
@project_option
@reporting
def command(views: tuple[str, ...], everything: bool, shared: str | None, folder: str, **options: Any) -> Result:
    """Train the pose networks.

    Without --view or --all the networks that are missing or stale are trained; with --add those whose views the file
    has labels of.
    """
    from multipose.pipeline.plan import describe, judge_all, open_hashes
    from multipose.pipeline.training import describe_parts, train_models
    from multipose.progress import RichProgress
    from multipose.project import Project

    project, add = Project.find(folder), options["add"]
    if add is not None and options["start"] is None:
        raise click.UsageError("--add needs --from: say which trained network the labels are added to.")
    if add is not None and options["folds"] is not None:
        raise click.UsageError("--folds is for a training on all labels; leave it out with --add.")
    names = _choose_networks(project, views, everything, shared)
    hashes, progress = open_hashes(project), RichProgress()
    if add is not None and not (views or shared is not None):
        names = _find_networks(project, names, add)
    elif not (views or everything or shared is not None):
        judged = judge_all(project, [describe(project, "train", name) for name in names], hashes)
        names = tuple(judgement.product.subject for judgement in judged if not judgement.settled)
    options["replace_better"] = options.pop("replace")
    with project.lock():
        results = train_models(
            project,
            names,
            hashes,
            budget={key: options[key] for key in ("minutes", "cpu_minutes", "steps")},
            **{key: value for key, value in options.items() if key not in ("minutes", "cpu_minutes", "steps")},
            progress=progress,
        )
    if not results:
        return Result({"views": {}}, "Every network is up to date (--all trains them anew).")
    rows = [
        [name, number(result["held_out_mean_px"]), number(result["minutes"], 1)] for name, result in results.items()
    ]
    lines = [table(rows, ["network", "held out, mean px", "minutes"])]
    lines += [f"{name}: {line}" for name, result in results.items() for line in describe_parts(result.get("parts", {}))]
    lines += [f"page: {result['page']}" for result in results.values()]
    return Result({"views": results}, "\n".join(lines))


def _choose_networks(project: Project, views: tuple[str, ...], everything: bool, shared: str | None) -> tuple[str, ...]:
    """Names of the networks that the options ask for, of all without any; `shared` is "" for one of all views."""
    from multipose.project import SHARED_MODEL

    if shared is not None and (views or everything):
        raise click.UsageError("--shared trains one network for several views; leave --view and --all out.")
    if shared and "," not in shared:
        raise click.UsageError(f"--shared needs two or more views, as in direct,mirror; for one say --view {shared}.")
    declared = project.config.training.shared is not None
    if shared is not None:
        names: tuple[str, ...] = (project.network_name(shared.split(",")) if shared else SHARED_MODEL,)
    elif views or (everything and not declared):
        names = project.select_views(views)
    else:
        names = project.model_names
    strange = [name for name in names if declared and name not in project.model_names]
    if strange:
        raise click.UsageError(
            "multipose.toml says with shared, section [training], that the networks are those of "
            f"{'; '.join(project.model_names)}; there is none of {strange[0]} then. Change that line, or take it out."
        )
    return names


def _find_networks(project: Project, names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Those of the networks that a file of labels is for."""
    from multipose.pipeline.label_files import is_own_table
    from multipose.pipeline.plan import label_rows, views_of

    if len(names) == 1:
        return names
    if not is_own_table(path):
        raise click.UsageError(f"{path} does not say which view its pictures show; say it with --view.")
    return tuple(name for name in names if label_rows(path, views_of(project, name))) or names
