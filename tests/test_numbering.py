"""Which number of an image's name is its frame's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.numbering import number_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["img2", "img10", "img1"], [2, 10, 1]),
        (["cam2_img07", "cam2_img08"], [7, 8]),
        (["img_1_exp500", "img_2_exp400", "img_3_exp300"], [1, 2, 3]),
        (["exp1_img0100", "exp2_img0200"], [100, 200]),
        (["frame12_t0400", "frame13_t0433"], [12, 13]),
        (["1668520371123456789", "1668520371123456790"], [1668520371123456789, 1668520371123456790]),
        (["x7"], [7]),
    ],
)
def test_the_number_that_counts(names: list[str], expected: list[int]) -> None:
    assert number_names(names, "here").numbers.tolist() == expected


@pytest.mark.parametrize(
    "names",
    [
        ["cam_2024-03-05_12-00-00-900000", "cam_2024-03-05_12-00-00-933333", "cam_2024-03-05_12-00-01-000000"],
        ["Screenshot 2024-03-05 at 10.01.50", "Screenshot 2024-03-05 at 10.02.10", "Screenshot 2024-03-05 at 10.03.05"],
        ["20230101120000123456789", "20230101120000123456790", "20230101120001000000000"],
        ["f20240305_120000_900", "f20240305_120001_000", "f20240305_120001_033"],
        ["a20240305120059_900", "a20240305120100_000", "a20240305120100_033"],
        ["2023-12-31_23-59-59", "2024-01-01_00-00-00", "2024-01-01_00-00-01"],
    ],
)
def test_time_stamps_sort_right(names: list[str]) -> None:
    numbers = number_names(names, "here").numbers
    assert (numbers[1:] > numbers[:-1]).all()
    assert number_names(names[::-1], "here").numbers.tolist() == numbers[::-1].tolist()


def test_a_time_is_the_same_number_whatever_else_a_folder_holds() -> None:
    """So that views match whose folders span different minutes."""
    one = number_names(["2024-03-05_12-00-00-900000", "2024-03-05_12-00-01-000000"], "here").numbers
    other = number_names(["2024-03-05_12-00-01-000000", "2024-03-05_12-01-00-000000"], "here").numbers
    assert one[1] == other[0]
    assert one[1] - one[0] == 100_000  # microseconds


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["img1", "img2", "mean"], "here: the name 'mean' holds no number"),
        (["img1", "img2", "mean3"], "'mean3' is made otherwise than 'img1'"),
        (["img1", "img2", "img2_copy1"], "'img2_copy1' is made otherwise"),
        (["frame_0001_ab3f", "frame_0002_abcd"], "'frame_0001_ab3f' and 'frame_0002_abcd' hold 2 and 1 numbers"),
        (["a_1", "b_1"], "'a_1' and 'b_1' have the same number, 1"),
        (["trial1_001", "trial1_002", "trial2_001"], "no number in the names.*all 3 apart.*folder of its own"),
        (["img99999999999999999999", "img99999999999999999998"], "more than 64 bits"),
    ],
)
def test_what_is_not_known_is_refused_by_name(names: list[str], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        number_names(names, "here")


def test_a_choice_is_told() -> None:
    told = number_names(["img_1_exp500", "img_2_exp400"], "here")
    assert told.chosen
    assert told.rule == "number 1 of 2 in the names (img_1_exp500: 1)"
    assert not number_names(["cam2_img07", "cam2_img08"], "here").chosen


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=8, unique=True))
def test_numbers_are_exact(numbers: list[int]) -> None:
    assert number_names([f"img{number}" for number in numbers], "here").numbers.tolist() == numbers
