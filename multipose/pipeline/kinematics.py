"""The stage `kinematics`: trajectories and the rig's covariance -> kinematics.nc, .csv, .html."""

from __future__ import annotations

from typing import Any

import numpy as np

from multipose.formats.table import write_quantities
from multipose.pipeline.plan import kinematics_product, tell_stale
from multipose.pipeline.provenance import Hashes, making
from multipose.pipeline.reconstruction import load_rig_covariance
from multipose.pipeline.sources import open_rig
from multipose.progress import SILENT, Progress
from multipose.project import Project, Recording
from multipose.tracks import load_tracks
from multipose.triangulate import kinematics, save_kinematics
from multipose.view import kinematics_page


def measure_recording(
    project: Project, recording: Recording, hashes: Hashes, *, progress: Progress = SILENT
) -> dict[str, Any]:
    """Measure what multipose.toml declares on the trajectories of a recording.

    Returns:
        quantities: by name the median, the median standard deviation and the unit (of angles rad); calibration_error:
        whether it is carried on; kinematics, table, page: the paths.

    Raises:
        ProjectError: the trajectories are missing, or nothing is declared.
    """
    product = kinematics_product(project, recording)
    tell_stale(project, "smooth" if project.config.kinematics.smoothed else "reconstruct", recording, hashes, progress)
    with making(product, hashes, progress=progress):
        tracks = load_tracks(product.inputs["the trajectories"], "trajectories3d")
        rig = open_rig(project, project.session_of(recording))
        if "view" in tracks.coords:
            rig = rig.subset([str(view) for view in tracks["view"].values])
        error = load_rig_covariance(project, recording, rig, progress)
        measured = kinematics(tracks, project.config.kinematics, error)
        measured.attrs |= {"recording": recording.name, "trajectories": product.inputs["the trajectories"].name}
        table, page = product.path.with_suffix(".csv"), product.path.with_suffix(".html")
        write_quantities(measured, table)
        kinematics_page(measured, subtitle=f"recording {recording.name}").save(page)
        save_kinematics(measured, product.path)
    quantities = {
        name: {
            "median": _median(measured[name].values),
            "median_sd": _median(measured[f"{name}_sd"].values),
            "unit": str(measured[name].attrs["unit"]),
        }
        for name in project.config.kinematics.quantities
    }
    return {
        "quantities": quantities,
        "calibration_error": measured.attrs["calibration_error"],
        "kinematics": str(product.path),
        "table": str(table),
        "page": str(page),
    }


def _median(values: Any) -> float:
    known = np.asarray(values)[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
