"""Formats are found by name, and every writer has its reader."""

from __future__ import annotations

import pytest

from multipose import formats
from multipose.errors import DataError


def test_functions_are_found_by_name() -> None:
    assert formats.find_function("csv", "write_trajectories") is formats.table.write_trajectories
    assert formats.formats_with("write_trajectories") == ("anipose", "csv", "movement")
    assert formats.formats_with("write_keypoints") == ("csv", "deeplabcut", "movement")
    assert formats.formats_with("read_labels") == ("deeplabcut",)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="'excel' is no known format; write_trajectories is offered by anipose, csv"):
        formats.find_function("excel", "write_trajectories")
    with pytest.raises(DataError, match="'sleap' does not offer write_keypoints"):
        formats.find_function("sleap", "write_keypoints")
    with pytest.raises(DataError, match="there is no 'write_mesh'"):
        formats.formats_with("write_mesh")


def test_every_writer_has_a_reader_and_every_format_offers_something() -> None:
    for name, module in formats.FORMATS.items():
        offered = [verb for verb in formats.VERBS if hasattr(module, verb)]
        assert offered, name
        for verb in offered:
            assert verb.replace("write_", "read_") in offered
