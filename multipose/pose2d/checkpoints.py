"""Checkpoints of a training under way: one file that appears whole or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from multipose.errors import ModelError
from multipose.files import SCHEMA_VERSION, atomic_path

CHECKPOINT_FILE = "checkpoint.pt"


def save_checkpoint(path: Path, identity: str, state: dict[str, Any]) -> None:
    """Write a checkpoint of the training that `identity` (a hash of labels and settings) names."""
    with atomic_path(path) as temporary:
        torch.save({"schema_version": SCHEMA_VERSION, "identity": identity, "state": state}, temporary)


def load_checkpoint(path: Path, identity: str) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote.

    Raises:
        ModelError: the file is damaged, of another version, or of a training with other labels or settings.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, owner, state = content["schema_version"], content["identity"], content["state"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"The checkpoint {path} is damaged ({error}). Delete it and train from the beginning."
        ) from error
    if version != SCHEMA_VERSION:
        raise ModelError(
            f"The checkpoint {path} is of another version ({version}). Delete it and train from the beginning."
        )
    if owner != identity:
        raise ModelError(
            f"The checkpoint {path} belongs to a training with other labels, pictures or settings. "
            "Train from the beginning (without resuming)."
        )
    return dict(state)
