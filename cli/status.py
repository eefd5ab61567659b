"""multipose status"""

from __future__ import annotations

import shutil
import textwrap

import click

from multipose.cli.options import Result, project_option, reporting, table


@click.command("status")
@click.option("--all", "show_all", is_flag=True, help="List what is up to date as well, however much it is.")
@project_option
@reporting
def command(folder: str, show_all: bool) -> Result:
    """Say what exists, what is stale and why, and what comes next."""
    from multipose.pipeline.overview import look_over
    from multipose.project import Project

    project = Project.find(folder)
    overview = look_over(project)
    shown = [entry for entry in overview.products if show_all or len(overview.products) <= 60 or not entry["settled"]]
    rows, lacking = [], {}
    for entry in shown:
        if entry["state"] == "blocked":  # for long reasons that many products share
            numbers = [lacking.setdefault(reason, len(lacking) + 1) for reason in entry["reasons"]]
            why = [" ".join(f"({number})" for number in numbers)]
        else:
            why = entry["reasons"]
        rows.append((entry["state"], entry["path"], why))
    hidden = len(overview.products) - len(shown)
    lines = [
        f"{project.config.name}: {_views(project.views)}, "
        f"recordings: {len(project.recordings)}, labelled pictures: {overview.labels}"
    ]
    if rows:
        lines += ["", *_describe(rows)]
    lines += [f"({number}) {reason}" for reason, number in lacking.items()]
    if hidden:
        lines.append(f"... and {hidden} that are up to date (--all shows them)")
    running = None if overview.running is None else vars(overview.running)
    if running is not None:
        lines += ["", f"running: {overview.running}"]
    lines += ["", f"next: {overview.next}" if overview.next else "Everything is up to date."]
    return Result({"products": overview.products, "running": running, "next": overview.next}, "\n".join(lines))


def _views(views: tuple[str, ...]) -> str:
    return f"view {views[0]}" if len(views) == 1 else f"{len(views)} views ({', '.join(views)})"


def _describe(rows: list[tuple[str, str, list[str]]]) -> list[str]:
    """State, product and why: one reason behind the product where it fits, else each on a line below it."""
    listed = table([[state, path] for state, path, _ in rows], ["state", "product"]).splitlines()
    head, width = len(listed) - len(rows), shutil.get_terminal_size((80, 24)).columns
    indent = " " * (2 + max(len("state"), *(len(state) for state, _, _ in rows)))
    beside = max(map(len, listed[head:]))
    for place, (_, _, why) in enumerate(rows, head):
        if len(why) <= 1 and beside + 2 + sum(map(len, why)) <= width:
            listed[place] = f"{listed[place].ljust(beside)}  {''.join(why)}".rstrip()
        else:
            listed[place] += "".join(
                "\n"
                + textwrap.fill(line, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
                for line in why
            )
    return listed
