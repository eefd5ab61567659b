"""What commands have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from multipose.cli.main import main


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    target = tmp_path / "file" / "project"
    done = CliRunner().invoke(main, ["init", str(target), "--views", "a", "--keypoints", "b"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: Cannot use")
    assert str(tmp_path / "file") in done.stderr
    with pytest.raises(OSError):
        CliRunner().invoke(
            main, ["init", str(target), "--views", "a", "--keypoints", "b", "--debug"], catch_exceptions=False
        )


@pytest.mark.parametrize("text", ["10", "10,10", "10,some"])
def test_a_label_curve_needs_different_numbers(text: str) -> None:
    done = CliRunner().invoke(main, ["evaluate", "--folds", "3", "--label-curve", text])
    assert done.exit_code == 2
    assert "as in 10,20,all" in done.stderr


def test_a_label_curve_needs_folds() -> None:
    done = CliRunner().invoke(main, ["evaluate", "--label-curve", "10,all"])
    assert done.exit_code == 2
    assert "--folds" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--split", "blocks"], "needs --folds"),
        (["--compare", "shared"], "--compare needs --labels"),
        (["--unseen", "--folds", "2"], "--unseen needs --labels"),
        (["--worst", "3"], "--worst needs --labels or --folds"),
        (["--labels", __file__, "--split", "recording"], "not both"),
    ],
)
def test_options_of_evaluate_that_do_not_go_together(options: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["evaluate", *options])
    assert done.exit_code == 2
    assert said in done.stderr


def test_labels_that_do_not_say_their_view_need_it(tmp_path: Path) -> None:
    project, labels = tmp_path / "mice", tmp_path / "CollectedData_me.csv"
    labels.write_text("scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\n", encoding="utf-8")
    CliRunner().invoke(main, ["init", str(project), "--views", "a,b", "--keypoints", "nose"], catch_exceptions=False)
    done = CliRunner().invoke(main, ["evaluate", "--project", str(project), "--labels", str(labels)])
    assert done.exit_code == 2
    assert "one --view" in done.stderr
