"""The corners of a calibration board that cameras saw."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multipose.board import Board, board_from_dict
from multipose.documents import read_arrays, write_arrays
from multipose.errors import DataError, FormatError
from multipose.excerpt import Excerpt, excerpt_from_dict
from multipose.files import SCHEMA_VERSION, check_schema
from multipose.picture_sizes import MOST_PX

FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Corners:
    """Board corners that the views saw at common instants.

    board: the board.
    views: names of the views, in the order of axis 0 of `px`.
    sizes: picture size (width, height) of each view.
    frames: (frame,) numbers of the instants; the same number means the same instant in all views.
    px: (view, frame, corner, 2) pixels of the views, in the order of `board.corners`; NaN = not seen.
    reasons: (view, frame) of str, why a frame gave no corners ("" where it gave some, and where nothing is known).
    diagnoses: for a view without any board, or with few because it shows another one, what would work.
    excerpts: which part of a camera's picture each view shows; views that are left out show the whole of their own.
    """

    board: Board
    views: tuple[str, ...]
    sizes: dict[str, tuple[int, int]]
    frames: NDArray[np.int64]
    px: FloatArray
    reasons: NDArray[np.object_]
    diagnoses: dict[str, str] = field(default_factory=dict)
    excerpts: dict[str, Excerpt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.views)) != len(self.views) or not self.views:
            raise DataError(f"Corners need at least one view, and names that differ, got {self.views}.")
        expected = (len(self.views), len(self.frames), self.board.n_corners, 2)
        if self.px.shape != expected:
            raise DataError(f"Corners px (view, frame, corner, 2) should have shape {expected}, got {self.px.shape}.")
        if self.reasons.shape != expected[:2]:
            raise DataError(f"Reasons (view, frame) should have shape {expected[:2]}, got {self.reasons.shape}.")
        if set(self.sizes) != set(self.views):
            raise DataError(f"Sizes are given for the views {sorted(self.sizes)}, expected {sorted(self.views)}.")
        if np.isinf(self.px).any():
            raise DataError("Corners px holds infinite values; corners that are not seen are NaN.")
        if len(np.unique(self.frames)) != len(self.frames):
            raise DataError("A frame number occurs twice among the instants of the corners.")
        whole = {name: Excerpt(name, size, (0, 0, *size)) for name, size in self.sizes.items()}
        object.__setattr__(self, "excerpts", whole | self.excerpts)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(view, frame, corner): both coordinates are known."""
        return np.asarray(np.isfinite(self.px).all(axis=-1))

    def counts(self) -> NDArray[np.int64]:
        """(view, frame) number of corners seen."""
        return np.asarray(self.seen.sum(axis=-1), dtype=np.int64)

    def select(
        self, views: tuple[str, ...] | list[str] | None = None, frames: NDArray[Any] | list[int] | None = None
    ) -> Corners:
        """The corners of some views (in the order given) and some instants (numbers as in `frames`).

        Raises DataError for a view or instant that is not there.
        """
        names = self.views if views is None else tuple(views)
        numbers = self.frames if frames is None else np.asarray(frames, dtype=np.int64)
        unknown = [name for name in names if name not in self.views]
        if unknown:
            raise DataError(f"No view {', '.join(unknown)} among the corners; there are {', '.join(self.views)}.")
        place = {int(number): i for i, number in enumerate(self.frames)}
        absent = [int(number) for number in numbers if int(number) not in place]
        if absent:
            raise DataError(
                f"No instant {absent[0]} among the corners ({len(absent)} such of {len(numbers)} asked for)."
            )
        v = np.array([self.views.index(name) for name in names], dtype=int)
        f = np.array([place[int(number)] for number in numbers], dtype=int)
        return Corners(
            board=self.board, views=names, sizes={name: self.sizes[name] for name in names}, frames=self.frames[f],
            px=self.px[np.ix_(v, f)], reasons=self.reasons[np.ix_(v, f)],
            diagnoses={name: text for name, text in self.diagnoses.items() if name in names},
            excerpts={name: self.excerpts[name] for name in names},
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the corners to an .npz file (atomically)."""
        write_arrays(
            path,
            schema_version=SCHEMA_VERSION,
            board=json.dumps(self.board.to_dict()),
            views=np.array(self.views),
            sizes=np.array([self.sizes[name] for name in self.views]),
            frames=self.frames,
            px=self.px,
            reasons=self.reasons.astype(str),
            diagnoses=json.dumps(self.diagnoses),
            excerpts=json.dumps({name: excerpt.to_dict() for name, excerpt in self.excerpts.items()}),
        )

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Corners:
        """Read what `save` wrote. Raises FormatError for another kind of file."""
        needed = {"schema_version", "board", "diagnoses", "views", "sizes", "frames", "px", "reasons"}
        values = read_arrays(path, "file of board corners", "Detect the board again.")
        if not needed <= set(values):
            raise FormatError(
                f"{path}: not a file of board corners, it lacks {', '.join(sorted(needed - set(values)))}"
            )
        try:
            check_schema(values["schema_version"].item(), path)
            views = tuple(str(name) for name in values["views"])
            if (np.abs(values["px"]) > MOST_PX).any() or (values["sizes"] < 1).any():
                raise ValueError("pixels are far outside any picture, or a picture has no size")
            excerpts = json.loads(str(values["excerpts"])) if "excerpts" in values else {}
            return Corners(
                board=board_from_dict(json.loads(str(values["board"]))),
                views=views,
                sizes={name: (int(w), int(h)) for name, (w, h) in zip(views, values["sizes"], strict=True)},
                frames=values["frames"].astype(np.int64),
                px=values["px"].astype(np.float64),
                reasons=values["reasons"].astype(object),
                diagnoses=dict(json.loads(str(values["diagnoses"]))),
                excerpts={name: excerpt_from_dict(item) for name, item in excerpts.items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, DataError) as error:
            raise FormatError(
                f"{path}: not a file of board corners ({type(error).__name__}: {error}). Detect the board again."
            ) from error


def fuller_side(seen: NDArray[np.bool_], board: Board) -> NDArray[np.bool_]:
    """The corners seen (..., corner) without those of a board's other side: a picture shows one side alone, the one of
    which more corners are seen.
    """
    by_side = seen.reshape(*seen.shape[:-1], board.sides, -1)
    fuller = by_side.sum(-1).argmax(-1)
    kept = by_side & (np.arange(board.sides) == fuller[..., None])[..., None]
    return np.asarray(kept.reshape(seen.shape))
