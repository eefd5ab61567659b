"""The frame number written into a picture: digits for people and bars for programs.

In the top-left corner stand six digits and, below them, 16 square cells: white, black, then 12 bits of the number, the
highest first, white for 1, and two bits of the count of white bits modulo 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multipose.errors import DataError

Picture = NDArray[np.uint8]

_FONT = (
    "01110 10001 10011 10101 11001 10001 01110", "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111", "11110 00001 00001 01110 00001 00001 11110",
    "00010 00110 01010 10010 11111 00010 00010", "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110", "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110", "01110 10001 10001 01111 00001 00010 01100",
)  # fmt: skip
_GLYPHS = np.array([[[int(bit) for bit in row] for row in glyph.split()] for glyph in _FONT], dtype=np.uint8)
_DIGITS = 6
_CELL = 6
_BITS = 12
_CELLS = 2 + _BITS + 2
_WIDTH = _CELLS * _CELL + 2
_TOP = 17  # first row of the cells
_HEIGHT = _TOP + _CELL + 1
_LARGEST = 2**_BITS - 1


def write_frame_number(picture: Picture, number: int) -> Picture:
    """A copy of an RGB picture (h, w, 3) with the number in its top-left corner, 98 px wide and 24 px high.

    Raises:
        DataError: a number outside 0..4095, or a picture that is too small.
    """
    if not 0 <= number <= _LARGEST:
        raise DataError(f"a frame number in a picture is 0 to {_LARGEST}, got {number}")
    _check_size(picture)
    written = picture.copy()
    corner = np.zeros((_HEIGHT, _WIDTH), dtype=np.uint8)
    for place, digit in enumerate(f"{number:0{_DIGITS}d}"):
        glyph = np.kron(_GLYPHS[int(digit)], np.ones((2, 2), dtype=np.uint8))
        corner[2 : 2 + glyph.shape[0], 4 + 14 * place : 4 + 14 * place + glyph.shape[1]] = 255 * glyph
    bits = [int(bit) for bit in f"{number:0{_BITS}b}"]
    cells = [1, 0, *bits, *(int(bit) for bit in f"{sum(bits) % 4:02b}")]
    row = np.repeat(np.array(cells, dtype=np.uint8) * 255, _CELL)
    corner[_TOP : _TOP + _CELL, 1 : 1 + len(row)] = row
    written[:_HEIGHT, :_WIDTH] = corner[..., None]
    return written


def read_frame_number(picture: Picture) -> int:
    """The number that `write_frame_number` left in an RGB picture (h, w, 3), also after lossy compression.

    Raises:
        DataError: there is no such number in the picture, or it cannot be read.
    """
    _check_size(picture)
    band = picture[_TOP + 1 : _TOP + _CELL - 1, 1 : 1 + _CELLS * _CELL].mean(axis=(0, 2))
    levels = band.reshape(_CELLS, _CELL)[:, 1:-1].mean(axis=1)
    white, black = levels[0], levels[1]
    cells = (levels > (white + black) / 2.0).astype(int)
    bits, check = cells[2 : 2 + _BITS], cells[2 + _BITS :]
    if white - black < 100.0 or int(bits.sum()) % 4 != 2 * check[0] + check[1]:
        raise DataError("no frame number can be read in the top-left corner of the picture")
    return int("".join(str(bit) for bit in bits), 2)


def _check_size(picture: Picture) -> None:
    if picture.ndim != 3 or picture.shape[0] < _HEIGHT or picture.shape[1] < _WIDTH:
        raise DataError(f"a picture with a frame number is at least {_WIDTH}x{_HEIGHT} px, got shape {picture.shape}")
