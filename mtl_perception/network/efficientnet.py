# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 without classifier, dilated to preserve the resolution of its features.

Tan, Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML 2019; the
Lite variant has ReLU6 and neither squeeze-and-excitation nor a scaled stem.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Stage(NamedTuple):
    """Blocks of one shape; only the first block has the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel_size: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
FINE = 3
"""Number of stages up to a stride of 8."""

STEM_CHANNELS = 32


class EfficientNetLite0(nn.Module):
    """Encoder from ``(N, 3, H, W)`` to fine and coarse features.

    The features are ``(N, 40, H / 8, W / 8)`` and ``(N, 320, H / stride, W / stride)``, where the
    stride is 8 or 16.
    """

    fine_channels = STAGES[FINE - 1].channels
    channels = STAGES[-1].channels

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv_stem = PaddedConv2d(3, STEM_CHANNELS, 3, stride=2, original_stride=2)
        self.bn0 = _batch_norm(STEM_CHANNELS)
        blocks: list[nn.Module] = []
        inputs, reached, dilation = STEM_CHANNELS, 2, 1
        for stage in STAGES:
            for i in range(stage.blocks):
                original = stage.stride if i == 0 else 1
                # A stride beyond the output stride is removed: its convolution keeps the dilation
                # of the block before, and every later one is dilated further.
                step = original if reached < stride else 1
                blocks.append(InvertedResidual(inputs, stage, step, original, dilation))
                inputs = stage.channels
                reached *= step
                dilation *= original // step
        self.blocks = nn.Sequential(*blocks)
        self._fine_blocks = sum(stage.blocks for stage in STAGES[:FINE])
        self.apply(_initialize)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        stem = F.relu6(self.bn0(self.conv_stem(x)))
        fine = self.blocks[: self._fine_blocks](stem)
        return fine, self.blocks[self._fine_blocks :](fine)


class InvertedResidual(nn.Module):
    """1×1, depthwise and 1×1 convolutions, with a shortcut if input and output shapes match."""

    def __init__(
        self, inputs: int, stage: Stage, stride: int, original_stride: int, dilation: int
    ) -> None:
        super().__init__()
        width = inputs * stage.expansion
        if stage.expansion > 1:
            self.expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self.bn0 = _batch_norm(width)
        self.depthwise_conv = PaddedConv2d(
            width,
            width,
            stage.kernel_size,
            stride=stride,
            original_stride=original_stride,
            dilation=dilation,
            groups=width,
        )
        self.bn1 = _batch_norm(width)
        self.project_conv = nn.Conv2d(width, stage.channels, 1, bias=False)
        self.bn2 = _batch_norm(stage.channels)
        self._expands = stage.expansion > 1
        self._has_shortcut = original_stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self._expands else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self._has_shortcut else y


class PaddedConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding, which the ImageNet weights expect.

    For an even number of rows and a stride of 2, TensorFlow pads one row less above than below. The
    original stride is the stride in the network without dilation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int,
        original_stride: int,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        before = (kernel_size - original_stride) // 2 * dilation
        after = (kernel_size - 1) * dilation - before
        super().__init__(
            inputs,
            outputs,
            kernel_size,
            stride=stride,
            padding=before if before == after else 0,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self._before_and_after = None if before == after else (before, after) * 2

    def forward(self, x: Tensor) -> Tensor:
        if self.groups > 1 and x.device.type == 'cpu' and torch.is_autocast_enabled('cpu'):
            # In bfloat16 the gradient of depthwise weights takes several times longer.
            with torch.autocast('cpu', enabled=False):
                return self._convolve(x.float())
        return self._convolve(x)

    def _convolve(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self._before_and_after) if self._before_and_after else x)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
