"""What is measured on the validation frames while training, pooled over pixels and processes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassJaccardIndex

from mtl_perception.data.frame import CITYSCAPES_BASELINE
from mtl_perception.evaluation.metrics import MAX_DEPTH
from mtl_perception.labels import NUM_LABELS
from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.tasks import semantic


class ValidationMetrics(nn.Module):
    """Mean IoU over the labels present, offset error, disparity error and AbsRel of depth."""

    def __init__(self) -> None:
        super().__init__()
        self.iou = MulticlassJaccardIndex(
            NUM_LABELS, ignore_index=semantic.IGNORE, average='none', validate_args=False
        )
        self.offset_px = MeanMetric()
        self.disparity_px = MeanMetric()
        self.abs_rel = MeanMetric()

    def update(self, output: NetworkOutput, batch: Mapping[str, Any]) -> None:
        """Add a batch; heads and ground truth that there are not contribute nothing."""
        if output.semantic is not None:
            self.iou.update(semantic.decode(output.semantic).labels, batch['semantic'].long())
        if output.instance is not None:
            known = ~batch['instance'][:, 0].isnan()
            error = (output.instance.float() - batch['instance']).norm(dim=1)
            _update(self.offset_px, error[known])
        if output.depth is not None:
            self._update_depth(output.depth[:, 0].float(), batch)

    def _update_depth(self, disparity: Tensor, batch: Mapping[str, Any]) -> None:
        target = batch['depth']
        known = target > 0  # neither unknown nor sky
        _update(self.disparity_px, (disparity - target)[known].abs())
        rig = batch['focal_length'].float()[:, None, None] * CITYSCAPES_BASELINE
        # As in the final evaluation, what is predicted beyond MAX_DEPTH counts as MAX_DEPTH.
        true, predicted = rig / target, rig / disparity.clamp(min=rig / MAX_DEPTH)
        _update(self.abs_rel, ((predicted - true).abs() / true)[known & (true <= MAX_DEPTH)])

    def compute(self) -> dict[str, Tensor]:
        """Return what there was ground truth for, by the names it is logged under."""
        figures = {}
        if self.iou.update_called:
            present = self.iou.confmat.sum(1) > 0
            figures['val/iou'] = self.iou.compute()[present].mean()
        for name in ('offset_px', 'disparity_px', 'abs_rel'):
            metric = getattr(self, name)
            if metric.update_called:
                figures[f'val/{name}'] = metric.compute()
        return figures

    def reset(self) -> None:
        """Start anew."""
        for metric in (self.iou, self.offset_px, self.disparity_px, self.abs_rel):
            metric.reset()


def _update(metric: MeanMetric, values: Tensor) -> None:
    if values.numel():
        metric.update(values)
