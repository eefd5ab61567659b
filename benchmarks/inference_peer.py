"""The network that DeepLabCut 3 trains by default, in plain torch with random weights: for its speed alone.

ResNet-50 with group normalisation, output stride 16 (its last stage dilated), and two transposed convolutions (3 x 3,
stride 2) from its 2048 channels to heat maps and to location refinements; pictures are analysed whole, 8 at once, in
float32. Taken from DeepLabCut's `pose_estimation_pytorch/config/backbones/resnet_50.yaml` (`resnet50_gn`,
`output_stride: 16`) and `config/base/head_bodyparts.yaml`; of the head's versions the lightest. Decoding of the video
and of the maps is left out, to its favour.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

BATCH_SIZE = 8


def _norm(channels: int, group_norm: bool) -> nn.Module:
    return nn.GroupNorm(32, channels) if group_norm else nn.Identity()


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions around a shortcut."""

    def __init__(self, inputs: int, inner: int, stride: int, dilation: int, group_norm: bool) -> None:
        super().__init__()
        outputs = 4 * inner
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=not group_norm),
            _norm(inner, group_norm),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, stride, dilation, dilation, bias=not group_norm),
            _norm(inner, group_norm),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, outputs, 1, bias=not group_norm),
            _norm(outputs, group_norm),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=not group_norm), _norm(outputs, group_norm))
        )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.body(features) + self.shortcut(features), inplace=True)


class DeepLabCutResNet50(nn.Module):
    """RGB uint8 pictures (n, h, w, 3) to heat maps (n, keypoint, h / 8, w / 8) and location refinements.

    Args:
        n_keypoints: number of maps.
        group_norm: as by default; without, the network has no normalisation at all, as if batch norms were folded.
    """

    def __init__(self, n_keypoints: int, *, group_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, 2, 3, bias=not group_norm),
            _norm(64, group_norm),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        ]
        inputs = 64
        for blocks, inner, stride, dilation in ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 2, 1), (3, 512, 1, 2)):
            for block in range(blocks):
                layers.append(_Bottleneck(inputs, inner, stride if block == 0 else 1, dilation, group_norm))
                inputs = 4 * inner
        self.backbone = nn.Sequential(*layers)
        self.heatmap = nn.ConvTranspose2d(inputs, n_keypoints, 3, 2, 1, 1)
        self.locref = nn.ConvTranspose2d(inputs, 2 * n_keypoints, 3, 2, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone((pictures.permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.225)
        return self.heatmap(features).sigmoid(), self.locref(features)
