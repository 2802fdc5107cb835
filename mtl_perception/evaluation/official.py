# SPDX-License-Identifier: Apache-2.0
"""Official Cityscapes evaluation: cityscapesscripts as a library, frame by frame.

The two scripts run once on folders and count the pixels of each mask, which they read from files.
This module counts all pixels of a frame at once and leaves matching and scoring to functions of the
scripts, so the figures are equal. No frame is written to a file, progress is visible, and the
scripts leave neither ``matches.json`` in the current folder nor a stale cache of the ground truth
among the installed packages.
"""

import copy
import importlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypedDict

import numpy as np

from mtl_perception.evaluation.metrics import confusion_matrix, mean_of_known
from mtl_perception.labels import (
    EVALUATED_IDS,
    INSTANCE_ID_BASE,
    IS_EVALUATED,
    LABELS,
    NUM_LABELS,
    THING_IDS,
)

THINGS = [LABELS[label].name for label in THING_IDS]

CATEGORIES: defaultdict[str, list[int]] = defaultdict(list)
"""Evaluated label IDs of each category."""

for _label in EVALUATED_IDS:
    CATEGORIES[LABELS[_label].category].append(_label)


class SemanticScores(TypedDict):
    """Intersection over union, 0 to 1; ``None`` for classes absent from the truth.

    ``iiou_class`` and ``iiou_category`` are ``None`` without true instances.
    ``confusion[truth][prediction]`` counts pixels, in the order of ``labels``.
    """

    iou_class: float | None
    iou_category: float | None
    iiou_class: float | None
    iiou_category: float | None
    per_class: dict[str, float | None]
    labels: list[int]
    confusion: list[list[int]]


class AveragePrecision(TypedDict):
    """Average precision over overlaps 0.5 to 0.95, and at overlap 0.5."""

    ap: float | None
    ap50: float | None


class InstanceScores(AveragePrecision):
    """Means over the classes in the truth; ``per_class`` is ``None`` for other classes."""

    per_class: dict[str, AveragePrecision]


class OfficialSemantic:
    """Pixel-level evaluation, with means over the classes and categories in the truth.

    Cityscapes' script counts a class that is predicted but absent from the truth as 0. Cityscapes'
    splits contain all classes, so the means are equal there.

    iIoU weights a pixel by the average size of its class in Cityscapes, at 2048×1024, over the size
    of its instance, so it compares with figures at this size only. Frames without true instances
    count for IoU only.

    Attributes:
        confusion: ``(34, 34)`` pixels, indexed ``[truth, prediction]`` by label ID.
    """

    def __init__(self) -> None:
        self._script, self._arguments = _load('evalPixelLevelSemanticLabeling')
        self.confusion = self._script.generateMatrix(self._arguments)
        self._instance_confusion = np.zeros_like(self.confusion)
        self._instances = self._script.generateInstanceStats(self._arguments)

    def add(
        self, predicted: np.ndarray, true: np.ndarray, instances: np.ndarray | None = None
    ) -> np.ndarray:
        """Add one frame and return its ``confusion``.

        Labels are ``(H, W)`` uint8, instances ``(H, W)`` true IDs, ``label · 1000 + k``.

        Raises:
            ValueError: A value is not a label or instance ID, or the sizes differ.
        """
        _check_sizes(predicted, true)
        _check_labels('predicted', [predicted.max()])
        _check_labels('true', [true.max()])
        confusion = confusion_matrix(predicted, true).astype(self.confusion.dtype)
        if instances is not None:
            self._add_instances(predicted, instances)
            self._instance_confusion += confusion
        self.confusion += confusion
        return confusion

    def _add_instances(self, predicted: np.ndarray, instances: np.ndarray) -> None:
        """Count the found pixels of each true instance, as the script's ``evaluatePair`` does."""
        for instance_id, pixels in _count_pairs(predicted, instances).items():
            label = LABELS[_label_of(instance_id)]
            if instance_id < INSTANCE_ID_BASE or label.id not in THING_IDS:
                continue
            size = pixels.total()
            weight = self._arguments.avgClassSize[label.name] / size
            category = self._instances['categories'][label.category]
            for totals, label_ids in (
                (self._instances['classes'][label.name], [label.id]),
                (category, category['labelIds']),
            ):
                found = sum(pixels[label_id] for label_id in label_ids)
                totals['tpWeighted'] += found * weight
                totals['fnWeighted'] += (size - found) * weight

    def compute(self) -> SemanticScores | None:
        """Return the scores, ``None`` without a labelled pixel."""
        script, arguments, confusion = self._script, self._arguments, self.confusion
        if not confusion[list(EVALUATED_IDS)].any():
            return None
        per_class = {
            LABELS[label].name: script.getIouScoreForLabel(label, confusion, arguments)
            if confusion[label].any()
            else None
            for label in EVALUATED_IDS
        }
        per_category = [
            script.getIouScoreForCategory(category, confusion, arguments)
            for category, members in CATEGORIES.items()
            if confusion[members].any()
        ]
        return {
            'iou_class': mean_of_known(per_class.values()),
            'iou_category': mean_of_known(per_category),
            'iiou_class': self._instance_iou(
                script.getInstanceIouScoreForLabel, {label: [label] for label in THING_IDS}
            ),
            'iiou_category': self._instance_iou(script.getInstanceIouScoreForCategory, CATEGORIES),
            'per_class': per_class,
            'labels': list(EVALUATED_IDS),
            'confusion': confusion[np.ix_(EVALUATED_IDS, EVALUATED_IDS)].astype(int).tolist(),
        }

    def _instance_iou(self, score: Any, members: Mapping[Any, Sequence[int]]) -> float | None:
        """Return the mean of the script's ``score`` over classes or categories in the truth."""
        confusion = self._instance_confusion
        scores = (
            score(name, confusion, self._instances, self._arguments)
            for name, labels in members.items()
            if confusion[labels].any()
        )
        return mean_of_known(None if np.isnan(value) else value for value in scores)


class OfficialInstance:
    """Instance-level evaluation.

    True instances below 100 pixels, groups and void count neither for nor against a prediction.
    """

    def __init__(self) -> None:
        self._script, self._arguments = _load('evalInstanceLevelSemanticLabeling')
        self._script.setInstanceLabels(self._arguments)
        self._matches: dict[int, dict[str, Any]] = {}

    def add(self, predicted: np.ndarray, scores: Mapping[int, float], true: np.ndarray) -> None:
        """Match the predicted instances of one frame with the true instances.

        Args:
            predicted: ``(H, W)`` instance IDs, ``label · 1000 + k``; smaller values are none.
            scores: Score of each predicted instance; 1 where it is absent.
            true: ``(H, W)`` instance IDs.

        Raises:
            ValueError: A value is not an instance ID, or the sizes differ.
        """
        pairs = _count_pairs(predicted, true)
        sizes, void_pixels = Counter[int](), Counter[int]()
        for true_id, pixels in pairs.items():
            sizes.update(pixels)
            if true_id < INSTANCE_ID_BASE and not IS_EVALUATED[true_id]:
                void_pixels.update(pixels)
        truths = {
            instance_id: {
                'instID': instance_id,
                'pixelCount': pixels.total(),
                # The script's values for an evaluation without distances.
                'medDist': -1,
                'distConf': 0.0,
            }
            for instance_id, pixels in pairs.items()
        }
        predictions = {
            instance_id: {
                'pixelCount': sizes[instance_id],
                'voidIntersection': void_pixels[instance_id],
                'confidence': scores.get(instance_id, 1.0),
            }
            for instance_id in sorted(sizes)
            if instance_id >= INSTANCE_ID_BASE
        }
        predictions_of, truths_of = defaultdict[int, list](list), defaultdict[int, list](list)
        for true_id, pixels in pairs.items():
            for predicted_id, count in pixels.items():
                if predicted_id in predictions and _label_of(predicted_id) == _label_of(true_id):
                    overlap = {'intersection': count}
                    predictions_of[true_id].append({**predictions[predicted_id], **overlap})
                    truths_of[predicted_id].append({**truths[true_id], **overlap})
        self._matches[len(self._matches)] = {
            'groundTruth': _by_class(truths, 'matchedPred', predictions_of),
            'prediction': _by_class(predictions, 'matchedGt', truths_of),
        }

    def compute(self) -> InstanceScores | None:
        """Return the scores, ``None`` without a frame."""
        if not self._matches:
            return None
        per_class = {name: self._class_scores(name) for name in THINGS}
        return {
            'ap': mean_of_known(scores['ap'] for scores in per_class.values()),
            'ap50': mean_of_known(scores['ap50'] for scores in per_class.values()),
            'per_class': per_class,
        }

    def _class_scores(self, name: str) -> AveragePrecision:
        precisions = [self._precision(name, overlap) for overlap in self._arguments.overlaps]
        return {'ap': mean_of_known(precisions), 'ap50': precisions[0]}

    def _precision(self, name: str, overlap: float) -> float | None:
        """Return the average precision of a class, ``None`` if the truth lacks the class."""
        arguments = copy.copy(self._arguments)
        arguments.instLabels = [name]
        arguments.overlaps = [overlap]
        try:
            precision = float(self._script.evaluateMatches(self._matches, arguments).item())
        except IndexError:
            # The script reads the last point of an empty curve if a class has truth and predictions
            # but all predictions are ignored and none matches.
            return 0.0
        return None if np.isnan(precision) else precision


def _load(script: str) -> tuple[ModuleType, Any]:
    """Return a script of cityscapesscripts and a copy of its arguments, set to quiet.

    The import fails if CITYSCAPES_EXPORT_DIR does not exist, although nothing is exported.
    """
    export_directory = os.environ.pop('CITYSCAPES_EXPORT_DIR', None)
    try:
        module = importlib.import_module(f'cityscapesscripts.evaluation.{script}')
    finally:
        if export_directory is not None:
            os.environ['CITYSCAPES_EXPORT_DIR'] = export_directory
    arguments = copy.copy(module.args)
    arguments.quiet = True
    return module, arguments


def _count_pairs(predicted: np.ndarray, true: np.ndarray) -> dict[int, Counter[int]]:
    """Return the pixels of each pair, by ascending true ID, then by ascending predicted ID.

    Raises:
        ValueError: A value is not a label or instance ID, or the sizes differ.
    """
    _check_sizes(predicted, true)
    packed = true.astype(np.uint32) << 16 | predicted.astype(np.uint32)
    values, counts = np.unique(packed, return_counts=True)
    pairs: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        pairs[value >> 16][value & 0xFFFF] = count
    _check_labels('predicted', [predicted.max(), *(i for pixels in pairs.values() for i in pixels)])
    _check_labels('true', [true.max(), *pairs])
    return pairs


def _by_class(
    instances: Mapping[int, Mapping[str, Any]], name: str, matches: Mapping[int, list]
) -> dict[str, list[dict[str, Any]]]:
    """Return the instances of each class, with their matches under ``name``."""
    by_class: dict[str, list[dict[str, Any]]] = {thing: [] for thing in THINGS}
    for instance_id, instance in instances.items():
        label = LABELS[_label_of(instance_id)].name
        if label in by_class:
            by_class[label].append({**instance, name: matches.get(instance_id, [])})
    return by_class


def _check_sizes(predicted: np.ndarray, true: np.ndarray) -> None:
    if predicted.shape != true.shape:
        msg = f'the prediction has shape {predicted.shape}, the truth {true.shape}'
        raise ValueError(msg)


def _check_labels(which: str, ids: Iterable[int]) -> None:
    highest = max(map(_label_of, ids))
    if highest >= NUM_LABELS:
        msg = f'{which} label ID {highest}, expected 0 to {NUM_LABELS - 1}'
        raise ValueError(msg)


def _label_of(instance_id: int) -> int:
    return instance_id if instance_id < INSTANCE_ID_BASE else instance_id // INSTANCE_ID_BASE
