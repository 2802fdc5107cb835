# SPDX-License-Identifier: Apache-2.0
"""The semantic task: the class of every pixel."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_perception.labels import EVALUATED_IDS, GROUPS, IS_EVALUATED, LABELS, NUM_LABELS
from mtl_perception.tasks.loss import LossSum

CHANNELS = NUM_LABELS
IGNORE = 255
"""Target value of pixels without an evaluated label."""

SETS = tuple(
    dict.fromkeys(ids for groups in GROUPS.values() for ids in groups.values() if len(ids) > 1)
)
"""Sets of labels; target value ``NUM_LABELS + i`` stands for any label of set ``i``."""

_IDS = {LABELS[i].name: i for i in EVALUATED_IDS}


def target(labels: np.ndarray, groups: str | None = None) -> np.ndarray:
    """Return the target values, ``(H, W)`` uint8: label IDs, sets of labels or ``IGNORE``.

    Args:
        labels: ``(H, W)`` uint8 label IDs; labels that are not evaluated become ``IGNORE``.
        groups: Key in ``GROUPS``, if labels are reliable only up to a group; a label of a group
            becomes the value of its set.
    """
    values = np.where(IS_EVALUATED, np.arange(len(IS_EVALUATED)), IGNORE).astype(np.uint8)
    for ids in GROUPS[groups].values() if groups else ():
        if ids in SETS:
            values[list(ids)] = NUM_LABELS + SETS.index(ids)
    return values[labels]


def loss(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> LossSum:
    """Return the cross-entropy, summed over labelled pixels.

    The probability of a set of labels is the sum over its labels; its weight is the smallest.

    Args:
        logits: ``(N, 34, H, W)``.
        target: ``(N, H, W)`` uint8 or int64 from ``target``.
        weights: ``(34,)`` weight of each label's pixels; ``None``: 1.
    """
    ids, valid = target.long(), target != IGNORE
    log_probabilities = F.log_softmax(logits.float(), 1)
    if (valid & (target >= NUM_LABELS)).any():
        of_sets = [log_probabilities[:, list(s)].logsumexp(1, keepdim=True) for s in SETS]
        log_probabilities = torch.cat([log_probabilities, *of_sets], 1)
        if weights is not None:
            weights = torch.cat([weights, torch.stack([weights[list(s)].min() for s in SETS])])
    total = F.nll_loss(log_probabilities, ids, weight=weights, ignore_index=IGNORE, reduction='sum')
    if weights is None:
        return LossSum(total, valid.sum())
    return LossSum(total, weights[ids.where(valid, 0)].where(valid, 0).sum())


def label_weights(weights: Mapping[str, float]) -> Tensor:
    """Return ``(34,)`` weights for ``loss`` from weights by label name; the others are 1.

    Raises:
        ValueError: A name is not an evaluated label, or a weight is not positive.
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
    """Label IDs and their softmax probability (255 is certain), each ``(N, H, W)`` uint8."""

    labels: Tensor
    confidence: Tensor


def decode(logits: Tensor) -> SemanticMaps:
    """Return the most probable evaluated labels of ``(N, 34, H, W)`` logits."""
    ids = torch.tensor(EVALUATED_IDS, device=logits.device)
    return decode_evaluated(logits.float().index_select(1, ids), ids)


def decode_evaluated(logits: Tensor, ids: Tensor) -> SemanticMaps:
    """Return the result of ``decode`` from ``(N, 19, H, W)`` float32 logits of ``(19,)`` labels."""
    best, index = logits.max(1)
    confidence = 1 / torch.exp(logits - best[:, None]).sum(1)
    return SemanticMaps(ids[index].to(torch.uint8), (confidence * 255).round().to(torch.uint8))
