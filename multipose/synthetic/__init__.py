"""A synthetic rig with exact truth: cameras, a walking animal, moving boards, what detectors see, and pictures.

- `sample_rig`, `walk`, `board_poses`: cameras, the animal's movement and the board's.
- `observe`, `board_corners`: projections with noise, gaps and gross errors, without any picture.
"""

from multipose.synthetic.animal import KEYPOINTS, SKELETON, Walk, walk
from multipose.synthetic.boards import board_poses
from multipose.synthetic.observation import board_corners, observe
from multipose.synthetic.rig import sample_rig

__all__ = [
    "KEYPOINTS",
    "SKELETON",
    "Walk",
    "board_corners",
    "board_poses",
    "observe",
    "sample_rig",
    "walk",
]
