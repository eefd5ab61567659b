from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from multipose.pose2d.backbones import SameConv
from multipose.pose2d.depthwise import convolve_depthwise


@pytest.mark.parametrize(("stride", "padding"), [(1, 2), (2, 0), (2, 2), (1, 0)])
@pytest.mark.parametrize("size", [(9, 14), (5, 5), (16, 7)])
def test_gradients_are_those_of_torch(stride: int, padding: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = [torch.randn(2, 6, *size), torch.randn(6, 1, 5, 5), torch.randn(6)]
    found, expected = ([value.double().requires_grad_() for value in values] for _ in range(2))
    ours = convolve_depthwise(*found, stride, padding)
    theirs = functional.conv2d(*expected, stride, padding, groups=6)
    torch.testing.assert_close(ours, theirs)
    change = torch.randn_like(theirs)
    ours.backward(change)
    theirs.backward(change)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_only_what_learns_gets_a_gradient() -> None:
    features, weight = torch.randn(1, 3, 8, 8), torch.randn(3, 1, 5, 5, requires_grad=True)
    convolve_depthwise(features, weight, torch.zeros(3), 1, 2).sum().backward()
    assert weight.grad is not None
    assert features.grad is None


@pytest.mark.parametrize("stride", [1, 2])
def test_learning_and_using_a_convolution_give_the_same(stride: int) -> None:
    convolution = SameConv(4, 4, 5, stride, groups=4)
    features = torch.randn(1, 4, 12, 16)
    learning = convolution(features)
    with torch.inference_mode():
        using = convolution(features)
    assert torch.equal(learning, using)
    assert learning.shape == (1, 4, 12 // stride, 16 // stride)
