# SPDX-License-Identifier: Apache-2.0
"""Multi-task network: one encoder and a head for each task, at half the input size.

Kendall, Gal, Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
Semantics*, CVPR 2018.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtl_perception.network.encoder import IMAGENET_MEAN, IMAGENET_STD, make_encoder
from mtl_perception.network.heads import ASPP, LastFeatures, Pyramid, resize, task_head
from mtl_perception.tasks import TASKS, depth, instance, semantic

CONTEXTS = ('none', 'aspp', 'pyramid')
CHANNELS = {'semantic': semantic.CHANNELS, 'instance': instance.CHANNELS, 'depth': depth.CHANNELS}
OUTPUT_STRIDE = 2
"""Input size over output size."""

SIZE_MULTIPLE = 32
"""Common divisor of the widths and heights that the network accepts."""


@dataclass(frozen=True)
class NetworkConfig:
    """Configuration of a network.

    Attributes:
        encoder: resnet18, resnet34, resnet50, resnet101 or efficientnet_lite0.
        stride: Stride of the encoder, 8 or 16.
        head_width: Channels inside the heads.
        context: Module between encoder and heads: ``none``, ``aspp`` as in the paper, or
            ``pyramid``, which adds fine features to coarse ones.
        tasks: Tasks to build a head for.
    """

    encoder: str = 'resnet18'
    stride: int = 8
    head_width: int = 256
    context: str = 'none'
    tasks: Sequence[str] = TASKS

    def __post_init__(self) -> None:
        # JSON and the command line give lists.
        object.__setattr__(self, 'tasks', tuple(self.tasks))
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or len(set(self.tasks)) != len(self.tasks) or not self.tasks:
            msg = f'unknown or repeated tasks in {self.tasks}; the tasks are {", ".join(TASKS)}'
            raise ValueError(msg)
        if self.context not in CONTEXTS:
            msg = f'unknown context {self.context!r}; choose one of {", ".join(CONTEXTS)}'
            raise ValueError(msg)
        if self.head_width < 1:
            msg = f'head_width must be positive, got {self.head_width}'
            raise ValueError(msg)


@dataclass(frozen=True)
class NetworkOutput:
    """Output of each head at half the input size ``(h, w)``; ``None`` for an absent task.

    Attributes:
        semantic: ``(N, 34, h, w)`` logits.
        instance: ``(N, 2, h, w)`` offsets (dx, dy) to the instance's centroid, pixels of this map.
        depth: ``(N, 1, h, w)`` disparity of the reference rig, pixels of this map.
    """

    semantic: Tensor | None = None
    instance: Tensor | None = None
    depth: Tensor | None = None


class MultiTaskNetwork(nn.Module):
    """Encoder, context module and heads of a configuration, randomly initialised.

    Raises:
        ValueError: The encoder or stride is unknown.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config.encoder, config.stride)
        self.context = _context(config, self.encoder.fine_channels, self.encoder.channels)
        # Create every head, so that initial weights do not depend on the choice of tasks.
        heads = {
            task: task_head(self.context.channels, config.head_width, CHANNELS[task])
            for task in TASKS
        }
        self.heads = nn.ModuleDict({task: heads[task] for task in config.tasks})

    def forward(self, images: Tensor) -> NetworkOutput:
        """Run the network on ``(N, 3, H, W)`` from ``normalize``; H and W are multiples of 32."""
        height, width = images.shape[2] // OUTPUT_STRIDE, images.shape[3] // OUTPUT_STRIDE
        features = self.context(*self.encoder(images))
        return NetworkOutput(
            **{task: resize(head(features), height, width) for task, head in self.heads.items()}
        )


def _context(config: NetworkConfig, fine: int, coarse: int) -> LastFeatures | ASPP | Pyramid:
    if config.context == 'aspp':
        return ASPP(coarse, config.stride)
    if config.context == 'pyramid':
        return Pyramid(fine, coarse)
    return LastFeatures(coarse)


def normalize(images: Tensor) -> Tensor:
    """Convert ``(N, H, W, 3)`` uint8 RGB to ``(N, 3, H, W)`` float32 by ImageNet's statistics."""
    # Creating the tensors on a GPU would make the CPU wait for it.
    mean, std = (
        (torch.tensor(values) * 255).to(images.device, non_blocking=True)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def input_size(height: int, width: int, input_height: int) -> tuple[int, int]:
    """Return the network's input size (height, width) for a ``height`` × ``width`` image.

    The width keeps the aspect ratio, up to rounding to a multiple of 32.
    """
    columns = round(width * input_height / height / SIZE_MULTIPLE) * SIZE_MULTIPLE
    return input_height, max(SIZE_MULTIPLE, columns)


def checked_size(size: tuple[int, int] | None, input_height: int) -> tuple[int, int]:
    """Return a requested input size (height, width); by default the width is twice the height.

    Raises:
        ValueError: The size is not in multiples of 32.
    """
    height, width = size or (input_height, 2 * input_height)
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
        msg = f'the size {height}x{width} is not in multiples of {SIZE_MULTIPLE}'
        raise ValueError(msg)
    return height, width
