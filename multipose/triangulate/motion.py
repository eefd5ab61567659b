"""What a recording says about its own noise, motion and limbs: the model that smoothing believes, learned from data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.optimize import minimize_scalar

from multipose.camera import CameraRig
from multipose.triangulate.points import FloatArray, triangulate
from multipose.triangulate.posterior import (
    Limbs,
    Linear,
    MotionModel,
    Posterior,
    Scene,
    empty_band,
    factorise,
    find,
    judge,
    solve,
)

LAGS = (1, 2, 5, 10)
"""Frames apart at which the autocorrelation of the 2D errors is measured."""

_WHITE = 0.05  # a smaller autocorrelation counts as none
_LONGEST = 0.995  # largest share of an error that lasts, and its decay
_FEWEST_PAIRS = 200  # of errors, to measure an autocorrelation
_WINSOR = 3.5  # standard deviations; larger errors are taken for these
_RANGE = 12.0  # e-folds around the first guess in which the prior's spread is sought
_ABOVE = 3.0  # ... and above it
_NEAR = 0.7  # ... in the turns that follow
_LEAST_SPREAD = 1e-4  # of the noise of one frame: the normal matrix stays well conditioned
_SMALLEST_SPREAD = 1e-9  # unit per frame^order, where there is no noise either
_STEPS = 3  # towards the trajectories, in each turn
_TURNS = 8
_AGREED = 0.05  # e-folds; a smaller change ends the search
_JUMP = 10.0  # standard deviations of a position that a jump has at least ...
_JUMP_STEPS = 6.0  # ... and times the usual step nearby
_NEARBY = 6  # frames
_MOST_WRONG = 0.25  # of the frames
_LONGEST_ERROR = 60  # frames that views may agree on a wrong place
_SEEN_FROM = 2 * (_NEARBY + _LONGEST_ERROR)  # frames away at which one wrong stretch says nothing of another
_LEAST_LIMB = 0.01  # share of a limb's length; nobody knows a limb better in every frame
_FEWEST_LENGTHS = 10
_LOOSEST_LIMB = 0.05  # of its length; what varies more is no limb
_TURN_FRAMES = 25  # that a view is held out at a stretch
_FEWEST_VIEWS = 3
_HELD_OUT_STEPS = 8
_STRENGTHS = (1.0, 2.0, 4.0, 8.0)  # factors of the scales of highest evidence, of errors with tails ...
_FEW_STRENGTHS = (1.0, 4.0)  # ... and of Gaussian ones
_DOUBTS = 2.0  # standard errors within which two priors count as equal
_SCORE_SQUARE = 4.0  # squares far above count by their logarithms
_LIMB_LEVEL, _LIMB_NORMAL = 0.9, 1.6449  # share of the absolute values of a standard normal number below the latter


def autocorrelations(error: FloatArray, slope: FloatArray, used: NDArray[np.bool_]) -> dict[int, float]:
    """Autocorrelation of the 2D errors at the lags of `LAGS`, pooled over views and key points.

    The residuals of points triangulated frame by frame are those parts of the errors that no motion can explain: the
    errors projected off the directions that a move of the point makes. These directions change as views come and go
    and weigh more or less, so that products of residuals are compared with those of the projections. Each view's and
    key point's mean is a constant offset and is taken off.

    Args:
        error: (view, frame, keypoint, 2) residuals in standard deviations.
        slope: (view, frame, keypoint, 2, 3) their derivatives by the position.
        used: (view, frame, keypoint) which the points rest on.

    Returns:
        0 where fewer than 200 pairs say something.
    """
    products, expected = np.zeros(len(LAGS) + 1), np.zeros(len(LAGS) + 1)
    pairs = np.zeros(len(LAGS) + 1)
    for k in range(error.shape[2]):
        known = used[:, :, k]
        values = np.where(known[..., None], np.clip(np.nan_to_num(error[:, :, k]), -_WINSOR, _WINSOR), 0.0)
        mean = values.sum(axis=1) / np.maximum(known.sum(axis=1), 1)[:, None]
        values = np.where(known[..., None], values - mean[:, None], 0.0)
        left = _projections(slope[:, :, k], known)
        for n, lag in enumerate((0, *LAGS)):
            if lag >= len(left):
                continue
            early, late = values[:, : len(left) - lag], values[:, lag:]
            products[n] += (early * late).sum()
            expected[n] += (left[: len(left) - lag] * left[lag:]).sum()
            pairs[n] += 2 * (known[:, : len(left) - lag] & known[:, lag:]).sum()
    scale = products[0] / expected[0] if expected[0] > 0 else 0.0
    return {
        lag: float(products[n] / expected[n] / scale) if pairs[n] >= _FEWEST_PAIRS and scale > 0 else 0.0
        for n, lag in enumerate(LAGS, start=1)
    }


def _projections(slope: FloatArray, used: NDArray[np.bool_]) -> FloatArray:
    """(frame, 2 view, 2 view) projections of the errors of the views used off what a move of the point makes; 0 where
    fewer than two are used."""
    n_views, n_frames = used.shape
    rows = np.where(used[..., None, None], np.nan_to_num(slope), 0.0).transpose(1, 0, 2, 3).reshape(n_frames, -1, 3)
    enough = used.sum(axis=0) >= 2
    kept = np.repeat(used.T & enough[:, None], 2, axis=1)
    normal = np.swapaxes(rows, -1, -2) @ rows
    explained = rows @ np.linalg.pinv(normal, hermitian=True) @ np.swapaxes(rows, -1, -2)
    projections: FloatArray = np.where(enough[:, None, None], kept[:, :, None] * np.eye(2 * n_views) - explained, 0.0)
    return projections


def fit_memory(correlations: dict[int, float]) -> tuple[float, float]:
    """(lasting, decay) of the autocorrelation lasting * decay^frames that fits best; (0, 0) for hardly correlated."""
    if correlations[1] < _WHITE:
        return 0.0, 0.0
    lags = np.array(list(correlations))
    measured = np.array(list(correlations.values()))
    decay = np.linspace(0.0, _LONGEST, 400)[1:, None]
    powers = decay**lags
    lasting = np.clip((powers * measured).sum(axis=1) / (powers**2).sum(axis=1), 0.0, _LONGEST)
    best = int(((lasting[:, None] * powers - measured) ** 2).sum(axis=1).argmin())
    return float(lasting[best]), float(decay[best, 0])


def implausible(frames: NDArray[np.int64], position: FloatArray, sd: FloatArray) -> NDArray[np.bool_]:
    """Points of one key point at which views agree on a wrong place for a while (a swap of left and right, say).

    Such a stretch begins and ends with a jump of one frame that is as long as the way to the wrong place, as no body
    moves; a fast movement is reached through places in between. Where more than a quarter of the points would be wrong,
    none is taken for wrong: this body does jump.

    Args:
        frames: (n,) frames in which it has a position, rising; position: (n, 3) of these; sd: (n,) standard deviations
            of a coordinate.
    """
    wrong = np.zeros(len(frames), bool)
    left = np.arange(len(frames))
    while len(left) >= 3:
        place, at = position[left], frames[left]
        apart = np.diff(at)
        step = np.linalg.norm(np.diff(place, axis=0), axis=1) / apart
        jumps = step * apart > np.maximum(_JUMP_STEPS * _usual(step) * apart, _JUMP * sd[left[1:]])
        bounds = np.flatnonzero(jumps) + 1
        found = _wrong_stretches(place, at, bounds, _JUMP * sd[left])
        if not found.any():
            break
        wrong[left[found]] = True
        left = left[~found]
    return wrong if wrong.sum() <= _MOST_WRONG * len(frames) else np.zeros_like(wrong)


def _usual(step: FloatArray) -> FloatArray:
    """(n,) medians of steps over those nearby."""
    usual = np.empty(len(step))
    inner = slice(_NEARBY, max(_NEARBY, len(step) - _NEARBY))
    usual[inner] = median_filter(step, 2 * _NEARBY + 1)[inner]
    for at in {*range(min(inner.start, len(step))), *range(max(inner.stop, 0), len(step))}:
        usual[at] = np.median(step[max(0, at - _NEARBY) : at + _NEARBY + 1])
    return usual


def _wrong_stretches(
    place: FloatArray, frames: NDArray[np.int64], bounds: NDArray[np.int64], least: FloatArray
) -> NDArray[np.bool_]:
    """(n,) places in stretches between two jumps that lie off the way between their neighbours: the shortest one, and
    every one that is the shortest of those so near that one changes what is seen of the other.
    """
    found = np.zeros(len(frames), bool)
    stretches = [slice(int(a), int(b)) for a, b in pairwise(bounds)]
    for stretch in sorted(stretches, key=lambda one: one.stop - one.start):
        first, last = stretch.start - 1, stretch.stop
        near = found[max(0, first - _SEEN_FROM) : last + _SEEN_FROM]
        if frames[last] - frames[first] > _LONGEST_ERROR or near.any():
            continue
        share = ((frames[stretch] - frames[first]) / (frames[last] - frames[first]))[:, None]
        way = place[first] + share * (place[last] - place[first])
        off = np.linalg.norm(place[stretch] - way, axis=1)
        typical = float(np.median(off))
        # in and out at one stroke: already the first and the last frame are as far off as the others
        if typical > least[stretch].max() and min(off[0], off[-1]) > 0.5 * typical and off.min() > 0.25 * typical:
            found[stretch] = True
    return found


def learn_spread(
    scenes: Sequence[Scene], starts: Sequence[Posterior], model: MotionModel, sd: FloatArray
) -> tuple[FloatArray, list[Posterior]]:
    """Scale of the prior's differences per key point that makes the 2D points most probable.

    The evidence (marginal likelihood) of the linearised model; it needs no truth and no test set (MacKay 1992). It is
    maximised in turns with the trajectories and the calmness of their parts, until it hardly changes.

    Args:
        scenes: stretches of frames, each with all key points.
        starts: positions and weights of each.
        model: its order and correlation are used.
        sd: (keypoint,) typical standard deviation of a coordinate in one frame; a key point that never moves gets a
            ten-thousandth of it.

    Returns:
        (keypoint,) unit per frame^order, and the trajectories of each stretch.
    """
    found = list(starts)
    spread = np.array(
        [_rough_spread([one.position[:, [k]] for one in starts], model.order) for k in range(len(model.spread))]
    )
    least = np.maximum(_LEAST_SPREAD * sd, _SMALLEST_SPREAD)
    spread, reach = np.maximum(spread, least), _RANGE
    for _ in range(_TURNS):
        before = spread
        spread = _most_evident(scenes, found, model, spread, least, reach)
        model, reach = replace(model, spread=spread), _NEAR
        found = [
            find(scene, model, one, reweigh=True, most_steps=_STEPS) for scene, one in zip(scenes, found, strict=True)
        ]
        if np.abs(np.log(spread / before)).max() < _AGREED:
            break
    return spread, found


def _most_evident(
    scenes: Sequence[Scene],
    found: Sequence[Posterior],
    model: MotionModel,
    guess: FloatArray,
    least: FloatArray,
    reach: float,
) -> FloatArray:
    """The scales of highest evidence within `reach` e-folds of a guess and not below the least, by key point."""
    linear = [Linear.at(scene, model, one.position, one.weight) for scene, one in zip(scenes, found, strict=True)]
    best = np.empty_like(guess)
    for k in range(len(guess)):
        group = np.array([k])
        parts = [(part.of(group), one.of(group)) for part, one in zip(linear, found, strict=True)]
        log = np.log(guess[k])
        sought = minimize_scalar(
            lambda log, parts=parts: -sum(_log_evidence(part, one, model, log) for part, one in parts),
            bounds=(max(log - reach, np.log(least[k])), max(log + min(reach, _ABOVE), np.log(least[k]) + 0.1)),
            method="bounded",
            options={"xatol": 0.03},
        )
        best[k] = np.exp(sought.x)
    return best


@dataclass(frozen=True, eq=False)
class HeldOutViews:
    """2D points that the others are to foretell: of every stretch of frames and key point those of one view.

    scene: all 2D points of a stretch; held: (view, frame, keypoint) those held out, where two other views are believed;
    start: where to start without them; single: (view, frame, keypoint) squared distances of the points held out from
    what the other views say frame by frame, in their own standard deviations; NaN for all others.
    """

    scene: Scene
    held: NDArray[np.bool_]
    start: Posterior
    single: FloatArray

    @classmethod
    def build(cls, scene: Scene, start: Posterior, believed: NDArray[np.bool_], rig: CameraRig) -> HeldOutViews:
        """Hold out views in turn."""
        n_views, n_frames, n_keypoints = believed.shape
        turn = np.arange(n_frames)[:, None] // _TURN_FRAMES + np.arange(n_keypoints)
        held = (
            (np.arange(n_views)[:, None, None] == turn % n_views) & believed & (believed.sum(axis=0) >= _FEWEST_VIEWS)
        )
        root = np.where(held[..., None], 0.0, scene.root)
        others = Scene(scene.px, root, scene.firm & ~held, scene.cameras)
        weight = np.where(held, 0.0, start.weight)
        points = triangulate(
            scene.px.reshape(n_views, -1, 2),
            rig,
            confidence=np.where(held, 0.0, believed).reshape(n_views, -1),
            covariance=_covariances_of(root).reshape(n_views, -1, 2, 2),
        )
        position = points.position.reshape(n_frames, n_keypoints, 3)
        single = np.where(held, judge(scene, position, np.zeros((n_frames, n_keypoints, 6)))[0], np.nan)
        single[~np.isfinite(single)] = np.nan
        return cls(others, held, replace(start, weight=weight), single)

    def squares(self, scene: Scene, model: MotionModel) -> FloatArray:
        """As `single`, of the trajectories that the others give under a model; scene: with the points held out."""
        found = find(self.scene, model, self.start, reweigh=True, most_steps=_HELD_OUT_STEPS)
        squares = judge(scene, found.position, np.zeros((*found.position.shape[:2], 6)))[0]
        return np.where(np.isfinite(self.single), squares, np.nan)


def choose_strength(
    scenes: Sequence[Scene], parts: Sequence[HeldOutViews], model: MotionModel
) -> tuple[FloatArray, FloatArray]:
    """How much weaker than the evidence has it the prior is to be, by how well the other views foretell those held out.

    The evidence is that of a model of the noise; points that were held out need none. Where errors have tails, the
    weakest prior is taken that is not plainly worse than the best. Where they are Gaussian, the model is nearly right,
    and the prior of highest evidence stays unless another is plainly better.

    Args:
        scenes: stretches of frames; parts: of each, the views held out.
        model: with the scales of highest evidence.

    Returns:
        (keypoint,) factor of the scales, and (keypoint,) by what the typical distance of points held out is multiplied
        when the trajectory foretells them instead of the other views frame by frame; 1 and NaN where none could be.
    """

    def score(squares: Sequence[FloatArray]) -> FloatArray:
        """(block, keypoint) mean over the points held out at a stretch; NaN for none."""
        blocks = []
        for one in squares:
            rows = np.log1p(one / _SCORE_SQUARE)
            for first in range(0, one.shape[1], _TURN_FRAMES):
                part = rows[:, first : first + _TURN_FRAMES].reshape(-1, one.shape[-1])
                count = np.isfinite(part).sum(axis=0)
                blocks.append(np.where(count > 0, np.nansum(part, axis=0) / np.maximum(count, 1), np.nan))
        return np.array(blocks)

    def typical(squares: Sequence[FloatArray]) -> FloatArray:
        joined = np.concatenate([one.reshape(-1, one.shape[-1]) for one in squares])
        return np.asarray(np.sqrt(np.nanmedian(joined, axis=0)))

    if not any(part.held.any() for part in parts):
        return np.ones_like(model.spread), np.full(len(model.spread), np.nan)
    tried = []
    factors = np.array(_STRENGTHS if model.has_tails else _FEW_STRENGTHS)
    for factor in factors:
        weaker = replace(model, spread=model.spread * factor)
        tried.append([part.squares(scene, weaker) for scene, part in zip(scenes, parts, strict=True)])
    known = np.any([part.held.any(axis=(0, 1)) for part in parts], axis=0)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of key points of which nothing was held out
        scores = np.array([score(squares) for squares in tried])  # (factor, block, keypoint)
        lowest = np.nan_to_num(np.nanmean(scores, axis=1)).argmin(0)
        worse = scores - np.take_along_axis(scores, lowest[None, None], axis=0)
        blocks = np.isfinite(worse).sum(1)
        doubt = np.nanstd(worse, axis=1) / np.sqrt(np.maximum(blocks - 1, 1))
        fits = np.nan_to_num(np.nanmean(worse, axis=1)) <= _DOUBTS * np.nan_to_num(doubt)
        weakest = len(factors) - 1 - fits[::-1].argmax(0)
        best = weakest if model.has_tails else np.where(fits[0], 0, lowest)
        smoothed = np.array([typical(squares) for squares in tried])[best, np.arange(len(best))]
        ratio = smoothed / typical([part.single for part in parts])
    return np.where(known, factors[best], 1.0), np.where(known, ratio, np.nan)


def _covariances_of(root: FloatArray) -> FloatArray:
    """Covariances (..., 2, 2) of Cholesky factors (..., 3) of their inverses; NaN for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        yy = 1.0 / root[..., 2] ** 2
        xy = -root[..., 1] / root[..., 0] * yy
        xx = 1.0 / root[..., 0] ** 2 - root[..., 1] / root[..., 0] * xy
    covariance = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
    covariance[~(root[..., 0] > 0)] = np.nan
    return covariance


def _rough_spread(positions: Sequence[FloatArray], order: int) -> float:
    """Root mean square of the differences of positions as they are, noise and all."""
    squares = np.concatenate([np.diff(position, order, axis=0).ravel() ** 2 for position in positions])
    return float(np.sqrt(squares.mean()))


def _log_evidence(linear: Linear, found: Posterior, model: MotionModel, log_spread: float) -> float:
    """Of one key point, but for a constant."""
    order = model.order
    band = empty_band(found.position, model)
    strength = found.calm * np.exp(-2 * log_spread)
    gradient = linear.fill(band, found.position, strength, order)
    factor = factorise(band)
    differences = (np.diff(found.position, order, axis=0) ** 2).sum(axis=-1)
    misfit = 0.5 * float((strength[order:] * differences).sum()) - 0.5 * float(gradient @ solve(factor, gradient))
    freedom = 3 * (len(found.position) - order)
    return -misfit - float(np.log(factor[:, 0]).sum()) - freedom * log_spread


def learn_limbs(pairs: NDArray[np.int64], given: FloatArray, posteriors: Sequence[Posterior]) -> Limbs:
    """Length of limbs and how much it varies, from trajectories that know nothing of limbs.

    The length is the median over frames in which two views or more saw both ends, less what noise adds to a length;
    its variation is the spread around it of nine tenths of the frames, less the noise's share, at least 1 % of the
    length. What varies by more than 5 % is no limb, unless its length is given: NaN, as of what too few frames show.

    Args:
        pairs: (limb, 2) places on the key point axis, -1 for a key point that is not there.
        given: (limb,) lengths that are known beforehand, NaN where not.
        posteriors: stretches of frames, found without limbs.
    """
    found = [_learn_limb(a, b, known, posteriors) for (a, b), known in zip(pairs.tolist(), given, strict=True)]
    length, sd = np.array(found).reshape(-1, 2).T
    return Limbs(pairs, length, sd)


def _learn_limb(a: int, b: int, given: float, posteriors: Sequence[Posterior]) -> tuple[float, float]:
    """Length and variation of one limb."""
    if min(a, b) < 0:
        return np.nan, np.nan
    lengths, noise = (np.concatenate(some) for some in zip(*(_lengths(one, a, b) for one in posteriors), strict=True))
    if len(lengths) < _FEWEST_LENGTHS or not np.median(lengths) > 0:
        return np.nan, np.nan
    length = float(np.median(lengths)) if np.isnan(given) else given
    reach = float(np.quantile(np.abs(lengths - length), _LIMB_LEVEL)) / _LIMB_NORMAL
    variance = reach**2 - float(np.median(noise))
    sd = float(np.sqrt(max(variance, (_LEAST_LIMB * length) ** 2)))
    return (length, sd) if sd <= _LOOSEST_LIMB * length or np.isfinite(given) else (np.nan, np.nan)


def _lengths(found: Posterior, a: int, b: int) -> tuple[FloatArray, FloatArray]:
    """Distances of two key points in frames that two views saw, less what noise adds, and their variances by noise."""
    seen = ((found.weight > 0.5).sum(axis=0) >= 2)[:, [a, b]].all(axis=1)
    way = found.position[seen, a] - found.position[seen, b]
    length = np.maximum(np.linalg.norm(way, axis=1), 1e-12)
    spread = unpack(found.covariance[seen, a] + found.covariance[seen, b])
    along = np.einsum("ni,nij,nj->n", way, spread, way) / length**2
    return length - (np.trace(spread, axis1=1, axis2=2) - along) / (2 * length), along


def unpack(triangle: FloatArray) -> FloatArray:
    """Symmetric matrices (..., 3, 3) from their upper triangles (..., 6)."""
    full: FloatArray = triangle[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*triangle.shape[:-1], 3, 3)
    return full
