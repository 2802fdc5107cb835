# SPDX-License-Identifier: Apache-2.0
"""Cache of decoded frames on disk, at the size that training needs."""

import hashlib
import io
import json
import warnings
import zipfile
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from mtl_perception.data.augmentation import resize_frame
from mtl_perception.data.cityscapes import DatasetError, FramePaths
from mtl_perception.files import write_file
from mtl_perception.frame import Camera, Frame

MAPS = ('image', 'labels', 'instances', 'depth')

FORMAT = 3
"""Version of decoding, shrinking and storage; increase it when one of them changes."""


@dataclass(frozen=True)
class FrameCache:
    """Cache of frames in a folder; frames of more than ``height`` pixels are shrunk to it.

    Any number of processes and runs may share it. Entries are written atomically. An entry that is
    damaged or does not match its source files is replaced.
    """

    folder: Path
    height: int

    def read(self, paths: FramePaths) -> Frame:
        """Return the frame from the cache, or read and cache it.

        If the cache cannot be written, a warning is issued and the frame is returned anyway.

        Raises:
            DatasetError: A file cannot be read, see ``FramePaths.read``.
        """
        sources = [str(path.absolute()) for path in paths.files]
        digest = hashlib.sha256(json.dumps([self.height, *sources]).encode()).hexdigest()
        path = self.folder / f'{paths.name}-{digest[:16]}.npz'
        version = json.dumps([FORMAT, *map(_state, paths.files)])
        frame = _load(path, paths.name, version)
        if frame is None:
            frame = paths.read()
            rows, columns = frame.image.shape[:2]
            if rows > self.height:
                shrunk = max(1, round(columns * self.height / rows))
                frame = resize_frame(frame, self.height, shrunk)
            try:
                write_file(path, _dump(frame, version))
            except OSError as err:
                warnings.warn(f'not cached: {err}', stacklevel=2)
        return frame


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as err:
        msg = f'{path}: cannot be read ({err.strerror})'
        raise DatasetError(msg) from err
    return found.st_mtime_ns, found.st_size


def _dump(frame: Frame, version: str) -> bytes:
    arrays = {name: getattr(frame, name) for name in MAPS}
    if frame.camera is not None:
        arrays['camera'] = np.array(astuple(frame.camera))
    known = {name: value for name, value in arrays.items() if value is not None}
    buffer = io.BytesIO()
    np.savez(buffer, version=np.array([version, *known]), **known)
    return buffer.getvalue()


def _load(path: Path, name: str, version: str) -> Frame | None:
    try:
        # Checksums cover the members of the archive, but not the list of members.
        with np.load(path, allow_pickle=False) as arrays:
            found, *known = arrays['version'].tolist()
            if found != version or {'version', *known} != set(arrays):
                return None
            maps = {key: arrays[key] for key in MAPS if key in arrays}
            camera = Camera(*map(float, arrays['camera'])) if 'camera' in arrays else None
            return Frame(name=name, **maps, camera=camera)
    except (OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile):
        return None  # RuntimeError: damage looks like encryption or an unknown compression
