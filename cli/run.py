"""multipose run"""

from __future__ import annotations

import click

from multipose.cli.options import Result, project_option, reporting, threads_option


@click.command("run")
@threads_option
@project_option
@reporting
def command(threads: int, folder: str) -> Result:
    """Make everything that is missing or stale.

    Products that were put there or edited by hand stay as they are.
    """
    from multipose.errors import ProjectError
    from multipose.pipeline.overview import look_over
    from multipose.pipeline.running import run
    from multipose.progress import RichProgress
    from multipose.project import Project

    project = Project.find(folder)
    with project.lock():
        outcome = run(project, threads=threads, progress=RichProgress())
    reasons = dict.fromkeys(reason for lacking in outcome.blocked.values() for reason in lacking)
    if not outcome.made and not outcome.kept and outcome.blocked:
        raise ProjectError("Nothing can be made yet:\n" + "\n".join(f"- {reason}" for reason in reasons))
    lines = [f"made {path}" for path in outcome.made]
    if outcome.made or outcome.kept:
        lines.append(f"{len(outcome.made)} products made, {outcome.kept} were up to date.")
    else:
        lines.append(f"There is nothing to make yet. Next: {look_over(project).next}")
    if outcome.blocked:
        lines.append(f"{len(outcome.blocked)} cannot be made yet:")
        lines += [f"- {reason}" for reason in reasons]
    data = {"made": outcome.made, "kept": outcome.kept, "blocked": outcome.blocked}
    return Result(data, "\n".join(lines))
