"""What every test may use: the real recordings, the sample project, and small rigs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine must not fail a law, and no run of the tests may fail by chance. Search for new examples with
# `pytest --hypothesis-profile search` after a change of what the laws hold for.
settings.register_profile("multipose", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("multipose")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def recordings() -> Callable[[str], Path]:
    """Folder of a set of real recordings; the test skips where they are absent.

    They are looked for in the folder that the environment variable MULTIPOSE_RECORDINGS names, else in
    ../shared/data beside the checkout.
    """
    base = Path(os.environ.get("MULTIPOSE_RECORDINGS", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        folder = base / name
        if not folder.is_dir():
            pytest.skip(f"the real recordings {name} are not in {base} (set MULTIPOSE_RECORDINGS to their folder)")
        return folder

    return find


class Heard:
    """A progress that remembers what it is told: notes, descriptions of tasks, amounts done, tasks under way."""

    def __init__(self) -> None:
        self.notes, self.begun, self.done, self.under_way = list[str](), list[str](), 0.0, 0

    def task(self, description: str, total: float | None = None) -> Heard:
        self.begun.append(description)
        return self

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        self.done += amount

    def __enter__(self) -> Heard:
        self.under_way += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.under_way -= 1


@pytest.fixture
def heard() -> Heard:
    """A progress that remembers."""
    return Heard()


@pytest.fixture(scope="session")
def sample() -> Path:
    """The sample project in the checkout; tests must not write into it."""
    return ROOT / "sample_data"
