"""What an evaluation leaves behind: ``metrics.json``, a table and a page of pictures."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import cv2
import numpy as np

from mtl_perception.data.frame import Frame
from mtl_perception.evaluation.metrics import (
    DepthMetrics,
    DepthScores,
    SemanticMetrics,
    SemanticScores,
)
from mtl_perception.evaluation.official import AveragePrecision
from mtl_perception.files import write_file
from mtl_perception.labels import EVALUATED_IDS, LABELS
from mtl_perception.visualization import map_row, overview_sheet

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Prediction

PANEL_WIDTH = 320
PICTURED = 3
"""How many of the best frames, and as many of the worst, are shown."""

TITLES = (
    'input',
    'semantic truth',
    'semantic prediction',
    'instance truth',
    'instance prediction',
    'depth truth',
    'depth prediction',
)


DETAILS = ('per_class', 'labels', 'confusion')
"""What ``summary`` leaves out of each task's figures."""


class InstanceReport(TypedDict):
    """Official average precision, and the offsets' error in pixels of the output map."""

    ap: float | None
    ap50: float | None
    mean_error_px: float | None
    rms_error_px: float | None
    per_class: dict[str, AveragePrecision]


class Metrics(TypedDict):
    """What ``metrics.json`` holds; a task without ground truth is ``None``."""

    frames: int
    semantic: SemanticScores | None
    instance: InstanceReport | None
    depth: DepthScores | None


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics`` as JSON; what is not a finite number becomes null.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(_finite(metrics), indent=2, allow_nan=False) + '\n'
    write_file(path, text.encode())


def summary(metrics: Metrics) -> dict[str, Any]:
    """Return the figures of each task without those per class."""
    return _finite(
        {
            name: {key: value for key, value in task.items() if key not in DETAILS}
            if isinstance(task, dict)
            else task
            for name, task in metrics.items()
        }
    )


def metrics_table(metrics: Metrics) -> str:
    """Return the figures as lines of text, a dash for what the truth does not tell."""
    return '\n'.join([f'frames    {metrics["frames"]}', *_summary(metrics), '', *_classes(metrics)])


class FrameGallery:
    """Keeps pictures of the best and the worst frames, truth beside prediction.

    A frame's score is the mean of its IoU and of its share of depth within δ < 1.25, or the one of
    the two that its truth allows.
    """

    def __init__(self) -> None:
        self._rows: list[_Row] = []

    def add(self, frame: Frame, prediction: 'Prediction') -> None:
        """Keep the frame if it is among the best or the worst so far.

        Args:
            frame: with its truth.
            prediction: at the size of the frame.
        """
        score = _frame_score(frame, prediction)
        if score is None:
            return
        if len(self._rows) == 2 * PICTURED:
            if self._rows[PICTURED - 1].score <= score <= self._rows[PICTURED].score:
                return
            del self._rows[PICTURED - 1 if score < self._rows[PICTURED - 1].score else PICTURED]
        self._rows.append(_Row(score, frame.name, _panels(frame, prediction)))
        self._rows.sort(key=lambda row: row.score)

    def sheet(self) -> np.ndarray | None:
        """Return the page, RGB, worst frame first; ``None`` if there is no frame to show."""
        if not self._rows:
            return None
        captions = [f'{row.name}   score {row.score:.3f}' for row in self._rows]
        return overview_sheet([row.panels for row in self._rows], TITLES, captions)


@dataclass(frozen=True)
class _Row:
    score: float
    name: str
    panels: list[np.ndarray]


def _frame_score(frame: Frame, prediction: 'Prediction') -> float | None:
    parts = []
    if frame.labels is not None:
        semantic = SemanticMetrics()
        semantic.update(prediction.labels, frame.labels)
        if (scores := semantic.compute()) and scores['iou_class'] is not None:
            parts.append(scores['iou_class'])
    if frame.depth is not None and prediction.depth is not None:
        depth = DepthMetrics()
        depth.update(prediction.depth, frame.depth)
        if (errors := depth.compute()) and errors['delta1'] is not None:
            parts.append(errors['delta1'])
    return sum(parts) / len(parts) if parts else None


def _panels(frame: Frame, prediction: 'Prediction') -> list[np.ndarray]:
    height = max(1, round(PANEL_WIDTH * frame.image.shape[0] / frame.image.shape[1]))
    size = height, PANEL_WIDTH
    truth = map_row(frame.labels, frame.instances, frame.depth, *size)
    answer = map_row(prediction.labels, prediction.instances, prediction.depth, *size)
    image = cv2.resize(frame.image, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return [image, *(panel for pair in zip(truth, answer, strict=True) for panel in pair)]


def _summary(metrics: Metrics) -> Iterator[str]:
    semantic, instance, depth = metrics['semantic'], metrics['instance'], metrics['depth']
    if semantic:
        yield (
            f'semantic  IoU {_percent(semantic["iou_class"])} of classes, '
            f'{_percent(semantic["iou_category"])} of categories'
        )
    if instance:
        yield (
            f'instance  AP {_percent(instance["ap"])}, AP50 {_percent(instance["ap50"])}; '
            f'offset error {_number(instance["mean_error_px"])} px mean, '
            f'{_number(instance["rms_error_px"])} px RMS'
        )
    if depth:
        yield (
            f'depth     AbsRel {_number(depth["abs_rel"])}, RMSE {_number(depth["rmse"])} m, '
            f'δ<1.25 {_percent(depth["delta1"])}; '
            f'disparity error {_number(depth["mean_disparity_error_px"])} px mean, '
            f'{_number(depth["rms_disparity_error_px"])} px RMS'
        )
    for task in ('semantic', 'instance', 'depth'):
        if not metrics[task]:
            yield f'{task:<10}no ground truth'


def _classes(metrics: Metrics) -> Iterator[str]:
    ious = metrics['semantic']['per_class'] if metrics['semantic'] else {}
    precisions = metrics['instance']['per_class'] if metrics['instance'] else {}
    if not ious and not precisions:
        return
    yield f'{"class":<15}{"IoU":>9}{"AP":>9}{"AP50":>9}'
    for name in (LABELS[label_id].name for label_id in EVALUATED_IDS):
        precision = precisions.get(name, {'ap': None, 'ap50': None})
        values = (ious.get(name), precision['ap'], precision['ap50'])
        yield f'{name:<15}' + ''.join(f'{_percent(value):>9}' for value in values)


def _percent(share: float | None) -> str:
    return '–' if share is None else f'{share * 100:.1f} %'


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:.3f}'


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
