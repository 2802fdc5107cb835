"""Sums of losses over valid pixels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """Loss summed over valid pixels, and their count.

    Both are kept, to take the mean over the valid pixels of the whole batch across processes.

    Attributes:
        total: Sum of the loss.
        count: Number of valid pixels, or sum of their weights.
    """

    total: Tensor
    count: Tensor
