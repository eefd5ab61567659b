"""multipose.toml: what is read, and how a slip in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipose.board import AprilGrid, CharucoBoard, board_from_dict
from multipose.config import BoardConfig, ViewConfig, load_config, parse_config, template
from multipose.errors import ConfigError
from multipose.skeleton import Skeleton

SKELETON = Skeleton(("nose", "left_ear", "tail tip"), edges=(("nose", "tail tip"),), definitions={"nose": 'its "tip"'})
BOARD = BoardConfig("charuco", 8, 11, 24.0, "mm", 18.75, "4X4_1000")
TEXT = template("mice", ["back", "top"], SKELETON, BOARD)


def test_template_reads_back() -> None:
    config = parse_config(TEXT)
    assert config.name == "mice"
    assert config.views == ("back", "top")
    assert config.skeleton.keypoints == SKELETON.keypoints
    assert config.skeleton.edges == SKELETON.edges
    assert config.skeleton.definitions["nose"] == 'its "tip"'
    assert config.board == BOARD
    assert config.view_settings("top") == ViewConfig()


def test_template_comments_are_the_defaults() -> None:
    """Every commented setting of a section, uncommented, gives the same configuration."""
    lines = []
    for line in TEXT.splitlines():
        name = line.removeprefix("# ").split(" = ")[0]
        is_setting = line.startswith("# ") and " = " in line and name.isidentifier()
        lines.append(line.removeprefix("# ") if is_setting and name not in ViewConfig.__dataclass_fields__ else line)
    assert "\nminutes = 10.0" in "\n".join(lines)
    assert parse_config("\n".join(lines)) == parse_config(TEXT)


def test_template_without_a_board() -> None:
    assert parse_config(template("x", ["a"], SKELETON)).board is None


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_any_key_point_name_survives(name: str) -> None:
    skeleton = Skeleton((name,), definitions={name: name})
    assert parse_config(template(name, ["a"], skeleton)).skeleton == skeleton


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("views =", "viws =", ["line 8", "unknown key 'viws'", "Did you mean 'views'?"]),
        ("rows = 11", "row = 11", ["[board]", "unknown key 'row'", "Did you mean 'rows'?"]),
        ("rows = 11", 'rows = "11"', ["[board]", "whole number", '"11"']),
        ("rows = 11", "rows = 11.0", ["[board]", "whole number"]),
        ("square = 24.0", "square = true", ["[board]", "a number", "true"]),
        ("marker = 18.75", "", ["[board]", "ChArUco", "marker"]),
        ('"charuco"', '"checkers"', ["[board]", '"chessboard", "charuco", "aprilgrid"', '"checkers"']),
        ("[training]", "[trainin]", ["[trainin]", "Did you mean 'training'?"]),
        ("[training]", "[training]\nminutes = -1", ["[training]", "above 0"]),
        ("[training]", "[view.side]\nflip = true\n[training]", ["view 'side'", "back, top"]),
        ("[training]", "[view.top]\ncrop = [1, 2]\n[training]", ["[view.top]", "lists of 4"]),
        ("[training]", "[view.top]\nquarter_turns = 5\n[training]", ["[view.top]", "0, 1, 2 or 3"]),
        ('["nose", "tail tip"]', '["nose", "tail"]', ["[skeleton]", "tail", "key points"]),
        ('["back", "top"]', '["back", "back"]', ["back stands more than once"]),
        ('["back", "top"]', '["calibration"]', ["recordings.csv"]),
        ('["back", "top"]', '["a/b"]', ["'a/b'", "file's name"]),
        ("schema_version = 1", "schema_version = 99", ["newer"]),
        ("[training]", "[training", ["not valid TOML", "line"]),
    ],
)
def test_a_slip_is_told(old: str, new: str, expected: list[str]) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as error:
        parse_config(TEXT.replace(old, new, 1))
    for part in expected:
        assert part in str(error.value)


def test_grids_of_tags_are_read_and_have_keys_of_their_own() -> None:
    grid = BoardConfig("aprilgrid", 6, 5, 88.0, "mm", spacing=26.4, first=30)
    text = template("mice", ["back"], SKELETON, grid)
    assert "columns and rows count tags" in text
    assert parse_config(text).board == grid
    assert board_from_dict(grid.to_dict()) == AprilGrid(6, 5, 88.0, 26.4, first=30)
    with pytest.raises(ConfigError, match="an AprilTag grid also needs spacing"):
        parse_config(text.replace("spacing = 26.4", ""))
    with pytest.raises(ConfigError, match=r'a chessboard has no spacing and no first; .* say type = "aprilgrid"'):
        parse_config(text.replace('"aprilgrid"', '"chessboard"'))


def test_two_sided_boards_are_read() -> None:
    board = BoardConfig("charuco", 8, 11, 24.0, "mm", marker=18.75, dictionary="4X4_1000", thickness=5.0)
    text = template("mice", ["back"], SKELETON, board)
    assert "thickness = 5.0" in text
    assert parse_config(text).board == board
    assert board_from_dict(board.to_dict()) == CharucoBoard(8, 11, 24.0, 18.75, thickness=5.0)
    assert "thickness" in template("mice", ["back"], SKELETON)
    with pytest.raises(ConfigError, match=r"a chessboard has no .*thickness"):
        parse_config(text.replace('"charuco"', '"chessboard"'))


def test_missing_key_and_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'skeleton' is missing"):
        parse_config('name = "x"\nviews = ["a"]')
    with pytest.raises(ConfigError, match="multipose init"):
        load_config(tmp_path / "multipose.toml")


def test_line_of_a_slip_in_a_later_section() -> None:
    text = TEXT + '\n[calibration.sessions.monday]\nback = "a.avi"\nside = "b.avi"\n'
    with pytest.raises(ConfigError, match=r"calibration.sessions.monday\]: there is no view 'side'"):
        parse_config(text)
    text = TEXT + "\n[calibration.sessions.monday]\nback = 3\n"
    line = text[: text.index("back = 3")].count("\n") + 1
    with pytest.raises(ConfigError, match=rf"line {line}, in \[calibration.sessions.monday\]: back must be a text"):
        parse_config(text)


@pytest.mark.parametrize("leader", ["side", "mirror"])
def test_the_same_camera_is_another_view_that_stands_for_itself(leader: str) -> None:
    text = """
name = "mice"
views = ["direct", "mirror", "side"]
[skeleton]
keypoints = ["nose"]
[view.mirror]
same_camera_as = "LEADER"
[view.side]
same_camera_as = "direct"
"""
    with pytest.raises(ConfigError, match="must be another view"):
        parse_config(text.replace("LEADER", leader))
    assert parse_config(text.replace("LEADER", "direct")).view_settings("mirror").same_camera_as == "direct"


def test_settings_of_a_view_in_one_session() -> None:
    text = """
name = "mice"
views = ["top"]
[skeleton]
keypoints = ["nose"]
[view.top]
flip = true
[calibration.views.closeup.top]
scale = 0.5
"""
    config = parse_config(text)
    assert config.view_settings("top").flip
    assert config.view_settings("top", "closeup").scale == 0.5
    assert not config.view_settings("top", "closeup").flip
    with pytest.raises(ConfigError, match="no view 'tip'"):
        parse_config(text.replace("closeup.top", "closeup.tip"))


def sharing(value: str) -> str:
    return f"""
name = "mice"
views = ["direct", "mirror", "side"]
[skeleton]
keypoints = ["nose"]
[training]
shared = {value}
"""


def test_views_that_share_a_network() -> None:
    assert parse_config(sharing("true")).training.shared is True
    assert parse_config(sharing("true")).training.shared_groups == ()
    assert parse_config(sharing('[["direct", "mirror"]]')).training.shared_groups == (("direct", "mirror"),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "lists no group"),
        ('[["direct"]]', "two or more different views"),
        ('[["direct", "direct"]]', "two or more different views"),
        ('[["direct", "mirror"], ["mirror", "side"]]', "one group at most"),
        ('[["direct", "miror"]]', "shared in .training.: there is no view 'miror'. Did you mean 'mirror'"),
        ('["direct", "mirror"]', "line 7.* must be a list"),
        ("3", "line 7, in .training.: shared must be true or false"),
    ],
)
def test_groups_of_views_that_cannot_be(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(sharing(value))


def test_offsets_of_board_recordings() -> None:
    text = """
    name = "mice"
    views = ["left", "right"]
    [skeleton]
    keypoints = ["nose"]
    [calibration.offsets.day1]
    left = 12
    right = -3
    """
    assert parse_config(text).calibration.offsets == {"day1": {"left": 12, "right": -3}}
    with pytest.raises(ConfigError, match=r"\[calibration\.offsets\.day1\]: there is no view 'lefd'.*'left'"):
        parse_config(text.replace("left = 12", "lefd = 12"))
    with pytest.raises(ConfigError, match="whole number"):
        parse_config(text.replace("left = 12", "left = 1.5"))
