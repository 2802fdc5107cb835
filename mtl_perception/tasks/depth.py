"""The depth task: inverse depth as the disparity that a reference stereo rig would see.

The rig has Cityscapes' baseline and the focal length of the camera at hand, measured in pixels of
the output map, so one network stays metric across lenses: what a pixel looks like depends on focal
length over depth alone.
"""

import numpy as np
import torch
from torch import Tensor

from mtl_perception.frame import CITYSCAPES_BASELINE
from mtl_perception.labels import SKY_ID
from mtl_perception.tasks.loss import LossSum

CHANNELS = 1

MAX_DEPTH_RANGE = (1.0, 10000.0)
"""Metres that can be asked for as the distance beyond which depth is +Inf."""


def target(depth: np.ndarray, labels: np.ndarray | None, focal_length: float) -> np.ndarray:
    """Return the disparity to learn, ``(H, W)`` float32 pixels, NaN where it is unknown.

    Args:
        depth: ``(H, W)`` metres, +Inf infinitely far, NaN unknown.
        labels: ``(H, W)`` label IDs; sky is infinitely far whatever ``depth`` says. ``None``: no
            labels.
        focal_length: in pixels of these maps.
    """
    disparity = disparity_from_depth(depth, focal_length)
    if labels is not None:
        disparity[labels == SKY_ID] = 0
    return disparity


def disparity_from_depth(depth: np.ndarray, focal_length: float) -> np.ndarray:
    """Return the reference rig's disparity in pixels, float32, for ``depth`` in metres.

    Infinite depth becomes 0; where depth is NaN, the disparity is.
    """
    with np.errstate(divide='ignore'):
        return np.float32(CITYSCAPES_BASELINE * focal_length) / depth.astype(np.float32)


def loss(disparity: Tensor, target: Tensor) -> LossSum:
    """Return the absolute error summed over pixels with a known disparity.

    Args:
        disparity: ``(N, 1, H, W)`` pixels.
        target: ``(N, H, W)`` pixels, NaN where unknown.
    """
    known = ~target.isnan()
    error = (disparity[:, 0].float() - target.nan_to_num()).abs()
    return LossSum(torch.where(known, error, 0).sum(), known.sum())


def decode(disparity: np.ndarray, focal_length: float, max_depth: float) -> np.ndarray:
    """Return ``(H, W)`` float32 metres along the optical axis.

    Beyond ``max_depth`` (also where the disparity is not positive) depth is +Inf, and NaN where the
    disparity is not a number (REP 117).

    Args:
        disparity: ``(H, W)`` float32 pixels of the output map.
        focal_length: in pixels of the output map.
        max_depth: metres.
    """
    rig = np.float32(CITYSCAPES_BASELINE * focal_length)
    with np.errstate(divide='ignore'):
        depth = rig / disparity
    depth[disparity < rig / np.float32(max_depth)] = np.inf
    return depth
