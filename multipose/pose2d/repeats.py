"""Pictures that were labelled twice: how well a person repeats himself is the yardstick of a network's error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError
from multipose.labels import Labels
from multipose.pose2d.dataset import PoseDataset
from multipose.pose2d.evaluation import Evaluation, plain
from multipose.pose2d.intervals import estimate_mean, neighbour_blocks

Array = npt.NDArray[np.float64]

_SHRINKAGE = 4.0  # differences of the common size that each key point is given


def label_noise(first: PoseDataset, second: PoseDataset) -> Array:
    """Standard deviation (keypoint,) px of a label along one axis, from pictures that were labelled twice.

    Pictures are matched by name. Of each key point it is the root of half the mean squared difference along an axis,
    shrunk to that of all as if four more differences of the common size had been seen.

    Raises:
        DataError: the key points differ, or no point is labelled in both.
    """
    mine, theirs = match_labels(first, second)
    squares = ((first.xy[mine] - second.xy[theirs]) ** 2).mean(-1) / 2
    labelled = np.isfinite(squares)
    common = squares[labelled].mean()
    sums = np.where(labelled, squares, 0.0).sum(0) + _SHRINKAGE * common
    return np.asarray(np.sqrt(sums / (labelled.sum(0) + _SHRINKAGE)))


def relabel(dataset: PoseDataset, labels: Labels) -> PoseDataset:
    """The pictures of a dataset that labels speak of, with these labels instead.

    Raises:
        DataError: they speak of none of them, or say no position.
    """
    row_of = {}
    for view in dict.fromkeys(dataset.views):
        frames, xy, state = labels.points(view, dataset.skeleton.keypoints)
        for row, (recording, frame) in enumerate(frames.itertuples(index=False)):
            row_of[str(recording), view, int(frame)] = xy[row], state[row]
    places = list(zip(dataset.groups, dataset.views, dataset.moments, strict=True))
    chosen = [item for item, place in enumerate(places) if place in row_of]
    if not chosen:
        raise DataError(
            f"The second labels speak of none of the {len(dataset)} pictures. Label some of the same frames again, "
            "under the same names of recording and view."
        )
    rows = [row_of[places[item]] for item in chosen]
    xy, state = (np.stack(part) for part in zip(*rows, strict=True))
    return replace(dataset.subset(chosen), xy=xy, state=state)


def match_labels(first: PoseDataset, second: PoseDataset) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places in both of the pictures that were labelled twice.

    Raises:
        DataError: the key points differ, or no point is labelled in both.
    """
    if first.skeleton.keypoints != second.skeleton.keypoints:
        raise DataError(
            f"The first labels are of {', '.join(first.skeleton.keypoints)}, the second of "
            f"{', '.join(second.skeleton.keypoints)}. Labels to compare must be of the same key points in one order."
        )
    place_of = {name: place for place, name in enumerate(second.names)}
    shared = np.array([(i, place_of[name]) for i, name in enumerate(first.names) if name in place_of], dtype=np.int64)
    mine, theirs = shared.reshape(-1, 2).T
    if not (np.isfinite(first.xy[mine]) & np.isfinite(second.xy[theirs])).any():
        raise DataError(
            f"None of the points of {len(first)} pictures is labelled a second time ({len(shared)} pictures have the "
            "same name). Label some of the same pictures again."
        )
    return mine, theirs


def describe_repeats(first: PoseDataset, second: PoseDataset, evaluation: Evaluation | None = None) -> dict[str, Any]:
    """A person's repeat error, and a network's on the same points; plain values.

    A network that always found the very point that is meant would be off by the noise of one label, 0.71 times the
    repeat error, for both labels of a repeat have it.

    Args:
        first, second: the labels and the second ones.
        evaluation: of a network, on pictures that are among these by name; without one its error is None.

    Returns:
        pictures, n (points labelled twice), repeat_px (mean distance of the two), repeat_px_interval (95 %),
        repeat_median_px, network_px, network_median_px and network_n (its errors on those of the points that it was
        judged on), and `keypoints`: for each n, repeat_px, label_sd_px (of one label along an axis), network_px.

    Raises:
        DataError: as of `match_labels`.
    """
    mine, theirs = match_labels(first, second)
    apart = np.linalg.norm(first.xy[mine] - second.xy[theirs], axis=-1)
    blocks = neighbour_blocks([first.groups[i] for i in mine], [first.moments[i] for i in mine])
    network = np.full(apart.shape, np.nan)
    if evaluation is not None:
        place_of = {name: place for place, name in enumerate(evaluation.names)}
        for row, item in enumerate(mine):
            if first.names[item] in place_of:
                network[row] = evaluation.error[place_of[first.names[item]]]
    network[np.isnan(apart)] = np.nan
    whole, sd = estimate_mean(apart, blocks), label_noise(first, second)
    return {
        "pictures": int(np.isfinite(apart).any(1).sum()),
        "n": whole.n,
        "repeat_px": whole.mean,
        "repeat_px_interval": [plain(max(whole.low, 0.0)), plain(whole.high)],
        "repeat_median_px": float(np.nanmedian(apart)),
        "network_px": _mean(network),
        "network_median_px": float(np.nanmedian(network)) if np.isfinite(network).any() else None,
        "network_n": int(np.isfinite(network).sum()),
        "keypoints": {
            name: {
                "n": int(np.isfinite(apart[:, k]).sum()),
                "repeat_px": _mean(apart[:, k]),
                "label_sd_px": float(sd[k]),
                "network_px": _mean(network[:, k]),
            }
            for k, name in enumerate(first.skeleton.keypoints)
        },
    }


def _mean(values: Array) -> float | None:
    """Mean of the values that are there, None where there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
