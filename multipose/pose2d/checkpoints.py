"""Checkpoints of a training under way, one file that appears whole or not at all; and Ctrl-C that leaves one."""

from __future__ import annotations

import hashlib
import io
import pickle
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from multipose.errors import FormatError, ModelError
from multipose.files import SCHEMA_VERSION, atomic_path, check_file

CHECKPOINT_FILE = "checkpoint.pt"
_HEAD = b"multipose checkpoint "
_HASH_LENGTH = 65  # of SHA-256 in hex, and the end of the line


@contextmanager
def noting_interrupts() -> Iterator[Callable[[], bool]]:
    """While the block runs, a first Ctrl-C is only noted, so that the step under way can be finished and saved.

    Gives what tells whether one came; the block must then end by itself. A second one acts at once. None is noted in
    threads other than the main one, which signals do not reach, and where Ctrl-C is ignored (in a shell's background).
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False
        return
    noted = False

    def note(_number: int, _frame: object) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)


def save_checkpoint(path: Path, identity: str, state: dict[str, Any]) -> None:
    """Write a checkpoint of the training that `identity` (a hash of labels and settings) names, behind its own hash."""
    content = io.BytesIO()
    torch.save({"schema_version": SCHEMA_VERSION, "identity": identity, "state": state}, content)
    data = content.getbuffer()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_HEAD + hashlib.sha256(data).hexdigest().encode() + b"\n")
        file.write(data)


def load_checkpoint(path: Path, identity: str | None, names: Collection[str] = ()) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, with at least these names; of any training where no identity is given.

    Raises:
        ModelError: the file is damaged, of another version, or of a training with other labels or settings.
    """
    remedy = "Delete it and train from the beginning."
    try:
        check_file(path)
        with path.open("rb") as file:
            head, stated, data = file.read(len(_HEAD)), file.read(_HASH_LENGTH), file.read()
        if head != _HEAD or stated != hashlib.sha256(data).hexdigest().encode() + b"\n":
            raise ValueError("its hash is not that of what was written")
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        version, owner, state = content["schema_version"], content["identity"], content["state"]
        missing = [name for name in names if name not in state]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (
        OSError,
        FormatError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(f"The checkpoint {path} is damaged ({error}). {remedy}") from error
    if version != SCHEMA_VERSION:
        raise ModelError(
            f"The checkpoint {path} is of another version ({version}). Delete it and train from the beginning."
        )
    if identity is not None and owner != identity:
        raise ModelError(
            f"The checkpoint {path} belongs to a training with other labels, pictures or settings. "
            "Train from the beginning (without resuming)."
        )
    return dict(state)
