"""The ordinary cases of triangulation in compiled code: blocks of points solved side by side, without branches.

This is for points of polynomial lenses (all but the fisheye) that need no decision:

1. the undistortion converges at once, and all views that have the point see it in front of them and agree on it; or
2. all views but one agree, and no other set of views could have as much support (`_leave_out`). These are collected
   until a block of them is full.

What is neither stays OPEN, and multipose.triangulate.kernels solves the point by itself; that is the reference, and the
formulas are the same.

What a lane gets does not depend on its neighbours: one that has converged is evaluated again at the same place.
"""

from __future__ import annotations

import math

import numpy as np

from multipose.triangulate.lanes import (
    ALLOWED,
    BAD,
    BEFORE,
    CONFIDENCE,
    D0,
    D1,
    D2,
    I00,
    I01,
    I11,
    LANES,
    LEAST,
    LEFT,
    LIGHT,
    LIGHTER,
    MOVES,
    P0,
    P1,
    P2,
    S0,
    S1,
    S2,
    S3,
    S4,
    S5,
    SECOND,
    SUM,
    VIEW_ROWS,
    WORST,
    N,
    U,
    V,
    W,
    add_errors,
    add_nearest,
    add_rest,
    add_weighed,
    advance,
    clear,
    move,
    propagate,
    solve_systems,
    undistort_block,
)
from multipose.triangulate.projection import FISHEYE, device, inlined

# What became of a point (multipose.triangulate.points.STATES).
OPEN = -1  # not decided here
MISSING = 0  # fewer views than asked for
CONSISTENT = 1  # three or more views agree
TWO_VIEWS = 2  # rests on two views: an error along their epipolar lines would go unseen
AMBIGUOUS = 3  # different sets of views agree on different points, equally well
INCONSISTENT = 4  # too few views agree, or the rays meet behind a camera or nowhere

TIE = 0.9  # a rival with this share of the best support is as good
OFF = 4.0  # squared error in gates of a view for which the fit of all is not even tried
SURE = 2.0  # so many times more squared error than views that agree could have makes a rival impossible
SMALLEST_VARIANCE = 1e-4  # px²; no detector knows a point better than 0.01 px
_GAUSS_NEWTON_STEPS = 6


@device
def vectorizable(cameras):  # type: ignore[no-untyped-def]
    """Whether every lens is one that blocks can be solved with."""
    fisheyes = 0
    for c in range(cameras.shape[0]):
        fisheyes += cameras[c, 0] == FISHEYE
    return fisheyes == 0


@device
def solve(  # type: ignore[no-untyped-def]
    views,
    points,
    index,
    px,
    confidence,
    covariance,
    noise2,
    factor,
    first,
    cameras,
    min_views,
    limits,
    refine,
    position,
    spread,
    error,
    inlier,
    usable,
    state,
):
    """Solve the ordinary points, and put OPEN into the state of the others.

    Args:
        views, points, index: scratch (2, view, VIEW_ROWS * LANES), (2, POINT_ROWS * LANES), (2, LANES): of a block,
            and of the block of doubtful lanes that is being filled.
        px: this and the others as of multipose.triangulate.kernels.triangulate.
    """
    n = px.shape[2]
    waiting = 0
    for start in range(0, n, LANES):
        size = min(LANES, n - start)
        for i in range(size):
            index[0, i] = start + i
        _fill(px, confidence, covariance, noise2, factor, first, cameras, start, views[0])
        _begin(cameras, views[0], points[0])
        _refine(cameras, views[0], points[0], limits, refine)
        _write(views[0], points[0], index[0], size, refine, min_views, position, spread, error, inlier, usable, state)
        for i in range(size):
            if refine and state[start + i] == OPEN and _is_doubtful(points[0], i, min_views):
                _carry(views, points, i, waiting)
                index[1, waiting] = start + i
                waiting += 1
            if waiting < LANES and (waiting == 0 or start + i < n - 1):
                continue
            _leave_out(cameras, views[1], points[1], limits)
            _refine(cameras, views[1], points[1], limits, refine)
            _write(
                views[1],
                points[1],
                index[1],
                waiting,
                refine,
                min_views,
                position,
                spread,
                error,
                inlier,
                usable,
                state,
            )
            waiting = 0


@device
def _begin(cameras, views, points):  # type: ignore[no-untyped-def]
    """The linear answer of all views."""
    for i in range(LANES):
        points[BAD + i] = 0.0
    clear(points)
    for c in range(cameras.shape[0]):
        undistort_block(cameras, c, views, points)
        add_nearest(cameras, c, views, points)
    solve_systems(points)
    move(points)
    clear(points)
    for c in range(cameras.shape[0]):
        add_weighed(cameras, c, views, points)
    solve_systems(points)
    move(points)


@device
def _refine(cameras, views, points, limits, refine):  # type: ignore[no-untyped-def]
    """Gauss-Newton steps, until all lanes stand still; without `refine` only what belongs to the place."""
    for i in range(LANES):
        points[BEFORE + i] = 0.0
        points[MOVES + i] = 1.0
    for _ in range(_GAUSS_NEWTON_STEPS):
        clear(points)
        for c in range(cameras.shape[0]):
            add_errors(cameras, c, views, points, limits[0], limits[1])
        solve_systems(points)
        if not refine or advance(points) == 0:
            break


@device
def _is_doubtful(points, i, min_views):  # type: ignore[no-untyped-def]
    """Whether a lane may be fine without one of its views."""
    fit = points[BAD + i] == 0.0 and points[WORST + i] > OFF
    return fit and points[N + i] > min_views and points[N + i] > 2.0


@device
def _carry(views, points, i, j):  # type: ignore[no-untyped-def]
    """Copy the views and the place of lane i into lane j of the other block."""
    for c in range(views.shape[1]):
        rows, others = views[0, c], views[1, c]
        for row in range(0, VIEW_ROWS * LANES, LANES):
            others[row + j] = rows[row + i]
    for row in (P0, P1, P2):
        points[1, row + j] = points[0, row + i]


@device
def _fill(  # type: ignore[no-untyped-def]
    px, confidence, covariance, noise2, factor, first, cameras, start, views
):
    """Lay the pixels, confidences and inverse covariances of the points from `start` into the rows of the views."""
    size = min(LANES, px.shape[2] - start)
    for c in range(px.shape[0]):
        rows = views[c]
        middle_u, middle_v = cameras[c, 3], cameras[c, 4]
        for i in range(size):
            u, v = px[c, 0, start + i], px[c, 1, start + i]
            w = confidence[c, start + i]
            has = w > 0.0 and u * u + v * v < math.inf
            rows[U + i] = u if has else middle_u
            rows[V + i] = v if has else middle_v
            rows[W + i] = w if has else 0.0
        for i in range(size, LANES):
            rows[U + i] = middle_u
            rows[V + i] = middle_v
            rows[W + i] = 0.0
        if covariance.shape[1] == 0 and factor.shape[1] == 0:
            for i in range(LANES):
                rows[I00 + i] = 1.0 / noise2
                rows[I01 + i] = 0.0
                rows[I11 + i] = 1.0 / noise2
        else:
            for i in range(size):
                i00, i01, i11 = information(covariance, noise2, factor, first, c, start + i)
                rows[I00 + i] = i00
                rows[I01 + i] = i01
                rows[I11 + i] = i11
            for i in range(size, LANES):
                rows[I00 + i] = 1.0
                rows[I01 + i] = 0.0
                rows[I11 + i] = 1.0


@inlined
def information(covariance, noise2, factor, first, c, i):  # type: ignore[no-untyped-def]
    """Inverse of a 2D covariance (of noise2 where it is unknown) times its factor; nobody knows a point better than
    0.01 px."""
    s00, s01, s11 = noise2, 0.0, noise2
    scaled = factor.shape[1] > 0
    if covariance.shape[1] > 0 and covariance[c, i, 0, 0] >= 0.0:
        s00, s01, s11 = covariance[c, i, 0, 0], covariance[c, i, 0, 1], covariance[c, i, 1, 1]
        scaled = True
    if factor.shape[1] > 0:
        f = factor[c, (first + i) % factor.shape[1]]
        s00 *= f
        s01 *= f
        s11 *= f
    if scaled and not s00 * s11 - s01 * s01 > SMALLEST_VARIANCE**2:
        s00 = max(s00, SMALLEST_VARIANCE)
        s11 = max(s11, SMALLEST_VARIANCE)
        s01 = 0.0
    scale = 1.0 / (s00 * s11 - s01 * s01)
    return s11 * scale, -s01 * scale, s00 * scale


@device
def _write(  # type: ignore[no-untyped-def]
    views, points, index, size, refine, min_views, position, spread, error, inlier, usable, state
):
    """Write the answers of the lanes that are fine to their places `index`; the state of the others becomes OPEN."""
    propagate(points, refine)
    for i in range(LANES):
        points[N + i] = 0.0
        points[LEFT + i] = 0.0
    for c in range(views.shape[0]):
        rows = views[c]
        for i in range(size):
            has = rows[W + i] > 0.0
            inlier[c, index[i]] = has
            points[N + i] += 1.0 if has else 0.0
            points[LEFT + i] += 1.0 if rows[W + i] < 0.0 else 0.0
    for i in range(size):
        j = index[i]
        n = np.int64(points[N + i])
        fine = points[MOVES + i] == 0.0 and points[WORST + i] <= 1.0 and n >= min_views
        if not (fine and points[SUM + i] < math.inf and points[BAD + i] == 0.0):
            state[j] = OPEN
            continue
        usable[j] = n + np.int64(points[LEFT + i])
        state[j] = TWO_VIEWS if n == 2 else CONSISTENT
        error[j] = points[SUM + i] / n
        for r in range(3):
            position[j, r] = points[P0 + r * LANES + i]
        s01, s02, s12 = points[S1 + i], points[S2 + i], points[S4 + i]
        spread[j, 0, 0] = points[S0 + i]
        spread[j, 0, 1] = s01
        spread[j, 0, 2] = s02
        spread[j, 1, 0] = s01
        spread[j, 1, 1] = points[S3 + i]
        spread[j, 1, 2] = s12
        spread[j, 2, 0] = s02
        spread[j, 2, 1] = s12
        spread[j, 2, 2] = points[S5 + i]


@device
def _leave_out(cameras, views, points, limits):  # type: ignore[no-untyped-def]
    """Leave out the view without which the others agree, and take the step to their answer.

    From the linearised fit of all views, the squared error that remains without a view follows in closed form. The view
    is the one that leaves least. Another point could only be supported as well by all views but one other: lanes are
    bad unless without each of these more remains than views within the gate could have, and unless fewer views weigh
    too little.
    """
    for i in range(LANES):
        points[BAD + i] = 0.0
        points[LEAST + i] = points[SECOND + i] = points[LIGHT + i] = points[LIGHTER + i] = math.inf
        points[LEFT + i] = points[CONFIDENCE + i] = points[ALLOWED + i] = 0.0
    clear(points)
    for c in range(cameras.shape[0]):
        add_errors(cameras, c, views, points, limits[0], limits[1])
    for c in range(cameras.shape[0]):
        add_rest(cameras, c, views, points, 1.0 / limits[0], 1.0 / limits[1])
    for i in range(LANES):
        weight = points[CONFIDENCE + i]
        rival = weight - points[LIGHT + i] - points[LIGHTER + i]
        sure = points[SECOND + i] >= SURE * points[ALLOWED + i]
        left = points[LEFT + i]
        for c in range(views.shape[0]):
            w = views[c][W + i]
            if c + 1 == left:
                sure = sure and rival < TIE * (weight - w)
                views[c][W + i] = -w
        points[BAD + i] += 0.0 if sure and left > 0.0 else 1.0
        points[P0 + i] += points[D0 + i]
        points[P1 + i] += points[D1 + i]
        points[P2 + i] += points[D2 + i]
