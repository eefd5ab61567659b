"""The exceptions that multipose raises on purpose.

::

    MultiposeError
     +-- ConfigError         multipose.toml or a value on the command line is wrong
     +-- FormatError         a file is missing, truncated, or not laid out as it should be
     |    +-- VideoError     a video or a folder of pictures cannot be read
     +-- DataError           a value given to a function has a wrong shape, name, unit or content
     |    +-- LabelError     labels contradict themselves
     +-- CalibrationError    the boards do not determine the rig
     +-- ModelError          a pose network cannot be trained, loaded or used as asked
     +-- ProjectError        the project's folder does not hold what a command needs
     +-- InstallationError   a library that multipose needs does not work on this machine

Every message says what is wrong, where (file, view, frame), what was expected and what was got, and what
to do next. The command line prints it without a traceback; everything else is a defect of multipose.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MultiposeError(Exception):
    """Parent of every error that multipose raises on purpose."""


class ConfigError(MultiposeError):
    """multipose.toml or a value on the command line is wrong."""


class FormatError(MultiposeError):
    """A file is missing, truncated, or not laid out as it should be."""


class VideoError(FormatError):
    """A video or a folder of pictures cannot be read."""


class DataError(MultiposeError):
    """A value given to a function has a wrong shape, name, unit or content."""


class LabelError(DataError):
    """Labels contradict themselves."""


class CalibrationError(MultiposeError):
    """The boards do not determine the rig."""


class ModelError(MultiposeError):
    """A pose network cannot be trained, loaded or used as asked."""


class ProjectError(MultiposeError):
    """The project's folder does not hold what a command needs."""


class InstallationError(MultiposeError):
    """A library that multipose needs does not work on this machine."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?" with the nearest of the known names, to be put behind a message; "" if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
