# SPDX-License-Identifier: Apache-2.0
"""Sums of losses over valid pixels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """Loss summed over valid pixels, and the number of these pixels or the sum of their weights.

    Both are kept, to take the mean over the valid pixels of the whole batch across processes.
    """

    total: Tensor
    count: Tensor
