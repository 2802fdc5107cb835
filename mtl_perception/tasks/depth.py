# SPDX-License-Identifier: Apache-2.0
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

    It is ``disparity_from_depth``, except 0 on sky where the ``(H, W)`` label IDs are known.
    """
    disparity = disparity_from_depth(depth, focal_length)
    if labels is not None:
        disparity[labels == SKY_ID] = 0
    return disparity


def disparity_from_depth(depth: np.ndarray, focal_length: float) -> np.ndarray:
    """Return the disparity of the reference rig, float32 pixels of the map.

    Args:
        depth: Metres; +Inf (infinitely far) gives 0, NaN (unknown) gives NaN.
        focal_length: Focal length in pixels of the map.
    """
    with np.errstate(divide='ignore'):
        return np.float32(CITYSCAPES_BASELINE * focal_length) / depth.astype(np.float32)


def loss(disparity: Tensor, target: Tensor) -> LossSum:
    """Return the absolute error of ``(N, 1, H, W)`` disparity, summed over known pixels.

    ``target`` is ``(N, H, W)`` disparity in pixels, NaN where unknown.
    """
    known = ~target.isnan()
    error = (disparity[:, 0].float() - target.nan_to_num()).abs()
    return LossSum(torch.where(known, error, 0).sum(), known.sum())


def decode(disparity: np.ndarray, focal_length: float, max_depth: float) -> np.ndarray:
    """Return depth, ``(H, W)`` float32 metres along the optical axis.

    Depth is +Inf beyond ``max_depth`` metres and where the disparity is not positive, and NaN where
    the disparity is NaN (REP 117). Disparity and focal length are in pixels of the output map.
    """
    rig = np.float32(CITYSCAPES_BASELINE * focal_length)
    with np.errstate(divide='ignore'):
        depth = rig / disparity
    depth[disparity < rig / np.float32(max_depth)] = np.inf
    return depth
