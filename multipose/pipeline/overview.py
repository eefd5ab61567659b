"""What a project has, what of it is out of date and why, and which command comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from multipose.files import TIME_FORMAT, LockOwner
from multipose.pipeline.plan import judge_all, label_rows, open_hashes, plan
from multipose.pipeline.provenance import Judgement, Product, read_records
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
        running: the other process that is at work in the project's folder, None where there is none.
    """

    products: tuple[dict[str, Any], ...]
    labels: int
    next: str
    running: LockOwner | None


def look_over(project: Project) -> Overview:
    """Judge everything that a project can make. Nothing is written in the project's folder."""
    running = project.worker
    judgements = judge_all(project, plan(project), open_hashes(project, read_only=True))
    rows = label_rows(project.labels_path, project.views)
    return Overview(
        products=tuple(_describe(project, judgement, running) for judgement in judgements),
        labels=len({(row["recording"], row["view"], row.get("frame")) for row in rows}),
        next=_next_command(project, judgements),
        running=running,
    )


def _describe(project: Project, judgement: Judgement, running: LockOwner | None) -> dict[str, Any]:
    product, state, reasons = judgement.product, str(judgement.state), judgement.reasons
    if state == "interrupted" and running is not None and _is_at(running, product):
        state, reasons = "running", (str(running),)
    return {
        "path": project.relative(product.path),
        "state": state,
        "made_by": _command(project, product),
        "inputs": {name: project.relative(path) for name, path in product.inputs.items()},
        "reasons": list(reasons),
        "settled": judgement.settled,
    }


def _command(project: Project, product: Product) -> str:
    """The command that makes a product."""
    stage = product.stage
    if stage == "predict" and project.recording(product.subject).is_brought:
        stage = "reconstruct" if len(project.views) > 1 else "predict"
    return _COMMANDS[stage].format(product.subject)


def _is_at(running: LockOwner, product: Product) -> bool:
    """Whether a product was begun by a running process, and not by an earlier one that was killed."""
    record = read_records(product.path.parent).get(product.path.name)
    try:
        since = datetime.strptime(running.since, TIME_FORMAT).astimezone()
        return record is not None and datetime.fromisoformat(record.when) >= since
    except ValueError:
        return True


def _next_command(project: Project, judgements: list[Judgement]) -> str:
    open_ones = [judgement for judgement in judgements if not judgement.settled]
    ready = [judgement for judgement in open_ones if not judgement.product.lacking]
    if ready:
        one = _command(project, ready[0].product)
        return f"multipose run    (or step by step, first: {one})" if len(open_ones) > 1 else one
    if not project.sessions and len(project.views) > 1:
        return f"put videos of the board into {project.folder / 'calibration'}/<session>/<view>.mp4"
    if not project.recordings:
        several = " ".join(f"{view}=VIDEO" for view in project.views)
        return f"multipose add NAME {several if len(project.views) > 1 else 'VIDEO'}"
    if any(judgement.product.stage == "train" for judgement in open_ones):
        return "multipose label extract    (or multipose label import, if there are labels already)"
    return "; ".join(open_ones[0].product.lacking) if open_ones else ""
