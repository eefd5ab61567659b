"""What a picture file says of its size, read from its header before a decoder takes memory for it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from multipose.errors import VideoError

MOST_PIXELS = 200_000_000
"""Of one picture; cameras have up to 150 million."""
MOST_PX = 1e6
"""From a picture's corner to a point; no camera has as many pixels in a row."""


def check_pixels(width: int, height: int, path: Path) -> None:
    """Refuse a size that no camera has.

    Raises:
        VideoError: it has more than MOST_PIXELS.
    """
    if width * height > MOST_PIXELS:
        raise VideoError(
            f"{path} says that its pictures have {width} x {height} pixels, more than any camera has. The file is "
            "damaged, or must be made smaller."
        )


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that a PNG, JPEG, BMP or PNM states; None for other kinds and for headers that are cut off."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack(">II", data[16:24])
            return width, height
        if data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width), abs(height)
    except struct.error:
        return None
    if re.match(rb"P[1-6]\s", data):
        numbers = re.match(rb"P[1-6](?:\s+|#[^\n]*\n)*(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s", data[:4096])
        return (int(numbers[1]), int(numbers[2])) if numbers else None
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """From the first start-of-frame marker (ITU-T T.81, B.2.2)."""
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            return None
        kind = data[place + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        if kind == 0xFF:
            place += 1
        elif kind == 0x01 or 0xD0 <= kind <= 0xD8:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
