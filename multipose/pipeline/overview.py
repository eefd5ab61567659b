"""What a project has, what of it is out of date and why, and which command comes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from multipose.pipeline.plan import judge_all, label_rows, open_hashes, plan
from multipose.pipeline.provenance import Judgement
from multipose.project import Project

_COMMANDS = {
    "calibrate": "multipose calibrate {}",
    "train": "multipose train --view {}",
    "predict": "multipose predict {}",
    "reconstruct": "multipose reconstruct {}",
    "smooth": "multipose reconstruct --smooth {}",
    "view": "multipose view player {}",
    "view rig": "multipose view rig {}",
    "view corners": "multipose view corners {}",
    "kinematics": "multipose kinematics {}",
}


@dataclass(frozen=True)
class Overview:
    """The state of a project.

    Args:
        products: path, state, made_by, inputs, reasons and settled of each, in the order in which they are made.
        labels: number of pictures that have labels.
        next: the command that comes next, "" where all is up to date.
    """

    products: tuple[dict[str, Any], ...]
    labels: int
    next: str


def look_over(project: Project) -> Overview:
    """Judge everything that a project can make. Nothing is made or changed but the memory of content hashes."""
    judgements = judge_all(project, plan(project), open_hashes(project))
    rows = label_rows(project.labels_path, project.views)
    return Overview(
        products=tuple(_describe(project, judgement) for judgement in judgements),
        labels=len({(row["recording"], row["view"], row.get("frame")) for row in rows}),
        next=_next_command(project, judgements),
    )


def _describe(project: Project, judgement: Judgement) -> dict[str, Any]:
    product, state, reasons = judgement.product, str(judgement.state), judgement.reasons
    if state == "interrupted" and project.worker is not None:
        state, reasons = "under way", (f"process {project.worker} is at work in this folder",)
    return {
        "path": project.relative(product.path),
        "state": state,
        "made_by": _COMMANDS[product.stage].format(product.subject),
        "inputs": {name: project.relative(path) for name, path in product.inputs.items()},
        "reasons": list(reasons),
        "settled": judgement.settled,
    }


def _next_command(project: Project, judgements: list[Judgement]) -> str:
    open_ones = [judgement for judgement in judgements if not judgement.settled]
    ready = [judgement for judgement in open_ones if not judgement.product.lacking]
    if ready:
        one = _COMMANDS[ready[0].product.stage].format(ready[0].product.subject)
        return f"multipose run    (or step by step, first: {one})" if len(open_ones) > 1 else one
    if not project.sessions and len(project.views) > 1:
        return f"put videos of the board into {project.folder / 'calibration'}/<session>/<view>.mp4"
    if not project.recordings:
        return "multipose add NAME " + " ".join(f"{view}=VIDEO" for view in project.views)
    if any(judgement.product.stage == "train" for judgement in open_ones):
        return "multipose label extract    (or multipose label import, if there are labels already)"
    return "; ".join(open_ones[0].product.lacking) if open_ones else ""
