"""The depth task: inverse depth as the disparity of a reference stereo rig.

The rig has Cityscapes' baseline B₀ and the focal length f of the camera in pixels of the output
map: disparity = B₀ · f / depth. The appearance of a pixel depends only on f / depth, so one network
predicts metric depth for all lenses.
"""

import numpy as np
import torch
from torch import Tensor

from mtl_perception.frame import CITYSCAPES_BASELINE
from mtl_perception.labels import SKY_ID
from mtl_perception.tasks.loss import LossSum

CHANNELS = 1

MAX_DEPTH_RANGE = (1.0, 10000.0)
"""Smallest and largest limit of depth, in metres; farther pixels are +Inf."""


def target(depth: np.ndarray, labels: np.ndarray | None, focal_length: float) -> np.ndarray:
    """Return the disparity to learn, ``(H, W)`` float32 pixels, NaN where unknown.

    Args:
        depth: ``(H, W)`` metres, +Inf infinitely far, NaN unknown.
        labels: ``(H, W)`` label IDs, if known; the disparity of sky is 0 for any ``depth``.
        focal_length: Focal length in pixels of these maps.
    """
    disparity = disparity_from_depth(depth, focal_length)
    if labels is not None:
        disparity[labels == SKY_ID] = 0
    return disparity


def disparity_from_depth(depth: np.ndarray, focal_length: float) -> np.ndarray:
    """Return the disparity of the reference rig, float32 pixels.

    Args:
        depth: Metres; +Inf gives 0, NaN gives NaN.
        focal_length: Focal length in pixels of the map.
    """
    with np.errstate(divide='ignore'):
        return np.float32(CITYSCAPES_BASELINE * focal_length) / depth.astype(np.float32)


def loss(disparity: Tensor, target: Tensor) -> LossSum:
    """Return the absolute error, summed over pixels with known disparity.

    Args:
        disparity: ``(N, 1, H, W)`` pixels.
        target: ``(N, H, W)`` pixels, NaN where unknown.
    """
    known = ~target.isnan()
    error = (disparity[:, 0].float() - target.nan_to_num()).abs()
    return LossSum(torch.where(known, error, 0).sum(), known.sum())


def decode(disparity: np.ndarray, focal_length: float, max_depth: float) -> np.ndarray:
    """Return depth, ``(H, W)`` float32 metres along the optical axis.

    Depth is +Inf beyond ``max_depth`` and where the disparity is not positive, and NaN where the
    disparity is NaN (REP 117).

    Args:
        disparity: ``(H, W)`` float32 pixels of the output map.
        focal_length: Focal length in pixels of the output map.
        max_depth: Metres.
    """
    rig = np.float32(CITYSCAPES_BASELINE * focal_length)
    with np.errstate(divide='ignore'):
        depth = rig / disparity
    depth[disparity < rig / np.float32(max_depth)] = np.inf
    return depth
