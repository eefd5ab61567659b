"""The frame number in a picture survives what happens to pictures, and is never guessed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.synthetic import read_frame_number, write_frame_number


@given(number=st.integers(0, 4095), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_round_trip_under_noise_and_dimming(number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (40, 120, 3), dtype=np.uint8)
    written = write_frame_number(picture, number)
    assert read_frame_number(written) == number
    worn = 16.0 + 0.85 * written + rng.normal(0.0, 20.0, written.shape)
    assert read_frame_number(np.clip(worn, 0, 255).astype(np.uint8)) == number


def test_only_the_corner_is_written_and_the_picture_given_stays() -> None:
    picture = np.full((40, 120, 3), 77, dtype=np.uint8)
    written = write_frame_number(picture, 1234)
    assert (picture == 77).all()
    assert (written[24:] == 77).all()
    assert (written[:, 98:] == 77).all()
    assert set(np.unique(written[:24, :98])) == {0, 255}


def test_a_picture_without_a_number_is_refused() -> None:
    with pytest.raises(DataError, match="no frame number can be read"):
        read_frame_number(np.full((40, 120, 3), 77, dtype=np.uint8))


@pytest.mark.parametrize("bit", range(12))
def test_a_wrong_bit_is_noticed(bit: int) -> None:
    written = write_frame_number(np.zeros((24, 98, 3), dtype=np.uint8), 0b010110100101)
    columns = slice(1 + (2 + bit) * 6, 1 + (3 + bit) * 6)
    written[17:23, columns] = 255 - written[17:23, columns]
    with pytest.raises(DataError, match="no frame number can be read"):
        read_frame_number(written)


def test_numbers_and_pictures_out_of_range_are_refused() -> None:
    picture = np.zeros((24, 98, 3), dtype=np.uint8)
    for number in (-1, 4096):
        with pytest.raises(DataError, match=f"0 to 4095, got {number}"):
            write_frame_number(picture, number)
    for wrong in (picture[:-1], picture[:, :-1], picture[..., 0]):
        with pytest.raises(DataError, match="at least 98x24 px"):
            write_frame_number(wrong, 1)
        with pytest.raises(DataError, match="at least 98x24 px"):
            read_frame_number(wrong)
