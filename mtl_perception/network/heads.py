# SPDX-License-Identifier: Apache-2.0
"""Modules after the encoder: an optional context module, and one head for each task."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def task_head(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Return a 3×3 and a 1×1 convolution with ReLU and ``width`` channels, then a linear 1×1.

    The last layer is linear because offsets have a sign.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 1),
        nn.ReLU(),
        nn.Conv2d(width, outputs, 1),
    )


class LastFeatures(nn.Module):
    """No context: the encoder's coarse features unchanged, ``(N, inputs, H, W)``."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.channels = inputs

    def forward(self, _fine: Tensor, coarse: Tensor) -> Tensor:
        return coarse


class Pyramid(nn.Module):
    """Two levels of a feature pyramid: coarse features, upsampled, plus fine features.

    Lin et al., *Feature Pyramid Networks for Object Detection*, CVPR 2017. Maps
    ``(N, fine_inputs, H, W)`` and ``(N, inputs, h, w)`` to ``(N, 128, H, W)``.
    """

    channels = 128

    def __init__(self, fine_inputs: int, inputs: int) -> None:
        super().__init__()
        self.fine = _conv(fine_inputs, self.channels, 1)
        self.coarse = _conv(inputs, self.channels, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.fine(fine) + resize(self.coarse(coarse), *fine.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with image-level features.

    Chen et al., *Rethinking Atrous Convolution for Semantic Image Segmentation*, arXiv 1706.05587,
    with 256 channels for each branch. Maps ``(N, inputs, H, W)`` to ``(N, 256, H, W)``. The rates
    are 6, 12, 18 if the encoder's stride is 16, and 12, 24, 36 if it is 8.
    """

    channels = 256

    def __init__(self, inputs: int, stride: int) -> None:
        super().__init__()
        rates = [rate * 16 // stride for rate in (6, 12, 18)]
        self.branches = nn.ModuleList(
            [_conv(inputs, self.channels, 1)]
            + [_conv(inputs, self.channels, 3, dilation=rate) for rate in rates]
        )
        self.pooled = _conv(inputs, self.channels, 1)
        self.project = _conv(5 * self.channels, self.channels, 1)

    def forward(self, _fine: Tensor, coarse: Tensor) -> Tensor:
        image = self.pooled(coarse.mean((2, 3), keepdim=True)).expand(-1, -1, *coarse.shape[2:])
        return self.project(torch.cat([*(branch(coarse) for branch in self.branches), image], 1))


def _conv(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Resize ``(N, C, H, W)`` bilinearly, corners not aligned."""
    return F.interpolate(maps, (height, width), mode='bilinear', align_corners=False)
