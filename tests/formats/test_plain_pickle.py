"""Pickles of plain values are read as Python reads them; everything else is refused, and nothing runs."""

from __future__ import annotations

import collections
import datetime
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.formats.plain_pickle import read_plain_pickle

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_python_reads_them(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert read_plain_pickle(data) == pickle.loads(data) == value


def test_shared_values_and_texts_of_python_2() -> None:
    name = "scorer"
    assert read_plain_pickle(pickle.dumps([(name, "x"), (name, "y")], 0)) == [(name, "x"), (name, "y")]
    assert read_plain_pickle(b"(lp0\n(S'anna'\np1\nS'x'\ntp2\na.") == [("anna", "x")]


class Runs:
    """What a hostile file would hold: unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_runs(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps([("anna", Runs(tmp_path / "ran"))], protocol)
    with pytest.raises(DataError, match="may run code, and is refused"):
        read_plain_pickle(data)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # GLOBAL, REDUCE
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"P1\n.",  # PERSID
        b"(lp0\n(dp1\nb.",  # BUILD
        pickle.dumps(np.float64(1.0)),
        pickle.dumps(datetime.date(2026, 1, 1)),
        pickle.dumps(collections.OrderedDict(a=1)),
        pickle.dumps({1, 2}, 4),
    ],
)
def test_what_is_not_plain_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="opcode"):
        read_plain_pickle(data)


DAMAGED = (b"", b".", b"N", b"NN.", b"g7\n.", b"a.", b"I1\nI2\na.", b"(lp0\n(I1\ns.", b"\xff\xfe.")


@pytest.mark.parametrize("data", [*DAMAGED, b"I" + b"1" * 10_000 + b"\n."])
def test_damaged_pickles_are_told(data: bytes) -> None:
    with pytest.raises(DataError, match="no whole pickle of plain values"):
        read_plain_pickle(data)


def test_a_value_in_itself_does_no_harm() -> None:
    value = read_plain_pickle(b"(lp0\ng0\na.")
    assert value[0] is value
