from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from multipose.pose2d.rounding import round_weights


class _Network(nn.Module):
    """Edge filters on bright pictures: an ordinary convolution, one in two groups, a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3)
        self.grouped = nn.Conv2d(8, 6, 3, groups=2)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        for module in (self.first, self.grouped, self.depthwise):
            module.weight.data -= module.weight.data.mean((1, 2, 3), keepdim=True)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        features = self.first(pictures.permute(0, 3, 1, 2).float())
        out: torch.Tensor = self.depthwise(torch.relu(self.grouped(torch.relu(features) + 20)) + 20)
        return out


@torch.no_grad()
def test_means_stay_where_they_were() -> None:
    network = _Network()
    random = np.random.default_rng(1)
    pictures = [random.integers(150, 255, (1, 40, 40, 3), dtype=np.uint8) for _ in range(3)]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def means(which: nn.Module) -> torch.Tensor:
        return torch.stack([which(torch.from_numpy(one)).mean((0, 2, 3)) for one in pictures]).mean(0)

    plain, corrected = round_weights(network, ()), round_weights(network, pictures)
    exact = means(network)
    assert (means(corrected) - exact).abs().max() < 0.1 * (means(plain) - exact).abs().max()
    for name, tensor in corrected.state_dict().items():
        if name.endswith("weight"):
            assert torch.equal(tensor, tensor.bfloat16().float())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_network_that_fails_keeps_no_hooks() -> None:
    network = _Network()
    with pytest.raises(RuntimeError):
        round_weights(network, [np.zeros((1, 2, 2, 3), np.uint8)])
    assert not network.first._forward_pre_hooks
