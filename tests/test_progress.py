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
