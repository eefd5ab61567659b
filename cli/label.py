"""multipose label"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from multipose.cli.options import Result, project_option, reporting, table


@click.group("label")
def command() -> None:
    """Choose frames, bring in, hand out and check labels."""


@command.command("extract")
@click.argument("names", nargs=-1, metavar="[RECORDING]...")
@click.option("--view", "views", multiple=True, help="Only this view; repeatable.")
@click.option(
    "--count", type=click.IntRange(min=1), default=20, show_default=True, help="Frames per recording and view."
)
@click.option(
    "--method",
    type=click.Choice(["kmeans", "uniform", "motion"]),
    default="kmeans",
    show_default=True,
    help="kmeans: different looks; uniform: evenly in time; motion: where much moves.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--frames",
    "listed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the frames of this table (columns recording, view, frame) instead, as `predict` writes it for videos "
    "unlike all that was labelled.",
)
@project_option
@reporting
def extract(
    names: tuple[str, ...],
    views: tuple[str, ...],
    count: int,
    method: str,
    seed: int,
    listed: Path | None,
    folder: str,
) -> Result:
    """Choose frames worth labelling and write their pictures."""
    from multipose.pipeline.labels import extract as extract_frames
    from multipose.pipeline.labels import extract_chosen, read_frames
    from multipose.pipeline.plan import open_hashes
    from multipose.progress import RichProgress
    from multipose.project import Project

    if listed is not None and (names or views):
        raise click.UsageError("--frames names recordings and views itself; leave RECORDING and --view out.")
    project = Project.find(folder)
    hashes, progress = open_hashes(project), RichProgress()
    with project.lock():
        if listed is not None:
            pictures = extract_chosen(project, read_frames(listed), hashes, progress=progress)
        else:
            pictures = extract_frames(
                project,
                project.select(names),
                project.select_views(views),
                count,
                hashes,
                method=method,  # type: ignore[arg-type]
                seed=seed,
                progress=progress,
            )
        hashes.save()
    rows = [[recording, view, str(len(paths))] for (recording, view), paths in pictures.items()]
    data: dict[str, dict[str, list[str]]] = {}
    for (recording, view), paths in pictures.items():
        data.setdefault(recording, {})[view] = [str(path) for path in paths]
    text = f"{table(rows, ['recording', 'view', 'pictures'])}\nThe pictures are in {project.frames_folder}."
    return Result({"recordings": data}, text)


@command.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--view", help="The view that these labels are of; in a project of one view that one.")
@click.option("--recording", help="The recording that they are of; by default the names in the file.")
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="A key point's name in the file and here.")
@click.option(
    "--suffix",
    "suffixes",
    multiple=True,
    metavar="_TOP=VIEW",
    help="Instead of --view: key points whose names end so (nose_top) are of this view; repeatable.",
)
@click.option("--replace", is_flag=True, help="Where a point is labelled otherwise, replace that.")
@click.option("--keep", is_flag=True, help="Where a point is labelled otherwise, keep that.")
@project_option
@reporting
def bring(
    path: Path,
    view: str | None,
    recording: str | None,
    renames: tuple[str, ...],
    suffixes: tuple[str, ...],
    replace: bool,
    keep: bool,
    folder: str,
) -> Result:
    """Bring labels and pictures: from DeepLabCut (CollectedData_*.csv or .h5, or a folder with such), SLEAP (.slp), or
    from a table as labels.csv.

    A file that says something else than the labels that are there is refused, unless --replace or --keep is given.
    """
    from multipose.pipeline.label_files import find_tables, import_labels
    from multipose.project import Project

    if replace and keep:
        raise click.UsageError("Give --replace or --keep, not both.")
    conflicts: Literal["refuse", "replace", "keep"] = "replace" if replace else "keep" if keep else "refuse"
    project = Project.find(folder)
    views = _suffixes(project.views, view, suffixes)
    rename = _pairs(renames, "--rename")
    tables = find_tables(path)
    results = []
    with project.lock():
        for table_path in tables:
            for suffix, one in views:
                counts = import_labels(
                    project, table_path, one, recording=recording, conflicts=conflicts, rename=rename, suffix=suffix
                )
                results.append({"file": str(table_path), "view": one, **counts})
    lines = []
    for counts in results:
        lines.append(
            f"{counts['points']} points in {counts['pictures']} pictures of view {counts['view']}, "
            f"recordings {', '.join(counts['recordings'])}" + (f"; {counts['numbered']}" if counts["numbered"] else "")
        )
        if counts["conflicts"]:
            done = "replaced" if conflicts == "replace" else "left as they were"
            lines.append(f"{counts['conflicts']} points that were labelled otherwise are {done}.")
        if counts["unlisted"]:
            lines.append(
                f"Not in recordings.csv: {', '.join(counts['unlisted'])}. Networks learn from these labels all the "
                "same; say --recording NAME if they are of a recording that is there."
            )
    return Result(results[0] if len(results) == 1 else {"imported": results}, "\n".join(lines))


def _suffixes(views: tuple[str, ...], view: str | None, words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Ends of key points' names and their views; "" is the end of all of them."""
    if words and view is not None:
        raise click.UsageError("Give --view or --suffix, not both.")
    if words:
        return list(_pairs(words, "--suffix").items())
    if view is None and len(views) > 1:
        raise click.UsageError(f"Say with --view which of the views they are of: {', '.join(views)}.")
    return [("", view or views[0])]


def _pairs(words: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        old, sign, new = word.partition("=")
        if not (old and sign and new) or old in pairs:
            raise click.UsageError(f"{option} takes OLD=NEW, each once; got {word!r}.")
        pairs[old] = new
    return pairs


@command.command("export")
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--view", "views", multiple=True, help="Only this view; repeatable.")
@click.option("--scorer", default="multipose", show_default=True, help="Who labelled, as DeepLabCut writes it.")
@project_option
@reporting
def hand_out(target: Path, views: tuple[str, ...], scorer: str, folder: str) -> Result:
    """Write labels and pictures in DeepLabCut's layout, below the folder TARGET: one DeepLabCut project per view."""
    from multipose.pipeline.labels import export_labels
    from multipose.pipeline.plan import open_hashes
    from multipose.project import Project

    project = Project.find(folder)
    written = export_labels(project, target, project.select_views(views), scorer, open_hashes(project))
    lines = [path for paths in written["views"].values() for path in paths] + list(written["configs"].values())
    left = sorted(set(written["views"]) - set(written["configs"]))
    lines += [f"! {target / view / 'config.yaml'} is not multipose's and stays as it is." for view in left]
    return Result(written, "\n".join(lines))


@command.command("check")
@project_option
@reporting
def check(folder: str) -> Result:
    """Find labels that look like slips: outside the picture, doubled, repeated, at (0, 0), left and right swapped."""
    from multipose.pipeline.labels import find_problems
    from multipose.project import Project

    problems = find_problems(Project.find(folder))
    lines = [problem.text for problem in problems] or ["No label looks like a slip."]
    return Result({"problems": [vars(problem) for problem in problems]}, "\n".join(lines))
