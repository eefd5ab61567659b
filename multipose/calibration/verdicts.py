"""What to know about a calibration before trusting it, in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from multipose.calibration.intrinsics import GIVEN
from multipose.calibration.lens_choice import try_lenses
from multipose.calibration.report import Calibration, CameraReport, Verdict
from multipose.calibration.uncertainty import PictureUncertainty, picture_uncertainty
from multipose.geometry import transform

_FEW_BOARDS = 10
_LOW_COVERAGE = 0.3
_SMALL_TILT = np.deg2rad(15)
_UNCERTAIN_FOCAL = 0.01
_MANY_REJECTED = 0.1
_HELD_OUT_RATIO = 1.5
_UNDETERMINED_FOCAL = 0.5
_UNCERTAIN_PX = 2.0
_MUCH_OF_PICTURE = 0.1
_MARKED = 0.2  # share of a ninth of the picture from which on it is named
_TWINS_APART = 1e-3  # radians, and share of the distance to the boards
_FEWEST_THROWN = 6
_SAME_FOCAL = 0.02
_SERVES = 1.1  # times the error of the lens in use
_WRONG_LENGTH_PERCENT = 0.5
_BOW_SDS = 4.0
_BENT = 1e-3  # share of the board's diagonal
_THIRDS = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))


def judge(calibration: Calibration) -> tuple[Verdict, ...]:
    """The verdicts on a calibration, those on the whole rig first; none where nothing gives reason for doubt."""
    verdicts: list[Verdict] = []
    for view, camera in enumerate(calibration.rig):
        report = calibration.report.cameras[camera.name]
        verdicts += [Verdict(camera.name, *found) for found in _judge_boards(camera.name, report)]
        if report.lens != GIVEN:
            verdicts += [Verdict(camera.name, *found) for found in _judge_lens(calibration, view)]
    return (*_judge_pairs(calibration), *_judge_board(calibration), *verdicts, *_judge_instants(calibration))


def _judge_boards(name: str, report: CameraReport) -> Iterator[tuple[str, str]]:
    """Code and text of what speaks against the boards that a camera saw."""
    if report.boards < _FEW_BOARDS:
        yield (
            "few_boards",
            f"{name} saw only {report.boards} usable boards; film it until there are {2 * _FEW_BOARDS} or more.",
        )
    if report.rejected > _MANY_REJECTED * (report.corners + report.rejected):
        yield (
            "rejected",
            f"{report.rejected} of {report.corners + report.rejected} corners of {name} were thrown out. Look for "
            "blurred pictures, a bent board, or views that are not synchronous.",
        )


def _judge_lens(calibration: Calibration, view: int) -> Iterator[tuple[str, str]]:
    """Code and text of what speaks against the lens that was fitted."""
    camera = calibration.rig.cameras[view]
    name, report = camera.name, calibration.report.cameras[camera.name]
    used = np.isfinite(calibration.residuals[view]).all(-1)
    if report.coverage < _LOW_COVERAGE:
        empty = _empty_thirds(calibration.corners.px[view][used], camera.size)
        where = f", but not its {_listed(empty)}" if empty else ""
        yield (
            "coverage",
            f"The boards reach {report.coverage:.0%} of the picture of {name}{where}. Its lens is extrapolated where "
            "they do not: move the board there, and nearer.",
        )
    if report.held_out_rms_px > _HELD_OUT_RATIO * report.rms_px:
        yield (
            "held_out",
            f"Boards that were left out have an error of {report.held_out_rms_px:.2f} px in {name}, the fitted ones "
            f"{report.rms_px:.2f} px: there are too few boards for its lens, {report.lens}. "
            f"{_other_lenses(calibration, view, 'film more boards')}",
        )
    tilt = _largest_tilt(calibration, view)
    if tilt < _SMALL_TILT:
        yield (
            "frontal",
            f"{name} saw all boards nearly frontal (tilted by at most {np.rad2deg(tilt):.0f} degrees), from which "
            "focal length and distance cannot be told apart. Tilt the board by 30 to 45 degrees, about both of its "
            "axes.",
        )
    focal, sd = float(camera.lens.params[0]), report.sd[camera.lens.param_names[0]]
    if sd > _UNDETERMINED_FOCAL * focal:
        yield (
            "undetermined",
            f"The boards do not determine the focal length of {name}. Film tilted boards at several distances.",
        )
        return
    if sd > _UNCERTAIN_FOCAL * focal:
        yield (
            "focal_uncertain",
            f"The focal length of {name} is known to {sd / focal:.1%} only. Film more, and more tilted, boards.",
        )
    picture = picture_uncertainty(calibration, name)
    folded, unsure = np.isnan(picture.sd_px), ~(picture.sd_px <= _UNCERTAIN_PX)
    if folded.mean() > _MUCH_OF_PICTURE:
        yield (
            "folded",
            f"The distortion of {name} folds back in {folded.mean():.0%} of its picture ({_where(picture, folded)}), "
            "where no board was seen: no point can be reconstructed there. "
            f"{_other_lenses(calibration, view, 'move the board there')}",
        )
    elif unsure.mean() > _MUCH_OF_PICTURE:
        yield (
            "extrapolated",
            f"In {unsure.mean():.0%} of the picture of {name} ({_where(picture, unsure)}) points are known to worse "
            f"than {_UNCERTAIN_PX:g} px (one standard deviation), because no board was seen there. Move the board "
            "there, or do not trust points there.",
        )


def _judge_pairs(calibration: Calibration) -> Iterator[Verdict]:
    """Cameras that are suspiciously alike."""
    centers = transform(calibration.world_from_board, calibration.corners.board.corners.mean(0))
    known = centers[np.isfinite(centers).all(-1)]
    rig, excerpts = calibration.rig, calibration.corners.excerpts
    distance = float(np.median(np.linalg.norm(known[:, None] - [camera.center for camera in rig], axis=-1)))
    lenses = {name: np.asarray(excerpts[name].whole_lens(rig[name].lens).params) for name in rig.names}
    for first, second in combinations(rig, 2):
        turn = np.arccos(np.clip((np.trace(first.rotation @ second.rotation.T) - 1) / 2, -1, 1))
        apart = np.hypot(turn, np.linalg.norm(first.center - second.center) / distance)
        if apart < _TWINS_APART and first.size == second.size:
            yield Verdict(
                second.name,
                "twin",
                f"{first.name} and {second.name} stand in the same place and look the same way, as if one's video were "
                "a copy of the other's. Give each view its own video.",
            )
        elif excerpts[first.name].source == excerpts[second.name].source and type(first.lens) is type(second.lens):
            one, other = lenses[first.name], lenses[second.name]
            if 0 < abs(other[0] / one[0] - 1) < _SAME_FOCAL:
                yield Verdict(
                    second.name,
                    "one_picture",
                    f"{first.name} and {second.name} are parts of the same pictures, and their focal lengths nearly "
                    f'the same. If one camera took both, say same_camera_as = "{first.name}" of {second.name}: the '
                    "boards of both then determine one lens.",
                )


def _judge_instants(calibration: Calibration) -> Iterator[Verdict]:
    """Instants at which a camera disagrees with the others."""
    thrown = calibration.rejected.sum(-1)
    kept = np.isfinite(calibration.residuals).all(-1).sum(-1)
    frames = calibration.corners.frames
    for camera, doubtful in zip(calibration.rig, (thrown > kept) & (thrown >= _FEWEST_THROWN), strict=True):
        if doubtful.any():
            listed = ", ".join(map(str, frames[doubtful][:8])) + (" ..." if doubtful.sum() > 8 else "")
            yield Verdict(
                camera.name,
                "instants",
                f"Most corners that {camera.name} saw were thrown out in frame{'s' if doubtful.sum() > 1 else ''} "
                f"{listed}, as if it were out of step with the others there, or the board hidden or bent. If there are "
                "many, see that all cameras began together (`multipose calibrate --offset`).",
            )


def _judge_board(calibration: Calibration) -> Iterator[Verdict]:
    """What the lengths measured on the boards say."""
    lengths, unit, board = calibration.report.lengths, calibration.rig.unit, calibration.corners.board
    if abs(lengths.diagonal_mean_percent) > _WRONG_LENGTH_PERCENT:
        yield Verdict(
            "",
            "lengths",
            f"Boards that were left out are measured {lengths.diagonal_mean_percent:+.2f} % off in length. Film more "
            "boards that several cameras see at the same time.",
        )
    bow, sd = np.abs(lengths.bow), np.array(lengths.bow_sd)
    size = float(np.linalg.norm(np.ptp(board.corners[:, :2], axis=0)))
    if ((bow > _BOW_SDS * sd) & (bow > _BENT * size)).any():
        yield Verdict(
            "",
            "bent",
            f"The board is bent: its middle stands {bow.max():.2g} {unit} out of the plane of its edges. Put it on "
            "glass or aluminium; for what is filmed already, say bent_board = true.",
        )


def _other_lenses(calibration: Calibration, view: int, remedy: str) -> str:
    """Which other lens would serve a camera, by its error on boards left out; and what else would help."""
    name, corners = calibration.rig.names[view], calibration.corners
    used = np.isfinite(calibration.residuals[view]).all(-1)
    trials = {
        trial.model: trial
        for trial in try_lenses(corners.board.corners, corners.px[view], used, corners.excerpts[name])
        if np.isfinite(trial.held_out_rms_px)
    }
    own = trials.pop(calibration.report.cameras[name].lens, None)
    if own is None or not trials:
        return f"There are too few boards to tell which other lens would serve: {remedy}."
    serving = [
        trial
        for trial in trials.values()
        if trial.folded < _MUCH_OF_PICTURE and trial.held_out_rms_px < _SERVES * own.held_out_rms_px
    ]
    if not serving:
        listed = ", ".join(
            f"{trial.model} {trial.held_out_rms_px:.2f} px and folding in {trial.folded:.0%}"
            for trial in trials.values()
        )
        return f"No other lens serves ({own.held_out_rms_px:.2f} px on boards left out; {listed}): {remedy}."
    best = min(serving, key=lambda trial: trial.held_out_rms_px)
    return (
        f'Say lens = "{best.model}": it has {best.held_out_rms_px:.2f} px on boards left out, {own.model} '
        f"{own.held_out_rms_px:.2f} px, and folds in {best.folded:.0%} of the picture. Or {remedy}."
    )


def _largest_tilt(calibration: Calibration, view: int) -> float:
    """The largest angle (radians) between a view's picture plane and the planes of the boards that it used."""
    seen = np.isfinite(calibration.residuals[view]).all(-1).any(-1)
    poses = calibration.rig.cameras[view].camera_from_world @ calibration.world_from_board[seen]
    return float(np.arccos(np.clip(np.abs(poses[:, 2, 2]), 0, 1)).max())


def _empty_thirds(px: np.ndarray, size: tuple[int, int]) -> list[str]:
    """Names of the ninths of the picture without any of the points (n, 2)."""
    cells = np.clip(np.floor((px + 0.5) / np.array(size) * 3).astype(int), 0, 2)
    filled = set(map(tuple, cells))
    return [_THIRDS[row][column] for row in range(3) for column in range(3) if (column, row) not in filled]


def _where(picture: PictureUncertainty, marked: NDArray[np.bool_]) -> str:
    """Names of the ninths of the picture of which most is marked, in a grid (row, column); else of that with most."""
    shares = {}
    for row, rows in enumerate(np.array_split(np.arange(len(picture.y)), 3)):
        for column, columns in enumerate(np.array_split(np.arange(len(picture.x)), 3)):
            shares[_THIRDS[row][column]] = float(marked[np.ix_(rows, columns)].mean())
    return _listed(
        [name for name, share in shares.items() if share > _MARKED] or [max(shares, key=lambda n: shares[n])]
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
