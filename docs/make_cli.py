"""Write docs/cli.md, the reference of the command line, from the commands' own help.

python docs/make_cli.py
"""

from __future__ import annotations

from pathlib import Path

import click

from multipose.cli.main import main

PAGE = Path(__file__).resolve().parent / "cli.md"
_HEAD = """\
# Command line

Made from the commands' own help by `python docs/make_cli.py`; a test keeps it so.

Every command prints its result for a person, or with `--json` as one JSON object on standard output; progress and
warnings go to standard error. Exit codes: 0 done, 1 something is wrong and the message says what, 2 the command was
typed wrongly, 130 interrupted (what is finished is kept).
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections(main, click.Context(main, info_name="multipose", **main.context_settings))])


def _sections(command: click.Command, context: click.Context) -> list[str]:
    title = f"{'#' * (1 + len(context.command_path.split()))} {context.command_path}"
    sections = [f"{title}\n\n```text\n{_help(command, context)}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            sections += _sections(child, click.Context(child, info_name=name, parent=context, **child.context_settings))
    return sections


def _help(command: click.Command, context: click.Context) -> str:
    context.terminal_width = context.max_content_width = 100
    return command.get_help(context).strip()


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8", newline="\n")
