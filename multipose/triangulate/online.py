"""Smoothing while the animal moves: each frame is final after a fixed lag (Moore 1973, fixed-lag smoothing)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from multipose.camera import CameraRig
from multipose.errors import DataError
from multipose.tracks import check_keypoints2d, time_unit_of, trajectories3d
from multipose.triangulate.layout import POINT
from multipose.triangulate.reconstruction import reconstruct
from multipose.triangulate.smoothing import ORDERS, smooth


class OnlineSmoother:
    """`smooth` for a stream of frames: give it key points as they come, it returns the frames that are `lag` old.

    A frame's trajectory rests on all frames before it, as far as they matter, and on `lag` frames after it. It is what
    `smooth` with the same motion would say of a recording that ends there.

    Args:
        rig: cameras with the names of the key points' views.
        motion: result of `learn_motion` or `smooth` on an earlier recording of the same animals and rig.
        lag: frames that a frame waits for; 0: none.
        threads: how many to use.

    Raises:
        DataError: the lag is negative, or `motion` is not such a result.
    """

    def __init__(self, rig: CameraRig, motion: xr.Dataset, *, lag: int = 10, threads: int | None = None) -> None:
        if not isinstance(lag, int | np.integer) or lag < 0:
            raise DataError(f"lag is a whole number of frames, 0 or more, got {lag!r}.")
        if "prior_sd" not in motion or motion.attrs.get("prior") not in ORDERS:
            raise DataError("motion must be a result of learn_motion or smooth.")
        self._rig, self._motion, self._lag, self._threads = rig, motion, lag, threads
        self._window: xr.Dataset | None = None
        self._waiting = 0

    def push(self, keypoints: xr.Dataset) -> xr.Dataset:
        """Take the next frame or frames, and return those that became final, as `smooth` returns them (perhaps none).

        Args:
            keypoints: Keypoints2D whose times follow the last ones, at the same step.

        Raises:
            DataError: the times do not follow, or names differ.
        """
        check_keypoints2d(keypoints)
        before = self._window, self._waiting
        try:
            self._append(keypoints)
            return self._release(max(0, self._waiting - self._lag))
        except DataError:
            self._window, self._waiting = before  # as if they had not come
            raise

    def _append(self, keypoints: xr.Dataset) -> None:
        if self._window is None:
            self._window = keypoints
        elif not keypoints["time"].values[0] > self._window["time"].values[-1]:
            raise DataError(
                f"The frames must come in time: {keypoints['time'].values[0]:g} s follows "
                f"{self._window['time'].values[-1]:g} s."
            )
        else:
            try:
                self._window = xr.concat([self._window, keypoints], "time", combine_attrs="override", join="exact")
            except ValueError as error:
                raise DataError(f"These frames have other views or key points than those before: {error}") from error
        self._waiting += keypoints.sizes["time"]

    def finish(self) -> xr.Dataset:
        """The frames that still wait; the stream has ended.

        Raises:
            DataError: nothing was pushed.
        """
        return self._release(self._waiting)

    def _release(self, count: int) -> xr.Dataset:
        """The `count` oldest of the frames that wait."""
        if self._window is None:
            raise DataError("There are no frames yet: push some.")
        end = self._window.sizes["time"] - self._waiting + count
        released = self._smooth(self._window).isel(time=slice(end - count, end))
        self._waiting -= count
        keep = self._waiting + int(self._motion.attrs["memory_frames"])
        self._window = self._window.isel(time=slice(max(0, self._window.sizes["time"] - keep), None))
        return released

    def _smooth(self, window: xr.Dataset) -> xr.Dataset:
        """The trajectories of the window; unknown while it is too short or no two views have seen anything."""
        learned = self._motion.attrs
        sure = window["confidence"].fillna(1.0) >= learned["min_confidence"]
        seen = window["position"].notnull().all("space") & sure
        fewest = ORDERS[learned["prior"]] + 2
        if window.sizes["time"] < fewest or not bool((seen.sum("view") >= 2).any()):
            return _unknown(window, self._rig)
        tracks = reconstruct(
            window,
            self._rig,
            min_confidence=learned["min_confidence"],
            max_error_px=None if learned["max_error_sd"] else learned["max_error_px"],
            noise_px=learned["noise_px"],
            variance_factor=self._motion["variance_factor"],
            threads=self._threads,
        )
        return smooth(tracks, window, self._rig, motion=self._motion, threads=self._threads)


def _unknown(keypoints: xr.Dataset, rig: CameraRig) -> xr.Dataset:
    """Trajectories of frames of which nothing is known."""
    shape = tuple(keypoints.sizes[dim] for dim in POINT)
    nothing = np.full((*shape, 3), np.nan)
    dataset = trajectories3d(
        nothing,
        np.zeros(shape),
        nothing[..., 0],
        np.zeros(shape, np.int64),
        np.full((*shape, 3, 3), np.nan),
        keypoints=[str(name) for name in keypoints["keypoint"].values],
        individuals=[str(name) for name in keypoints["individual"].values],
        fps=keypoints.attrs.get("fps"),
        time=keypoints["time"].values,
        time_unit=time_unit_of(keypoints),
        unit=rig.unit,
    )
    dataset = dataset.assign_coords(view=keypoints["view"].values)
    dataset["inlier"] = (("view", *POINT), np.zeros((keypoints.sizes["view"], *shape), bool))
    dataset["velocity"] = ((*POINT, "space"), nothing)
    dataset["velocity_covariance"] = ((*POINT, "space", "space_"), np.full((*shape, 3, 3), np.nan))
    dataset["gap"] = (POINT, np.full(shape, shape[0]))
    return dataset
