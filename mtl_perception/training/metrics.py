"""What is measured on the validation frames while training, pooled over pixels and processes."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassJaccardIndex

from mtl_perception.evaluation.metrics import MAX_DEPTH
from mtl_perception.frame import CITYSCAPES_BASELINE
from mtl_perception.labels import NUM_LABELS
from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.tasks import semantic

ROOTS = ('offset_rms_px', 'disparity_rms_px')
"""Means whose square root is the figure."""

MEANS = ('offset_px', 'disparity_px', 'abs_rel', *ROOTS)


class ValidationMetrics(nn.Module):
    """Mean IoU over the labels present, offset and disparity errors, and AbsRel of depth."""

    def __init__(self) -> None:
        super().__init__()
        self.iou = MulticlassJaccardIndex(
            NUM_LABELS, ignore_index=semantic.IGNORE, average='none', validate_args=False
        )
        for name in MEANS:
            # float32 would round away what the millionth pixel adds.
            setattr(self, name, MeanMetric().set_dtype(torch.float64))

    def update(self, output: NetworkOutput, batch: Mapping[str, Any]) -> None:
        """Add a batch of ``to_sample``'s arrays; what is unknown or not predicted adds nothing."""
        if output.semantic is not None:
            self.iou.update(semantic.decode(output.semantic).labels, batch['semantic'].long())
        if output.instance is not None:
            known = ~batch['instance'][:, 0].isnan()
            error = (output.instance.float() - batch['instance']).norm(dim=1)
            self._update(error[known], 'offset_px', 'offset_rms_px')
        if output.depth is not None:
            self._update_depth(output.depth[:, 0].float(), batch)

    def _update_depth(self, disparity: Tensor, batch: Mapping[str, Any]) -> None:
        target = batch['depth']
        known = target > 0  # neither unknown nor sky
        error = (disparity - target)[known].abs()
        self._update(error, 'disparity_px', 'disparity_rms_px')
        rig = batch['focal_length'].float()[:, None, None] * CITYSCAPES_BASELINE
        # As in the final evaluation, what is predicted beyond MAX_DEPTH counts as MAX_DEPTH.
        true, predicted = rig / target, rig / disparity.clamp(min=rig / MAX_DEPTH)
        self._update(((predicted - true).abs() / true)[known & (true <= MAX_DEPTH)], 'abs_rel')

    def _update(self, errors: Tensor, mean: str, root: str | None = None) -> None:
        if errors.numel():
            getattr(self, mean).update(errors)
            if root is not None:
                getattr(self, root).update(errors.square())

    def compute(self) -> dict[str, Tensor]:
        """Return what there was ground truth for, by the names it is logged under.

        IoU and AbsRel are shares, the others pixels of the output map.
        """
        with warnings.catch_warnings():
            # Every process computes every metric, whether it saw a frame for it or not: the others
            # wait for it.
            warnings.filterwarnings('ignore', 'The ``compute`` method', UserWarning)
            per_class = self.iou.compute()
            figures = {f'val/{name}': getattr(self, name).compute() for name in MEANS}
        for name in ROOTS:
            figures[f'val/{name}'] = figures[f'val/{name}'].sqrt()
        # Labels in neither truth nor prediction are NaN, those in the prediction alone 0.
        figures['val/iou'] = per_class[self._present()].mean()
        return {name: value for name, value in figures.items() if not value.isnan()}

    def _present(self) -> Tensor:
        with self.iou.sync_context(should_unsync=True):
            return self.iou.confmat.sum(1) > 0

    def reset(self) -> None:
        """Start anew."""
        for name in ('iou', *MEANS):
            getattr(self, name).reset()
