# SPDX-License-Identifier: Apache-2.0
"""Files and pictures that appear complete or not at all."""

import contextlib
import json
import math
import os
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np


def make_folder(path: Path) -> None:
    """Create the folder ``path`` unless it exists, and check that it is writable.

    Commands call this before long work whose results go there.

    Raises:
        OSError: The folder cannot be created or written; ``filename`` is the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OSError(err.errno, f'cannot be created ({err.strerror})', str(path)) from err
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(None, 'the folder cannot be written', str(path))


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file, then rename it to ``path``; its folder is created.

    Raises:
        OSError: The folder cannot be created or the file not written; ``filename`` is the path.
    """
    make_folder(path.parent)
    temporary = path.with_name(f'.{path.name}.{uuid4().hex}')
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as err:
        raise OSError(err.errno, f'cannot be written ({err.strerror})', str(path)) from err
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``finite(value)`` as JSON, as ``write_file`` does."""
    write_file(path, (json.dumps(finite(value), indent=2, allow_nan=False) + '\n').encode())


def finite(value: Any) -> Any:
    """Return ``value`` with ``None`` for each NaN or infinity in it, as JSON has neither."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write ``(H, W, 3)`` RGB, or an ``(H, W)`` map of 8 or 16 bits, as ``write_file`` does.

    The suffix of ``path`` decides the format.
    """
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(path.suffix, picture)
    write_file(path, data.tobytes())


def decode_picture(data: 'bytes | array[int]', flags: int) -> np.ndarray | None:
    """Return the result of ``cv2.imdecode``, or ``None`` if ``data`` is damaged.

    A truncated JPEG counts as damaged; OpenCV before 4.7 fills in the missing part.
    """
    values = np.frombuffer(data, np.uint8)
    try:
        picture = cv2.imdecode(values, flags) if values.size else None
    except cv2.error:  # the header states more pixels than OpenCV accepts
        return None
    return None if _is_cut_off(values) else picture


def _is_cut_off(values: np.ndarray) -> bool:
    """Return whether these bytes are a JPEG without an end; other bytes may follow the end."""
    start, scan, end = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
    if values[:2].tobytes() != start:
        return False
    data = values.tobytes()
    segment = len(start)
    # Skip whole segments: a thumbnail in one of them has an end of its own.
    while (marker := data[segment : segment + 2]) != scan:
        if len(marker) < 2:
            return True
        if marker[0] != 0xFF:
            return False  # violates the standard: leave the decision to OpenCV
        is_padding = marker[1] == 0xFF
        length = int.from_bytes(data[segment + 2 : segment + 4], 'big')
        segment += 1 if is_padding else 2 + length
    return data.find(end, segment) < 0
