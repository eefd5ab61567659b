"""A board in one picture: where its corners are, or why they are not found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import AprilGrid, Board, CharucoBoard, Chessboard
from multipose.calibration.chessboards import continues, is_uneven, order_chessboard
from multipose.calibration.refinement import local_scales, plane_grid, refine_corners, settle_corners
from multipose.opencv import corners_nx2, cv2
from multipose.prints import marker_dictionary

FloatArray: TypeAlias = NDArray[np.float64]
Gray: TypeAlias = NDArray[np.uint8]
Ids: TypeAlias = NDArray[np.intp]

# Half the side of the window in which a corner is refined, as a share of the distance to the next corner in the
# picture. The larger the window, the more edge pixels average the noise out; but it must hold no edges but the corner's
# own. On a chessboard these would be the neighbours' (perspective and distortion bring them nearer than the share
# says): on a stereo rig filmed at 640 x 480 the error of boards that were left out falls steadily up to 0.35 (0.225 px
# at 0.20, 0.205 px at 0.35) and from 0.40 on corners have to be thrown out. On a ChArUco board they are the marker's,
# so the share is the white gap around it: on a rig with a gap of 0.11 the error of boards left out is smallest there
# (0.208 px; 0.275 px at half, 0.297 px at twice the gap). On an AprilTag grid they are the tag's cells inside its
# border and the far sides of the small squares.
_WINDOW_SHARE = 0.35
_TAG_SHARE = 0.7  # of the border or the gap, whichever is narrower

_FEWEST_CORNERS = 4
_FEWEST_TAGS = 2  # a single tag fits grids of any layout
# Corners belong to the board described if most of them lie within this share of a square from a plane grid; on a board
# with other numbers of squares they are whole squares off.
_GRID_SHARE = 0.3
_GRID_MOST = 0.7
# Windows of the adaptive thresholds, px. One of 17 is tried first: on 84 real and 210 rendered pictures of 1280 x 1024
# it gives as many corners as OpenCV's three (3, 13 and 23) together, in half the time; on noisy, blurred pictures of
# boards that are small or partly outside 2 % fewer.
_QUICK_WINDOW, _OTHER_WINDOWS = 17, (3, 23)
# Where squares touch the corners of the markers, the threshold must lie so far below the mean that they come apart. On
# rendered pictures with 36 tags of 15 to 100 px a window of 13 and 25 of 256 levels found 32 to 36, the usual 7 levels
# 0 to 34.
_TOUCHING_WINDOW, _TOUCHING_LEVELS = 13, (25.0, 15.0)
# With fewer markers than this share of the board's, others are tried, if there are so many quadrangles of any kind.
# Pictures of an empty rig have up to 14 of them, boards of which no marker is read dozens.
_ENOUGH_MARKERS = 0.25
_SMALL_PICTURE = 640 * 512  # px; up to here all windows are tried wherever a marker is missing, which costs little
_FEWEST_QUADS = 10


@dataclass(frozen=True, eq=False)
class Sight:
    """What one picture shows: px (corner, 2), NaN = not seen, and if there is no corner at all, why."""

    px: FloatArray
    reason: str = ""


class Finder(Protocol):
    """Finds one board in gray pictures. Not to be shared by threads."""

    def find(self, gray: Gray) -> Sight: ...


def board_finder(board: Board) -> Finder:
    """The finder of a board."""
    if isinstance(board, Chessboard):
        return ChessboardFinder(board)
    return CharucoFinder(board) if isinstance(board, CharucoBoard) else AprilGridFinder(board)


class ChessboardFinder:
    """Finds all corners of a chessboard or none."""

    def __init__(self, board: Chessboard) -> None:
        self._board = board

    def find(self, gray: Gray) -> Sight:
        shape = self._board.corner_shape
        # The sector-based detector stands more noise and blur, the older one finds some boards with a narrow rim. The
        # check keeps it from searching pictures without a board: at 1280 x 1024 it takes 13 ms instead of 300, and of
        # 150 drawn boards with narrow rims it passed all 6 that the older one alone finds.
        found, corners = cv2.findChessboardCornersSB(gray, shape, flags=cv2.CALIB_CB_NORMALIZE_IMAGE)
        if not found and cv2.checkChessboard(gray, shape):
            flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
            found, corners = cv2.findChessboardCorners(gray, shape, flags=flags)
        nothing = np.full((self._board.n_corners, 2), np.nan)
        if not found:
            return Sight(nothing, f"no chessboard of {shape[0]} x {shape[1]} inner corners found")
        px = refine_corners(gray, corners_nx2(corners), self._board, _WINDOW_SHARE * self._board.square)
        if not np.isfinite(px).all():
            return Sight(nothing, "a chessboard was found, but it reaches out of the picture")
        if is_uneven(px, shape) or continues(gray, px, shape):
            return Sight(nothing, f"a chessboard of more than {shape[0]} x {shape[1]} inner corners was found")
        ordered = order_chessboard(gray, px, shape)
        if ordered is None:
            return Sight(nothing, "a chessboard was found, but its black and white squares cannot be told apart")
        return Sight(ordered)


class CharucoFinder:
    """Finds the corners of a ChArUco board between markers that it can read; of a two-sided one the corners of the side
    of which it reads more.
    """

    def __init__(self, board: CharucoBoard) -> None:
        self._front = board.front
        self._sides = board.sides
        self._search = MarkerSearch(board.dictionary, 0, board.n_markers, sides=board.sides)
        pattern = cv2.aruco.CharucoBoard(
            (board.columns, board.rows), float(board.square), float(board.marker), self._search.dictionary
        )
        pattern.setLegacyPattern(board.legacy)
        self._pattern = pattern
        # Also corners beside a single marker. On rendered 480 x 360 pictures this and markers found again where the
        # others say they must be nearly double the corners; what is put in a wrong place `settle_corners` finds.
        parameters = cv2.aruco.CharucoParameters()
        parameters.minMarkers = 1
        self._detector = cv2.aruco.CharucoDetector(pattern, parameters)
        self._reach = min(_WINDOW_SHARE * board.square, (board.square - board.marker) / 2)

    def find(self, gray: Gray) -> Sight:
        markers, numbers = self._search.find(gray, self._pattern)
        side = int(numbers[0]) // self._search.count if len(numbers) else 0
        sight = self._find_side(gray, markers, numbers % self._search.count)
        px = np.full((self._sides, self._front.n_corners, 2), np.nan)
        px[side] = sight.px
        return Sight(px.reshape(-1, 2), sight.reason)

    def _find_side(self, gray: Gray, markers: list[Any], numbers: Ids) -> Sight:
        """What markers of one side say of its corners; their numbers count from the side's first."""
        px = np.full((self._front.n_corners, 2), np.nan)
        found = 0
        if len(numbers):
            names = numbers.astype(np.int32)[:, None]
            corners, ids, _, _ = self._detector.detectBoard(gray, markerCorners=markers, markerIds=names)
            px[_ids(ids)] = corners_nx2(corners)
            found = len(_ids(ids))
        if found >= _FEWEST_CORNERS:
            px = settle_corners(gray, px, self._front, self._reach)
            found = int(np.isfinite(px).all(-1).sum())
            if found >= _FEWEST_CORNERS:
                return _on_grid(px, self._front)
        px[:] = np.nan
        if not len(numbers):
            return Sight(px, self._search.missed)
        return Sight(px, f"{len(numbers)} of {self._search.count} markers found, but only {found} corners between them")


class AprilGridFinder:
    """Finds the corners of the tags of an AprilTag grid that it can read."""

    def __init__(self, board: AprilGrid) -> None:
        self._board = board
        self._search = grid_search(board)
        cell = board.square / (int(self._search.dictionary.markerSize) + 2 * board.border)
        self._reach = _TAG_SHARE * min(board.spacing, board.border * cell)

    def find(self, gray: Gray) -> Sight:
        tags, numbers = self._search.find(gray)
        px = np.full((self._board.n_corners, 2), np.nan)
        for number, corners in zip(numbers, tags, strict=True):
            # The detector begins at the top left of OpenCV's drawing, the print is half a turn from it.
            px[self._board.tag_corners(int(number))] = np.roll(corners_nx2(corners), -2, axis=0)
        if len(numbers) >= _FEWEST_TAGS:
            px = settle_corners(gray, px, self._board, self._reach)
            if np.isfinite(px).all(-1).sum() >= _FEWEST_CORNERS:
                return _on_grid(px, self._board)
        px[:] = np.nan
        if not len(numbers):
            return Sight(px, self._search.missed)
        return Sight(px, f"{len(numbers)} of {self._search.count} tags found, {_FEWEST_TAGS} or more are needed")


class MarkerSearch:
    """Looks for the markers of a board, which are some of those of a dictionary.

    Args:
        name: of the dictionary.
        first, count: the first of the board's markers, and how many there are on a side.
        border: width of their black border, cells.
        touching: whether other black areas touch the markers' corners.
        sides: how many sides the board has; the second has the markers that follow the first's.

    dictionary: OpenCV's dictionary of the board's own markers, from 0. Looking up only these is several times faster
        than a large dictionary, and mistakes fewer blots for markers.
    count: number of markers on a side of the board.
    missed: what to say where none is found.
    """

    def __init__(
        self, name: str, first: int, count: int, border: int = 1, *, touching: bool = False, sides: int = 1
    ) -> None:
        self.dictionary = _part_of(name, first, sides * count)
        self.count = count
        self.missed = f"no marker {first} to {first + sides * count - 1} of {name} found"
        self._touching = touching
        window, quick, thorough = (_TOUCHING_WINDOW, *_TOUCHING_LEVELS) if touching else (_QUICK_WINDOW, 7.0, 7.0)
        self._quick = _detector(self.dictionary, (window, window), quick, border)
        self._thorough = _detector(self.dictionary, _OTHER_WINDOWS, thorough, border)
        self._of_side = [
            _detector(_part_of(name, first + side * count, count), (window, window), quick, border)
            for side in range(sides)
        ]

    def find(self, gray: Gray, pattern: Any = None) -> tuple[list[Any], Ids]:
        """Corners of the markers found, and their numbers on the board, each once.

        With OpenCV's pattern of a side only those of the side that shows more markers, and also those found again
        where the others say that they must be.
        """
        if self._touching:
            gray = _stretch(gray)
        markers, ids, others = self._quick.detectMarkers(gray)
        numbers = _ids(ids)
        quads = len(markers) + len(others)
        enough = self.count * (_ENOUGH_MARKERS if gray.size > _SMALL_PICTURE else 1.0)
        if len(numbers) < enough and quads >= min(_FEWEST_QUADS, self.count // 2):
            more, ids, others = self._thorough.detectMarkers(gray)
            new = np.flatnonzero(~np.isin(_ids(ids), numbers))
            markers, numbers = [*markers, *(more[i] for i in new)], np.concatenate([numbers, _ids(ids)[new]])
        if pattern is not None and len(numbers):
            side = int(np.bincount(numbers // self.count).argmax())
            own = np.flatnonzero(numbers // self.count == side)
            markers, names = [markers[i] for i in own], (numbers[own] - side * self.count).astype(np.int32)[:, None]
            markers, ids, _, _ = self._of_side[side].refineDetectedMarkers(gray, pattern, markers, names, others)
            numbers = _ids(ids) + side * self.count
        names, counts = np.unique(numbers, return_counts=True)
        once = np.flatnonzero(np.isin(numbers, names[counts == 1]))  # of two with one number, who knows which is right
        return [markers[i] for i in once], numbers[once]


def _part_of(name: str, first: int, count: int) -> Any:
    """OpenCV's dictionary of some markers of the one of that name."""
    whole = marker_dictionary(name)
    own = np.ascontiguousarray(whole.bytesList[first : first + count])
    return cv2.aruco.Dictionary(own, whole.markerSize, whole.maxCorrectionBits)


def _detector(dictionary: Any, windows: tuple[int, int], levels: float, border: int) -> Any:
    """levels: gray levels by which a pixel must be darker than the mean of its window to be black."""
    parameters = cv2.aruco.DetectorParameters()
    smallest, largest = parameters.adaptiveThreshWinSizeMin, parameters.adaptiveThreshWinSizeMax = windows
    parameters.adaptiveThreshConstant = levels
    parameters.adaptiveThreshWinSizeStep = max(largest - smallest, 1)
    parameters.markerBorderBits = border
    return cv2.aruco.ArucoDetector(dictionary, parameters)


def grid_search(board: AprilGrid, *, whole: bool = False) -> MarkerSearch:
    """The search for the tags of a grid; for all tags of its dictionary, from 0."""
    first, count = (0, len(marker_dictionary(board.dictionary).bytesList)) if whole else (board.first, board.n_tags)
    return MarkerSearch(board.dictionary, first, count, board.border, touching=True)


def _stretch(gray: Gray) -> Gray:
    """The picture with its darkest hundredth black and its brightest white."""
    low, high = np.percentile(gray[::4, ::4], (1, 99))
    levels = (np.arange(256) - low) * (255 / max(high - low, 1.0))
    return np.asarray(cv2.LUT(gray, np.clip(levels, 0, 255).astype(np.uint8)), dtype=np.uint8)


def _ids(found: Any) -> Ids:
    return np.empty(0, dtype=np.intp) if found is None else np.ravel(found).astype(np.intp)


def _on_grid(px: FloatArray, board: Board) -> Sight:
    """The corners (n, 2), if they lie as on a plane: few far off the homography of most. A lens bends less."""
    seen = np.isfinite(px).all(-1)
    plane = plane_grid(px, board)
    if plane is not None:
        off = np.linalg.norm(plane - px, axis=-1)[seen]
        scales = local_scales(px, board)
        square = board.square * np.median(scales[np.isfinite(scales)])
        if np.mean(off < _GRID_SHARE * square) > _GRID_MOST:
            return Sight(px)
    return Sight(
        np.full_like(px, np.nan), "markers found, but not in their places on this board (other numbers of squares?)"
    )
