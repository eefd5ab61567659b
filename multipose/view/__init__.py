"""Looking at results: plotly figures, pages that join them with tables and pictures, labelled videos, contact sheets.

Every figure function takes plain values and returns a plotly Figure; showing or saving it is the caller's business
(`figure.write_html(path)`, or a `Page`, which holds several and follows the reader's light or dark setting).
"""

from __future__ import annotations

from multipose.view.charts import offsets, reprojection_errors, training_curve
from multipose.view.comparisons import comparison_page
from multipose.view.corners import coverage, residuals
from multipose.view.diagnostics import diagnostics_page, disagreement, limb_lengths
from multipose.view.drawing import contact_sheet, draw_comparison, draw_keypoints, draw_labels
from multipose.view.evaluations import evaluation_page, training_page
from multipose.view.examples import judged_picture
from multipose.view.labels import labels_page
from multipose.view.overlay import keypoints_on_frame
from multipose.view.pages import Facts, Page, Picture, Pictures, Section, Table, Text, save_figure
from multipose.view.player import trajectories
from multipose.view.quality import differences, error_curves, label_curve, reliability
from multipose.view.quantities import kinematics, kinematics_page
from multipose.view.reports import calibration_page
from multipose.view.scene import rig
from multipose.view.videos import labelled_video

__all__ = [
    "Facts",
    "Page",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "Text",
    "calibration_page",
    "comparison_page",
    "contact_sheet",
    "coverage",
    "diagnostics_page",
    "differences",
    "disagreement",
    "draw_comparison",
    "draw_keypoints",
    "draw_labels",
    "error_curves",
    "evaluation_page",
    "judged_picture",
    "keypoints_on_frame",
    "kinematics",
    "kinematics_page",
    "label_curve",
    "labelled_video",
    "labels_page",
    "limb_lengths",
    "offsets",
    "reliability",
    "reprojection_errors",
    "residuals",
    "rig",
    "save_figure",
    "training_curve",
    "training_page",
    "trajectories",
]
