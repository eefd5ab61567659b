"""The body parts that a user defines: their names, the lines between them, and which are left and right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from multipose.errors import DataError

# "left"/"right" as a word or at either end of one, and L/R as a word or a capital of camelCase: leftear, ear_left,
# earLeft, paw_L, L_paw, pawL, paw1LH (a paw's side and place, as in the treadmill data).
_SIDES = (
    (re.compile(r"left", re.I), {"left": "right", "Left": "Right", "LEFT": "RIGHT"}),
    (re.compile(r"(?<![A-Za-z])[lL](?![a-z])|(?<=[a-z0-9])L(?![a-z])"), {"L": "R", "l": "r"}),
)


@dataclass(frozen=True)
class Skeleton:
    """Key points in the order of every array's `keypoint` axis.

    Args:
        keypoints: names, unique, at least one.
        edges: pairs of names to draw and to measure as limbs.
        pairs: (left, right) names that a mirrored picture swaps.
        definitions: for each name, in words, where exactly to click.

    Raises:
        DataError: a name stands twice, or an edge, pair or definition names a key point that does not exist.
    """

    keypoints: tuple[str, ...]
    edges: tuple[tuple[str, str], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keypoints", tuple(self.keypoints))
        object.__setattr__(self, "edges", tuple((a, b) for a, b in self.edges))
        object.__setattr__(self, "pairs", tuple((a, b) for a, b in self.pairs))
        object.__setattr__(self, "definitions", dict(self.definitions))
        if not self.keypoints:
            raise DataError("A skeleton needs at least one key point.")
        doubled = sorted(name for name, count in Counter(self.keypoints).items() if count > 1)
        if doubled:
            raise DataError(f"Key points must have different names; {', '.join(doubled)} stands more than once.")
        for kind, names in (
            ("edge", [name for edge in self.edges for name in edge]),
            ("left/right pair", [name for pair in self.pairs for name in pair]),
            ("definition", list(self.definitions)),
        ):
            unknown = sorted(set(names) - set(self.keypoints))
            if unknown:
                raise DataError(
                    f"A skeleton's {kind} names {', '.join(unknown)}, which is not among the key points "
                    f"({', '.join(self.keypoints)})."
                )
        sides = [name for pair in self.pairs for name in pair]
        if len(set(sides)) != len(sides):
            raise DataError(f"A key point stands in two left/right pairs: {self.pairs}.")

    def __len__(self) -> int:
        return len(self.keypoints)

    def index(self, name: str) -> int:
        """Place of a key point on the `keypoint` axis.

        Raises:
            DataError: no such key point.
        """
        if name not in self.keypoints:
            raise DataError(f"There is no key point {name!r}; the skeleton has {', '.join(self.keypoints)}.")
        return self.keypoints.index(name)

    @property
    def edge_indices(self) -> npt.NDArray[np.int64]:
        """Edges as places on the `keypoint` axis, (edge, 2)."""
        return np.array([[self.index(a), self.index(b)] for a, b in self.edges], dtype=np.int64).reshape(-1, 2)

    @property
    def swap(self) -> npt.NDArray[np.int64]:
        """Permutation (keypoint,) for mirrored pictures: in `mirrored_points[swap]` left and right are true again."""
        order = np.arange(len(self.keypoints))
        for left, right in self.pairs:
            i, j = self.index(left), self.index(right)
            order[i], order[j] = j, i
        return order


def guess_pairs(keypoints: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(left, right) pairs that the names suggest: `leftear`/`rightear`, `paw_L`/`paw_R`, `HindLeft`/`HindRight`."""
    names = list(keypoints)
    pairs: list[tuple[str, str]] = []
    for name in names:
        for pattern, other in _SIDES:
            candidates = {
                name[: found.start()] + other[found.group()] + name[found.end() :]
                for found in pattern.finditer(name)
                if found.group() in other
            }
            partner = next((candidate for candidate in sorted(candidates) if candidate in names), None)
            if partner is not None:
                pairs.append((name, partner))
                break
    return tuple(pairs)
