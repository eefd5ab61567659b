"""A synthetic rig with exact truth: cameras, a walking animal, moving boards, what detectors see, and pictures.

- `sample_rig`, `walk`, `board_poses`: the cameras, the animal's movement and the board's.
- `observe`, `board_corners`: projections with noise, gaps and gross errors, without any picture.
- `arena`, `mirror`, `Scene`, `Shape`, `Light`: what stands before the cameras, and how it is lit.
- `prepare`, then `render` for every `Moment`: pictures through the real lens models, as a `Sensor` takes them;
  `radiance` is the light alone. `visibility` says which key points a view sees.
- `write_frame_number`, `read_frame_number`: the number of a frame in its picture.

    rig, scene = sample_rig(), arena()
    animal = walk(300, seed=1, obstacles=scene.obstacles)
    stage = prepare(scene, rig["cam_0"])
    picture = render(stage, Moment(animal, time=0.5))
"""

from multipose.synthetic.animal import KEYPOINTS, SKELETON, Walk, walk
from multipose.synthetic.boards import board_poses
from multipose.synthetic.counter import read_frame_number, write_frame_number
from multipose.synthetic.observation import board_corners, observe
from multipose.synthetic.rendering import Moment, Sensor, Stage, prepare, radiance, render, visibility
from multipose.synthetic.rig import sample_rig
from multipose.synthetic.scene import Light, Scene, Shape, arena, mirror

__all__ = [
    "KEYPOINTS",
    "SKELETON",
    "Light",
    "Moment",
    "Scene",
    "Sensor",
    "Shape",
    "Stage",
    "Walk",
    "arena",
    "board_corners",
    "board_poses",
    "mirror",
    "observe",
    "prepare",
    "radiance",
    "read_frame_number",
    "render",
    "sample_rig",
    "visibility",
    "walk",
    "write_frame_number",
]
