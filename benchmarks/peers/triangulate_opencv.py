"""Triangulation by OpenCV: undistortPoints, triangulatePoints of one pair, and the median over all pairs of views."""

import itertools
import warnings

import cv2
import numpy as np
from points import load, save

case = load()
px = case["px"]
cv2.setNumThreads(1)
warnings.simplefilter("ignore")


def undistorted(view):
    """(point, 2) plane coordinates."""
    fx, fy, cx, cy, *terms = case["intrinsics"][view]
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return cv2.undistortPoints(px[view][:, None], matrix, np.array(terms))[:, 0]


def meet(first, second, plane):
    """(point, 3) of two views."""
    poses = case["camera_from_world"][:, :3]
    homogeneous = cv2.triangulatePoints(poses[first], poses[second], plane[first].T, plane[second].T)
    return (homogeneous[:3] / homogeneous[3]).T


def pair():
    """The first two views."""
    return meet(0, 1, [undistorted(0), undistorted(1)])


def pairs_median():
    """The median over all pairs."""
    plane = [undistorted(view) for view in range(len(px))]
    every = [meet(first, second, plane) for first, second in itertools.combinations(range(len(px)), 2)]
    return np.nanmedian(np.array(every), axis=0)


save({"one_pair": pair, "pairs_median": pairs_median})
