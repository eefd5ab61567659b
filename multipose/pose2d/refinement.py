"""Going on with a trained network: what it keeps, what it learns anew, and which pictures are held out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch

from multipose.errors import ModelError
from multipose.pose2d.batches import Time, check_labelled, split_held_out
from multipose.pose2d.dataset import PoseDataset, join_datasets
from multipose.pose2d.model import PoseModel
from multipose.pose2d.network import PoseNetwork
from multipose.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Material:
    """What a training learns from, and what it is judged by.

    Attributes:
        fitted: pictures to learn from, the added ones last.
        n_added: how many of them are added ones.
        held_out: of the old pictures, and if there are any of the added ones.
    """

    fitted: PoseDataset
    n_added: int
    held_out: tuple[PoseDataset, ...]


def choose_material(
    dataset: PoseDataset,
    added: PoseDataset | None,
    share: float,
    seed: int,
    start: PoseModel | None,
    times: Collection[Time] = (),
) -> Material:
    """Hold out a share of the times, of old and added pictures each; those given, where some are.

    What `start` had held out stays held out, for it shows what is forgotten.

    Raises:
        DataError: too few pictures have positions, nothing is labelled of some key point, or a picture is old and
            added at once.
    """
    check_labelled(dataset if added is None else join_datasets([dataset, added]))
    before = start.training.get("held_out_names", ()) if start is not None else ()
    fitted, held_out = split_held_out(dataset, share, seed, before, times)
    if added is None:
        return Material(fitted, 0, (held_out,))
    new_fitted, new_held_out = split_held_out(added, share, seed, before, times)
    return Material(join_datasets([fitted, new_fitted]), len(new_fitted), (held_out, new_held_out))


def begin_with(network: PoseNetwork, start: PoseModel, backbone: str, skeleton: Skeleton) -> str:
    """Give a new network the weights of a trained one; maps of key points that this did not find stay new.

    Returns:
        Which key points are new, and which are dropped; empty where they are the same.

    Raises:
        ModelError: it has another backbone.
    """
    if start.backbone != backbone:
        raise ModelError(
            f"The network to begin with has the backbone {start.backbone}, but {backbone} is asked for. Ask for "
            f"{start.backbone} (backbone under [training] in multipose.toml), or train from the beginning."
        )
    weights = start.network.state_dict()
    ours = network.state_dict()
    known = {name: place for place, name in enumerate(start.skeleton.keypoints)}
    kept = [(place, known[name]) for place, name in enumerate(skeleton.keypoints) if name in known]
    here, there = (torch.tensor(places, dtype=torch.long) for places in (zip(*kept, strict=True) if kept else ([], [])))
    for name in ("output.weight", "output.bias"):
        ours[name][here] = weights.pop(name)[there]
    network.load_state_dict({**ours, **weights})
    said = {
        "learned anew": [name for name in skeleton.keypoints if name not in known],
        "dropped": [name for name in known if name not in skeleton.keypoints],
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in said.items() if names)
