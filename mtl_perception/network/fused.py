# SPDX-License-Identifier: Apache-2.0
"""The network for inference: fewer, larger operations from pixels to maps."""

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mtl_perception.labels import EVALUATED_IDS
from mtl_perception.network.encoder import IMAGENET_MEAN, IMAGENET_STD
from mtl_perception.network.heads import resize
from mtl_perception.network.multitask import OUTPUT_STRIDE, MultiTaskNetwork
from mtl_perception.tasks import TASKS, semantic

MAPS = {'semantic': ('labels', 'confidence'), 'instance': ('offsets',), 'depth': ('disparity',)}
"""Names of the maps of each task."""


class FusedNetwork(nn.Module):
    """A copy of a ``MultiTaskNetwork`` with preprocessing and decoding, for inference.

    Batch norm is folded into the convolutions before it. The heads run as one: the first layers
    are merged into one convolution, the second layers into one grouped convolution, and the last
    layers into one convolution whose weights across tasks are zero, without the labels that are not
    evaluated. Weights and features are of type ``dtype``.

    Attributes:
        outputs: Names of the maps, in the order of ``forward``.
    """

    mean: Tensor
    deviation: Tensor
    label_ids: Tensor

    def __init__(self, network: MultiTaskNetwork, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.tasks = [task for task in TASKS if task in network.heads]
        self.outputs = map_names(self.tasks)
        self.encoder = deepcopy(network.encoder).eval()
        self.context = deepcopy(network.context).eval()
        _fold_batch_norm(self.encoder)
        _fold_batch_norm(self.context)
        self.heads, self._channels = _merge_heads(network, self.tasks)
        self.dtype = dtype
        self.to(dtype).requires_grad_(False)
        # Registered after the cast to the weights' type, to stay exact.
        self.register_buffer('mean', torch.tensor(IMAGENET_MEAN) * 255)
        self.register_buffer('deviation', torch.tensor(IMAGENET_STD) * 255)
        # TensorRT casts only floating point to uint8.
        self.register_buffer('label_ids', torch.tensor(EVALUATED_IDS, dtype=torch.float32))
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps named in ``outputs`` at half the size of the images.

        Images are ``(N, H, W, 3)`` RGB of any type, 0 to 255; H and W are multiples of 32. Maps are
        ``(N, h, w)`` uint8 label IDs and confidence (255 is certain), ``(N, 2, h, w)`` float32
        offsets (dx, dy) and ``(N, h, w)`` float32 disparity, both in pixels of these maps.
        """
        height, width = images.shape[1] // OUTPUT_STRIDE, images.shape[2] // OUTPUT_STRIDE
        pixels = ((images.float() - self.mean) / self.deviation).permute(0, 3, 1, 2)
        scores = self.heads(self.context(*self.encoder(pixels.to(self.dtype))))
        parts = resize(scores.float(), height, width).split(self._channels, 1)
        maps: list[Tensor] = []
        for task, values in zip(self.tasks, parts, strict=True):
            if task == 'semantic':
                maps += semantic.decode_evaluated(values, self.label_ids)
            else:
                # A view would hold all channels, and a copy from the GPU would go by elements.
                maps.append((values if task == 'instance' else values[:, 0]).contiguous())
        return tuple(maps)


def map_names(tasks: Collection[str]) -> list[str]:
    """Return the names of the maps of a network for ``tasks``, in its order."""
    return [name for task in TASKS if task in tasks for name in MAPS[task]]


def _fold_batch_norm(module: nn.Module) -> None:
    """Merge each convolution with the batch norm after it, in place."""
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None:
            # fuse_conv_bn_eval takes any convolution; its type variable excludes them.
            fused = fuse_conv_bn_eval(cast(nn.Conv2d, previous[1]), child)
            setattr(module, previous[0], fused)
            setattr(module, name, nn.Identity())
        _fold_batch_norm(child)
        previous = (name, child) if isinstance(child, nn.Conv2d) else None


def _merge_heads(
    network: MultiTaskNetwork, tasks: Sequence[str]
) -> tuple[nn.Sequential, list[int]]:
    """Return the heads of ``tasks`` as one, and the number of output channels of each."""
    heads = [cast(nn.Sequential, network.heads[task]) for task in tasks]
    first, second, last = ([cast(nn.Conv2d, head[i]) for head in heads] for i in (0, 2, 4))
    kept = [
        torch.tensor(EVALUATED_IDS) if task == 'semantic' else torch.arange(conv.out_channels)
        for task, conv in zip(tasks, last, strict=True)
    ]
    blocks = [conv.weight[rows][:, :, 0, 0] for conv, rows in zip(last, kept, strict=True)]
    biases = [cast(Tensor, conv.bias)[rows] for conv, rows in zip(last, kept, strict=True)]
    layers = nn.Sequential(
        _concatenated(first, padding=1),
        nn.ReLU(inplace=True),
        _concatenated(second, groups=len(heads)),
        nn.ReLU(inplace=True),
        _convolution(torch.block_diag(*blocks)[:, :, None, None], torch.cat(biases)),
    )
    return layers, [len(rows) for rows in kept]


def _concatenated(convolutions: Sequence[nn.Conv2d], **options: int) -> nn.Conv2d:
    weight = torch.cat([conv.weight for conv in convolutions])
    bias = torch.cat([cast(Tensor, conv.bias) for conv in convolutions])
    return _convolution(weight, bias, **options)


def _convolution(weight: Tensor, bias: Tensor, groups: int = 1, padding: int = 0) -> nn.Conv2d:
    outputs, inputs, size, _ = weight.shape
    conv = nn.Conv2d(inputs * groups, outputs, size, padding=padding, groups=groups)
    conv.load_state_dict({'weight': weight.detach(), 'bias': bias.detach()})
    return conv
