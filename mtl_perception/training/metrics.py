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
        """Add the pixels of a batch that have both a prediction and ground truth.

        Args:
            output: Output of the network.
            batch: Arrays of ``to_sample``, stacked.
        """
        if output.semantic is not None:
            labels = to_array(semantic.decode(output.semantic).labels)
            true = to_array(batch['semantic'])
            scored = true != semantic.IGNORE
            self._confusion += confusion_matrix(labels[scored], true[scored])
        if output.instance is not None:
            predicted, true = to_array(output.instance), to_array(batch['instance'])
            for offsets in zip(predicted, true, strict=True):
                self._offsets.update(*offsets)
        if output.depth is not None:
            predicted, true = to_array(output.depth[:, 0]), to_array(batch['depth'])
            focal_lengths = batch['focal_length'].tolist()
            for disparities in zip(predicted, true, focal_lengths, strict=True):
                self._add_depth(*disparities)

    def _add_depth(self, disparity: np.ndarray, true: np.ndarray, focal_length: float) -> None:
        true = np.where(true > 0, true, np.float32(np.nan))  # 0 is sky, out of reach of stereo
        self._depth.update_disparity(disparity, true)
        self._depth.update(
            depth.decode(disparity, focal_length, MAX_DEPTH),
            depth.decode(true, focal_length, MAX_DEPTH),
        )

    def add_other_processes(self, device: torch.device) -> None:
        """Replace the totals of this process by the sums over all processes.

        Args:
            device: Device of the tensors that the processes exchange.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        metrics = self._offsets.totals, self._depth.totals, self._depth.disparity_totals
        for totals in (self._confusion, *metrics):
            pooled = torch.from_numpy(totals).to(device)
            distributed.all_reduce(pooled)
            totals[:] = pooled.cpu()

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
