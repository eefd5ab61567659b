"""multipose status"""

from __future__ import annotations

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
            why = " ".join(f"({number})" for number in numbers)
        else:
            why = "; ".join(entry["reasons"])
        rows.append([entry["path"], entry["state"], why])
    hidden = len(overview.products) - len(shown)
    lines = [
        f"{project.config.name}: {len(project.views)} views ({', '.join(project.views)}), "
        f"recordings: {len(project.recordings)}, labelled pictures: {overview.labels}"
    ]
    if rows:
        lines += ["", table(rows, ["product", "state", "why"])]
    lines += [f"({number}) {reason}" for reason, number in lacking.items()]
    if hidden:
        lines.append(f"... and {hidden} that are up to date (--all shows them)")
    lines += ["", f"next: {overview.next}" if overview.next else "Everything is up to date."]
    return Result({"products": overview.products, "next": overview.next}, "\n".join(lines))
