"""A board in one picture: where its corners are, or why they are not found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board, CharucoBoard, Chessboard, marker_dictionary
from multipose.opencv import corners_nx2, cv2

FloatArray: TypeAlias = NDArray[np.float64]
Gray: TypeAlias = NDArray[np.uint8]

# Half the side of the window in which a corner is refined, as a share of the distance to the next corner in the
# picture. The larger the window, the more edge pixels average the noise out; but it must hold no edges but the corner's
# own. On a chessboard these would be the neighbours' (perspective and distortion bring them nearer than the share
# says): on a stereo rig filmed at 640 x 480 the error of boards that were left out falls steadily up to 0.35 (0.225 px
# at 0.20, 0.205 px at 0.35) and from 0.40 on corners have to be thrown out. On a ChArUco board they are the marker's,
# so the share is the white gap around it: on a rig with a gap of 0.11 the error of boards left out is smallest there
# (0.208 px; 0.275 px at half, 0.297 px at twice the gap).
_WINDOW_SHARE = 0.35
_SMALLEST_WINDOW_PX = 2
_REFINEMENT_END = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-4)

_FEWEST_CHARUCO_CORNERS = 4
# A corner may lie this far off the smooth grid of the others: the larger of px and times the median. On rendered
# 480 x 360 pictures with known corners 6.3 % are more than 1 px off without this, 2.2 % with it; on a real rig with
# strong distortion 2.6 % and 0.5 %, and 97 % of the corners stay.
_APART_PX = 0.4
_APART_MEDIANS = 5.0
# Fewest corners for a polynomial of that degree.
_GRID_DEGREES = ((45, 4), (28, 3), (15, 2))
_ATTEMPTS = 2
# Corners belong to the board described if most of them lie within this share of the corners' distance from a plane
# grid; on a board with other numbers of squares they are whole squares off.
_GRID_SHARE = 0.3
_GRID_MOST = 0.7
_GRID_ROUNDS = 8
# Gray levels by which white squares must be brighter than black ones on average, for their colours to be told apart.
_CONTRAST = 8.0
# Change from one step between corners to the next, as a share of their mean, that is a break. On real boards up to 0.2.
_UNEVEN = 0.5
# Share of the places beyond the last row of corners that must look like corners, for the board to be larger than said.
_CROSSING_MOST = 0.8


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
    return ChessboardFinder(board) if isinstance(board, Chessboard) else CharucoFinder(board)


class ChessboardFinder:
    """Finds all corners of a chessboard or none."""

    def __init__(self, board: Chessboard) -> None:
        self._board = board

    def find(self, gray: Gray) -> Sight:
        shape = self._board.corner_shape
        # The sector-based detector stands more noise and blur, the older one finds some boards with a narrow rim; its
        # fast check keeps it from searching a picture without a board for seconds.
        found, corners = cv2.findChessboardCornersSB(gray, shape, flags=cv2.CALIB_CB_NORMALIZE_IMAGE)
        if not found:
            flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
            found, corners = cv2.findChessboardCorners(gray, shape, flags=flags)
        nothing = np.full((self._board.n_corners, 2), np.nan)
        if not found:
            return Sight(nothing, f"no chessboard of {shape[0]} x {shape[1]} inner corners found")
        px = refine_corners(gray, corners_nx2(corners), shape, _WINDOW_SHARE)
        if not np.isfinite(px).all():
            return Sight(nothing, "a chessboard was found, but it reaches out of the picture")
        if is_uneven(px, shape) or continues(gray, px, shape):
            return Sight(nothing, f"a chessboard of more than {shape[0]} x {shape[1]} inner corners was found")
        ordered = order_chessboard(gray, px, shape)
        if ordered is None:
            return Sight(nothing, "a chessboard was found, but its black and white squares cannot be told apart")
        return Sight(ordered)


class CharucoFinder:
    """Finds the corners of a ChArUco board between markers that it can read."""

    def __init__(self, board: CharucoBoard) -> None:
        self._board = board
        # Looking up only the board's own markers is several times faster than a large dictionary, and mistakes fewer
        # blots for markers.
        whole = marker_dictionary(board.dictionary)
        own = np.ascontiguousarray(whole.bytesList[: board.columns * board.rows // 2])
        dictionary = cv2.aruco.Dictionary(own, whole.markerSize, whole.maxCorrectionBits)
        pattern = cv2.aruco.CharucoBoard(
            (board.columns, board.rows), float(board.square), float(board.marker), dictionary
        )
        pattern.setLegacyPattern(board.legacy)
        # Also corners beside a single marker, and markers found again where the others say they must be. On rendered
        # 480 x 360 pictures this nearly doubles the corners; what it puts in a wrong place `settle_corners` finds.
        parameters = cv2.aruco.CharucoParameters()
        parameters.minMarkers = 1
        parameters.tryRefineMarkers = True
        self._detector = cv2.aruco.CharucoDetector(pattern, parameters)
        self._share = min(_WINDOW_SHARE, (board.square - board.marker) / (2 * board.square))

    def find(self, gray: Gray) -> Sight:
        corners, ids, _, markers = self._detector.detectBoard(gray)
        px = np.full((self._board.n_corners, 2), np.nan)
        names = _ids(ids)
        px[names] = corners_nx2(corners)
        if len(names) >= _FEWEST_CHARUCO_CORNERS:
            px = settle_corners(gray, px, self._board, self._share)
            names = np.flatnonzero(np.isfinite(px).all(-1))
            if len(names) >= _FEWEST_CHARUCO_CORNERS:
                if self._is_grid(px):
                    return Sight(px)
                nothing = np.full_like(px, np.nan)
                return Sight(
                    nothing, "markers found, but not in their places on this board (other numbers of squares?)"
                )
        n_markers, expected = len(_ids(markers)), self._board.columns * self._board.rows // 2
        px[:] = np.nan
        if not n_markers:
            return Sight(px, f"no marker 0 to {expected - 1} of {self._board.dictionary} found")
        return Sight(px, f"{n_markers} of {expected} markers found, but only {len(names)} corners between them")

    def _is_grid(self, px: FloatArray) -> bool:
        """Whether the corners (n, 2) lie as on a plane: few far off the homography of most. A lens bends less."""
        seen = np.isfinite(px).all(-1)
        plane = self._board.corners[:, :2]
        matrix, _ = cv2.findHomography(plane[seen], px[seen], cv2.LMEDS)
        if matrix is None:
            return False
        off = np.linalg.norm(corners_nx2(cv2.perspectiveTransform(plane[seen, None], matrix)) - px[seen], axis=-1)
        spacing = neighbour_distances(px, self._board.corner_shape)
        return bool(np.mean(off < _GRID_SHARE * np.median(spacing[np.isfinite(spacing)])) > _GRID_MOST)


def _ids(found: Any) -> NDArray[np.intp]:
    return np.empty(0, dtype=np.intp) if found is None else np.ravel(found).astype(np.intp)


def refine_corners(gray: Gray, px: FloatArray, shape: tuple[int, int], share: float) -> FloatArray:
    """Corners (n, 2) moved to where the edges around them meet, each in a window fitting the distance to its nearest
    neighbour in the grid.

    shape: (columns, rows) of the grid; share: half the window's side over that distance. Corners without a neighbour
        stay, those outside the picture become NaN.
    """
    spacing = neighbour_distances(px, shape)
    inside = np.asarray(((px >= 0) & (px <= np.array(gray.shape[::-1]) - 1)).all(-1))
    known = inside & np.isfinite(spacing)
    half = np.maximum(np.floor(share * np.where(known, spacing, 0.0)).astype(int), _SMALLEST_WINDOW_PX)
    result = np.where(inside[:, None], px, np.nan)
    for size in np.unique(half[known]):
        chosen = known & (half == size)
        start = np.ascontiguousarray(px[chosen], dtype=np.float32).reshape(-1, 1, 2)
        result[chosen] = corners_nx2(cv2.cornerSubPix(gray, start, (int(size), int(size)), (-1, -1), _REFINEMENT_END))
    return result


def settle_corners(gray: Gray, px: FloatArray, board: CharucoBoard, share: float) -> FloatArray:
    """Corners (n, 2) refined, and those that lie off a smooth grid put right or, failing that, made NaN.

    A lens bends the board's homography smoothly. A corner that is off the smooth grid of most others was drawn to an
    edge of a marker: it is started again from where the grid says it is.
    """
    px = refine_corners(gray, px, board.corner_shape, share)
    for attempts_left in range(_ATTEMPTS, -1, -1):
        grid = _smooth_grid(px, board)
        if grid is None:
            break
        off = np.linalg.norm(px - grid, axis=-1)
        apart = off > max(_APART_PX, _APART_MEDIANS * float(np.nanmedian(off)))
        if not apart.any():
            break
        px = px.copy()
        if not attempts_left:
            px[apart] = np.nan
            break
        again = np.where(apart[:, None], grid, px)
        px[apart] = refine_corners(gray, again, board.corner_shape, share)[apart]
    return px


def _smooth_grid(px: FloatArray, board: CharucoBoard) -> FloatArray | None:
    """Where a homography bent by a polynomial puts all corners (n, 2), fitted robustly to those seen.

    The more corners are seen, the higher the polynomial's degree. None if too few are seen.
    """
    seen = np.isfinite(px).all(-1)
    degree = next((degree for fewest, degree in _GRID_DEGREES if seen.sum() >= fewest), None)
    if degree is None:
        return None
    matrix, _ = cv2.findHomography(board.corners[seen, :2], px[seen], cv2.LMEDS)
    if matrix is None:
        return None
    plane = corners_nx2(cv2.perspectiveTransform(board.corners[:, None, :2], matrix))
    x, y = (2 * board.corners[:, :2] / board.corners[:, :2].max(0) - 1).T
    design = np.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=-1)
    bend = (px - plane)[seen]
    coefficients = np.linalg.lstsq(design[seen], bend, rcond=None)[0]
    for _ in range(_GRID_ROUNDS):
        off = np.linalg.norm(bend - design[seen] @ coefficients, axis=-1)
        scale = max(_APART_PX, 2 * float(np.median(off)))
        root = (1 / (1 + (off / scale) ** 2))[:, None]  # of the weights of Geman and McClure's loss
        coefficients = np.linalg.lstsq(design[seen] * root, bend * root, rcond=None)[0]
    grid: FloatArray = plane + design @ coefficients
    return grid


def neighbour_distances(px: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """(n,) distance of each corner to the nearest of its neighbours in the grid that are seen, px; infinite without
    one.
    """
    grid = px.reshape(shape[1], shape[0], 2)
    nearest = np.full(grid.shape[:2], np.inf)
    along, down = (np.linalg.norm(np.diff(grid, axis=axis), axis=-1) for axis in (1, 0))
    for part, length in ((np.s_[:, 1:], along), (np.s_[:, :-1], along), (np.s_[1:], down), (np.s_[:-1], down)):
        nearest[part] = np.fmin(nearest[part], length)
    return nearest.ravel()


def order_chessboard(gray: Gray, px: FloatArray, shape: tuple[int, int]) -> FloatArray | None:
    """The corners (n, 2) in the board's order: x to the right and y down as seen from the printed side, the first
    corner at a black square.

    Where the colours leave a choice (the board looks the same when turned), the first corner is the one nearest to the
    picture's top left; the rig decides later. None where the colours cannot be told apart.
    """
    grid = px.reshape(shape[1], shape[0], 2)
    turns = (0, 1, 2, 3) if shape[0] == shape[1] else (0, 2)
    candidates = [np.rot90(g, turn) for g in (grid, grid[:, ::-1]) for turn in turns]
    candidates = [g for g in candidates if _is_right_handed(g)]
    contrasts = [_contrast(gray, g) for g in candidates]
    black_first = [g for g, contrast in zip(candidates, contrasts, strict=True) if contrast >= _CONTRAST]
    if not black_first:
        return None
    first = min(black_first, key=lambda g: float(g[0, 0].sum()))
    return np.ascontiguousarray(first).reshape(-1, 2)


def is_uneven(px: FloatArray, shape: tuple[int, int]) -> bool:
    """Whether steps from corner to corner (n, 2) change at once, as perspective and lenses do not make them.

    The detector drops some rows and columns of a board that is larger than what it is asked for, or parts of them.
    """
    grid = px.reshape(shape[1], shape[0], 2)
    for axis in (0, 1):
        steps = np.diff(grid, axis=axis)
        lengths = np.linalg.norm(steps, axis=-1)
        change = np.linalg.norm(np.diff(steps, axis=axis), axis=-1)
        pairs = lengths.take(range(1, lengths.shape[axis]), axis) + lengths.take(range(lengths.shape[axis] - 1), axis)
        if (change > _UNEVEN * pairs / 2).any():
            return True
    return False


def continues(gray: Gray, px: FloatArray, shape: tuple[int, int]) -> bool:
    """Whether a chessboard goes on beyond the corners (n, 2) on some side: where the next row of corners would
    be, black and white squares meet crosswise as well. At the true edge they meet the white rim.
    """
    grid = px.reshape(shape[1], shape[0], 2)
    sides = (grid, grid[::-1], grid.swapaxes(0, 1), grid[:, ::-1].swapaxes(0, 1))
    contrast = abs(_contrast(gray, grid))
    return any(_crosses(gray, side, contrast) > _CROSSING_MOST for side in sides)


def _crosses(gray: Gray, grid: FloatArray, contrast: float) -> float:
    """Share of the corners one row before the first row of the grid at which four squares meet crosswise."""
    edge, inner = grid[0], grid[1]
    outer = 3 * edge - 3 * inner + grid[2]  # goes on as the first three rows do
    # Not in the middles of the squares: the outermost are often cut off.
    along, out = np.gradient(outer, axis=0) / 4, (outer - edge) / 4
    places = np.stack([[outer - out - along, outer - out + along], [outer + out - along, outer + out + along]])
    x, y = np.moveaxis(places.round().astype(int), -1, 0)
    if (x < 0).any() or (y < 0).any() or (x >= gray.shape[1]).any() or (y >= gray.shape[0]).any():
        return 0.0
    near, far = np.diff(gray[y, x].astype(float), axis=1)[:, 0]
    strong = np.minimum(np.abs(near), np.abs(far)) > contrast / 3
    return float((strong & (near * far < 0)).mean())


def _is_right_handed(grid: FloatArray) -> bool:
    right, down = np.diff(grid, axis=1).mean((0, 1)), np.diff(grid, axis=0).mean((0, 1))
    return bool(right[0] * down[1] - right[1] * down[0] > 0)


def _contrast(gray: Gray, grid: FloatArray) -> float:
    """How much brighter the squares are that would be white, if the one outside the first corner is black; gray
    levels.
    """
    middles = (grid[1:, 1:] + grid[1:, :-1] + grid[:-1, 1:] + grid[:-1, :-1]) / 4
    x = np.clip(middles[..., 0].round().astype(int), 0, gray.shape[1] - 1)
    y = np.clip(middles[..., 1].round().astype(int), 0, gray.shape[0] - 1)
    level = gray[y, x].astype(float)
    rows, columns = np.mgrid[: level.shape[0], : level.shape[1]]
    black = (rows + columns) % 2 == 0
    return float(level[~black].mean() - level[black].mean())
