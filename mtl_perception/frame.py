# SPDX-License-Identifier: Apache-2.0
"""Image, ground truth and camera of one moment."""

from dataclasses import dataclass

import cv2
import numpy as np

CITYSCAPES_BASELINE = 0.2093
"""Baseline in metres of Cityscapes' stereo rig, the reference rig of the depth task."""

CITYSCAPES_FOCAL_RATIO = 2262.52 / 1024
"""Focal length over image height of Cityscapes' camera, assumed for unknown cameras."""


@dataclass(frozen=True)
class Camera:
    """Rectified pinhole camera.

    Baseline, height and pitch are used only to read and write Cityscapes' files.

    Attributes:
        fx: Horizontal focal length in pixels of the image.
        fy: Vertical focal length in pixels of the image.
        cx: Column of the principal point; pixel centres are whole numbers.
        cy: Row of the principal point.
        baseline: Distance between the cameras of the stereo rig in metres.
        height: Height above the road in metres.
        pitch: Pitch in radians, positive when the camera looks down.

    Examples:
        >>> Camera.assumed(480, 640, focal_length=525.0)
        Camera(fx=525.0, fy=525.0, cx=319.5, cy=239.5, baseline=0.2093, height=1.22, pitch=0.0)
    """

    fx: float
    fy: float
    cx: float
    cy: float
    baseline: float = CITYSCAPES_BASELINE
    height: float = 1.22
    pitch: float = 0.0

    @classmethod
    def assumed(cls, height: int, width: int, focal_length: float | None = None) -> 'Camera':
        """Return a camera with the principal point in the centre of the image.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.
            focal_length: Focal length in pixels; ``None`` for Cityscapes' field of view.
        """
        focal = focal_length or CITYSCAPES_FOCAL_RATIO * height
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)


@dataclass(frozen=True)
class Frame:
    """Image with its ground truth and camera; ``None`` for absent ones.

    Attributes:
        name: Name in messages and file names, ``CITY_SEQUENCE_FRAME`` in Cityscapes.
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` uint8 Cityscapes label IDs.
        instances: ``(H, W)`` uint16, ``label · 1000 + k`` on instances, bare label IDs elsewhere.
        depth: ``(H, W)`` float32 metres along the optical axis, +Inf infinitely far, NaN unknown.
        camera: Camera of the image.

    Examples:
        >>> frame = Frame('street', np.zeros((512, 1024, 3), np.uint8))
        >>> frame.has_truth, frame.camera, frame.focal_length
        (False, None, 1131.26)
    """

    name: str
    image: np.ndarray
    labels: np.ndarray | None = None
    instances: np.ndarray | None = None
    depth: np.ndarray | None = None
    camera: Camera | None = None

    @property
    def has_truth(self) -> bool:
        """Whether the frame has ground truth for any task."""
        return any(truth is not None for truth in (self.labels, self.instances, self.depth))

    @property
    def focal_ratio(self) -> float:
        """Vertical focal length over image height; Cityscapes' if the camera is unknown."""
        return self.camera.fy / len(self.image) if self.camera else CITYSCAPES_FOCAL_RATIO

    @property
    def focal_length(self) -> float:
        """Vertical focal length in pixels; Cityscapes' field of view if the camera is unknown."""
        return self.known_camera.fy

    @property
    def known_camera(self) -> Camera:
        """Camera of the image, assumed if it is unknown."""
        return self.camera or Camera.assumed(*self.image.shape[:2])


def resize_nearest(
    values: np.ndarray, height: int, width: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Return an ``(H, W)`` or ``(H, W, channels)`` map at another size by nearest neighbour.

    A map that has this size already is returned itself, unless ``out``, an array for the result,
    is given.
    """
    if out is None and values.shape[:2] == (height, width):
        return values
    return cv2.resize(values, (width, height), dst=out, interpolation=cv2.INTER_NEAREST_EXACT)


def resize_depth(depth: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return ``(H, W)`` depth at another size by nearest neighbour, without losing sparse points.

    In a smaller map, a pixel that would be unknown takes the smallest depth in its cell: of sparse
    points, such as LiDAR's, nearest neighbour alone would keep only one in the area of a cell.
    """
    resized = resize_nearest(depth, height, width)
    rows, columns = depth.shape
    unknown = np.isnan(resized)
    if height * width >= rows * columns or not unknown.any():
        return resized
    y, x = np.nonzero(~np.isnan(depth))
    row, column = y * height // rows, x * width // columns
    lost = unknown[row, column]
    points, row, column = depth[y[lost], x[lost]], row[lost], column[lost]
    order = np.argsort(-points, kind='stable')  # the last point that is assigned to a cell holds
    resized[row[order], column[order]] = points[order]
    return resized
