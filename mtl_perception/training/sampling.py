"""Which frame comes when: an order that a resumed run continues, whatever reads the frames."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import DistributedSampler


class Draw(NamedTuple):
    """One sample to be made: of which frame, and its index in the whole run."""

    frame: int
    position: int


class SampleOrder(DistributedSampler):
    """The samples of this process, in an order that follows from the seed and the position alone.

    Frames lie in groups, one after the other. Each group has its share of the samples, spread
    evenly, so that every batch has nearly that share of them; inside a group, every frame is drawn
    once before any is drawn again. An epoch is as many samples as there are frames, rounded down to
    whole optimizer steps. The processes take turns, so that their batches together are the batch
    that a single process would have drawn.

    It is a ``DistributedSampler`` so that Lightning leaves it alone.

    Args:
        sizes: how many frames each group has.
        weights: the groups' shares of the samples, in proportion.
        step_size: samples that all processes together take for one optimizer step.
        processes: how many there are.
        rank: of this process among them.
        seed: of the order.
        position: returns how many samples the run has already taken, whenever an epoch begins.
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
        total = sum(sizes)
        # Only the length of the dataset matters.
        super().__init__(
            range(total),  # type: ignore[arg-type]
            num_replicas=processes,
            rank=rank,
            seed=seed,
        )
        self._sizes = sizes
        self._step_size = step_size
        self._position = position
        self.epoch_size = total // step_size * step_size
        self._quotas = _quotas(np.asarray(weights, float), self.epoch_size)

    def __len__(self) -> int:
        return self.epoch_size // self.num_replicas

    def __iter__(self) -> Iterator[Draw]:
        epoch, start = divmod(self._position(), self.epoch_size)
        # A run resumed with other batches may begin within a step: some processes would get fewer
        # batches than the others wait for.
        start -= start % self._step_size
        order = self.order(epoch)
        for i in range(start + self.rank, self.epoch_size, self.num_replicas):
            yield Draw(int(order[i]), epoch * self.epoch_size + i)

    def order(self, epoch: int) -> np.ndarray:
        """Return the frames of an epoch, for all processes together."""
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
        """Return the draws from ``start`` on of a group that is shuffled anew for each pass."""
        size = self._sizes[group]
        passes = range(start // size, (start + count - 1) // size + 1)
        shuffled = [np.random.default_rng((self.seed, group, n)).permutation(size) for n in passes]
        return np.concatenate([np.zeros(0, int), *shuffled])[start % size :][:count]


def _quotas(weights: np.ndarray, total: int) -> np.ndarray:
    """Divide ``total`` in proportion to ``weights``; nobody goes without, the largest give."""
    quotas = np.maximum(1, np.rint(total * weights / weights.sum()).astype(int))
    while excess := quotas.sum() - total:
        quotas[quotas.argmax()] -= np.sign(excess)
    return quotas
