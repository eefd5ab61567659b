from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from multipose.errors import InstallationError, ModelError
from multipose.opencv import cv2
from multipose.pose2d.backbones import Backbone, EfficientNetLite0, create_backbone, pretrained_state

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="the extra [timm] is not installed")


class BackboneContract:
    """What every backbone must keep; a new one inherits these tests."""

    name: ClassVar[str]

    @pytest.fixture
    def backbone(self) -> Backbone:
        return create_backbone(self.name, pretrained=False).eval()

    @pytest.mark.parametrize("size", [(32, 32), (64, 96)])
    def test_levels_have_the_stated_channels_and_strides(self, backbone: Backbone, size: tuple[int, int]) -> None:
        with torch.inference_mode():
            levels = backbone(torch.zeros(2, 3, *size))
        expected = [
            (2, channels, size[0] // stride, size[1] // stride)
            for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
        ]
        assert [tuple(level.shape) for level in levels] == expected

    def test_strides_ascend_and_contain_4_to_16(self, backbone: Backbone) -> None:
        assert list(backbone.strides) == sorted(set(backbone.strides))
        assert {4, 8, 16} <= set(backbone.strides)

    def test_input_normalisation_is_stated(self, backbone: Backbone) -> None:
        assert len(backbone.mean) == len(backbone.std) == 3
        assert all(0 < value < 1 for value in (*backbone.mean, *backbone.std))

    def test_the_same_picture_gives_the_same_whatever_else_is_in_the_batch(self, backbone: Backbone) -> None:
        torch.manual_seed(0)
        pictures = torch.randn(3, 3, 64, 64)
        backbone.train()
        with torch.inference_mode():
            together, alone = backbone(pictures), backbone(pictures[1:2])
        backbone.eval()
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[1:2], b, rtol=1e-3, atol=1e-4)

    def test_freezing_splits_the_parameters_by_level(self) -> None:
        backbone = create_backbone(self.name, pretrained=False)
        by_level = [{id(p) for p in backbone.level_parameters(level)} for level in range(len(backbone.strides))]
        backbone.freeze(2)
        frozen = {id(p) for p in backbone.parameters() if not p.requires_grad}
        assert frozen == by_level[0] | by_level[1]
        assert frozen
        assert {id(p) for p in backbone.parameters()} == set().union(*by_level)
        levels = backbone(torch.randn(1, 3, 64, 64))
        assert not levels[1].requires_grad
        assert levels[2].requires_grad


class TestEfficientNetLite0(BackboneContract):
    name = "efficientnet_lite0"


@needs_timm
class TestTimmResNet(BackboneContract):
    name = "timm:resnet10t"


@needs_timm
class TestTimmEfficientNet(BackboneContract):
    name = "timm:tf_efficientnet_lite0"


def test_outputs_equal_those_of_timm_with_the_same_weights() -> None:
    reference = np.load(Path(__file__).with_name("backbone_reference.npz"))
    network = EfficientNetLite0(classes=1000).eval()
    network.load_state_dict(pretrained_state(classes=True))
    pictures = torch.from_numpy(reference["pictures"])
    with torch.inference_mode():
        levels, scores = network(pictures), network.classify(pictures)
    np.testing.assert_allclose(scores, reference["scores"], atol=2e-4)
    for number, level in enumerate(levels):
        expected = reference[f"level_{number}"]
        np.testing.assert_allclose(level[:, ::3, ::2, ::2], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("photograph", "classes"), [("cat", range(281, 286)), ("coffee", (967, 968))])
def test_a_photograph_is_recognised(photograph: str, classes: range | tuple[int, ...]) -> None:
    from skimage import data

    network = EfficientNetLite0(classes=1000).eval()
    network.load_state_dict(pretrained_state(classes=True))
    picture = getattr(data, photograph)()
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    small = cv2.resize(picture[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
    normalised = (torch.from_numpy(small) / 255 - torch.tensor(network.mean)) / torch.tensor(network.std)
    with torch.inference_mode():
        probabilities = network.classify(normalised.permute(2, 0, 1)[None]).softmax(1)[0]
    assert int(probabilities.argmax()) in classes
    assert float(probabilities[list(classes)].sum()) > 0.7


def test_pretrained_backbone_starts_from_the_packaged_weights() -> None:
    state = create_backbone("efficientnet_lite0").state_dict()
    for name, tensor in pretrained_state(classes=False).items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)


def test_unknown_backbone_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'resnet_900'.*efficientnet_lite0.*timm:NAME"):
        create_backbone("resnet_900")


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_missing_timm_is_told_with_the_command_that_installs_it() -> None:
    with pytest.raises(InstallationError, match=r"pip install 'multipose\[timm\]'"):
        create_backbone("timm:resnet18")


@needs_timm
def test_network_that_timm_does_not_have() -> None:
    with pytest.raises(ModelError, match="no network 'no_such_thing'"):
        create_backbone("timm:no_such_thing", pretrained=False)


@needs_timm
def test_timm_network_without_a_pyramid() -> None:
    with pytest.raises(ModelError, match="strides"):
        create_backbone("timm:vit_tiny_patch16_224", pretrained=False)


@needs_timm
def test_ours_states_the_same_as_timm() -> None:
    """The packaged weights through timm's live network, level by level (the stored reference is of one version)."""
    ours, theirs = (
        create_backbone("efficientnet_lite0"),
        create_backbone("timm:tf_efficientnet_lite0", pretrained=False),
    )
    assert ours.channels == theirs.channels
    assert ours.strides == theirs.strides
    assert ours.mean == theirs.mean
