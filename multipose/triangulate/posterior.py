"""Most probable trajectories under a model of noise, motion and limbs, and their covariance.

The model (`MotionModel`):

- A 2D point errs by a normal error of its own covariance; the errors of a view and key point, in units of their own
  standard deviations, are the sum of a part that is new in every frame and of one that lasts (a first-order
  autoregression), because errors of people and networks last. Their density is approximated by conditioning each on a
  few earlier ones (Vecchia 1988).
- Where errors have heavy tails (networks are far off now and then, for a few frames), they follow Student's t instead,
  with a scale that neighbouring frames share, and count as independent given that scale while the trajectory is found;
  that they are correlated is in its covariance (the sandwich of Huber 1967).
- The n-th difference of a key point's position (2: acceleration, 3: jerk) follows Student's t distribution, with a
  scale per key point: an animal that rests most of the time may move fast all the same, and is not smoothed then.
- A limb's length is normal around its mean. A joint's angle may leave its limits by a normal amount.

A 2D point that is far from where the trajectory says it is, in units of the joint uncertainty of both, loses its weight
entirely (a redescending loss, Hampel 1974): however long it errs, it moves nothing. Where three views or more agree on
a point they are believed, and the movement must explain it. A t distribution is a normal one whose
variance changes; the posterior is approximated by variational Bayes (Tipping & Lawrence 2005). The trajectory is found
by Gauss-Newton steps on banded normal equations, whose cost is linear in time; the covariances are blocks of the
inverse of the last ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.triangulate import smoothing_kernels as kernels
from multipose.triangulate.points import FloatArray

STENCILS: Mapping[int, tuple[float, ...]] = {2: (1.0, -2.0, 1.0), 3: (1.0, -3.0, 3.0, -1.0)}
"""Weights of the position now, one frame before, ..., whose sum is a difference of second (third) order."""

_SHORT, _LONG = (1, 2), (1, 2, 5, 10)  # frames back of the errors that an error is compared with; the latter where
_UNDERRATED = 1.1  # ... the mean of many errors is this many times more uncertain than the former would have it
_BELIEVED = 12.0  # squared distance (chi-square of 2: 99.75 %) up to which a 2D point counts fully
_DISMISSED = 48.0  # ... and from which it counts nothing
MOST_STEPS = 40
_STILL = 1e-3  # standard deviations; steps below it end the search
_SETTLED = 0.02  # relative change of a weight or variance that counts as none
_VARIANCES = [0, 3, 5]  # of an upper triangle
_TAILS = 4.0  # degrees of freedom of the differences
_NEIGHBOURS = 1  # differences before and after that share their variance
_EPISODE = 2  # frames before and after that share the scale of the 2D errors
_CORRELATED = 12  # frames apart at which errors of heavy tails still count as correlated
_NUDGE = 1e-3  # of the covariance that correlation adds, for its derivative


@dataclass(frozen=True, eq=False)
class Limbs:
    """Soft lengths: pairs (limb, 2) of places on the key point axis, length (limb,) and its deviation sd (limb,), in
    the rig's unit."""

    pairs: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))
    length: FloatArray = field(default_factory=lambda: np.empty(0))
    sd: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, eq=False)
class Joints:
    """Soft limits: triples (joint, 3) of places on the key point axis, the vertex in the middle; lowest, highest
    (joint,) angle and sd (joint,) of what goes beyond, radians."""

    triples: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 3), np.int64))
    lowest: FloatArray = field(default_factory=lambda: np.empty(0))
    highest: FloatArray = field(default_factory=lambda: np.empty(0))
    sd: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, eq=False)
class MotionModel:
    """What is believed about noise and motion.

    lasting, decay: the autocorrelation of the 2D errors h frames apart is lasting * decay^h; both from 0 to below 1.
    order: of the difference that is small, 2 or 3.
    spread: (keypoint,) standard deviation per coordinate of that difference, unit per frame^order.
    freedom: (keypoint,) degrees of freedom of the 2D errors; None: they are Gaussian.
    """

    lasting: float
    decay: float
    order: int
    spread: FloatArray
    limbs: Limbs = field(default_factory=Limbs)
    joints: Joints = field(default_factory=Joints)
    freedom: FloatArray | None = None

    @property
    def has_tails(self) -> bool:
        """Whether 2D errors follow Student's t, and count as independent while the trajectory is found."""
        return self.freedom is not None

    @property
    def back(self) -> NDArray[np.int64]:
        """How many frames back lie the errors that an error is compared with."""
        if self.has_tails:
            return np.array(_SHORT[:1], np.int64)
        *shares, rest = self._condition(np.array(_SHORT), len(_SHORT) * (True,))
        apparent = rest / (1.0 - sum(shares))
        return np.array(_LONG if self.inertia > _UNDERRATED * apparent else _SHORT, np.int64)

    @property
    def reach(self) -> int:
        """How many frames back anything couples."""
        return max(self.order, int(self.back[-1]))

    @property
    def conditional(self) -> FloatArray:
        """As of `kernels.observe`: what the earlier errors that are known let expect, for every choice of these."""
        back = self.back
        patterns = [[bool(number >> n & 1) for n in range(len(back))] for number in range(2 ** len(back))]
        return np.array([self._condition(back, pattern) for pattern in patterns])

    def _condition(self, back: NDArray[np.int64], known: Sequence[bool]) -> FloatArray:
        """Shares of the earlier errors, 0 for those not known, and the standard deviation of what is left."""
        if self.has_tails:
            return np.array([*np.zeros(len(back)), 1.0])
        apart = np.abs(np.subtract.outer([0, *back], [0, *back]))
        correlation = np.where(apart == 0, 1.0, self.lasting * self.decay**apart)
        places = np.flatnonzero(known) + 1
        share = np.linalg.solve(correlation[np.ix_(places, places)], correlation[places, 0])
        row = np.zeros(len(back) + 1)
        row[places - 1] = share
        row[-1] = np.sqrt(1.0 - share @ correlation[places, 0])
        return row

    @property
    def binds(self) -> bool:
        """Whether limbs or joints bind key points together."""
        return bool(len(self.limbs.pairs) or len(self.joints.triples))

    @property
    def inertia(self) -> float:
        """How many times longer the mean of many correlated errors is than that of independent ones."""
        return float(np.sqrt(1 + 2 * self.lasting * self.decay / (1 - self.decay)))

    def of(self, keypoints: NDArray[np.int64]) -> MotionModel:
        """The model of key points that nothing binds to others."""
        place = np.full(len(self.spread), -1)
        place[keypoints] = np.arange(len(keypoints))
        limbs, joints = self.limbs, self.joints
        own = place[limbs.pairs[:, 0]] >= 0
        bent = place[joints.triples[:, 0]] >= 0
        return replace(
            self,
            spread=self.spread[keypoints],
            freedom=None if self.freedom is None else self.freedom[keypoints],
            limbs=Limbs(place[limbs.pairs[own]], limbs.length[own], limbs.sd[own]),
            joints=Joints(place[joints.triples[bent]], joints.lowest[bent], joints.highest[bent], joints.sd[bent]),
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """The 2D points of a stretch of frames, as the kernels want them.

    px: (view, frame, keypoint, 2); root: (view, frame, keypoint, 3) Cholesky factor of the inverse covariance, 0 where
    there is no point; firm: (view, frame, keypoint) points that are believed whatever the movement; cameras: (view,
    28).
    """

    px: FloatArray
    root: FloatArray
    firm: NDArray[np.bool_]
    cameras: FloatArray

    @classmethod
    def build(
        cls,
        px: FloatArray,
        covariance: FloatArray,
        usable: NDArray[np.bool_],
        firm: NDArray[np.bool_],
        rig: CameraRig,
    ) -> Scene:
        """From px (view, frame, keypoint, 2), covariance (..., 2, 2) px², which points count and which are firm."""
        known = usable & np.isfinite(px).all(axis=-1)
        xx, xy, yy = (np.where(known, covariance[..., i, j], 1.0 - (i != j)) for i, j in ((0, 0), (0, 1), (1, 1)))
        # inverse = [[yy, -xy], [-xy, xx]] / det, whose lower Cholesky factor is
        det = xx * yy - xy**2
        first = np.sqrt(yy / det)
        root = np.stack([first, -xy / det / first, 1.0 / np.sqrt(yy)], axis=-1)
        root[~known] = 0.0
        cameras = np.array(rig.packed(), dtype=np.float64)
        return cls(np.ascontiguousarray(px, dtype=np.float64), root, firm & known, cameras)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(view, frame, keypoint)"""
        return self.root[..., 0] > 0

    def standardise(self, residual: FloatArray) -> FloatArray:
        """Residuals (view, frame, keypoint, 2) px in the points' own standard deviations, which no longer correlate."""
        x = self.root[..., 0] * residual[..., 0] + self.root[..., 1] * residual[..., 1]
        return np.stack([x, self.root[..., 2] * residual[..., 1]], axis=-1)

    def slopes(self, position: FloatArray, rig: CameraRig) -> FloatArray:
        """Derivatives (view, frame, keypoint, 2, 3) of the projections in standard deviations, by the positions."""
        slopes = []
        for camera, root in zip(rig, self.root, strict=True):
            _, by_point, _ = camera.lens.jacobian(position @ camera.rotation.T + camera.translation)
            px = by_point @ camera.rotation
            first = root[..., 0, None] * px[..., 0, :] + root[..., 1, None] * px[..., 1, :]
            slopes.append(np.stack([first, root[..., 2, None] * px[..., 1, :]], axis=-2))
        return np.stack(slopes)

    def part(self, frames: slice | NDArray[np.int64], keypoints: NDArray[np.int64] | slice = slice(None)) -> Scene:
        """Some of the frames and key points."""
        px, root = (np.ascontiguousarray(array[:, frames][:, :, keypoints]) for array in (self.px, self.root))
        return Scene(px, root, np.ascontiguousarray(self.firm[:, frames][:, :, keypoints]), self.cameras)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Trajectories of a stretch of frames.

    position: (frame, keypoint, 3).
    covariance: (frame, keypoint, 6) upper triangle.
    lags: (frame, keypoint, lag, 3, 3) covariance with the positions one, two ... frames before, as many as the prior's
    order; rows of the later.
    calm: (frame, keypoint) how many times smaller than usual the variance of the difference that ends at the frame is.
    weight: (view, frame, keypoint) of the 2D points, 0 to 1.
    precision: (view, frame, keypoint) how many times smaller than usual the variance of their errors is.
    """

    position: FloatArray
    covariance: FloatArray
    lags: FloatArray
    calm: FloatArray
    weight: FloatArray
    precision: FloatArray

    @classmethod
    def guess(cls, position: FloatArray, weight: FloatArray, order: int) -> Posterior:
        """Where to start: positions (frame, keypoint, 3) and weights (view, frame, keypoint) without a covariance."""
        shape = position.shape[:2]
        unknown = np.full((*shape, order, 3, 3), np.nan)
        usual = np.ones(weight.shape)
        return cls(position, np.full((*shape, 6), np.nan), unknown, np.ones(shape), weight, usual)

    @classmethod
    def joined(cls, parts: Sequence[Posterior], axis: Literal[0, 1]) -> Posterior:
        """Stretches of frames one after the other (axis 0), or key points side by side (axis 1)."""

        def join(name: str, place: int) -> FloatArray:
            return np.concatenate([getattr(part, name) for part in parts], axis=place)

        position, covariance, lags, calm = (join(name, axis) for name in ("position", "covariance", "lags", "calm"))
        return cls(position, covariance, lags, calm, join("weight", axis + 1), join("precision", axis + 1))

    def of(self, keypoints: NDArray[np.int64]) -> Posterior:
        """That of some key points."""
        return self._cut(lambda array: array[:, keypoints], lambda array: array[:, :, keypoints])

    def frames(self, chosen: slice) -> Posterior:
        """That of some frames."""
        return self._cut(lambda array: array[chosen], lambda array: array[:, chosen])

    def replaced(self, stretches: Sequence[slice], keypoints: NDArray[np.int64], by: Sequence[Posterior]) -> Posterior:
        """That with some key points in some stretches of frames of others."""
        result = self._cut(np.copy, np.copy)
        for stretch, one in zip(stretches, by, strict=True):
            for name in ("position", "covariance", "lags", "calm"):
                getattr(result, name)[stretch, keypoints] = getattr(one, name)
            result.weight[:, stretch, keypoints] = one.weight
            result.precision[:, stretch, keypoints] = one.precision
        return result

    def inflated(self, factor: FloatArray) -> Posterior:
        """That with covariances that are (frame, keypoint) times as large."""
        covariance, lags = self.covariance * factor[..., None], self.lags.copy()
        for lag in range(lags.shape[2]):
            lags[lag + 1 :, :, lag] *= np.sqrt(factor[lag + 1 :] * factor[: -lag - 1])[..., None, None]
        return replace(self, covariance=covariance, lags=lags)

    def _cut(self, cut: Callable[[FloatArray], FloatArray], cut_views: Callable[[FloatArray], FloatArray]) -> Posterior:
        return Posterior(
            cut(self.position),
            cut(self.covariance),
            cut(self.lags),
            cut(self.calm),
            cut_views(self.weight),
            cut_views(self.precision),
        )


@dataclass(frozen=True, eq=False)
class Linear:
    """Normal equations of the 2D points at a position: as of `kernels.observe`."""

    square: FloatArray
    lagged: FloatArray
    gradient: FloatArray

    @classmethod
    def at(cls, scene: Scene, model: MotionModel, position: FloatArray, weight: FloatArray) -> Linear:
        """Of a scene."""
        shape, back = position.shape[:2], model.back
        found = cls(np.empty((*shape, 6)), np.empty((*shape, int(back[-1]), 3, 3)), np.empty((*shape, 3)))
        kernels.observe(
            scene.px,
            scene.root,
            weight,
            scene.cameras,
            back,
            model.conditional,
            position,
            found.square,
            found.lagged,
            found.gradient,
        )
        return found

    def of(self, keypoints: NDArray[np.int64]) -> Linear:
        """That of some key points."""
        chosen = (array[:, keypoints] for array in (self.square, self.lagged, self.gradient))
        return Linear(*(np.ascontiguousarray(array) for array in chosen))

    def fill(
        self, band: FloatArray, position: FloatArray, strength: FloatArray, order: int, model: MotionModel | None = None
    ) -> FloatArray:
        """Write the banded matrix with the prior (and the model's limbs and joints); returns minus the gradient, flat.

        strength: (frame, keypoint) inverse variance of the prior's differences.
        """
        gradient = self.gradient.copy()
        stencil = np.array(STENCILS[order])
        kernels.fill(self.square, self.lagged, strength, stencil, position, band, gradient)
        if model is not None and model.binds:
            joints = model.joints
            kernels.bind(
                model.limbs.pairs,
                model.limbs.length,
                1 / model.limbs.sd**2,
                joints.triples,
                np.stack([joints.lowest, joints.highest, 1 / joints.sd**2], axis=-1),
                position,
                band,
                gradient,
            )
        return gradient.ravel()


def empty_band(position: FloatArray, model: MotionModel) -> FloatArray:
    """Room for the band of positions (frame, keypoint, 3); much of the time goes into asking for it, so it is kept."""
    return np.empty((position.size, kernels.half_width(position.shape[1], model.reach) + 1))


def factorise(band: FloatArray) -> FloatArray:
    """Cholesky factor of a band, in place.

    Raises:
        DataError: the matrix is not positive definite: the frames do not determine the trajectories.
    """
    factor, info = lapack.dpbtrf(band.T, lower=1, overwrite_ab=1)
    if info != 0:
        raise DataError(
            "The 2D points do not determine the trajectories: a key point needs as many frames with two views as the "
            "prior's order, at least, and finite numbers everywhere."
        )
    return factor.T  # type: ignore[no-any-return]


def solve(factor: FloatArray, right: FloatArray) -> FloatArray:
    """Solution of the banded system with a factor of `factorise`."""
    found, _ = lapack.dpbtrs(factor.T, right, lower=1)
    return found  # type: ignore[no-any-return]


def covariances(factor: FloatArray, n_keypoints: int, order: int) -> tuple[FloatArray, FloatArray]:
    """Covariance (frame, keypoint, 6), and with the positions of earlier frames (frame, keypoint, lag, 3, 3)."""
    shape = len(factor) // (3 * n_keypoints), n_keypoints
    square, lags = np.empty((*shape, 6)), np.zeros((*shape, order, 3, 3))
    kernels.invert(np.ascontiguousarray(factor), square, lags)
    return square, lags


def trust(distance2: FloatArray) -> FloatArray:
    """Weight of 2D points from their squared distances: 1 up to 3.5 standard deviations, 0 from 6.9 on."""
    share = np.clip((_DISMISSED - np.nan_to_num(distance2, nan=np.inf)) / (_DISMISSED - _BELIEVED), 0.0, 1.0)
    weight: FloatArray = share**2
    return weight


def judge(scene: Scene, position: FloatArray, covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Squared distances (view, frame, keypoint) of 2D points from a trajectory, in units of their joint variance, and
    the posterior mean of their squared errors in units of their own."""
    distance2, expected = np.empty(scene.root.shape[:3]), np.empty(scene.root.shape[:3])
    kernels.judge(scene.px, scene.root, scene.cameras, position, covariance, distance2, expected)
    return distance2, expected


def find(
    scene: Scene, model: MotionModel, start: Posterior, *, reweigh: bool, most_steps: int = MOST_STEPS
) -> Posterior:
    """The most probable trajectories of a stretch of frames.

    Key points that no limb or joint binds together are solved one by one.

    Args:
        scene: the 2D points of all key points of the model.
        model: the model.
        start: positions, known everywhere, and weights to start with; its covariance is the unit of steps.
        reweigh: whether the weights follow the trajectory; else they stay.
        most_steps: Gauss-Newton steps after which the search ends even if it has not settled.

    Raises:
        DataError: the 2D points do not determine a trajectory.
    """
    groups = _groups(model, start.position.shape[1])
    parts = [
        _find(scene.part(slice(None), group), model.of(group), start.of(group), reweigh, most_steps) for group in groups
    ]
    return Posterior.joined(parts, axis=1).of(np.argsort(np.concatenate(groups)))


def _find(scene: Scene, model: MotionModel, start: Posterior, reweigh: bool, most_steps: int) -> Posterior:
    """`find` for key points that are solved together."""
    position, covariance, calm, weight = start.position, start.covariance, start.calm, start.weight
    precision = start.precision
    band = empty_band(position, model)
    settled = scene.firm.any(axis=0)
    for _ in range(most_steps):
        linear = Linear.at(scene, model, position, weight * precision)
        gradient = linear.fill(band, position, calm / model.spread**2, model.order, model)
        factor = factorise(band)
        step = solve(factor, gradient).reshape(position.shape)
        position = position + step
        if reweigh:
            covariance, lags = covariances(factor, position.shape[1], model.order)
            earlier = calm, weight, precision
            calm = ease(Posterior(position, covariance, lags, calm, weight, precision), model)
            distance2, expected = judge(scene, position, covariance)
            if model.freedom is not None:
                precision = tail_precision(expected, model.freedom)
                distance2 *= precision
            weight = np.where(settled, scene.firm, trust(distance2))
            changes = (
                np.abs(np.log(calm / earlier[0])),
                np.abs(weight - earlier[1]),
                np.abs(np.log(precision / earlier[2])),
            )
            if max(float(change.max()) for change in changes) > _SETTLED:
                continue
        if (np.abs(step) < _STILL * np.sqrt(covariance[..., _VARIANCES])).all():
            break
    if not reweigh:
        covariance, lags = covariances(factor, position.shape[1], model.order)
    return Posterior(position, covariance, lags, calm, weight, precision)


def tail_precision(expected: FloatArray, freedom: FloatArray) -> FloatArray:
    """Posterior mean of the inverse variance of each 2D error, (view, frame, keypoint), in units of its own.

    Errors of a view and key point in neighbouring frames have the same scale.

    Args:
        expected: (view, frame, keypoint) squared errors, of two numbers each; NaN where there is no point.
        freedom: (keypoint,) degrees of freedom.
    """
    known = np.isfinite(expected)
    total, numbers = (_windowed(part) for part in (np.where(known, expected, 0.0), np.where(known, 2.0, 0.0)))
    precision: FloatArray = (freedom + numbers) / (freedom + total)
    return precision


def _windowed(values: FloatArray) -> FloatArray:
    """Sums of values (view, frame, keypoint) over the frames of an episode about each frame."""
    padded = np.pad(values, ((0, 0), (_EPISODE + 1, _EPISODE), (0, 0)))
    sums = np.cumsum(padded, axis=1)
    total: FloatArray = sums[:, 2 * _EPISODE + 1 :] - sums[:, : -2 * _EPISODE - 1]
    return total


def correlation_inflation(scene: Scene, model: MotionModel, found: Posterior) -> FloatArray:
    """(frame, keypoint) how many times larger the variance of a trajectory is than errors that were independent would
    have it.

    An estimate that takes errors for independent has the covariance A^-1 (A + M) A^-1, where A is its normal matrix and
    M what their correlation adds to that of the 2D points; A^-1 M A^-1 is minus the derivative of (A + x M)^-1. Limbs
    and joints are not looked at.
    """
    parts = []
    for keypoint in range(found.position.shape[1]):
        own = np.array([keypoint])
        parts.append(_inflation(scene.part(slice(None), own), model.of(own), found.of(own)))
    return np.concatenate(parts, axis=1)


def _inflation(scene: Scene, model: MotionModel, found: Posterior) -> FloatArray:
    """`correlation_inflation` of one key point."""
    position, weight = found.position, found.weight * found.precision
    lags = np.arange(1, min(_CORRELATED, len(position) - 1) + 1)
    lagged = np.empty((*position.shape[:2], len(lags), 3, 3))
    correlation = model.lasting * model.decay**lags
    kernels.correlate(scene.px, scene.root, weight, scene.cameras, correlation, position, lagged)
    linear, strength = Linear.at(scene, model, position, weight), found.calm / model.spread**2
    traces = []
    for nudge in (0.0, -_NUDGE):
        nudged = replace(linear, lagged=nudge * lagged)
        band = np.empty((position.size, kernels.half_width(1, max(model.order, len(lags))) + 1))
        nudged.fill(band, position, strength, model.order)
        covariance, _ = covariances(factorise(band), 1, model.order)
        traces.append(covariance[..., _VARIANCES].sum(-1))
    plain, more = traces
    return np.asarray(1.0 + np.maximum(more / plain - 1.0, 0.0) / _NUDGE)


def ease(found: Posterior, model: MotionModel) -> FloatArray:
    """Posterior mean of the inverse variance of each difference, (frame, keypoint), in units of the model's.

    Neighbouring differences are taken to have the same variance.
    """
    freedom = 3 * (2 * _NEIGHBOURS + 1)
    square = expected_squares(found, model.order) / model.spread**2
    padded = np.pad(square, ((_NEIGHBOURS, _NEIGHBOURS), (0, 0)), mode="reflect")
    total = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1, axis=0).sum(axis=-1)
    calm = np.ones_like(found.calm)
    calm[model.order :] = (_TAILS + freedom) / (_TAILS + total)
    return calm


def expected_squares(found: Posterior, order: int) -> FloatArray:
    """Posterior mean of the squared length of every difference, (frame - order, keypoint)."""
    stencil = STENCILS[order]
    n = len(found.position) - order
    total: FloatArray = (np.diff(found.position, order, axis=0) ** 2).sum(axis=-1)
    variance = found.covariance[..., _VARIANCES].sum(axis=-1)
    cross = np.trace(found.lags, axis1=-2, axis2=-1)
    for a in range(order + 1):
        total = total + stencil[a] ** 2 * variance[order - a :][:n]
        for b in range(a + 1, order + 1):
            total = total + 2 * stencil[a] * stencil[b] * cross[order - a :, :, b - a - 1][:n]
    return total


def _groups(model: MotionModel, n_keypoints: int) -> list[NDArray[np.int64]]:
    """Key points bound together by limbs and joints, each group in order."""
    group = np.arange(n_keypoints)
    ties = [tuple(pair) for pair in model.limbs.pairs] + [tuple(triple) for triple in model.joints.triples]
    for tie in ties:
        for other in tie[1:]:
            group[group == group[other]] = group[tie[0]]
    return [np.flatnonzero(group == name) for name in np.unique(group)]
