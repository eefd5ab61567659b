"""What the README and the documentation say runs: their Python blocks, and every command and option they name."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from multipose.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of the languages ("" for none)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in fenced if language in languages]


def commands(page: Path) -> list[list[str]]:
    """Words of every line that starts with `multipose` in a block of a shell, without comments."""
    found = []
    for block in blocks(page, ""):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and words[0] == "multipose":
                found.append(words[1:])
    return found


def test_there_is_something_to_check() -> None:
    assert blocks(ROOT / "README.md", "python")
    assert len({words[0] for page in PAGES for words in commands(page)}) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_command_and_option_exists(page: Path) -> None:
    context = click.Context(main)
    for words in commands(page):
        command: click.Command | None = main
        names = [word for word in words if not word.startswith("-")]
        while isinstance(command, click.Group):
            name = names.pop(0) if names else None
            if name is None:
                break
            command = command.get_command(context, name)
            assert command is not None, f"{page.name}: multipose {' '.join(words)}"
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known | {"--help", "--version"}, f"{page.name}: {' '.join(words)}"


def test_every_command_is_documented() -> None:
    context = click.Context(main)
    named = {words[0] for page in PAGES for words in commands(page)}
    assert set(main.list_commands(context)) <= named


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other in a copy of the sample project."""
    shutil.copytree(sample, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


def test_the_reference_is_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    make_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_cli)
    assert make_cli.PAGE.read_text(encoding="utf-8") == make_cli.reference(), "run python docs/make_cli.py"
