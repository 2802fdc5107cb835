# SPDX-License-Identifier: Apache-2.0
"""Read and write street frames in the folder layout of Cityscapes.

A frame is an image ``ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`` (or ``.jpg``). Its ground
truth is in parallel folders ``gtFine``, ``disparity`` and ``camera``. An absent file means absent
ground truth.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mtl_perception.files import decode_picture, write_json, write_picture
from mtl_perception.frame import Camera, Frame
from mtl_perception.tasks import TASKS

IMAGE_SUFFIXES = ('_leftImg8bit.png', '_leftImg8bit.jpg', '_leftImg8bit.jpeg')

LABELS_FILE = 'gtFine', '_gtFine_labelIds.png'
INSTANCES_FILE = 'gtFine', '_gtFine_instanceIds.png'
DISPARITY_FILE = 'disparity', '_disparity.png'
CAMERA_FILE = 'camera', '_camera.json'


class DatasetError(ValueError):
    """A file of a dataset is damaged or has unexpected content."""


@dataclass(frozen=True)
class FramePaths:
    """Paths of the files of one frame; ``None`` for files that do not exist."""

    name: str
    image: Path
    labels: Path | None
    instances: Path | None
    disparity: Path | None
    camera: Path | None

    @property
    def city(self) -> str:
        """Name of the image's folder."""
        return self.image.parent.name

    @property
    def files(self) -> list[Path]:
        """Existing files, the image first."""
        paths = (self.image, self.labels, self.instances, self.disparity, self.camera)
        return [path for path in paths if path is not None]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks with ground truth."""
        known = {
            'semantic': self.labels is not None,
            'instance': self.instances is not None,
            'depth': self.disparity is not None and self.camera is not None,
        }
        return tuple(task for task, exists in known.items() if exists)

    def read(self) -> Frame:
        """Return the image with its ground truth.

        Raises:
            DatasetError: A file cannot be decoded, has a wrong type, or differs in size.
        """
        image, camera = self.read_image(), self.read_camera()
        labels = instances = depth = None
        if self.labels is not None:
            labels = _read_map(self.labels, np.uint8, image)
        if self.instances is not None:
            instances = _read_map(self.instances, np.uint16, image)
        if self.disparity is not None and camera is not None:
            depth = _depth(_read_map(self.disparity, np.uint16, image), camera)
        return Frame(self.name, image, labels, instances, depth, camera)

    def read_image(self) -> np.ndarray:
        """Return the image, ``(H, W, 3)`` uint8 RGB; raise as ``read`` does."""
        return cv2.cvtColor(_read_picture(self.image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def read_camera(self) -> Camera | None:
        """Return the camera, if its file exists; raise as ``read`` does."""
        return None if self.camera is None else _read_camera(self.camera)


def find_frames(root: Path, split: str) -> list[FramePaths]:
    """Return the frames of a split, sorted by city and name.

    Raises:
        FileNotFoundError: The split does not exist or contains no image.
    """
    folder = root / 'leftImg8bit' / split
    if not folder.is_dir():
        found = sorted(path.name for path in (root / 'leftImg8bit').glob('*') if path.is_dir())
        hint = f'its splits are {", ".join(found)}' if found else 'it has no folder leftImg8bit'
        msg = f'{root}: no split {split!r} in the Cityscapes layout ({folder} is missing); {hint}'
        raise FileNotFoundError(msg)
    images = sorted(path for path in folder.glob('*/*') if path.name.endswith(IMAGE_SUFFIXES))
    if not images:
        msg = f'{folder}: no image *{" or *".join(IMAGE_SUFFIXES)} in its city folders'
        raise FileNotFoundError(msg)
    return [pair(image) for image in images]


def frames_of_cities(frames: Sequence[FramePaths], cities: Sequence[str]) -> list[FramePaths]:
    """Return the frames in the folders of ``cities``.

    Raises:
        ValueError: A city has no frame.
    """
    found = {frame.city for frame in frames}
    if unknown := [city for city in cities if city not in found]:
        split = frames[0].image.parent.parent
        msg = f'{split}: no city {unknown[0]!r}; the cities are {", ".join(sorted(found))}'
        raise ValueError(msg)
    return [frame for frame in frames if frame.city in cities]


def pair(image: Path) -> FramePaths:
    """Return the paths of an image and of its ground truth, if it lies in the layout."""
    name = next(
        (image.name[: -len(s)] for s in IMAGE_SUFFIXES if image.name.endswith(s)), image.stem
    )
    city = image.parent
    split, root = city.parent, city.parent.parent.parent

    def existing(kind: str, suffix: str) -> Path | None:
        path = root / kind / split.name / city.name / f'{name}{suffix}'
        return path if path.is_file() else None

    return FramePaths(
        name=name,
        image=image,
        labels=existing(*LABELS_FILE),
        instances=existing(*INSTANCES_FILE),
        disparity=existing(*DISPARITY_FILE),
        camera=existing(*CAMERA_FILE),
    )


def write_frame(root: Path, split: str, frame: Frame) -> None:
    """Write the files of ``frame``, named ``CITY_SEQUENCE_FRAME``, below ``root``.

    Files are written atomically and the image comes last, so a frame with an image is complete.
    Infinite and unknown depth becomes 0, Cityscapes' code of an invalid disparity.

    Raises:
        ValueError: The frame has depth but no camera to convert it to disparity.
        OSError: The folder cannot be written.
    """
    path = functools.partial(_path, root, split, frame.name)
    if frame.labels is not None:
        write_picture(path(*LABELS_FILE), frame.labels)
    if frame.instances is not None:
        write_picture(path(*INSTANCES_FILE), frame.instances.astype(np.uint16, copy=False))
    if frame.camera is not None:
        write_json(path(*CAMERA_FILE), _camera_json(frame.camera))
    if frame.depth is not None:
        if frame.camera is None:
            msg = f'{frame.name}: depth without a camera cannot be written as a disparity'
            raise ValueError(msg)
        write_picture(path(*DISPARITY_FILE), _disparity_code(frame.depth, frame.camera))
    write_picture(image_path(root, split, frame.name), frame.image)


def image_path(root: Path, split: str, name: str) -> Path:
    """Return the path that ``write_frame`` writes the image of frame ``name`` to."""
    return _path(root, split, name, 'leftImg8bit', IMAGE_SUFFIXES[0])


def _path(root: Path, split: str, name: str, kind: str, suffix: str) -> Path:
    return root / kind / split / name.partition('_')[0] / f'{name}{suffix}'


def count_ground_truth(frames: Sequence[FramePaths]) -> dict[str, int]:
    """Return the number of frames, and the number with ground truth for each task."""
    return {
        'frames': len(frames),
        **{task: sum(task in frame.tasks for frame in frames) for task in TASKS},
    }


def _read_picture(path: Path, flags: int) -> np.ndarray:
    try:
        picture = decode_picture(path.read_bytes(), flags)
    except OSError as err:
        msg = f'{path}: cannot be read ({err.strerror})'
        raise DatasetError(msg) from err
    if picture is None:
        msg = f'{path}: cannot be decoded as a picture; it is damaged or has another format'
        raise DatasetError(msg)
    return picture


def _read_map(path: Path, dtype: type, image: np.ndarray) -> np.ndarray:
    values = _read_picture(path, cv2.IMREAD_UNCHANGED)
    height, width, *channels = values.shape
    if values.dtype != dtype or channels:
        found = f'{channels[0] if channels else 1}-channel {values.dtype}'
        msg = f'{path}: {found}, expected one channel of {np.dtype(dtype).name}'
        raise DatasetError(msg)
    if values.shape != image.shape[:2]:
        expected = f'{image.shape[1]}×{image.shape[0]}'
        msg = f'{path}: {width}×{height} pixels, but its image has {expected}'
        raise DatasetError(msg)
    return values


def _read_camera(path: Path) -> Camera:
    try:
        values = json.loads(path.read_text())
        intrinsic, extrinsic = values['intrinsic'], values['extrinsic']
        camera = Camera(
            fx=float(intrinsic['fx']),
            fy=float(intrinsic['fy']),
            cx=float(intrinsic['u0']),
            cy=float(intrinsic['v0']),
            baseline=float(extrinsic['baseline']),
            height=float(extrinsic.get('z', Camera.height)),
            pitch=float(extrinsic.get('pitch', Camera.pitch)),
        )
    except (OSError, ValueError, KeyError, TypeError) as err:
        msg = f'{path}: not a Cityscapes camera file ({type(err).__name__}: {err})'
        raise DatasetError(msg) from err
    if not (camera.fx > 0 and camera.fy > 0 and camera.baseline > 0):
        msg = f'{path}: fx, fy and baseline must be positive'
        raise DatasetError(msg)
    return camera


def _camera_json(camera: Camera) -> dict[str, dict[str, float]]:
    return {
        'extrinsic': {
            'baseline': camera.baseline,
            'pitch': camera.pitch,
            'roll': 0.0,
            'x': 0.0,
            'y': 0.0,
            'yaw': 0.0,
            'z': camera.height,
        },
        'intrinsic': {'fx': camera.fx, 'fy': camera.fy, 'u0': camera.cx, 'v0': camera.cy},
    }


def _depth(code: np.ndarray, camera: Camera) -> np.ndarray:
    depth = np.full(code.shape, np.nan, np.float32)
    known = code > 0
    disparity = (code[known].astype(np.float32) - 1) / 256
    with np.errstate(divide='ignore'):
        depth[known] = camera.baseline * camera.fx / disparity
    return depth


def _disparity_code(depth: np.ndarray, camera: Camera) -> np.ndarray:
    code = np.zeros(depth.shape, np.uint16)
    known = np.isfinite(depth)
    disparity = camera.baseline * camera.fx / depth[known]
    code[known] = np.clip(np.rint(disparity * 256 + 1), 1, 65535)
    return code
