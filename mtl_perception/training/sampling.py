# SPDX-License-Identifier: Apache-2.0
"""Order of the training samples, which a resumed run continues with any number of workers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DistributedSampler


class Draw(NamedTuple):
    """Index of a frame, and position of the sample in the whole run."""

    frame: int
    position: int


class SampleOrder(DistributedSampler):
    """Samples of one process, in an order that depends on seed and position alone.

    Frames are numbered group by group. Each group has a share of the samples, spread evenly, so
    that every batch has nearly this share; inside a group, every frame is drawn once before any is
    drawn again. An epoch has as many samples as there are frames, rounded down to whole optimizer
    steps. The processes take turns, so their batches together equal the batch of a single process.

    ``sizes`` are the frames of each group, ``weights`` their relative shares, ``step_size`` the
    samples in one optimizer step of all processes together. ``position`` returns the samples taken
    so far and is called when an epoch begins. The base class is ``DistributedSampler`` because
    Lightning replaces other samplers.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        *,
        step_size: int,
        processes: int,
        rank: int,
        seed: int,
        position: Callable[[], int],
    ) -> None:
        frames: Any = range(sum(sizes))  # only the length of the dataset matters
        super().__init__(frames, processes, rank, seed=seed)
        self._sizes = sizes
        self._step_size = step_size
        self._position = position
        self.epoch_size = len(frames) // step_size * step_size
        self._quotas = _quotas(np.asarray(weights, float), self.epoch_size)

    def __len__(self) -> int:
        return self.epoch_size // self.num_replicas

    def __iter__(self) -> Iterator[Draw]:
        epoch, start = divmod(self._position(), self.epoch_size)
        # A run resumed with another batch size may begin within a step. Some processes would get
        # fewer batches than others, which would wait for them.
        start -= start % self._step_size
        order = self.order(epoch)
        for i in range(start + self.rank, self.epoch_size, self.num_replicas):
            yield Draw(int(order[i]), epoch * self.epoch_size + i)

    def order(self, epoch: int) -> np.ndarray:
        """Return the frame indices of an epoch, for all processes together."""
        rng = np.random.default_rng((self.seed, epoch))
        frames, times = [], []
        first = 0
        for group, (size, quota) in enumerate(zip(self._sizes, self._quotas, strict=True)):
            frames.append(first + self._of_group(group, epoch * quota, quota))
            times.append((np.arange(quota) + rng.random()) / quota)
            first += size
        order = np.concatenate(frames)[np.concatenate(times).argsort(kind='stable')]
        # Evenly spread groups could fall into step with the processes, which take turns.
        return rng.permuted(order.reshape(-1, self._step_size), axis=1).ravel()

    def _of_group(self, group: int, start: int, count: int) -> np.ndarray:
        """Return ``count`` draws of a group from ``start`` on; each pass has its own shuffle."""
        size = self._sizes[group]
        passes = range(start // size, (start + count - 1) // size + 1)
        shuffled = [np.random.default_rng((self.seed, group, n)).permutation(size) for n in passes]
        return np.concatenate([np.zeros(0, int), *shuffled])[start % size :][:count]


def _quotas(weights: np.ndarray, total: int) -> np.ndarray:
    """Divide ``total`` in proportion; every share is at least 1, at the cost of the largest."""
    quotas = np.maximum(1, np.rint(total * weights / weights.sum()).astype(int))
    while excess := quotas.sum() - total:
        quotas[quotas.argmax()] -= np.sign(excess)
    return quotas
