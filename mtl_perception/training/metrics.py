# SPDX-License-Identifier: Apache-2.0
"""Validation metrics during training, pooled over pixels and processes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from mtl_perception.evaluation.metrics import (
    CLASSES,
    MAX_DEPTH,
    DepthMetrics,
    OffsetMetrics,
    confusion_matrix,
    group_scores,
)
from mtl_perception.labels import NUM_LABELS
from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.tasks import depth, semantic


class ValidationMetrics:
    """Mean IoU over the labels present, offset and disparity errors, and AbsRel of depth.

    ``evaluation.metrics`` defines the figures.
    """

    def __init__(self) -> None:
        self._offsets, self._depth = OffsetMetrics(), DepthMetrics()
        self._confusion = np.zeros((NUM_LABELS, NUM_LABELS))

    def update(self, output: NetworkOutput, batch: Mapping[str, Any]) -> None:
        """Add the predicted pixels of a batch of ``to_sample``'s arrays that have ground truth."""
        if output.semantic is not None:
            labels = to_array(semantic.decode(output.semantic).labels)
            true = to_array(batch['semantic'])
            scored = true != semantic.IGNORE
            self._confusion += confusion_matrix(labels[scored], true[scored])
        if output.instance is not None:
            pairs = zip(to_array(output.instance), to_array(batch['instance']), strict=True)
            for predicted, true in pairs:
                self._offsets.update(predicted, true)
        if output.depth is not None:
            true = batch['depth'].where(batch['depth'] > 0, torch.nan)  # 0 is sky
            focal_lengths = batch['focal_length'].tolist()
            frames = zip(to_array(output.depth[:, 0]), to_array(true), focal_lengths, strict=True)
            for *disparities, focal_length in frames:
                self._depth.update_disparity(*disparities)
                depths = [depth.decode(values, focal_length, MAX_DEPTH) for values in disparities]
                self._depth.update(*depths)

    def add_other_processes(self, device: torch.device) -> None:
        """Replace the totals by their sums over all processes, exchanged on ``device``."""
        metrics = self._offsets.totals, self._depth.totals, self._depth.disparity_totals
        for totals in (self._confusion, *metrics):
            totals[:] = sum_over_processes(torch.from_numpy(totals).to(device)).cpu()

    def compute(self) -> dict[str, float]:
        """Return the figures by logged name; one without ground truth is absent.

        IoU and AbsRel are ratios, the other figures pixels of the output map.
        """
        figures = {'val/iou': group_scores(self._confusion, CLASSES)['iou']}
        if offsets := self._offsets.compute():
            figures['val/offset_px'] = offsets['mean_error_px']
            figures['val/offset_rms_px'] = offsets['rms_error_px']
        if depths := self._depth.compute():
            figures['val/disparity_px'] = depths['mean_disparity_error_px']
            figures['val/disparity_rms_px'] = depths['rms_disparity_error_px']
            figures['val/abs_rel'] = depths['abs_rel']
        return {name: value for name, value in figures.items() if value is not None}


def to_array(values: Tensor) -> np.ndarray:
    """Return ``values`` as an array; floating-point numbers of any width become float32."""
    return (values.float() if values.is_floating_point() else values).cpu().numpy()


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sums of ``values`` over all processes, written to ``values``."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values
