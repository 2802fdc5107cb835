"""What a task's loss returns: a sum over valid pixels and their count."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """A loss summed over valid pixels, and how many there were.

    Kept apart so that the mean is taken over the valid pixels of the whole batch, however many
    processes share it.
    """

    total: Tensor
    count: Tensor
