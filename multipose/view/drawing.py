"""Key points drawn into pictures, and contact sheets of them, by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError
from multipose.opencv import cv2
from multipose.skeleton import Skeleton
from multipose.sources import check_picture
from multipose.view.overlay import covariance_ellipse
from multipose.view.theme import KeypointStyle, hex_to_rgb, keypoint_styles, mix

Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]

_SHIFT = 4  # OpenCV draws at 1/16 px
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_EDGE = (235, 235, 235)
_INK = (20, 20, 20)
_ALARM = (255, 40, 40)


def draw_keypoints(
    picture: Picture,
    xy: npt.ArrayLike,
    skeleton: Skeleton,
    *,
    confidence: npt.ArrayLike | None = None,
    min_confidence: float = 0.0,
    reprojected: npt.ArrayLike | None = None,
    radius: float | None = None,
    names: bool = False,
) -> Picture:
    """A copy of the picture with key points and the skeleton's edges drawn; left ones are discs, right ones diamonds.

    Args:
        picture: (h, w, 3) RGB.
        xy: (keypoint, 2) or (individual, keypoint, 2) px; NaN is not drawn.
        skeleton: names, edges and pairs.
        confidence: (keypoint,) or (individual, keypoint).
        min_confidence: points below it are not drawn (it needs `confidence`).
        reprojected: px of the same points in 3D, projected into the view; of the shape of `xy`. Drawn as rings.
        radius: of the marks, px; by default about a hundredth of the picture's smaller side.
        names: write the names beside the points.

    Raises:
        DataError: a shape does not fit.
    """
    check_picture(picture)
    points = _individuals(xy, skeleton)
    if confidence is not None:
        points = _drop_unsure(
            points, np.asarray(confidence, dtype=np.float64).reshape(points.shape[:2]), min_confidence
        )
    size = _default_radius(picture) if radius is None else radius
    canvas = picture.copy()
    styles = keypoint_styles(skeleton.keypoints, skeleton)
    if reprojected is not None:
        for individual in _individuals(reprojected, skeleton):
            for point, style in zip(individual, styles, strict=True):
                _ring(canvas, point, style.rgb, 1.9 * size)
    for individual in points:
        for a, b in skeleton.edge_indices:
            _line(canvas, individual[a], individual[b], _EDGE, max(1, round(size / 2.5)))
        for point, style in zip(individual, styles, strict=True):
            _mark(canvas, point, style, size)
        if names:
            _write_names(canvas, individual, styles, size)
    return canvas


def draw_labels(
    picture: Picture,
    xy: npt.ArrayLike,
    state: npt.ArrayLike,
    skeleton: Skeleton,
    *,
    slips: npt.ArrayLike | None = None,
    radius: float | None = None,
) -> Picture:
    """A copy of the picture with labels, their names and the skeleton's edges: visible points as discs and diamonds,
    occluded ones as rings, and a red square around those that look like slips.

    Args:
        picture: (h, w, 3) RGB.
        xy: (individual, keypoint, 2) px; NaN is not drawn.
        state: (individual, keypoint) states, as of Labels.
        skeleton: names, edges and pairs.
        slips: (individual, keypoint) True where a label looks like a slip.
        radius: of the marks, px; by default about a hundredth of the picture's smaller side.

    Raises:
        DataError: a shape does not fit.
    """
    check_picture(picture)
    points = _individuals(xy, skeleton)
    states, marked = (
        np.broadcast_to(False if given is None else np.asarray(given), points.shape[:2]) for given in (state, slips)
    )
    size = _default_radius(picture) if radius is None else radius
    canvas = picture.copy()
    styles = keypoint_styles(skeleton.keypoints, skeleton)
    for individual, here, wrong in zip(points, states, marked, strict=True):
        for a, b in skeleton.edge_indices:
            _line(canvas, individual[a], individual[b], _EDGE, max(1, round(size / 2.5)))
        for point, style, said, slip in zip(individual, styles, here, wrong, strict=True):
            if said == "occluded":
                _ring(canvas, point, style.rgb, 1.3 * size)
            else:
                _mark(canvas, point, style, size)
            if slip and np.isfinite(point).all():
                corners = point + 2.6 * size * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
                for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                    _line(canvas, a, b, _ALARM, 2)
        _write_names(canvas, individual, styles, size)
    return canvas


def draw_comparison(
    picture: Picture,
    labelled: npt.ArrayLike,
    predicted: npt.ArrayLike,
    skeleton: Skeleton,
    *,
    covariance: npt.ArrayLike | None = None,
    radius: float | None = None,
    names: bool = False,
) -> Picture:
    """A copy of the picture with labels (crosses), predictions (discs and diamonds) and lines between them.

    Args:
        picture: (h, w, 3) RGB.
        labelled, predicted: (keypoint, 2) px; NaN is not drawn.
        skeleton: names and pairs.
        covariance: (keypoint, 2, 2) px² of the predictions: drawn as the ellipse that should hold 95 % of the labels.
        radius: of the marks, px; by default about a hundredth of the picture's smaller side.
        names: write the names beside the predictions.

    Raises:
        DataError: a shape does not fit.
    """
    check_picture(picture)
    size = _default_radius(picture) if radius is None else radius
    canvas = picture.copy()
    styles = keypoint_styles(skeleton.keypoints, skeleton)
    if covariance is not None:
        for found, spread, style in zip(np.asarray(predicted), np.asarray(covariance), styles, strict=True):
            _ellipse(canvas, found, spread, style.rgb)
    truth, guess = _individuals(labelled, skeleton)[0], _individuals(predicted, skeleton)[0]
    for true, found, style in zip(truth, guess, styles, strict=True):
        _line(canvas, true, found, style.rgb, max(1, round(size / 3)))
        _mark(canvas, found, style, size)
        _cross(canvas, true, style, 1.8 * size)
    if names:
        _write_names(canvas, guess, styles, size)
    return canvas


def crop_around(
    picture: Picture, xy: npt.ArrayLike, *, margin: float = 0.25, width: int = 400, height: int = 300
) -> tuple[Picture, Array]:
    """The part of a picture around points, resized to fit into width x height, and the map to its pixels.

    Args:
        picture: (h, w, 3) RGB.
        xy: (..., 2) px; the part holds all known points inside the picture. Without any it is the whole picture.
        margin: added on each side, as a share of the larger side of the points' box (at least 16 px).
        width, height: size of the result; smaller in one direction where the picture ends too early for this shape.

    Returns:
        The resized part and a matrix (2, 3) that takes (x, y, 1) px of the picture to px of the part.
    """
    check_picture(picture)
    high, wide = picture.shape[:2]
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    inside = points[((points >= -0.5) & (points <= np.array([wide, high]) - 0.5)).all(-1)]
    low, top = np.zeros(2), np.array([wide, high], dtype=float)
    if len(inside):
        room = max(16.0, margin * float(np.ptp(inside, axis=0).max()))
        span = np.ptp(inside, axis=0) + 2 * room
        span = np.maximum(span, span[::-1] * np.array([width / height, height / width]))
        span = np.minimum(np.ceil(span), top)
        low = np.clip(np.round((inside.min(0) + inside.max(0) + 1 - span) / 2), 0, top - span)
        top = low + span
    x0, y0, x1, y1 = (int(value) for value in (*low, *top))
    scale = min(width / (x1 - x0), height / (y1 - y0))
    part, affine = _resize(picture[y0:y1, x0:x1], scale)
    affine[:, 2] -= affine[:, :2] @ (x0, y0)
    return part, affine


def apply_affine(affine: Array, xy: npt.ArrayLike) -> Array:
    """Points (..., 2) mapped by a matrix (2, 3)."""
    moved: Array = np.asarray(xy, dtype=np.float64) @ affine[:, :2].T + affine[:, 2]
    return moved


def contact_sheet(
    pictures: Sequence[Picture],
    xy: npt.ArrayLike,
    skeleton: Skeleton,
    *,
    confidence: npt.ArrayLike | None = None,
    min_confidence: float = 0.0,
    captions: Sequence[str] | None = None,
    columns: int = 4,
    tile_width: int = 480,
    crop: bool = False,
    names: bool = False,
) -> Picture:
    """Pictures in rows on one sheet, with their key points drawn and a legend of the names below.

    Args:
        pictures: (h, w, 3) RGB each; they may differ in size.
        xy: (picture, keypoint, 2) or (picture, individual, keypoint, 2) px of each picture; NaN is not drawn.
        skeleton: names, edges and pairs.
        confidence: (picture, keypoint) or (picture, individual, keypoint).
        min_confidence: points below it are not drawn.
        captions: one line for each picture.
        columns: pictures in a row.
        tile_width: width of each picture on the sheet, px. Points are drawn after resizing, so they stay sharp.
        crop: show of each picture the part around its points, three quarters as high as wide.
        names: write the names beside the points too.

    Raises:
        DataError: no pictures, or a shape does not fit.
    """
    points = np.asarray(xy, dtype=np.float64)
    if not pictures or len(points) != len(pictures):
        raise DataError(
            f"A sheet needs at least one picture and points for each, got {len(pictures)} and {len(points)}."
        )
    if captions is not None and len(captions) != len(pictures):
        raise DataError(f"A sheet needs one caption for each picture, got {len(captions)} for {len(pictures)}.")
    trust = None if confidence is None else np.asarray(confidence, dtype=np.float64)
    gap, line = 8, 24 if captions is not None else 0
    tiles = []
    for place, picture in enumerate(pictures):
        check_picture(picture)
        if crop:
            sure = points[place] if trust is None else _drop_unsure(points[place], trust[place], min_confidence)
            tile, affine = crop_around(picture, sure, width=tile_width, height=round(0.75 * tile_width))
        else:
            tile, affine = _resize(picture, tile_width / picture.shape[1])
        tile = draw_keypoints(
            tile,
            apply_affine(affine, points[place]),
            skeleton,
            confidence=None if trust is None else trust[place],
            min_confidence=min_confidence,
            names=names,
        )
        if captions is not None:
            tile = np.concatenate([np.full((line, tile.shape[1], 3), 255, dtype=np.uint8), tile])
            _write(tile, captions[place], (2, line - 8), 0.5)
        tiles.append(tile)
    columns = min(columns, len(tiles))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    width = columns * (tile_width + gap) + gap
    strips = []
    for row in rows:
        strip = np.full((max(len(tile) for tile in row) + gap, width, 3), 255, dtype=np.uint8)
        for place, tile in enumerate(row):
            x = gap + place * (tile_width + gap)
            strip[gap : gap + len(tile), x : x + tile.shape[1]] = tile
        strips.append(strip)
    return np.concatenate([*strips, _legend(skeleton, width)])


def scale_covariance(affine: Array, covariance: npt.ArrayLike) -> Array:
    """Covariances (..., 2, 2) of points that are mapped by a matrix (2, 3)."""
    moved: Array = affine[:, :2] @ np.asarray(covariance, dtype=np.float64) @ affine[:, :2].T
    return moved


def write_heading(picture: Picture, lines: Sequence[str]) -> Picture:
    """The picture under a white strip with lines of text, made wider where the text needs it."""
    scale, step = 0.5, 22
    width = max([picture.shape[1], *(cv2.getTextSize(line, _FONT, scale, 1)[0][0] + 12 for line in lines)])
    height = step * len(lines) + 6
    sheet = np.full((height + picture.shape[0], width, 3), 255, dtype=np.uint8)
    sheet[height:, : picture.shape[1]] = picture
    for place, line in enumerate(lines):
        _write(sheet, line, (6, step * (place + 1) - 5), scale)
    return sheet


def write_in(picture: Picture, text: str) -> None:
    """Write a line of text into the lower left corner of a picture, light with a dark rim, whatever lies below."""
    scale = max(0.5, min(picture.shape[:2]) / 900)
    _write_rimmed(picture, text, (round(12 * scale), picture.shape[0] - round(14 * scale)), scale, (255, 255, 255))


def enlarge(picture: Picture, width: int) -> tuple[Picture, Array]:
    """A picture of at least this width, and the matrix (2, 3) that takes (x, y, 1) px of the picture to its pixels."""
    return _resize(picture, max(1.0, width / picture.shape[1]))


def _individuals(xy: npt.ArrayLike, skeleton: Skeleton) -> Array:
    points = np.asarray(xy, dtype=np.float64)
    if points.ndim not in (2, 3) or points.shape[-2:] != (len(skeleton), 2):
        raise DataError(
            f"Key points must have the shape ({len(skeleton)}, 2) or (individual, {len(skeleton)}, 2) of the skeleton, "
            f"got {points.shape}."
        )
    return points.reshape(-1, len(skeleton), 2)


def _drop_unsure(points: Array, confidence: Array, least: float) -> Array:
    """Points (..., 2), NaN where the confidence (...) is too low; one that is not said (NaN) counts."""
    return np.where((confidence < least)[..., None], np.nan, points)


def _default_radius(picture: Picture) -> float:
    return max(2.5, float(min(picture.shape[:2])) / 110)


def _resize(picture: Picture, scale: float) -> tuple[Picture, Array]:
    """The resized picture and its map (2, 3) of pixels; pixel centres are whole numbers, so x -> (x + 0.5) s - 0.5."""
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(picture), size, interpolation=method)
    factors = np.array(size) / (width, height)
    return np.asarray(resized, dtype=np.uint8), np.column_stack([np.diag(factors), 0.5 * factors - 0.5])


def _fixed(point: Array) -> tuple[int, int]:
    """A point in OpenCV's fixed-point pixels; far outside is brought to where 32 bits still hold it."""
    x, y = np.clip(np.round(point * (1 << _SHIFT)), -(2**26), 2**26).astype(int).tolist()
    return x, y


def _line(canvas: Picture, a: Array, b: Array, color: tuple[int, int, int], thickness: int) -> None:
    if np.isfinite(a).all() and np.isfinite(b).all():
        cv2.line(canvas, _fixed(a), _fixed(b), color, thickness, cv2.LINE_AA, _SHIFT)


def _mark(canvas: Picture, point: Array, style: KeypointStyle, radius: float) -> None:
    if not np.isfinite(point).all():
        return
    for color, reach in ((_INK, radius + 1.0), (style.rgb, radius)):
        if style.right:
            offsets = 1.25 * reach * np.array([[0, -1], [1, 0], [0, 1], [-1, 0]])
            corners = np.array([_fixed(point + offset) for offset in offsets], dtype=np.int32)
            cv2.fillPoly(canvas, [corners], color, cv2.LINE_AA, _SHIFT)
        else:
            cv2.circle(canvas, _fixed(point), round(reach * (1 << _SHIFT)), color, -1, cv2.LINE_AA, _SHIFT)


def _ring(canvas: Picture, point: Array, color: tuple[int, int, int], radius: float) -> None:
    if np.isfinite(point).all():
        width = max(1, round(radius / 4))
        for ink, thickness in ((_INK, width + 2), (color, width)):
            cv2.circle(canvas, _fixed(point), round(radius * (1 << _SHIFT)), ink, thickness, cv2.LINE_AA, _SHIFT)


def _cross(canvas: Picture, point: Array, style: KeypointStyle, reach: float) -> None:
    for color, thickness in ((_INK, 3), (style.rgb, 1)):
        for direction in np.array([[1.0, 1.0], [1.0, -1.0]]) * reach / np.sqrt(2):
            _line(canvas, point - direction, point + direction, color, thickness)


def _ellipse(canvas: Picture, center: Array, covariance: Array, color: tuple[int, int, int]) -> None:
    ring = covariance_ellipse(center, covariance)
    if np.isfinite(ring).all():
        points = np.array([_fixed(point) for point in ring], dtype=np.int32)
        cv2.polylines(canvas, [points], True, color, 1, cv2.LINE_AA, _SHIFT)


def _write_names(canvas: Picture, points: Array, styles: Sequence[KeypointStyle], radius: float) -> None:
    scale = max(0.32, radius / 11)
    for point, style in zip(points, styles, strict=True):
        if np.isfinite(point).all() and (np.abs(point) < 2**20).all():
            x, y = round(point[0] + 1.6 * radius), round(point[1] - 1.2 * radius)
            (width, _), _ = cv2.getTextSize(style.name, _FONT, scale, 1)
            if x + width > canvas.shape[1]:
                x = round(point[0] - 1.6 * radius - width)
            _write_rimmed(canvas, style.name, (x, y), scale, hex_to_rgb(mix(style.color, "#ffffff", 0.55)))


def _write_rimmed(
    canvas: Picture, text: str, place: tuple[int, int], scale: float, color: tuple[int, int, int]
) -> None:
    """Text with a dark rim: the same glyphs beside it, for those of a thicker pen are wider in OpenCV 5."""
    x, y = place
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        cv2.putText(canvas, text, (x + dx, y + dy), _FONT, scale, _INK, 1, cv2.LINE_AA)
    cv2.putText(canvas, text, place, _FONT, scale, color, 1, cv2.LINE_AA)


def _write(canvas: Picture, text: str, place: tuple[int, int], scale: float) -> None:
    cv2.putText(canvas, text, place, _FONT, scale, _INK, 1, cv2.LINE_AA)


def _legend(skeleton: Skeleton, width: int) -> Picture:
    """A strip with each key point's mark and name, in as many lines as it takes."""
    scale, line, gap = 0.5, 26, 14
    x, y = gap, 0
    places = []
    for style in keypoint_styles(skeleton.keypoints, skeleton):
        (text_width, _), _ = cv2.getTextSize(style.name, _FONT, scale, 1)
        if x > gap and x + 24 + text_width > width:
            x, y = gap, y + 1
        places.append((style, x, y))
        x += 24 + text_width + gap
    strip = np.full(((y + 1) * line + gap, width, 3), 255, dtype=np.uint8)
    for style, left, row in places:
        middle = gap // 2 + row * line + line / 2
        _mark(strip, np.array([left + 6.0, middle]), style, 6.0)
        _write(strip, style.name, (left + 20, round(middle + 5)), scale)
    return strip
