"""Work in several processes: every item once, what they tell, and what they raise."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from multipose.errors import DataError, ModelError
from multipose.pose2d.processes import run_processes, share_out
from multipose.progress import Progress

pytestmark = pytest.mark.slow  # every process imports torch


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find the functions of this file where this one's path says."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def tell(item: str, place: str, *, progress: Progress) -> tuple[str, str, int]:
    progress.note(f"at {place}")
    with progress.task("Work", 10) as task:
        task.advance(10)
    return item, place, os.getpid()


def fail(item: str, place: str, *, progress: Progress) -> None:
    with progress.task("Work", 10):
        raise DataError(f"no data of {item}")


def vanish(*, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_each_item_is_done_once_in_the_process_of_its_place(heard: Any) -> None:
    done = share_out(tell, ["c", "b", "a"], ["one", "two"], progress=heard)
    assert list(done) == ["c", "b", "a"]
    assert [item for item, _, _ in done.values()] == ["c", "b", "a"]
    processes = {place: {process for _, other, process in done.values() if other == place} for place in ("one", "two")}
    assert max(map(len, processes.values())) == 1
    assert os.getpid() not in processes["one"] | processes["two"]
    assert sorted(heard.notes) == sorted(f"{item}: at {place}" for item, place, _ in done.values())
    assert sorted(heard.begun) == ["a: Work", "b: Work", "c: Work"]
    assert (heard.done, heard.under_way) == (30, 0)


def test_an_error_arrives_whole_and_no_task_stays_open(heard: Any) -> None:
    with pytest.raises(DataError, match="no data of a"):
        share_out(fail, ["a"], ["one"], progress=heard)
    assert heard.under_way == 0


def test_a_process_that_is_killed() -> None:
    with pytest.raises(ModelError, match="SIGKILL"):
        run_processes(vanish, [()])
