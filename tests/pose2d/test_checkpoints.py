"""Checkpoints carry a hash: nothing that was changed is resumed from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from multipose.errors import ModelError
from multipose.pose2d.checkpoints import load_checkpoint, save_checkpoint

STATE = {"network": {"a": torch.arange(3.0)}, "step": 7}


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", "me", STATE)
    state = load_checkpoint(tmp_path / "c.pt", "me", STATE)
    assert state["step"] == 7
    assert state["network"]["a"].tolist() == [0, 1, 2]
    with pytest.raises(ModelError, match="other labels, pictures or settings"):
        load_checkpoint(tmp_path / "c.pt", "another")


def test_any_flipped_bit_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, "me", STATE)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    for place in random.integers(0, len(whole), 50):
        data = whole.copy()
        data[place] ^= 1 << random.integers(8)
        path.write_bytes(data.tobytes())
        with pytest.raises(ModelError, match=rf"{path} is damaged"):
            load_checkpoint(path, "me")


@pytest.mark.parametrize("state", [{}, [], [1, 2], 3, None])
def test_states_of_something_else_are_told(tmp_path: Path, state: object) -> None:
    torch.save({"schema_version": 1, "identity": "me", "state": state}, tmp_path / "c.pt")  # without a hash
    with pytest.raises(ModelError, match=r"c\.pt is damaged"):
        load_checkpoint(tmp_path / "c.pt", "me", STATE)
    save_checkpoint(tmp_path / "c.pt", "me", state)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"c\.pt is damaged"):
        load_checkpoint(tmp_path / "c.pt", "me", STATE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.pt")
    with pytest.raises(ModelError, match="no regular file"):
        load_checkpoint(tmp_path / "c.pt", "me")
