"""What commands have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from multipose.cli.main import main
from multipose.cli.options import table, wrap_lines


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


NAMES = ["paw_front_left", "nose"]
HEADER = ["key point", *(f"view {i}: mean error px" for i in range(14))]
FIGURES = [[f"{10 * i + k}.25" for i in range(14)] for k in range(2)]


def test_tables_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [[name, *figures] for name, figures in zip(NAMES, FIGURES, strict=True)]
    narrow = table(rows, HEADER)
    lines = narrow.splitlines()
    assert max(map(len, lines)) <= 80
    for row in rows:
        assert sum(line.startswith(row[0]) for line in lines) == 2  # in both parts
        assert all(narrow.split().count(cell) == 1 for cell in row[1:])
    first, second = narrow.split("\n\n")
    shown = [line.split() for line in (first.splitlines()[-1], second.splitlines()[-1])]
    assert [*shown[0], *shown[1][1:]] == rows[1]

    monkeypatch.setenv("COLUMNS", "500")
    assert all(name in table(rows, HEADER).splitlines()[0] for name in HEADER)
    assert len(table(rows, HEADER).splitlines()) == 4


def test_headers_take_several_lines_before_columns_move_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = table([["left", "1.00", "22.50"]], ["view", "left out of the 3D (%)", "mean error (px)"]).splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[-1].split() == ["left", "1.00", "22.50"]
    assert lines[-3].startswith("view")  # on the last line of the header
    assert table([], ["a", "b"]) == "a  b\n----"


def test_labels_that_do_not_say_their_view_need_it(tmp_path: Path) -> None:
    project, labels = tmp_path / "mice", tmp_path / "CollectedData_me.csv"
    labels.write_text("scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\n", encoding="utf-8")
    CliRunner().invoke(main, ["init", str(project), "--views", "a,b", "--keypoints", "nose"], catch_exceptions=False)
    done = CliRunner().invoke(main, ["evaluate", "--project", str(project), "--labels", str(labels)])
    assert done.exit_code == 2
    assert "one --view" in done.stderr


def test_long_lines_are_broken_between_words_on_terminals() -> None:
    path = "/a/long/path/" + "x" * 90
    text = f"short\n  ! {'word ' * 30}end\n{path}\n\n  a  table   row"
    lines = wrap_lines(text, 80).split("\n")
    assert lines[0] == "short"
    assert lines[1].startswith("  ! word")
    assert all(len(line) <= 80 for line in lines if line != path)
    assert lines[2].startswith("    word")
    assert lines[-3:] == [path, "", "  a  table   row"]
