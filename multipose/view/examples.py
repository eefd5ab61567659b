"""Labels and a network's points drawn on pictures: the worst, the best, and whole pictures for files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from multipose.skeleton import Skeleton
from multipose.view.drawing import apply_affine, crop_around, draw_comparison, enlarge, scale_covariance, write_heading
from multipose.view.pages import Picture, Pictures, Section, Text, number_text

if TYPE_CHECKING:
    from multipose.pose2d import Evaluation

Rgb = npt.NDArray[np.uint8]
GetPicture = Callable[[int], Rgb]
"""Gives the RGB picture of an index of an evaluation."""

DRAWN = "Cross: label. Disc or diamond: network, with the ellipse that should hold 95 % of the labels."


def judged_picture(evaluation: Evaluation, item: int, rgb: Rgb, skeleton: Skeleton, *, width: int = 800) -> Rgb:
    """A whole picture with labels, a network's points, their ellipses and names, under its name and errors.

    Args:
        evaluation: as `evaluate` returns it.
        item: index in it.
        rgb: the picture.
        skeleton: the key points.
        width: smaller pictures are enlarged to this.
    """
    error = evaluation.error[item]
    heading = [f"{evaluation.names[item]}: mean error {number_text(evaluation.picture_mean_px()[item], '.2f')} px"]
    if np.isfinite(error).any():
        worst = int(np.nanargmax(error))
        heading.append(f"worst: {evaluation.keypoints[worst]}, {error[worst]:.2f} px")
    heading.append("cross: label; disc or diamond: network, with its 95 % ellipse")
    part, affine = enlarge(rgb, width)
    return write_heading(_draw(evaluation, item, part, affine, skeleton, names=True), heading)


def best_and_worst(evaluation: Evaluation, picture: GetPicture, skeleton: Skeleton, n_pictures: int) -> list[Section]:
    order = evaluation.ranked()
    shown = min(n_pictures, (len(order) + 1) // 2)
    return [
        Section(
            heading,
            (
                Text(f"{DRAWN} The parts shown hold all labelled points."),
                Pictures(tuple(example(evaluation, picture, skeleton, int(item)) for item in items)),
            ),
        )
        for heading, items in (
            ("Worst pictures", order[shown:][::-1][:shown]),
            ("Best pictures", order[:shown]),
        )
        if len(items)
    ]


def worst_points(evaluation: Evaluation, picture: GetPicture, skeleton: Skeleton) -> Section:
    """The label of each key point that the network is farthest from, worst key point first."""
    error = np.where(np.isfinite(evaluation.error), evaluation.error, -1.0)
    items = error.argmax(0)
    shown = []
    for k in sorted(range(error.shape[1]), key=lambda k: -error[items[k], k]):
        item, distance = int(items[k]), error[items[k], k]
        if distance >= 0:
            both = np.stack([evaluation.truth[item, k], evaluation.position[item, k]])
            part, affine = crop_around(picture(item), both, width=300, height=225)
            drawn = _draw(evaluation.select_keypoints([k]), item, part, affine, _alone(skeleton, k))
            shown.append(Picture(drawn, f"{evaluation.keypoints[k]}, {evaluation.names[item]}: {distance:.2f} px"))
    return Section("Worst point of each key point", (Text(DRAWN), Pictures(tuple(shown))))


def _alone(skeleton: Skeleton, keypoint: int) -> Skeleton:
    return Skeleton((skeleton.keypoints[keypoint],))


def example(evaluation: Evaluation, picture: GetPicture, skeleton: Skeleton, item: int, said: str = "") -> Picture:
    part, affine = crop_around(picture(item), evaluation.truth[item])
    drawn = _draw(evaluation, item, part, affine, skeleton)
    return Picture(drawn, f"{said}{evaluation.names[item]}: mean {evaluation.picture_mean_px()[item]:.2f} px")


def _draw(
    evaluation: Evaluation,
    item: int,
    part: Rgb,
    affine: npt.NDArray[np.float64],
    skeleton: Skeleton,
    names: bool = False,
) -> Rgb:
    """Labels and points of a picture on a part of it; points without a label are left out."""
    truth = evaluation.truth[item]
    found = np.where(np.isfinite(truth), evaluation.position[item], np.nan)
    return draw_comparison(
        part,
        apply_affine(affine, truth),
        apply_affine(affine, found),
        skeleton,
        covariance=scale_covariance(affine, evaluation.covariance[item]),
        radius=4.5,
        names=names,
    )
