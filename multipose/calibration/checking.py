"""Does a rig still fit? Key points of a recording say which cameras moved, and which views show another's pictures.

Exchanged and copied views are sought first (`assignment`), for they disagree grossly; then the poses of the cameras
that are left are tested (`motion`). What people mean by a key point differs from view to view by a constant: that is
labelling, not motion. It is estimated along with it, or taken from a recording of a time when the rig was right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from multipose.calibration.assignment import Disagreement, Mixup, find_mixup
from multipose.calibration.motion import Motion, find_motion
from multipose.calibration.pose_changes import FloatArray, Sightings
from multipose.camera import CameraRig
from multipose.corners import Corners
from multipose.errors import DataError
from multipose.tracks import keypoints2d
from multipose.triangulate import estimate_offsets, leave_one_out, remove_offsets
from multipose.triangulate.reconstruction import MIN_CONFIDENCE, observations

MIN_DISPLACEMENT_PX = 1.0
"""A camera whose picture a change of its pose displaces by less (RMS) is not called moved."""

_FEWEST_INSTANTS = 10
_FEWEST_POINTS = 50  # of a view, shared with another
_MOST_POINTS = 12_000
_POINTS_LEFT_OUT = 3000
_MEDIAN_NORMAL = 0.6745
_GATE = 6.0
_SMALLEST_GATE_PX = 3.0
_UNEXPLAINED = 0.02  # share of the picture's diagonal by which views that fit never disagree


@dataclass(frozen=True)
class CameraCheck:
    """What key points say about one camera; NaN where they do not say it.

    finding: "fits", "moved", "may have moved" (it or another: it cannot be told), "swapped with X", "copy of X",
        "copy of X or its original", "unexplained" (it disagrees by far with the others, and nothing of these explains
        it), or "not judged" (too few points).
    leave_one_out_px: median distance of its points from where the other views, triangulated, put them.
    epipolar_px: median over the other views of the median disagreement with each of them.
    shift, shift_sd: how far the camera's centre moved, in the rig's unit; turn_rad, turn_sd_rad: by how much it turned.
        Of a camera that fits: what would be found if it alone had moved (too).
    displacement_px: RMS of the displacement of its points by this change.
    statistic: by how much the sum of squares falls if it may move; chi-square of 6 degrees for a camera that fits.
    noise_px: of its points, per coordinate, offsets taken off. offset_spread_px: of its key points' constant offsets,
        per coordinate.
    n_points: points used.
    """

    finding: str
    leave_one_out_px: float
    epipolar_px: float
    shift: float
    shift_sd: float
    turn_rad: float
    turn_sd_rad: float
    displacement_px: float
    statistic: float
    noise_px: float
    offset_spread_px: float
    n_points: int


@dataclass(frozen=True)
class RigCheck:
    """Whether a rig fits key points.

    cameras: by name. pairs: median epipolar error in px of every two views, by their names.
    sentences: what was found and what to do. unit: of shifts. n_instants: used. correlation: by which the evidence was
    divided because errors last or are shared. price: the statistic above which a camera has moved.
    """

    cameras: Mapping[str, CameraCheck]
    pairs: Mapping[tuple[str, str], float]
    sentences: tuple[str, ...]
    unit: str
    n_instants: int
    correlation: float
    price: float

    @property
    def suspects(self) -> tuple[str, ...]:
        """Names of the cameras that do not fit, in the order of the key points' views."""
        return tuple(name for name, camera in self.cameras.items() if camera.finding not in ("fits", "not judged"))

    def named(self, finding: str) -> tuple[str, ...]:
        """Names of the cameras with this finding."""
        return tuple(name for name, camera in self.cameras.items() if camera.finding == finding)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "suspects": list(self.suspects),
            "unit": self.unit,
            "n_instants": self.n_instants,
            "correlation": self.correlation,
            "price": self.price,
            "cameras": {name: dict(vars(camera)) for name, camera in self.cameras.items()},
            "pairs": [
                {"cameras": [first, second], "epipolar_px": value} for (first, second), value in self.pairs.items()
            ],
            "sentences": list(self.sentences),
        }


@dataclass(frozen=True, eq=False)
class Evidence:
    """Key points ready to be tested: the views' cameras, the points, and what the pairs of views say."""

    rig: CameraRig
    keypoints: xr.Dataset
    instants: NDArray[np.intp]
    seen: Sightings
    disagreement: Disagreement
    judged: tuple[int, ...]
    offsets_known: bool

    @property
    def noise_px(self) -> float:
        """Roughly how far views disagree, per coordinate; of the better half of the pairs."""
        pairs = self.disagreement.pairs()
        return float(np.nanquantile(pairs, 0.25)) / _MEDIAN_NORMAL

    def motion(self, mixup: Mixup, moved: Sequence[int] | None = None) -> tuple[Motion | None, tuple[int, ...]]:
        """Pose changes of the views that are left, each taken for the camera that took it, and these views' numbers.

        None where one view is left. moved: numbers of the views that may move, by default it is found out.
        """
        copies = {view for view, _ in mixup.copies}
        views = [view for view in self.judged if view not in copies]
        cameras = tuple(replace(self.rig.cameras[mixup.camera[view]], name=self.rig.names[view]) for view in views)
        part = Sightings(self.seen.px[views], self.seen.weight[views], self.seen.keypoint, self.seen.time)
        if len(views) < 2:
            return None, tuple(views)
        free = None if moved is None else [views.index(view) for view in moved]
        motion = find_motion(
            part, replace(self.rig, cameras=cameras), self.noise_px, offsets_known=self.offsets_known, free=free
        )
        return motion, tuple(views)


def check_rig(
    rig: CameraRig,
    keypoints: xr.Dataset | Corners,
    baseline: xr.Dataset | None = None,
    *,
    min_confidence: float = MIN_CONFIDENCE,
) -> RigCheck:
    """Test whether every camera of a rig still is where it was, and whether every view shows its own camera's pictures.

    Args:
        rig: cameras with the names of the key points' views; it may hold more.
        keypoints: Keypoints2D of a recording, or the corners of a board.
        baseline: key points of a recording made when the rig was right, from the same networks; their constant offsets
            are taken off, so that smaller displacements stand out.
        min_confidence: 2D points below it are left out.

    Raises:
        DataError: names that do not go together, fewer than two views, or too few points to judge.
    """
    evidence = gather(rig, keypoints, baseline, min_confidence)
    mixup = find_mixup(evidence.disagreement, evidence.rig)
    motion, views = evidence.motion(mixup)
    findings = _findings(evidence, mixup, motion, views)
    pairs = evidence.disagreement.pairs()
    left_out = leave_one_out(
        evidence.keypoints.isel(time=evidence.instants[:: 1 + len(evidence.seen.time) // _POINTS_LEFT_OUT]),
        evidence.rig,
        min_confidence=min_confidence,
        max_error_px=max(_SMALLEST_GATE_PX, _GATE * evidence.noise_px),
        threads=1,
    )
    if set(findings) <= {"fits", "not judged"}:
        findings = [
            "unexplained"
            if found == "fits" and left_out[camera.name] > _UNEXPLAINED * np.hypot(*camera.size)
            else found
            for camera, found in zip(evidence.rig, findings, strict=True)
        ]
    cameras = {}
    for number, name in enumerate(evidence.rig.names):
        place = views.index(number) if number in views else None
        cameras[name] = CameraCheck(
            finding=findings[number],
            leave_one_out_px=left_out[name],
            epipolar_px=_median(pairs[number]),
            **_sizes(motion, place),
            n_points=int((evidence.seen.weight[number] > 0).sum()),
        )
    names = evidence.rig.names
    return RigCheck(
        cameras=cameras,
        pairs={
            (names[first], names[second]): float(pairs[first, second])
            for first, second in combinations(range(len(names)), 2)
        },
        sentences=_sentences(evidence, mixup, motion, views, cameras),
        unit=rig.unit,
        n_instants=len(np.unique(evidence.seen.time)),
        correlation=float("nan") if motion is None else motion.correlation,
        price=float("nan") if motion is None else motion.price,
    )


def gather(
    rig: CameraRig, keypoints: xr.Dataset | Corners, baseline: xr.Dataset | None, min_confidence: float
) -> Evidence:
    """Key points ready to be tested, baseline's offsets taken off; at most 12,000 points, at evenly spread instants.

    Raises:
        DataError: as `check_rig`.
    """
    points = as_keypoints(keypoints)
    own = observations(points, rig, min_confidence)
    if baseline is not None:
        points = remove_offsets(points, estimate_offsets(baseline, rig, min_confidence=min_confidence, threads=1))
        own = observations(points, rig, min_confidence)
    n_times, n_individuals, n_keypoints = own.shape
    number = np.arange(n_times * n_individuals * n_keypoints).reshape(own.shape)
    shared = (own.usable.sum(axis=0) >= 2).reshape(own.shape)
    instants = np.flatnonzero(shared.any((1, 2)))
    if len(instants) < _FEWEST_INSTANTS:
        raise DataError(
            f"{len(instants)} instants at which two views share a key point are too few to judge a rig; "
            f"{_FEWEST_INSTANTS} are needed, better some hundred in which the animal goes about."
        )
    most = max(_FEWEST_INSTANTS, _MOST_POINTS * len(instants) // max(int(shared.sum()), 1))
    instants = instants[np.unique(np.linspace(0, len(instants) - 1, most).astype(int))]
    time, _, keypoint = np.meshgrid(range(len(instants)), range(n_individuals), range(n_keypoints), indexing="ij")
    kept = shared[instants]
    rows = number[instants][kept]
    seen = Sightings(own.px[:, rows], own.weight[:, rows], keypoint[kept], time[kept])
    judged = tuple(int(view) for view in np.flatnonzero((seen.weight > 0).sum(1) >= _FEWEST_POINTS))
    if len(judged) < 2:
        counts = ", ".join(
            f"{name} {int(count)}" for name, count in zip(own.rig.names, (seen.weight > 0).sum(1), strict=True)
        )
        raise DataError(
            f"Fewer than two views have {_FEWEST_POINTS} points that another view sees too ({counts}); they cannot be "
            "judged. Take a longer recording, or lower min_confidence."
        )
    disagreement = Disagreement(seen, own.rig)
    if np.isnan(disagreement.pairs()).all():
        raise DataError("No two views share enough points to be judged. Take a longer recording.")
    return Evidence(own.rig, points, instants, seen, disagreement, judged, baseline is not None)


def as_keypoints(seen: xr.Dataset | Corners) -> xr.Dataset:
    """Key points as they are, and the corners of a board as key points of one individual."""
    if not isinstance(seen, Corners):
        return seen
    names = [f"corner_{number}" for number in range(seen.px.shape[2])]
    return keypoints2d(seen.px[:, :, None], views=seen.views, keypoints=names, time=seen.frames.astype(float))


def _findings(evidence: Evidence, mixup: Mixup, motion: Motion | None, views: tuple[int, ...]) -> list[str]:
    names = evidence.rig.names
    found = ["not judged" if view not in evidence.judged else "fits" for view in range(len(names))]
    for place, view in enumerate(views):
        if motion is not None and place in motion.moved and not motion.displacement_px[place] < MIN_DISPLACEMENT_PX:
            found[view] = "moved"
        elif motion is not None and motion.more_moved:
            found[view] = "may have moved"
    for first, second in mixup.swapped:
        found[first], found[second] = f"swapped with {names[second]}", f"swapped with {names[first]}"
    for view, original in mixup.copies:
        found[view] = f"copy of {names[original]}"
        if mixup.undecided:
            found[original] = f"copy of {names[view]}"
    return found


def _sizes(motion: Motion | None, place: int | None) -> dict[str, float]:
    """The figures of a camera's pose change."""
    names = ["shift", "shift_sd", "turn_rad", "turn_sd_rad"]
    names += ["displacement_px", "statistic", "noise_px", "offset_spread_px"]
    if motion is None or place is None:
        return dict.fromkeys(names, float("nan"))
    change, covariance = motion.change[place], motion.covariance[place]
    turn, turn_sd = _length(change[:3], covariance[:3, :3])
    shift, shift_sd = _length(change[3:], covariance[3:, 3:])
    values = (shift, shift_sd, turn, turn_sd)
    others = (
        motion.displacement_px[place],
        motion.statistic[place],
        motion.noise_px[place],
        motion.offset_spread_px[place],
    )
    return {name: float(value) for name, value in zip(names, (*values, *others), strict=True)}


def _length(vector: FloatArray, covariance: FloatArray) -> tuple[float, float]:
    """A vector's length and its standard deviation."""
    length = float(np.linalg.norm(vector))
    if not length > 0:
        return length, float(np.sqrt(np.trace(covariance) / len(vector)))
    along = vector / length
    return length, float(np.sqrt(along @ covariance @ along))


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _sentences(
    evidence: Evidence, mixup: Mixup, motion: Motion | None, views: tuple[int, ...], cameras: Mapping[str, CameraCheck]
) -> tuple[str, ...]:
    names, unit = evidence.rig.names, evidence.rig.unit
    said = [
        f"{names[first]} and {names[second]} show each other's pictures: exchange the two videos (or the two names in "
        "the rig, if the cameras were renamed)."
        for first, second in mixup.swapped
    ]
    for view, original in mixup.copies:
        which = f"one of {names[view]} and {names[original]} shows" if mixup.undecided else f"{names[view]} shows"
        of = "the other's" if mixup.undecided else f"{names[original]}'s"
        said.append(f"{which} {of} pictures: give that view its own video. Until then it adds nothing to a 3D point.")
    for name, camera in cameras.items():
        if camera.finding == "moved":
            said.append(
                f"{name} is not where it was calibrated: turned by {np.rad2deg(camera.turn_rad):.2f} degrees (sd "
                f"{np.rad2deg(camera.turn_sd_rad):.2f}) and shifted by {camera.shift:.1f} {unit} (sd "
                f"{camera.shift_sd:.1f}), which displaces its picture by {camera.displacement_px:.1f} px. Calibrate "
                "anew, or refine its pose from these key points."
            )
        elif camera.finding == "not judged":
            said.append(f"{name} shares too few points ({camera.n_points}) with other views to be judged.")
    lost = {name: camera for name, camera in cameras.items() if camera.finding == "unexplained"}
    if lost:
        far = ", ".join(f"{name} {camera.leave_one_out_px:.0f} px" for name, camera in lost.items())
        said.append(
            f"Views disagree by far with the others ({far}), and no camera that moved, was exchanged or copied "
            "explains it. Are these key points of another recording or rig, is a view out of step, mirrored or turned, "
            "or are they wrong?"
        )
        return tuple(said)
    wrong = any(camera.finding not in ("fits", "not judged") for camera in cameras.values())
    if motion is not None:
        said += _doubts(motion, [names[view] for view in views], wrong)
    if not wrong:
        judged = len(evidence.judged) == len(names)
        said.append(f"{'All cameras' if judged else 'The cameras that could be judged'} fit these key points.")
    return tuple(said)


def _doubts(motion: Motion, names: Sequence[str], wrong: bool) -> list[str]:
    """What cannot be known; `wrong`: whether something was found."""
    said = []
    if motion.more_moved and len(names) == 2:
        said.append(
            f"{names[0]} and {names[1]} do not stand to each other as calibrated. Two views cannot tell which of them "
            "moved, nor a change of their distance. Calibrate anew."
        )
    elif motion.more_moved:
        said.append(
            f"More cameras moved than {len(names)} views can tell apart: fewer than two of {', '.join(names)} still "
            "fit each other. Calibrate anew."
        )
    elif len(names) == 2:
        said.append("With two views, a change of the cameras' distance, or of both together, goes unseen.")
    if wrong:
        said += [
            f"What was seen is explained nearly as well if instead {' and '.join(names[view] for view in rival)} moved."
            for rival in motion.rivals
        ]
    return said
