# SPDX-License-Identifier: Apache-2.0
"""Sources of images: pictures, videos, camera devices and a synthetic street."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2

from mtl_perception.data.cityscapes import DatasetError, pair
from mtl_perception.frame import Frame

PICTURE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
SYNTHETIC = 'synthetic'

SYNTHETIC_SIZE = (480, 640)
"""Default (height, width) of the synthetic street in pixels."""

SYNTHETIC_FRAMES = 120
"""Number of frames of the synthetic street: four seconds at 30 Hz."""

_log = logging.getLogger(__name__)


class Pictures:
    """Pictures in order; unreadable ones are logged, counted and skipped.

    Pictures in the Cityscapes layout have a camera.

    Attributes:
        frames: Paths of the pictures and of their ground truth.
        unreadable: Number of pictures skipped in the last iteration.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.frames = [pair(path) for path in paths]
        self.unreadable = 0

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        self.unreadable = 0
        for frame in self.frames:
            try:
                yield Frame(frame.name, frame.read_image(), camera=frame.read_camera())
            except (DatasetError, OSError) as err:
                self.unreadable += 1
                _log.warning('%s', err)


class Video:
    """Frames of a video file, or of a camera device, which has length 0 and never ends."""

    def __init__(self, source: str | int) -> None:
        self._source = source
        with self._open() as capture:
            self._length = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Frame]:
        stem = 'device' if isinstance(self._source, int) else Path(self._source).stem
        with self._open() as capture:
            for i in itertools.count():
                ok, image = capture.read()
                if not ok:
                    return
                yield Frame(f'{stem}_{i:06d}', cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    @contextmanager
    def _open(self) -> Iterator[cv2.VideoCapture]:
        capture = cv2.VideoCapture(self._source)
        try:
            if not capture.isOpened():
                msg = f'{self._source}: cannot be opened as a video or camera device'
                raise ValueError(msg)
            if isinstance(self._source, int):
                capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # keep the latest image only
            yield capture
        finally:
            capture.release()


class SyntheticStreet:
    """Drive along a synthetic street, rendered during iteration."""

    def __init__(self, seed: int, height: int, width: int) -> None:
        self._seed = seed
        self._size = height, width

    def __len__(self) -> int:
        return SYNTHETIC_FRAMES

    def __iter__(self) -> Iterator[Frame]:
        from mtl_perception.synthetic import synthetic_drive  # imports numba

        height, width = self._size
        for frame in synthetic_drive(self._seed, len(self), height=height, width=width):
            yield Frame(frame.name, frame.image, camera=frame.camera)


ImageSource = Pictures | Video | SyntheticStreet


def open_source(source: str, *, size: tuple[int, int] | None = None, seed: int = 0) -> ImageSource:
    """Return the frames of ``source``, which can be iterated over several times.

    Args:
        source: Picture, folder of pictures, video file, camera device (number or ``/dev/videoN``),
            or ``synthetic``.
        size: (height, width) of the synthetic street; other sources keep their size.
        seed: Random seed of the synthetic street.

    Raises:
        FileNotFoundError: The file does not exist, or the folder contains no picture.
        ValueError: The file cannot be opened as a video.
    """
    if source == SYNTHETIC:
        return SyntheticStreet(seed, *(size or SYNTHETIC_SIZE))
    if source.isdecimal():
        return Video(int(source))
    path = Path(source)
    if path.is_dir():
        if (path / 'leftImg8bit').is_dir():
            path /= 'leftImg8bit'  # other pictures of a dataset are ground truth
        paths = sorted(p for p in path.rglob('*') if p.suffix.lower() in PICTURE_SUFFIXES)
        if not paths:
            msg = f'{path}: no picture ({", ".join(PICTURE_SUFFIXES)}) in this folder or below'
            raise FileNotFoundError(msg)
        return Pictures(paths)
    if not path.exists():
        msg = f'{path}: no such picture, folder, video or device'
        raise FileNotFoundError(msg)
    return Pictures([path]) if path.suffix.lower() in PICTURE_SUFFIXES else Video(source)
