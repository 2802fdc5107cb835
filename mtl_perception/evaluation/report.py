# SPDX-License-Identifier: Apache-2.0
"""Figures of an evaluation, for ``metrics.json`` and as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

from mtl_perception.evaluation.metrics import DepthScores, GroupScores, mean_of_known
from mtl_perception.evaluation.official import AveragePrecision, SemanticScores
from mtl_perception.files import finite
from mtl_perception.labels import EVALUATED_IDS, LABELS

DETAILS = ('per_class', 'labels', 'confusion')
"""Figures of a task that ``summary`` leaves out."""


class SemanticReport(SemanticScores, total=False):
    """Official scores, and scores by groups of labels if requested."""

    groups: dict[str, GroupScores]


class InstanceReport(TypedDict):
    """Official average precision, and offset errors in pixels of the output map."""

    ap: float | None
    ap50: float | None
    mean_error_px: float | None
    rms_error_px: float | None
    per_class: dict[str, AveragePrecision]


class Metrics(TypedDict):
    """Content of ``metrics.json``; a task without ground truth or prediction is ``None``.

    ``measured`` counts the frames with both, for each task.
    """

    frames: int
    measured: dict[str, int]
    semantic: SemanticReport | None
    instance: InstanceReport | None
    depth: DepthScores | None


def summary(metrics: Metrics) -> dict[str, Any]:
    """Return the figures of each task except figures per class."""
    figures = dict(metrics)
    for name, task in metrics.items():
        if isinstance(task, dict):
            figures[name] = {key: value for key, value in task.items() if key not in DETAILS}
    return finite(figures)


def metrics_table(metrics: Metrics) -> str:
    """Return the figures as lines of text, with dashes for unknown figures."""
    lines = [_frames(metrics), *_summary(metrics), '', *_classes(metrics), *_groups(metrics)]
    return '\n'.join(lines)


def percent(share: float | None) -> str:
    """Return a share as text in percent, with a dash for an unknown one."""
    return '–' if share is None else f'{share * 100:.1f} %'


def number(value: float | None) -> str:
    """Return a number as text, with a dash for an unknown one."""
    return '–' if value is None else f'{value:.3f}'


@dataclass(frozen=True)
class FrameScores:
    """IoU of classes and depth errors of one frame, ``None`` without ground truth."""

    iou_class: float | None = None
    abs_rel: float | None = None
    delta1: float | None = None

    @property
    def overall(self) -> float | None:
        """Mean of IoU and δ < 1.25, or the only known one."""
        return mean_of_known((self.iou_class, self.delta1))


def _frames(metrics: Metrics) -> str:
    frames, measured = metrics['frames'], metrics['measured']
    if all(count in (0, frames) for count in measured.values()):
        return f'frames    {frames}'
    counts = ', '.join(f'{task} {count}' for task, count in measured.items())
    return f'frames    {frames}; with ground truth: {counts}'


def _summary(metrics: Metrics) -> Iterator[str]:
    semantic, instance, depth = metrics['semantic'], metrics['instance'], metrics['depth']
    if semantic:
        yield (
            f'semantic  IoU {percent(semantic["iou_class"])} of classes, '
            f'{percent(semantic["iou_category"])} of categories; '
            f'iIoU {percent(semantic["iiou_class"])} and {percent(semantic["iiou_category"])}'
        )
    if instance:
        yield (
            f'instance  AP {percent(instance["ap"])}, AP50 {percent(instance["ap50"])}; '
            f'offset error {number(instance["mean_error_px"])} px mean, '
            f'{number(instance["rms_error_px"])} px RMS'
        )
    if depth:
        yield (
            f'depth     AbsRel {number(depth["abs_rel"])}, RMSE {number(depth["rmse"])} m, '
            f'δ<1.25 {percent(depth["delta1"])}; '
            f'disparity error {number(depth["mean_disparity_error_px"])} px mean, '
            f'{number(depth["rms_disparity_error_px"])} px RMS'
        )
    for task in ('semantic', 'instance', 'depth'):
        if not metrics[task]:
            yield f'{task:<10}not measured: no ground truth, or not a task of the network'


def _classes(metrics: Metrics) -> Iterator[str]:
    ious = metrics['semantic']['per_class'] if metrics['semantic'] else {}
    precisions = metrics['instance']['per_class'] if metrics['instance'] else {}
    if not ious and not precisions:
        return
    yield f'{"class":<15}{"IoU":>9}{"AP":>9}{"AP50":>9}'
    for name in (LABELS[label_id].name for label_id in EVALUATED_IDS):
        precision = precisions.get(name, {'ap': None, 'ap50': None})
        values = (ious.get(name), precision['ap'], precision['ap50'])
        yield f'{name:<15}' + ''.join(f'{percent(value):>9}' for value in values)


def _groups(metrics: Metrics) -> Iterator[str]:
    groups = metrics['semantic'].get('groups', {}) if metrics['semantic'] else {}
    for name, scores in groups.items():
        yield ''
        yield f'{f"groups of {name}":<24}{"IoU":>9}'
        for group, iou in scores['per_group'].items():
            yield f'{group:<24}{percent(iou):>9}'
        yield f'{"mean":<24}{percent(scores["iou"]):>9}'
