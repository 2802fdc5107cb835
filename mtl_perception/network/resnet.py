# SPDX-License-Identifier: Apache-2.0
"""ResNets without classifier, dilated to preserve the resolution of their features.

He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016; dilation as in Yu, Koltun,
Funkhouser, *Dilated Residual Networks*, CVPR 2017. Module names are torchvision's, whose ImageNet
weights load unchanged.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, width, stride, dilations[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilations[1])
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with a shortcut; the 3×3 has the stride, as in torchvision."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, dilations[0])
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


ARCHITECTURES: Mapping[str, tuple[type[BasicBlock | Bottleneck], Sequence[int]]] = {
    'resnet18': (BasicBlock, (2, 2, 2, 2)),
    'resnet34': (BasicBlock, (3, 4, 6, 3)),
    'resnet50': (Bottleneck, (3, 4, 6, 3)),
    'resnet101': (Bottleneck, (3, 4, 23, 3)),
}
"""Block type, and number of blocks in each of the four stages."""

DILATIONS = {8: ((1, 1), (2, 1), (1, 2), (1, 4)), 16: ((1, 1), (2, 1), (2, 1), (1, 2))}
"""(stride, dilation) of each of the four stages, by output stride."""


class ResNet(nn.Module):
    """Encoder from ``(N, 3, H, W)`` to fine and coarse features.

    The features are ``(N, fine_channels, H / 8, W / 8)`` and
    ``(N, channels, H / stride, W / stride)``, where the stride is 8 or 16.
    """

    def __init__(self, name: str, stride: int) -> None:
        super().__init__()
        block, depths = ARCHITECTURES[name]
        self.fine_channels = 128 * block.expansion
        self.channels = 512 * block.expansion
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = (64, 128, 256, 512)
        inputs, previous = 64, 1
        for i, (width, depth, (step, dilation)) in enumerate(
            zip(widths, depths, DILATIONS[stride], strict=True), start=1
        ):
            # Where a stride was removed, its convolution keeps the dilation of the stage before;
            # every later one is dilated further.
            blocks = [block(inputs, width, step, (previous, dilation))]
            inputs, previous = width * block.expansion, dilation
            blocks += [block(inputs, width, 1, (dilation, dilation)) for _ in range(depth - 1)]
            self.add_module(f'layer{i}', nn.Sequential(*blocks))
        self.apply(_initialize)

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        fine = self.layer2(self.layer1(x))
        return fine, self.layer4(self.layer3(fine))


def _conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
