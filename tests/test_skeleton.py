from __future__ import annotations

import pytest

from multipose.errors import DataError
from multipose.skeleton import Skeleton, guess_pairs


def test_swap_exchanges_left_and_right() -> None:
    skeleton = Skeleton(("nose", "ear_left", "ear_right", "tail"), pairs=(("ear_left", "ear_right"),))
    assert skeleton.swap.tolist() == [0, 2, 1, 3]
    assert skeleton.swap[skeleton.swap].tolist() == [0, 1, 2, 3]


def test_edges_are_places_on_the_axis() -> None:
    assert Skeleton(("a", "b", "c"), edges=(("c", "a"),)).edge_indices.tolist() == [[2, 0]]
    assert Skeleton(("a",)).edge_indices.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keypoints": ()}, "at least one"),
        ({"keypoints": ("a", "b", "a")}, "a stands more than once"),
        ({"keypoints": ("a",), "edges": (("a", "z"),)}, "edge names z"),
        ({"keypoints": ("a", "b"), "pairs": (("a", "z"),)}, "pair names z"),
        ({"keypoints": ("a", "b", "c"), "pairs": (("a", "b"), ("a", "c"))}, "two left/right pairs"),
        ({"keypoints": ("a",), "definitions": {"z": "there"}}, "definition names z"),
    ],
)
def test_a_broken_skeleton_cannot_exist(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Skeleton(**arguments)  # type: ignore[arg-type]


def test_an_unknown_key_point_is_named() -> None:
    with pytest.raises(DataError, match="no key point 'nase'; the skeleton has nose"):
        Skeleton(("nose",)).index("nase")


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["snout", "leftear", "rightear", "tailbase"], [("leftear", "rightear")]),
        (["Ear_left", "Ear_right", "Left", "Right"], [("Ear_left", "Ear_right"), ("Left", "Right")]),
        (["paw_L", "paw_R", "tail"], [("paw_L", "paw_R")]),
        (["HindLeft", "HindRight", "ForeLeft"], [("HindLeft", "HindRight")]),
        (["elbowL", "elbowR"], [("elbowL", "elbowR")]),
        (["tail", "left", "nail"], []),
        (["paw1LH", "paw1RH"], [("paw1LH", "paw1RH")]),
    ],
)
def test_pairs_are_guessed_from_names(names: list[str], pairs: list[tuple[str, str]]) -> None:
    assert list(guess_pairs(names)) == pairs
