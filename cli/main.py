"""The command `multipose`: a group whose commands are imported when they are run, so that `--help` is quick."""

from __future__ import annotations

import importlib
from typing import Any

import click

from multipose.errors import did_you_mean

# Each command: where it is, and its line in `multipose --help`, which is the first line of its own help.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("multipose.cli.demo", "Run the whole chain on a small rendered rig with known truth."),
    "init": ("multipose.cli.init", "Make a project folder with a commented multipose.toml."),
    "board": ("multipose.cli.board", "Draw the calibration board."),
    "add": ("multipose.cli.add", "Add recordings to the project: one, or many by a pattern."),
    "relink": ("multipose.cli.relink", "Say where videos are that were moved: paths of recordings in OLD lie in NEW."),
    "status": ("multipose.cli.status", "Say what exists, what is stale and why, and what comes next."),
    "calibrate": ("multipose.cli.calibrate", "Calibrate the cameras from pictures of the board."),
    "label": ("multipose.cli.label", "Choose frames, bring in, hand out and check labels."),
    "train": ("multipose.cli.train", "Train the pose networks."),
    "evaluate": ("multipose.cli.evaluate", "Measure the error of networks on labels they never saw."),
    "predict": ("multipose.cli.predict", "Find the key points in the videos of recordings."),
    "reconstruct": ("multipose.cli.reconstruct", "Turn 2D key points into 3D trajectories."),
    "kinematics": ("multipose.cli.kinematics", "Measure angles, distances and speeds on 3D trajectories."),
    "run": ("multipose.cli.run", "Make everything that is missing or stale."),
    "view": ("multipose.cli.view", "Make pictures of the rig, boards, labels, key points and trajectories."),
    "export": ("multipose.cli.export", "Write results in the formats of other tools."),
}


class LazyGroup(click.Group):
    """A group that imports a command only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"There is no command {args[0]!r}.{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _print_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"multipose {importlib.import_module('multipose').__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def main(**_: Any) -> None:
    """From the videos of several cameras to 3D body-part trajectories.

    Begin with `multipose demo DIR`, or with `multipose init DIR` for recordings of your own; `multipose status` then
    says what comes next.
    """
