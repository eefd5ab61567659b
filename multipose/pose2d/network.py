"""The pose network: a backbone, a light feature pyramid, and one heat map a key point at a quarter of the input's size.

The map of a key point holds logits z. Over the whole picture, softmax(z) is where the point is, given that it is
in the picture; sigmoid(max z) is whether it is there at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from multipose.pose2d.backbones import SameConv, create_backbone

STRIDE = 4
"""Input pixels per cell of a heat map; the centre of cell i lies at (i + 0.5) * STRIDE - 0.5."""

PYRAMID_CHANNELS = 64
_ABSENT_LOGIT = -4.0  # where every map starts: nothing is anywhere


class PoseNetwork(nn.Module):
    """Pictures to heat maps.

    Args:
        backbone: name as for `create_backbone`.
        n_keypoints: number of maps.
        pretrained: begin with ImageNet weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, n_keypoints: int, *, pretrained: bool = True) -> None:
        super().__init__()
        self.backbone = create_backbone(backbone, pretrained=pretrained)
        self.register_buffer("mean", 255.0 * torch.tensor(self.backbone.mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(self.backbone.std)[:, None, None], persistent=False)
        self._levels = [level for level, stride in enumerate(self.backbone.strides) if stride >= STRIDE]
        self.lateral = nn.ModuleList(
            nn.Conv2d(self.backbone.channels[level], PYRAMID_CHANNELS, 1) for level in self._levels
        )
        self.mixing = nn.ModuleList(_mixing() for _ in self._levels)
        self.output = nn.Conv2d(PYRAMID_CHANNELS, n_keypoints, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        if self.output.bias is not None:
            nn.init.constant_(self.output.bias, _ABSENT_LOGIT)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """What the backbone makes of RGB uint8 pictures (n, h, w, 3): one map a level, as `backbone.strides` says."""
        levels: list[Tensor] = self.backbone((pictures.permute(0, 3, 1, 2).float() - self.mean) / self.std)
        return levels

    def forward(self, pictures: Tensor) -> Tensor:
        """RGB uint8 pictures (n, h, w, 3), h and w multiples of 32, to logits (n, keypoint, h / 4, w / 4), float32."""
        features = self.features(pictures)
        pyramid: Tensor | None = None
        for level, lateral, mixing in reversed(list(zip(self._levels, self.lateral, self.mixing, strict=True))):
            finer = lateral(features[level])
            if pyramid is not None:
                finer = finer + functional.interpolate(pyramid, size=finer.shape[-2:], mode="nearest")
            pyramid = finer + mixing(finer)
        logits: Tensor = self.output(pyramid)
        return logits.float()


def _mixing() -> nn.Sequential:
    return nn.Sequential(
        SameConv(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 5, groups=PYRAMID_CHANNELS),
        nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 1),
        nn.ReLU(inplace=True),
    )
