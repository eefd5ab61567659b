"""The stage `run`: everything that is missing or stale, in order; networks side by side on several GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multipose.pipeline.plan import describe, open_hashes, plan
from multipose.pipeline.provenance import Hashes, Judgement, Product, judge
from multipose.progress import SILENT, Progress
from multipose.project import Project


@dataclass(frozen=True)
class Outcome:
    """What `run` did.

    Args:
        made: path of each product made, and what its stage returned, in order.
        kept: number of products that were up to date.
        blocked: path of each product that cannot be made yet, and what it lacks.
    """

    made: dict[str, dict[str, Any]]
    kept: int
    blocked: dict[str, tuple[str, ...]]


def run(project: Project, *, threads: int | None = None, progress: Progress = SILENT) -> Outcome:
    """Make everything that is not up to date. Products put or edited by hand stay as they are.

    Each product is finished and recorded before the next is begun, so an interrupted run goes on where it stopped.
    """
    hashes = open_hashes(project)
    made: dict[str, dict[str, Any]] = {}
    judged: dict[Path, Judgement] = {}
    blocked = {}
    networks = [product.subject for product in plan(project) if product.stage == "train"]
    if len(networks) > 1:
        made |= _train_side_by_side(project, networks, hashes, threads, progress)
    for planned in plan(project):
        product = describe(project, planned.stage, planned.subject)  # what it needs may have been made since the plan
        judgement = judge(product, hashes, judged)
        path = project.relative(product.path)
        if not judgement.settled and not product.lacking:
            progress.note(f"{path}: {judgement.state}{_because(judgement)}")
            made[path] = make(project, product, hashes, threads=threads, progress=progress)
            judgement = judge(product, hashes, judged)
        elif not judgement.settled:
            blocked[path] = product.lacking
        judged[product.path] = judgement
    hashes.save()
    kept = len(judged) - len(made) - len(blocked)
    return Outcome(made, kept, blocked)


def make(
    project: Project, product: Product, hashes: Hashes, *, threads: int | None = None, progress: Progress = SILENT
) -> dict[str, Any]:
    """Make one product by its stage."""
    if product.stage == "calibrate":
        from multipose.pipeline.calibration import calibrate_session

        return calibrate_session(project, product.subject, hashes, threads=threads, progress=progress)
    if product.stage == "train":
        from multipose.pipeline.training import train_model

        return train_model(project, product.subject, hashes, threads=threads, progress=progress)
    if product.stage in ("view rig", "view corners"):
        from multipose.pipeline.pictures import corners_page, rig_page

        make_page = rig_page if product.stage == "view rig" else corners_page
        return {"page": str(make_page(project, product.subject))}
    recording = project.recording(product.subject)
    if product.stage == "predict":
        from multipose.pipeline.prediction import predict_recording

        return predict_recording(project, recording, hashes, threads=threads, progress=progress)
    if product.stage == "kinematics":
        from multipose.pipeline.kinematics import measure_recording

        return measure_recording(project, recording, hashes, progress=progress)
    from multipose.pipeline.reconstruction import make_player, reconstruct_recording

    if product.stage == "reconstruct":
        return reconstruct_recording(project, recording, hashes, threads=threads, progress=progress)
    if product.stage == "smooth":
        from multipose.pipeline.smoothing import smooth_recording

        return smooth_recording(project, recording, hashes, threads=threads, progress=progress)
    return make_player(project, recording, hashes, progress=progress)


def _train_side_by_side(
    project: Project, names: Sequence[str], hashes: Hashes, threads: int | None, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Train those networks that are due, if there are several of them and several GPUs."""
    products = {name: describe(project, "train", name) for name in names}
    due = [name for name in names if not products[name].lacking and not judge(products[name], hashes, {}).settled]
    if len(due) < 2:
        return {}
    from multipose.pipeline.training import train_models
    from multipose.pose2d.runtime import list_gpus

    if len(list_gpus()) < 2:
        return {}
    trained = train_models(project, due, hashes, threads=threads, progress=progress)
    return {project.relative(products[name].path): result for name, result in trained.items()}


def _because(judgement: Judgement) -> str:
    return f" ({'; '.join(judgement.reasons)})" if judgement.reasons else ""
