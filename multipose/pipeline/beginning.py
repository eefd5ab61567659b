"""The beginning of a project: its folder and the template of its configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from multipose.board import board_from_dict
from multipose.config import CONFIG_NAME, BoardConfig, parse_config, template
from multipose.errors import ConfigError, DataError, ProjectError
from multipose.files import write_text
from multipose.pipeline.skeletons import read_skeleton
from multipose.project import MANIFEST_NAME, Project, format_manifest
from multipose.skeleton import Skeleton, guess_pairs


def make_project(
    folder: Path,
    views: Iterable[str],
    keypoints: Iterable[str],
    edges: Iterable[str] = (),
    *,
    board: str | None = None,
    name: str | None = None,
    like: Path | None = None,
) -> Project:
    """Make a project's folder.

    Args:
        keypoints: names; without any those of `like`.
        edges: "a,b" each.
        like: a file of another program that names key points, lines and pairs, as for `skeletons.read_skeleton`.
        board: "charuco,columns=8,rows=11,...", as in the section [board] of multipose.toml.

    Raises:
        ProjectError: the folder is a project already.
        ConfigError: a name or the board is wrong, or there are no key points.
        FormatError: `like` names no key points.
    """
    path = folder / CONFIG_NAME
    if path.exists():
        raise ProjectError(f"{path} exists already. Edit it, or choose another folder.")
    names, known = tuple(keypoints), None if like is None else read_skeleton(like)
    lines = tuple(_read_edge(edge) for edge in edges)
    try:
        if known is None or names:
            skeleton = Skeleton(names, lines, guess_pairs(names))
        else:
            skeleton = replace(known, edges=(*known.edges, *lines))
    except DataError as error:
        raise ConfigError(str(error)) from None
    title = name or folder.resolve().name
    text = template(title, views, skeleton, read_board(board) if board else None)
    config = parse_config(text)
    for part in ("calibration", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST_NAME).exists():
        write_text(folder / MANIFEST_NAME, format_manifest((), config.views))
    write_text(path, text)
    return Project.open(folder)


def _read_edge(text: str) -> tuple[str, str]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2:
        raise ConfigError(f"An edge joins two key points, A,B; got {text!r}.")
    return parts[0], parts[1]


def read_board(text: str) -> BoardConfig:
    """A board in one line: "chessboard,columns=9,rows=6,square=25,unit=mm".

    Raises:
        ConfigError: a key is unknown or missing, or a value of a wrong type.
    """
    kind, *words = [word.strip() for word in text.split(",")]
    lines = [f'type = "{kind}"']
    for word in words:
        key, sign, value = (part.strip() for part in word.partition("="))
        if not sign:
            raise ConfigError(f"Expected KEY=VALUE in the board {text!r}, got {word!r}.")
        quoted = f'"{value}"' if key in ("unit", "dictionary") else value
        lines.append(f"{key} = {quoted}")
    config = parse_config(
        "\n".join(['name = "x"', 'views = ["x"]', "[skeleton]", 'keypoints = ["x"]', "[board]", *lines]), "--board"
    )
    assert config.board is not None
    try:
        board_from_dict(config.board.to_dict())
    except DataError as error:
        raise ConfigError(f"--board: {error}") from None
    return config.board
