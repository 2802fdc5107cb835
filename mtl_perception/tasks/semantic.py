"""The semantic task: what every pixel is."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_perception.labels import EVALUATED_IDS, IS_EVALUATED, LABELS, NUM_LABELS
from mtl_perception.tasks.loss import LossSum

CHANNELS = NUM_LABELS
IGNORE = 255
"""Target value of pixels that carry no label or one that is not evaluated."""

_IDS = {LABELS[i].name: i for i in EVALUATED_IDS}


def target(labels: np.ndarray) -> np.ndarray:
    """Return ``labels``, ``(H, W)`` uint8, with every void label replaced by ``IGNORE``."""
    return np.where(IS_EVALUATED[labels], labels, np.uint8(IGNORE))


def loss(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> LossSum:
    """Return the cross-entropy summed over labelled pixels.

    Args:
        logits: ``(N, 34, H, W)``.
        target: ``(N, H, W)`` uint8 or int64, label IDs or ``IGNORE``.
        weights: ``(34,)``, as how many pixels one of each label counts; ``None``: as one.
    """
    ids, valid = target.long(), target != IGNORE
    total = F.cross_entropy(
        logits.float(), ids, weight=weights, ignore_index=IGNORE, reduction='sum'
    )
    return LossSum(total, valid.sum() if weights is None else weights[ids[valid]].sum())


def label_weights(weights: Mapping[str, float]) -> Tensor:
    """Return ``(34,)`` weights for ``loss``, 1 where ``weights`` does not name the label.

    Raises:
        ValueError: a name is not that of an evaluated label, or a weight is not positive.
    """
    result = torch.ones(NUM_LABELS)
    for name, weight in weights.items():
        if name not in _IDS:
            msg = f'unknown label {name!r}; the evaluated labels are {", ".join(_IDS)}'
            raise ValueError(msg)
        if weight <= 0:
            msg = f'the weight of {name} must be positive, got {weight}'
            raise ValueError(msg)
        result[_IDS[name]] = weight
    return result


class SemanticMaps(NamedTuple):
    """Label IDs and confidence (255 is certain), both ``(N, H, W)`` uint8."""

    labels: Tensor
    confidence: Tensor


def decode(logits: Tensor) -> SemanticMaps:
    """Return the likeliest of the 19 evaluated labels and its softmax probability among them.

    Args:
        logits: ``(N, 34, H, W)``.
    """
    ids = torch.tensor(EVALUATED_IDS, device=logits.device)
    return decode_evaluated(logits.float().index_select(1, ids), ids)


def decode_evaluated(logits: Tensor, ids: Tensor) -> SemanticMaps:
    """Return the same for the logits of the evaluated labels alone.

    Args:
        logits: ``(N, 19, H, W)`` float32.
        ids: ``(19,)`` their label IDs.
    """
    best, index = logits.max(1)
    confidence = 1 / torch.exp(logits - best[:, None]).sum(1)
    return SemanticMaps(ids[index].to(torch.uint8), (confidence * 255).round().to(torch.uint8))
