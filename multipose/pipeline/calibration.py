"""The stage `calibrate`: pictures of the board of one session -> rig.toml, report.json, report.html, corners.npz."""

from __future__ import annotations

import json
from typing import Any

from multipose.calibration import calibrate, detect_board
from multipose.files import SCHEMA_VERSION, write_text
from multipose.pipeline.plan import calibration_product, project_board
from multipose.pipeline.provenance import Hashes, making
from multipose.pipeline.sources import open_view
from multipose.progress import SILENT, Progress
from multipose.project import Project
from multipose.view import calibration_page


def calibrate_session(
    project: Project,
    session: str,
    hashes: Hashes,
    *,
    lens: str | None = None,
    max_boards: int | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Calibrate one session.

    Args:
        lens, max_boards: instead of those of the configuration, this once.

    Returns:
        The report's values, with the session and the paths written.

    Raises:
        ProjectError: there is no such session, or it lacks pictures or a board.
        CalibrationError: the boards do not determine the rig.
    """
    project.check_session(session, "asked for")
    product = calibration_product(project, session)
    overrides = {"lens": lens, "max_boards": max_boards}
    settings = {**product.parameters, **{key: value for key, value in overrides.items() if value is not None}}
    folder = product.path.parent
    with making(product, hashes, overrides):
        sources = {view: open_view(project, view, spec) for view, spec in project.board_sources(session).items()}
        corners = detect_board(
            sources, project_board(project), max_frames=settings["max_boards"], threads=threads, progress=progress
        )
        corners.save(folder / "corners.npz")
        calibration = calibrate(corners, lens=settings["lens"], seed=settings["seed"], progress=progress)
        report = calibration.report.to_dict()
        text = json.dumps({"schema_version": SCHEMA_VERSION, **report}, indent=1, ensure_ascii=False)
        write_text(folder / "report.json", text + "\n")
        calibration_page(calibration, subtitle=f"session {session}").save(folder / "report.html")
        calibration.rig.save(product.path)
    return {"session": session, **report, "rig": str(product.path), "page": str(folder / "report.html")}
