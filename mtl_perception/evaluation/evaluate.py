# SPDX-License-Identifier: Apache-2.0
"""Compare predictions with ground truth, frame by frame."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mtl_perception.data.cityscapes import FramePaths
from mtl_perception.evaluation.metrics import (
    CLASSES,
    DepthMetrics,
    DepthScores,
    OffsetMetrics,
    group_scores,
)
from mtl_perception.evaluation.official import OfficialInstance, OfficialSemantic
from mtl_perception.evaluation.report import FrameScores, InstanceReport, Metrics, SemanticReport
from mtl_perception.files import make_folder, write_json, write_picture
from mtl_perception.frame import Frame, resize_nearest
from mtl_perception.inference.predictor import Predictor
from mtl_perception.labels import GROUPS, SKY_ID
from mtl_perception.pictures.gallery import FrameGallery
from mtl_perception.prediction import Prediction
from mtl_perception.tasks import TASKS, depth, instance

METRICS_FILE = 'metrics.json'
FRAMES_FILE = 'frames.png'


class Evaluation:
    """Scores of predictions, from any source, against ground truth.

    A map that is absent from the frame or the prediction does not count for its task. Only counts,
    overlaps of instances and pictures of a few frames are kept. Labels are also scored by
    ``groups``, a key of ``GROUPS``, if given.
    """

    def __init__(self, groups: str | None = None) -> None:
        self._groups = groups
        self._frames = 0
        self._measured = dict.fromkeys(TASKS, 0)
        self._semantic = OfficialSemantic()
        self._instance = OfficialInstance()
        self._offsets = OffsetMetrics()
        self._depth = DepthMetrics()
        self._gallery = FrameGallery()

    def add(
        self, frame: Frame, prediction: Prediction, steadiness: float | None = None
    ) -> FrameScores:
        """Add one frame and return its scores.

        The prediction is resized to the ground truth by nearest neighbour; offsets and disparity
        are compared at their own size. ``steadiness`` ranks a frame without ground truth among the
        pictures.

        Raises:
            ValueError: A map contains a value that is not a label or instance ID.
        """
        self._frames += 1
        resized = prediction.resized(*frame.image.shape[:2])
        iou = errors = None
        if frame.labels is not None:
            confusion = self._semantic.add(resized.labels, frame.labels, frame.instances)
            iou = group_scores(confusion, CLASSES)['iou']
            self._measured['semantic'] += 1
        if frame.instances is not None:
            self._add_instances(frame.instances, prediction, resized)
            self._measured['instance'] += prediction.instances is not None
        if frame.depth is not None:
            errors = self._add_depth(frame, frame.depth, prediction, resized)
            self._measured['depth'] += prediction.depth is not None
        scores = FrameScores(iou, errors and errors['abs_rel'], errors and errors['delta1'])
        self._gallery.add(frame, resized, steadiness if scores.overall is None else scores.overall)
        return scores

    def compute(self) -> Metrics:
        """Return the metrics of all frames so far."""
        return {
            'frames': self._frames,
            'measured': dict(self._measured),
            'semantic': self._semantic_report(),
            'instance': self._instance_report(),
            'depth': self._depth.compute(),
        }

    def write_pictures(self, folder: Path) -> None:
        """Write ``frames.png``, unless no frame has a score.

        Raises:
            OSError: ``folder`` cannot be written.
        """
        if (sheet := self._gallery.sheet()) is not None:
            write_picture(folder / FRAMES_FILE, sheet)

    def _semantic_report(self) -> SemanticReport | None:
        scores = self._semantic.compute()
        if scores is None:
            return None
        report: SemanticReport = {**scores}
        if self._groups is not None:
            grouped = group_scores(self._semantic.confusion, GROUPS[self._groups])
            report['groups'] = {self._groups: grouped}
        return report

    def _add_instances(self, true: np.ndarray, prediction: Prediction, resized: Prediction) -> None:
        if resized.instances is not None:
            self._instance.add(resized.instances, resized.scores, true)
        if prediction.offsets is not None:
            small = resize_nearest(true, *prediction.offsets.shape[1:])
            self._offsets.update(prediction.offsets, instance.target(small))

    def _add_depth(
        self, frame: Frame, true: np.ndarray, prediction: Prediction, resized: Prediction
    ) -> DepthScores | None:
        """Score depth where the truth is finite, except in the sky, where stereo fails."""
        metrics = DepthMetrics()
        known = np.isfinite(true)
        if frame.labels is not None:
            known &= frame.labels != SKY_ID
        true = np.where(known, true, np.float32(np.nan))
        if resized.depth is not None:
            metrics.update(resized.depth, true)
        if prediction.disparity is not None:
            height, width = prediction.disparity.shape
            focal_length = frame.focal_length * height / frame.image.shape[0]
            small = depth.disparity_from_depth(resize_nearest(true, height, width), focal_length)
            metrics.update_disparity(prediction.disparity, small)
        self._depth.totals += metrics.totals
        self._depth.disparity_totals += metrics.disparity_totals
        return metrics.compute()

    def _instance_report(self) -> InstanceReport | None:
        precision = self._instance.compute()
        offsets = self._offsets.compute()
        if precision is None:
            return None
        return {
            'ap': precision['ap'],
            'ap50': precision['ap50'],
            'mean_error_px': offsets and offsets['mean_error_px'],
            'rms_error_px': offsets and offsets['rms_error_px'],
            'per_class': precision['per_class'],
        }


def evaluate(
    predictor: Predictor, frames: Sequence[FramePaths], output: Path, groups: str | None = None
) -> Metrics:
    """Evaluate a predictor on frames, write ``metrics.json`` and ``frames.png``.

    Returns:
        Content of ``metrics.json``; labels are also scored by ``groups``, a key of ``GROUPS``.

    Raises:
        DatasetError: A file of a frame is damaged.
        ValueError: The ground truth contains a value that is not a label or instance ID.
        OSError: ``output`` cannot be written.
    """
    make_folder(output)
    evaluation = Evaluation(groups)
    for paths in tqdm(frames, desc='evaluate', unit='frame', disable=None):
        frame = paths.read()
        prediction = predictor.predict(frame.image, frame.focal_length)
        try:
            evaluation.add(frame, prediction)
        except ValueError as err:
            msg = f'{frame.name}: {err}'
            raise ValueError(msg) from err
    metrics = evaluation.compute()
    write_json(output / METRICS_FILE, metrics)
    evaluation.write_pictures(output)
    return metrics
