"""What prediction did in each view, and what a product says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multipose.pose2d.familiarity import UNLIKE


@dataclass(frozen=True)
class ViewReport:
    """What prediction did in one view.

    Attributes:
        frames: looked at.
        fps: frames per second of wall time.
        runtime: what ran the network, for example "openvino 2026.4.1, float32, cpu".
        followed: whether crops around the animal were looked at instead of whole pictures.
        limited_by: what took longest: decoding, pre-processing or the network. The three overlap.
        strangeness: median over some of the frames of how far they lie from the labelled pictures, the farthest of
            these being 1 (see `familiarity`): above `UNLIKE` the view looks unlike all that was labelled. None where
            the network's folder does not say what was labelled.
        to_label: frames of such a view, unlike each other, that are worth labelling; numbers as the source has them.
        corrupt: how many of the frames the decoder marked as damaged.
    """

    frames: int
    fps: float
    runtime: str
    followed: bool
    limited_by: str
    strangeness: float | None = None
    to_label: tuple[int, ...] = ()
    corrupt: int = 0

    @property
    def unlike(self) -> bool:
        """Whether the view looks unlike everything that was labelled."""
        return self.strangeness is not None and self.strangeness > UNLIKE

    @property
    def unlikeness(self) -> dict[str, Any]:
        """Strangeness and frames to label, plain values."""
        return {"strangeness": self.strangeness, "to_label": list(self.to_label)}


def summarize_reports(reports: Mapping[str, ViewReport]) -> dict[str, str]:
    """What a product says of how it came about.

    The runtime (one, or that of each view), the views that were followed, and as JSON the `unlikeness` of those that
    look unlike everything that was labelled.
    """
    runtimes = {report.runtime for report in reports.values()}
    each = "; ".join(f"{view}: {report.runtime}" for view, report in reports.items())
    followed = ", ".join(view for view, report in reports.items() if report.followed)
    return {
        "runtime": runtimes.pop() if len(runtimes) == 1 else each,
        "followed": followed or "no view",
        "unlike": json.dumps({view: report.unlikeness for view, report in reports.items() if report.unlike}),
    }
