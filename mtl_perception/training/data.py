# SPDX-License-Identifier: Apache-2.0
"""Lightning data module: batches from one or more datasets in the Cityscapes layout."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import cv2
import lightning as L
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader, Dataset, default_collate

from mtl_perception.data.augmentation import Augmentation
from mtl_perception.data.cache import FrameCache
from mtl_perception.data.cityscapes import (
    FramePaths,
    count_ground_truth,
    find_frames,
    frames_of_cities,
)
from mtl_perception.files import make_folder
from mtl_perception.labels import GROUPS
from mtl_perception.network.multitask import SIZE_MULTIPLE
from mtl_perception.training.samples import Reader, TrainingFrames, ValidationFrames
from mtl_perception.training.sampling import SampleOrder


@dataclass(eq=False)  # modules are compared and hashed by identity
class StreetData(L.LightningDataModule):
    """Frames in the Cityscapes layout; any frame may lack ground truth of any task.

    Attributes:
        root: Folder of the dataset, or several folders with their shares of the training samples,
            in proportion: ``{out/synthetic: 1, /data/street: 2}``. Instead of one share, a dataset
            may have a share for each of its cities: ``{camvid: 1, kitti: 0.2}``; other cities are
            used for validation only.
        input_height: Rows of the network's input; the width follows from the frame's shape.
        crop: (height, width) of the training crops, multiples of 32.
        augmentation: Ranges and probabilities of the random changes to training frames.
        batch_size: Training crops in a batch of one process.
        groups: Cities with labels that are right only up to a group, and the set of groups as in
            ``mtl evaluate --groups``: ``{idd: idd}`` for example. Validation trusts all labels.
        workers: Number of processes that read and augment frames.
        cache: Folder for decoded and resized frames; several runs can share it.
        on_error: Reaction to a damaged frame: ``fail``, or ``skip`` and count it.
        val_frames: Validation frames per dataset, spread evenly; ``None``: all.
        seed: Seed of shuffling and augmentation; ``mtl train`` sets it to ``seed_everything``.
        description: Description of the data, stored in the checkpoint.
        terms: Consequences of the data's terms for the weights, stored in the checkpoint.
    """

    root: dict[str, float | dict[str, float]] | Path
    input_height: int = 256
    crop: tuple[int, int] = (256, 512)
    augmentation: Augmentation = Augmentation()  # noqa: RUF009 (frozen)
    batch_size: int = 8
    groups: dict[str, str] | None = None
    workers: int = 4
    cache: Path | None = None
    on_error: Literal['fail', 'skip'] = 'fail'
    val_frames: int | None = None
    seed: int = 0
    description: str = ''
    terms: str = ''
    trainer: L.Trainer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__init__()
        sizes = ('input_height', self.input_height), *(('crop', side) for side in self.crop)
        for name, size in sizes:
            if size < SIZE_MULTIPLE or size % SIZE_MULTIPLE:
                msg = f'data.{name} must be a multiple of {SIZE_MULTIPLE}, got {size}'
                raise ValueError(msg)
        for name, count in (('batch_size', self.batch_size), ('val_frames', self.val_frames)):
            if count is not None and count < 1:
                msg = f'data.{name} must be positive, got {count}'
                raise ValueError(msg)
        for name in (self.groups or {}).values():
            if name not in GROUPS:
                msg = f'data.groups: unknown groups {name!r}; choose one of {", ".join(GROUPS)}'
                raise ValueError(msg)
        self.roots = _weighted_roots(self.root)
        self.description = self.description or ' + '.join(path.name for path in self.roots)
        self.skipped: Counter[str] = Counter()
        """Draws of damaged frames in this process, by error message."""
        self._resumed_at = 0, 0

    def setup(self, stage: str) -> None:
        """Find the frames, and log their number and ground truth.

        Raises:
            FileNotFoundError: A dataset has no training frames, or none has validation frames.
            ValueError: The frames are too few, a task lacks ground truth, or a city is unknown.
            OSError: The cache cannot be written.
        """
        if self.cache is not None:
            make_folder(self.cache)
        if stage == 'fit':
            self._setup_training()
        frames = [frame for root in self.roots for frame in self._validation_frames(root)]
        if not frames:
            msg = f'{self._names()}: no validation frames; one of them needs a split val'
            raise FileNotFoundError(msg)
        if len(frames) < (processes := self.trainer.world_size):
            msg = (
                f'{self._names()}: {len(frames)} validation frames are too few for {processes} '
                'processes; each process needs one'
            )
            raise ValueError(msg)
        if missing := self._tasks_without_truth(frames):
            rank_zero_warn(
                f'{self._names()}: no validation frame has ground truth for {", ".join(missing)}; '
                'validation omits it; is the dataset complete?'
            )
        self._val = ValidationFrames(
            frames, self._reader(self.input_height), self.on_error == 'skip', self.input_height
        )

    def _setup_training(self) -> None:
        frames: list[FramePaths] = []
        self._sizes: list[int] = []
        self._weights: list[float] = []
        for root, share in self.roots.items():
            for part, weight in _parts(find_frames(root, 'train'), share):
                _report(root, 'train', part)
                # Frames with equal ground truth form a group, so that every batch has its share of
                # rare ground truth.
                tasks = attrgetter('tasks')
                for _, group in groupby(sorted(part, key=tasks), key=tasks):
                    alike = list(group)
                    frames += alike
                    self._sizes.append(len(alike))
                    self._weights.append(weight * len(alike) / len(part))
        if len(frames) < self._step_size():
            msg = (
                f'{self._names()}: {len(frames)} training frames are too few for a batch of '
                f'{self._step_size()}; lower data.batch_size'
            )
            raise ValueError(msg)
        if missing := self._tasks_without_truth(frames):
            msg = (
                f'{self._names()}: no training frame has ground truth for {", ".join(missing)}; '
                'is the dataset complete? Semantic and instance need gtFine, depth needs '
                'disparity and camera; model.network.tasks selects the tasks'
            )
            raise ValueError(msg)
        groups, cities = self.groups or {}, {frame.city for frame in frames}
        if unknown := [city for city in groups if city not in cities]:
            msg = (
                f'data.groups: {self._names()} has no training frames of {unknown[0]!r}; the '
                f'cities are {", ".join(sorted(cities))}'
            )
            raise ValueError(msg)
        largest = max(1.0, self.augmentation.scale[1])
        self._train = TrainingFrames(
            frames,
            self._reader(math.ceil(self.input_height * largest)),
            self.on_error == 'skip',
            self.input_height,
            self.augmentation,
            self.crop,
            self.seed,
            groups,
        )

    def _tasks_without_truth(self, frames: Sequence[FramePaths]) -> list[str]:
        module: Any = self.trainer.lightning_module
        counts = count_ground_truth(frames)
        return [task for task in module.network.config.tasks if not counts[task]]

    def _validation_frames(self, root: Path) -> list[FramePaths]:
        try:
            frames = find_frames(root, 'val')
        except FileNotFoundError:
            if len(self.roots) > 1:
                return []
            raise
        _report(root, 'val', frames)
        count = min(len(frames), self.val_frames or len(frames))
        return [frames[i * len(frames) // count] for i in range(count)]

    def _reader(self, height: int) -> Reader:
        return FramePaths.read if self.cache is None else FrameCache(self.cache, height).read

    def _names(self) -> str:
        return ', '.join(str(path) for path in self.roots)

    def _step_size(self) -> int:
        """Return the samples of one optimizer step of all processes together."""
        return self.batch_size * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def _position(self) -> int:
        """Return the number of samples that the run has taken."""
        samples, step = self._resumed_at
        # Lightning may ask for the first batches before it has restored its own counter.
        return samples + max(0, self.trainer.global_step - step) * self._step_size()

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the order of samples."""
        return {'samples': self._position(), 'step': self.trainer.global_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the position in ``state_dict``."""
        self._resumed_at = state_dict['samples'], state_dict['step']

    def train_dataloader(self) -> DataLoader:
        """Return a loader of augmented batches, in an order that a resumed run continues."""
        order = SampleOrder(
            self._sizes,
            self._weights,
            step_size=self._step_size(),
            processes=self.trainer.world_size,
            rank=self.trainer.global_rank,
            seed=self.seed,
            position=self._position,
        )
        return self._loader(self._train, order, self.batch_size)

    def val_dataloader(self) -> DataLoader:
        """Return a loader of whole frames, one per batch because sizes may differ."""
        share = UnrepeatedDistributedSampler(
            self._val, self.trainer.world_size, self.trainer.global_rank, shuffle=False
        )
        return self._loader(self._val, share, 1)

    def _loader(self, frames: Dataset, order: torch.utils.data.Sampler, batch: int) -> DataLoader:
        return DataLoader(
            frames,
            batch,
            sampler=order,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            worker_init_fn=_single_threaded,
            collate_fn=_collate,
            pin_memory=self.trainer.strategy.root_device.type == 'cuda',
        )

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Raise the exception of a worker; count the frames that it skipped."""
        if isinstance(batch, Exception):
            raise batch
        for reason in filter(None, '\n'.join(batch.pop('skipped')).splitlines()):
            if reason not in self.skipped:
                print(f'skipped: {reason}', flush=True)
            self.skipped[reason] += 1
        return batch


Share = float | Mapping[str, float]


def _weighted_roots(root: Mapping[str, Share] | Path) -> dict[Path, Share]:
    if not isinstance(root, Mapping):
        return {Path(root): 1.0}
    shares = [
        list(share.values()) if isinstance(share, Mapping) else [share] for share in root.values()
    ]
    if not all([shares, *shares]) or not all(w > 0 for weights in shares for w in weights):
        msg = f'data.root must be a folder, or folders with positive weights, got {dict(root)}'
        raise ValueError(msg)
    roots = {Path(path): share for path, share in root.items()}
    if len(roots) < len(root):
        msg = f'data.root names a folder twice: {", ".join(root)}'
        raise ValueError(msg)
    return roots


def _parts(frames: list[FramePaths], share: Share) -> list[tuple[list[FramePaths], float]]:
    """Return the parts of a dataset with their shares: all frames, or the frames of each city."""
    if not isinstance(share, Mapping):
        return [(frames, share)]
    return [(frames_of_cities(frames, [city]), weight) for city, weight in share.items()]


def _report(root: Path, split: str, frames: Sequence[FramePaths]) -> None:
    counts = count_ground_truth(frames)
    cities = {frame.city for frame in frames}
    where = f'{root} {split}' if len(cities) > 1 else f'{root} {split} {cities.pop()}'
    rank_zero_info(f'{where}: ' + ', '.join(f'{n} {kind}' for kind, n in counts.items()))


def _collate(samples: list[dict[str, Any] | Exception]) -> Any:
    """Return the batch, or the first exception among the samples."""
    return next((s for s in samples if isinstance(s, Exception)), None) or default_collate(samples)


def _single_threaded(_worker: int) -> None:
    cv2.setNumThreads(0)  # workers run in parallel already
