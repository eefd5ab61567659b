from __future__ import annotations

import numpy as np
import pytest

from multipose.opencv import corners_nx2, cv2, explain_import_error


@pytest.mark.opencv
def test_corners_have_one_shape_in_every_version() -> None:
    board = np.full((160, 200, 3), 255, np.uint8)
    for row in range(6):
        for column in range(8):
            if (row + column) % 2:
                board[20 + row * 20 : 40 + row * 20, 20 + column * 20 : 40 + column * 20] = 0
    found, corners = cv2.findChessboardCorners(board[..., 0], (7, 5))
    assert found
    assert corners_nx2(corners).shape == (35, 2)
    assert corners_nx2(corners).dtype == np.float64
    assert corners_nx2(None).shape == (0, 2)


def test_a_missing_system_library_is_told_with_its_command() -> None:
    told = explain_import_error(ImportError("libGL.so.1: cannot open shared object file: No such file or directory"))
    assert "libGL.so.1" in str(told)
    assert "sudo apt-get install -y libgl1" in str(told)


def test_another_failure_is_told_as_it_is() -> None:
    assert "No module named 'cv2'" in str(explain_import_error(ImportError("No module named 'cv2'")))
