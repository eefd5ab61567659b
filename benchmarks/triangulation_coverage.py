"""Whether the ellipsoids of `reconstruct` hold the truth as often as they say, where networks misstate their noise.

    python benchmarks/triangulation_coverage.py

Six cameras on a ring (high parallax) or on an arc of 20 degrees (low). Every 2D point has a covariance of its own (0.3
to 0.9 px, elongated), and all that are stated are wrong by a factor per view and key point (log-normal, 0.7; median
1.7), which nobody is told. Every point is seen by 2 to 6 views. Printed per number of views used, with and without 3 %
of gross errors of 50 to 200 px: the share of points within the 50 and 95 % ellipsoids, and the mean log-likelihood of
the errors, beside that of the one covariance that suits the errors of these points best. Where a point rests on two
views, a gross error along their epipolar lines goes unseen; the few such points decide the mean log-likelihood.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from triangulation_case import FloatArray, make_rig

from multipose.camera import CameraRig
from multipose.geometry import look_at
from multipose.tracks import keypoints2d
from multipose.triangulate import reconstruct

N_KEYPOINTS = 10
STRATA = {"2": (2, 2), "3": (3, 3), "4-6": (4, 6)}


def make_arc(n_views: int = 6, spread: float = np.deg2rad(20.0), distance: float = 750.0) -> CameraRig:
    """The cameras of `make_rig` side by side on an arc of `spread` rad, at two heights."""
    cameras = []
    for i, camera in enumerate(make_rig(n_views).cameras):
        azimuth, height = spread * (i / (n_views - 1) - 0.5), np.deg2rad([15, 22][i % 2])
        center = distance * np.array(
            [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
        )
        cameras.append(replace(camera, camera_from_world=look_at(center, (0, 0, 0), (0, 0, 1))))
    return CameraRig(tuple(cameras), unit="mm")


def misstated(
    rig: CameraRig, xyz: FloatArray, gross: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """Pixels (view, time, keypoint, 2) of points (time, keypoint, 3), their stated covariances, and the factors (view,
    keypoint) that are missing in these."""
    shape = (len(rig), *xyz.shape[:2])
    half = rng.uniform(0.3, 0.9, (*shape, 1, 1)) * (np.eye(2) + rng.uniform(-0.3, 0.3, (*shape, 2, 2)))
    factors = 1.7 * np.exp(rng.normal(0, 0.7, (shape[0], shape[2])))
    noise = (half @ rng.normal(0, 1, (*shape, 2, 1)))[..., 0] * np.sqrt(factors)[:, None, :, None]
    px = rig.project(xyz) + noise
    wrong, angle, distance = rng.random(shape) < gross, rng.uniform(0, 2 * np.pi, shape), rng.uniform(50, 200, shape)
    px += (wrong * distance)[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    order = rng.random(shape).argsort(axis=0).argsort(axis=0)
    px[order >= rng.integers(2, shape[0] + 1, shape[1:])] = np.nan
    return px, half @ np.swapaxes(half, -1, -2), factors


def log_likelihood(off: FloatArray, covariance: FloatArray) -> float:
    """Mean over errors (n, 3) of their log-density under normal distributions (n, 3, 3)."""
    squared = (off * np.linalg.solve(covariance, off[..., None])[..., 0]).sum(-1)
    return float(-0.5 * (squared + np.linalg.slogdet(covariance)[1] + 3 * np.log(2 * np.pi)).mean())


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instants", type=int, default=3000)
    arguments = parser.parse_args()
    print(f"{'parallax':>9}{'gross':>7}{'views':>7}{'points':>8}{'median parallax':>17}", end="")
    print(f"{'in 50 %':>9}{'in 95 %':>9}{'log-likelihood':>16}{'of one covariance':>19}{'factors off':>13}")
    for name, rig in {"low": make_arc(), "high": make_rig()}.items():
        for gross in (0.0, 0.03):
            rng = np.random.default_rng(1)
            xyz = rng.normal(0, 50, (arguments.instants, N_KEYPOINTS, 3))
            px, covariance, factors = misstated(rig, xyz, gross, rng)
            keypoints = keypoints2d(px[:, :, None], covariance=covariance[:, :, None], views=rig.names)
            tracks = reconstruct(keypoints, rig, threads=1)
            off = (tracks["position"].values[:, 0] - xyz).reshape(-1, 3)
            spread, views = tracks["covariance"].values.reshape(-1, 3, 3), tracks["n_views"].values.ravel()
            angle = np.rad2deg(tracks["parallax"].values.ravel())
            wrong = np.std(np.log(tracks["variance_factor"].values / factors))
            for stratum, (least, most) in STRATA.items():
                part = (views >= least) & (views <= most) & np.isfinite(off).all(-1)
                squared = (off[part] * np.linalg.solve(spread[part], off[part][..., None])[..., 0]).sum(-1)
                inside = [100 * (squared < chi2.ppf(share, 3)).mean() for share in (0.5, 0.95)]
                constant = np.broadcast_to(off[part].T @ off[part] / part.sum(), spread[part].shape)
                own, other = log_likelihood(off[part], spread[part]), log_likelihood(off[part], constant)
                print(
                    f"{name:>9}{100 * gross:6.0f}%{stratum:>7}{part.sum():8}{np.median(angle[part]):13.1f} deg", end=""
                )
                print(f"{inside[0]:9.1f}{inside[1]:9.1f}{own:16.2f}{other:19.2f}{100 * wrong:12.1f}%")


if __name__ == "__main__":
    main()
