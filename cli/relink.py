"""multipose relink"""

from __future__ import annotations

import click

from multipose.cli.options import Result, project_option, reporting, table


@click.command("relink")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--dry-run", is_flag=True, help="Show what would change, write nothing.")
@project_option
@reporting
def command(old: str, new: str, dry_run: bool, folder: str) -> Result:
    """Say where videos are that were moved: paths of recordings in OLD lie in NEW.

    OLD and NEW are folders or files. Results stay current, for videos are known by their content.
    """
    from multipose.pipeline.relinking import relink
    from multipose.project import Project

    project = Project.find(folder)
    if dry_run:
        done = relink(project, old, new)
    else:
        with project.lock():
            done = relink(project, old, new)
            done.project.save_manifest()
    text = table([list(row) for row in done.changed], ["recording", "was", "is"])
    if done.elsewhere:
        text += "\nmultipose.toml names the old place, too; edit it:\n" + "\n".join(
            f"  {line}" for line in done.elsewhere
        )
    rows = [dict(zip(("recording", "was", "is"), row, strict=True)) for row in done.changed]
    return Result({"changed": rows, "elsewhere": done.elsewhere, "written": not dry_run}, text)
