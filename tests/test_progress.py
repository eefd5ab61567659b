from __future__ import annotations

import pytest

from multipose.progress import SILENT, Progress, RichProgress


@pytest.mark.parametrize("progress", [SILENT, RichProgress()])
def test_standard_output_stays_free(progress: Progress, capfd: pytest.CaptureFixture[str]) -> None:
    with progress.task("count [to] three", total=3) as task:
        for i in range(3):
            task.advance(note=f"[at] {i}")
    progress.note("done [all]")
    out, err = capfd.readouterr()
    assert out == ""
    assert ("done [all]" in err) == (progress is not SILENT)
    assert ("count [to] three" in err) == (progress is not SILENT)


def test_a_log_gets_a_line_now_and_then(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("multipose.progress.time.monotonic", lambda: now[0])
    progress = RichProgress()
    with progress.task("train top", total=200) as task, progress.task("read") as other:
        for _ in range(200):
            now[0] += 0.125
            task.advance(note="loss 2")
            other.advance()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 4  # at 10 and 20 s, and at the end of each task
    assert lines[0] == "train top 80/200, 0:00:15 left  loss 2"
    assert lines[1] == "train top 160/200, 0:00:05 left  loss 2"
    assert lines[2] == "read 200, took 0:00:25"
    assert lines[3] == "train top 200/200  loss 2, took 0:00:25"


def test_bars_of_several_tasks_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Only one display can be on the screen; tasks begin and end in any order."""
    progress = RichProgress()
    with progress.task("first", total=2) as first:
        second = progress.task("second", total=2).__enter__()
        first.advance(2)
    second.advance(1)
    second.__exit__(None, None, None)
    with progress.task("third", total=1) as third:
        third.advance()
    _, err = capfd.readouterr()
    assert all(word in err for word in ("first", "second", "third", "1/2", "2/2"))
