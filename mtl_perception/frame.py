"""One street frame with its ground truth, as readers produce it and consumers take it."""

from dataclasses import dataclass

import cv2
import numpy as np

CITYSCAPES_BASELINE = 0.2093
"""Metres between the cameras of Cityscapes' stereo rig: the reference rig of the depth task."""

CITYSCAPES_FOCAL_RATIO = 2262.52 / 1024
"""Focal length of Cityscapes' camera over its image height, assumed where none is stated."""


@dataclass(frozen=True)
class Camera:
    """A rectified pinhole camera: focal lengths and principal point in pixels of the frame's image.

    ``baseline`` (metres) and the extrinsic values are used only to read and write Cityscapes'
    files: ``height`` is metres above the road, ``pitch`` radians, positive when the camera looks
    down.
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
        """Return a camera whose axis goes through the centre of its image.

        Args:
            height: Pixels of the image.
            width: Pixels of the image.
            focal_length: Pixels; Cityscapes' field of view if it is unknown.
        """
        focal = focal_length or CITYSCAPES_FOCAL_RATIO * height
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)


@dataclass(frozen=True)
class Frame:
    """An image and the ground truth there is for it, ``None`` where there is none.

    Attributes:
        name: what to call the frame in messages and file names, ``city_sequence_frame`` in
            Cityscapes.
        image: ``(H, W, 3)`` uint8, RGB.
        labels: ``(H, W)`` uint8, Cityscapes label IDs.
        instances: ``(H, W)`` uint16, ``label · 1000 + k`` on instances, bare label IDs elsewhere.
        depth: ``(H, W)`` float32, metres along the optical axis; +Inf is infinitely far, NaN
            unknown.
        camera: the frame's intrinsics, if its source states them.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray | None = None
    instances: np.ndarray | None = None
    depth: np.ndarray | None = None
    camera: Camera | None = None

    @property
    def has_truth(self) -> bool:
        """Whether there is any ground truth for it."""
        return any(truth is not None for truth in (self.labels, self.instances, self.depth))

    @property
    def focal_ratio(self) -> float:
        """Vertical focal length over image height; Cityscapes' where the camera is unknown."""
        if self.camera is None:
            return CITYSCAPES_FOCAL_RATIO
        return self.camera.fy / len(self.image)

    @property
    def focal_length(self) -> float:
        """Vertical focal length in pixels of ``image``; Cityscapes' field of view where unknown."""
        if self.camera is not None:
            return self.camera.fy
        return CITYSCAPES_FOCAL_RATIO * self.image.shape[0]


def resize_nearest(
    values: np.ndarray, height: int, width: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Return a map at another size, every value being one that it had before.

    The map itself is returned if it has that size already.

    Args:
        values: ``(H, W)`` or ``(H, W, channels)``.
        height: of the result.
        width: of the result.
        out: array of the result's shape and type to write it to.
    """
    if out is None and values.shape[:2] == (height, width):
        return values
    return cv2.resize(values, (width, height), dst=out, interpolation=cv2.INTER_NEAREST_EXACT)
