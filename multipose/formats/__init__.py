"""Files of other tools: one module for each format, found by name.

A format's module offers some of the functions `read_labels`, `write_labels`, `read_keypoints`, `write_keypoints`,
`read_trajectories`, `write_trajectories`. Each takes and gives multipose's own types (Labels, Keypoints2D,
Trajectories3D); each writer returns the paths that it wrote. A new format is one new module and one line in FORMATS.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from multipose.errors import DataError
from multipose.formats import anipose, deeplabcut, movement, sleap, table

__all__ = ["FORMATS", "VERBS", "anipose", "deeplabcut", "find_function", "formats_with", "movement", "sleap", "table"]

FORMATS: dict[str, ModuleType] = {
    "anipose": anipose,
    "csv": table,
    "deeplabcut": deeplabcut,
    "movement": movement,
    "sleap": sleap,
}
"""Name of a format, as users write it, and its module."""

VERBS = (
    "read_labels",
    "write_labels",
    "read_keypoints",
    "write_keypoints",
    "read_trajectories",
    "write_trajectories",
)


def formats_with(verb: str) -> tuple[str, ...]:
    """Names of the formats that offer a function such as "write_trajectories"."""
    if verb not in VERBS:
        raise DataError(f"Formats offer {', '.join(VERBS)}; there is no {verb!r}.")
    return tuple(name for name, module in FORMATS.items() if hasattr(module, verb))


def find_function(name: str, verb: str) -> Callable[..., Any]:
    """The function `verb` of the format `name`.

    Raises:
        DataError: there is no such format, or it does not offer that.
    """
    offered = formats_with(verb)
    if name not in offered:
        known = "is no known format" if name not in FORMATS else f"does not offer {verb}"
        raise DataError(f"{name!r} {known}; {verb} is offered by {', '.join(offered)}.")
    function: Callable[..., Any] = getattr(FORMATS[name], verb)
    return function
