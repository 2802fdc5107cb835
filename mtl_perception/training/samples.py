# SPDX-License-Identifier: Apache-2.0
"""Training samples: random views for training, whole frames for validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mtl_perception.data.augmentation import Augmentation, augment, resize_frame
from mtl_perception.data.cityscapes import DatasetError, FramePaths
from mtl_perception.frame import Frame
from mtl_perception.network.multitask import OUTPUT_STRIDE, SIZE_MULTIPLE, input_size
from mtl_perception.tasks import depth, instance, semantic
from mtl_perception.training.sampling import Draw

Reader = Callable[[FramePaths], Frame]


@dataclass(frozen=True)
class TrainingFrames(Dataset):
    """Random views of frames; a ``Draw`` selects the frame and seeds the augmentation.

    If ``skips`` is set, the next whole frame replaces a damaged one.
    """

    frames: Sequence[FramePaths]
    read: Reader
    skips: bool
    input_height: int
    augmentation: Augmentation
    crop: tuple[int, int]
    seed: int
    groups: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, draw: Draw) -> dict[str, Any] | Exception:
        return _or_exception(self._sample, draw)

    def _sample(self, draw: Draw) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, draw.position))
        paths, frame, skipped = self._first_whole(draw.frame)
        view = augment(frame, self.augmentation, self.input_height, self.crop, rng)
        return {**to_sample(view, self.groups.get(paths.city)), 'skipped': '\n'.join(skipped)}

    def _first_whole(self, index: int) -> tuple[FramePaths, Frame, list[str]]:
        """Return the first whole frame from ``index`` on, and the errors of the frames before."""
        skipped: list[str] = []
        for i in range(len(self.frames)):
            paths = self.frames[(index + i) % len(self.frames)]
            try:
                return paths, self.read(paths), skipped
            except DatasetError as err:
                if not self.skips:
                    raise
                skipped.append(str(err))
        msg = f'all {len(skipped)} training frames are damaged; {skipped[0]}'
        raise DatasetError(msg)


@dataclass(frozen=True)
class ValidationFrames(Dataset):
    """Whole frames at the network's input size.

    If ``skips`` is set, a damaged frame becomes an image without ground truth.
    """

    frames: Sequence[FramePaths]
    read: Reader
    skips: bool
    input_height: int

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Any] | Exception:
        return _or_exception(self._sample, index)

    def _sample(self, index: int) -> dict[str, Any]:
        paths, skipped = self.frames[index], ''
        try:
            frame = self.read(paths)
        except DatasetError as err:
            if not self.skips:
                raise
            # A frame without ground truth does not change the metrics.
            frame = Frame(paths.name, np.zeros((SIZE_MULTIPLE, SIZE_MULTIPLE, 3), np.uint8))
            skipped = str(err)
        height, width = frame.image.shape[:2]
        whole = resize_frame(frame, *input_size(height, width, self.input_height))
        return {**to_sample(whole), 'skipped': skipped}


def _or_exception(make: Callable[..., dict[str, Any]], key: Any) -> dict[str, Any] | Exception:
    """Return ``make(key)``, or its exception.

    An exception raised in a worker process would lose its attributes, the file name of an OSError
    for example, and have a traceback as its message.
    """
    try:
        return make(key)
    except (OSError, ValueError) as err:
        return err


def to_sample(frame: Frame, groups: str | None = None) -> dict[str, Any]:
    """Return the image of a frame, and the targets of all tasks at half its size.

    ``image`` ``(H, W, 3)`` uint8; ``semantic`` ``(H/2, W/2)`` uint8; ``instance`` ``(2, H/2, W/2)``
    and ``depth`` ``(H/2, W/2)`` float32; ``focal_length`` in pixels of the targets; ``name``. A
    task without ground truth has a target without a valid pixel.

    Args:
        frame: Frame with sides that are multiples of ``OUTPUT_STRIDE``.
        groups: Key of ``GROUPS`` for ``semantic.target``; ``None`` trusts all labels.
    """
    height, width = (size // OUTPUT_STRIDE for size in frame.image.shape[:2])
    small = resize_frame(frame, height, width)
    unknown = np.full((height, width), np.nan, np.float32)
    sample: dict[str, Any] = {
        'image': frame.image,
        'semantic': np.full((height, width), semantic.IGNORE, np.uint8),
        'instance': np.stack([unknown, unknown]),
        'depth': unknown,
        'focal_length': small.focal_length,
        'name': frame.name,
    }
    if small.labels is not None:
        sample['semantic'] = semantic.target(small.labels, groups)
    if small.instances is not None:
        sample['instance'] = instance.target(small.instances)
    if small.depth is not None:
        sample['depth'] = depth.target(small.depth, small.labels, small.focal_length)
    return sample
