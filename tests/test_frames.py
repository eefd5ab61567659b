"""Frames are chosen as promised and extracted under their own numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.errors import DataError
from multipose.frames import METHODS, choose_frames, extract_frames
from multipose.sources import ImageFolder, read_picture, write_picture

Rgb = npt.NDArray[np.uint8]


class Painted:
    """A source whose pictures come from a function of the index."""

    path = Path("painted")
    size = (64, 48)
    fps = None

    def __init__(self, levels: Iterable[int]) -> None:
        self.levels = list(levels)
        self.times = np.arange(len(self.levels)) / 30
        self.frame_numbers = np.arange(len(self.levels)) + 1000

    def __len__(self) -> int:
        return len(self.levels)

    def __iter__(self) -> Iterator[tuple[int, Rgb]]:
        return self.read(range(len(self)))

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, Rgb]]:
        for index in sorted(set(indices)):
            picture = np.full((48, 64, 3), 30, dtype=np.uint8)
            picture[10:40, 10:40] = self.levels[index]
            yield index, picture


@given(st.integers(1, 200), st.data())
def test_uniform_frames_are_even(length: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, length))
    chosen = choose_frames(Painted([0] * length), count)
    assert len(set(chosen)) == count
    assert chosen == sorted(chosen)
    assert chosen[0] >= 0
    assert chosen[-1] < length
    edges = np.arange(count + 1) * length / count
    assert all(low - 1 <= index <= high for index, low, high in zip(chosen, edges[:-1], edges[1:], strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_different_frames_in_order(method: str) -> None:
    source = Painted(np.random.default_rng(1).integers(0, 255, size=60))
    for count in (1, 7, 60):
        chosen = choose_frames(source, count, method)
        assert len(chosen) == count
        assert chosen == sorted(set(chosen))
        assert 0 <= chosen[0] <= chosen[-1] < 60


def test_kmeans_finds_rare_appearances() -> None:
    levels = [50] * 100
    levels[30:33] = [250] * 3
    levels[70] = 150
    chosen = choose_frames(Painted(levels), 3, "kmeans", seed=4)
    assert {levels[index] for index in chosen} == {50, 150, 250}
    assert chosen == choose_frames(Painted(levels), 3, "kmeans", seed=4)


def test_motion_finds_the_jumps() -> None:
    levels = [50] * 20 + [200] * 25 + [90] * 15
    assert choose_frames(Painted(levels), 2, "motion") == [20, 45]


def test_impossible_choices() -> None:
    with pytest.raises(DataError, match="has 5 frames; 6 cannot be chosen"):
        choose_frames(Painted([0] * 5), 6)
    with pytest.raises(DataError, match="0 cannot be chosen"):
        choose_frames(Painted([0] * 5), 0)
    with pytest.raises(DataError, match="uniform, kmeans, motion"):
        choose_frames(Painted([0] * 5), 2, "random")  # type: ignore[arg-type]


def test_extracted_frames_bear_their_numbers(tmp_path: Path) -> None:
    source = Painted(range(10, 20))
    paths = extract_frames(source, [7, 2], tmp_path / "frames")
    assert [path.name for path in paths] == ["001002.png", "001007.png"]
    assert read_picture(paths[0])[20, 20].tolist() == [12, 12, 12]
    again = ImageFolder(tmp_path / "frames")
    assert again.frame_numbers.tolist() == [1002, 1007]


def test_tiny_pictures_can_be_compared(tmp_path: Path) -> None:
    for number in range(6):
        write_picture(tmp_path / f"{number}.png", np.full((3, 2, 3), 40 * number, dtype=np.uint8))
    assert len(choose_frames(ImageFolder(tmp_path), 4, "kmeans")) == 4
