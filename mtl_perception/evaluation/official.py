"""The official Cityscapes evaluation: cityscapesscripts, run as a library, frame by frame.

Its two scripts are made to be run once, on folders. Here their own functions for one pair of files
and for the final scores are called, not ``evaluateImgLists`` around them; the figures are the same.
So only one frame lies on disk at a time, progress can be shown, and no ``matches.json`` is left in
the current folder and no stale cache of the truth among the installed packages.
"""

import copy
import importlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

import cv2
import numpy as np

from mtl_perception.evaluation.metrics import (
    CATEGORIES,
    SemanticScores,
    category_members,
    mean_of_known,
    semantic_scores,
)
from mtl_perception.labels import INSTANCE_ID_BASE, LABELS, NUM_LABELS, THING_IDS


class OfficialSemanticScores(SemanticScores):
    """With iIoU of classes and categories, ``None`` where the truth holds no instance."""

    iiou_class: float | None
    iiou_category: float | None


class AveragePrecision(TypedDict):
    """Average precision of a class at overlaps 0.5 to 0.95, and at 0.5."""

    ap: float | None
    ap50: float | None


class InstanceScores(AveragePrecision):
    """Means over the classes that the truth holds; ``per_class`` has ``None`` for the others."""

    per_class: dict[str, AveragePrecision]


class OfficialSemantic:
    """Pixel-level evaluation.

    iIoU weights a pixel by how small its instance is beside the average of its class in Cityscapes,
    at 2048×1024: it compares with other figures of that size alone. Frames without instance truth
    count for IoU only.

    Attributes:
        confusion: ``(34, 34)`` pixels, indexed ``[truth, prediction]`` by label ID.
    """

    def __init__(self) -> None:
        self._script, self._arguments = _load('evalPixelLevelSemanticLabeling')
        self.confusion = self._script.generateMatrix(self._arguments)
        self._confusion_beside_instances = np.zeros_like(self.confusion)
        self._instances = self._script.generateInstanceStats(self._arguments)

    def add(
        self, predicted: np.ndarray, true: np.ndarray, instances: np.ndarray | None = None
    ) -> None:
        """Count one frame.

        Args:
            predicted: ``(H, W)`` uint8 label IDs, at the size of ``true``.
            true: ``(H, W)`` uint8 label IDs.
            instances: ``(H, W)`` true instance IDs, ``label · 1000 + k`` on instances.

        Raises:
            ValueError: a value is no label or instance ID, or the sizes differ.
        """
        _check(predicted, true)
        arguments = copy.copy(self._arguments)
        arguments.evalInstLevelScore = instances is not None
        confusion = np.zeros_like(self.confusion)
        with _scratch() as folder:
            if instances is not None:
                _check(predicted, _label_of(instances))
                _write(folder / 'truth_instanceIds.pgm', instances.astype(np.uint16))
            self._script.evaluatePair(
                _write(folder / 'prediction.pgm', predicted),
                _write(folder / 'truth_labelIds.pgm', true),
                confusion,
                self._instances,
                {},
                arguments,
            )
        self.confusion += confusion
        if instances is not None:
            self._confusion_beside_instances += confusion

    def compute(self) -> OfficialSemanticScores | None:
        """Return the scores, ``None`` if no frame was added."""
        if not self.confusion.any():
            return None
        script, arguments = self._script, self._arguments
        scores = semantic_scores(
            self.confusion,
            class_iou=lambda label: script.getIouScoreForLabel(label, self.confusion, arguments),
            category_iou=lambda category: script.getIouScoreForCategory(
                category, self.confusion, arguments
            ),
        )
        return {
            'iou_class': scores['iou_class'],
            'iou_category': scores['iou_category'],
            'iiou_class': self._instance_iou(
                script.getInstanceIouScoreForLabel, {label: [label] for label in THING_IDS}
            ),
            'iiou_category': self._instance_iou(
                script.getInstanceIouScoreForCategory,
                {category: category_members(category) for category in CATEGORIES},
            ),
            'per_class': scores['per_class'],
            'labels': scores['labels'],
            'confusion': scores['confusion'],
        }

    def _instance_iou(self, score: Any, members: Mapping[Any, Sequence[int]]) -> float | None:
        """Return the mean of the script's ``score`` over what the truth holds."""
        confusion = self._confusion_beside_instances
        scores = (
            score(name, confusion, self._instances, self._arguments)
            for name, labels in members.items()
            if confusion[labels].any()
        )
        return mean_of_known(None if np.isnan(value) else value for value in scores)


class OfficialInstance:
    """Instance-level evaluation.

    Truth under 100 pixels, groups and void count neither for nor against a prediction.
    """

    def __init__(self) -> None:
        self._script, self._arguments = _load('evalInstanceLevelSemanticLabeling')
        self._script.setInstanceLabels(self._arguments)
        self._matches: dict[int, dict[str, Any]] = {}

    def add(self, predicted: np.ndarray, scores: Mapping[int, float], true: np.ndarray) -> None:
        """Match one frame's predicted instances with the true ones.

        Args:
            predicted: ``(H, W)`` instance IDs, ``label · 1000 + k``, at the size of ``true``;
                smaller values are no instances.
            scores: how sure each predicted instance is; 1 for one that has no score.
            true: ``(H, W)`` instance IDs.

        Raises:
            ValueError: a value is no instance ID, or the sizes differ.
        """
        _check(_label_of(predicted), _label_of(true))
        with _scratch() as folder:
            truth = _write(folder / 'truth_instanceIds.pgm', true.astype(np.uint16))
            instances = self._script.instances2dict([truth])[truth]
            true_instances, predicted_instances = self._script.assignGt2Preds(
                self._script.filterGtInstances(instances, self._arguments),
                self._script.readGTImage(truth, self._arguments),
                _write_masks(folder, predicted, scores),
                self._arguments,
            )
        self._matches[len(self._matches)] = {
            'groundTruth': true_instances,
            'prediction': predicted_instances,
        }

    def compute(self) -> InstanceScores | None:
        """Return the scores, ``None`` if no frame was added."""
        if not self._matches:
            return None
        per_class = {
            LABELS[label].name: self._class_scores(LABELS[label].name) for label in THING_IDS
        }
        return {
            'ap': mean_of_known(scores['ap'] for scores in per_class.values()),
            'ap50': mean_of_known(scores['ap50'] for scores in per_class.values()),
            'per_class': per_class,
        }

    def _class_scores(self, name: str) -> AveragePrecision:
        precisions = [self._precision(name, overlap) for overlap in self._arguments.overlaps]
        return {'ap': mean_of_known(precisions), 'ap50': precisions[0]}

    def _precision(self, name: str, overlap: float) -> float | None:
        """Return a class's average precision at one overlap, ``None`` if the truth lacks it."""
        arguments = copy.copy(self._arguments)
        arguments.instLabels = [name]
        arguments.overlaps = [overlap]
        try:
            with _exits_as_errors():
                precision = float(self._script.evaluateMatches(self._matches, arguments).item())
        except IndexError:
            # The script looks for the last point of an empty curve where the class has truth and
            # predictions, but none of them matches and all are to be ignored.
            return 0.0
        return None if np.isnan(precision) else precision


def _load(script: str) -> tuple[ModuleType, Any]:
    """Return one of cityscapesscripts' evaluations and a copy of its arguments, set to be quiet.

    While it is imported it refuses a CITYSCAPES_EXPORT_DIR that does not exist, although nothing is
    exported here.
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


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yield a folder for one frame's files, in which the scripts may fail."""
    with tempfile.TemporaryDirectory(prefix='mtl_evaluate_') as folder, _exits_as_errors():
        yield Path(folder).resolve()


@contextmanager
def _exits_as_errors() -> Iterator[None]:
    """Turn the scripts' ``sys.exit`` into a ``ValueError``; what was wrong they have printed."""
    try:
        yield
    except SystemExit as err:
        msg = 'cityscapesscripts refused a frame; its message is above'
        raise ValueError(msg) from err


def _check(predicted: np.ndarray, true: np.ndarray) -> None:
    if predicted.shape != true.shape:
        msg = f'the prediction has shape {predicted.shape}, the truth {true.shape}'
        raise ValueError(msg)
    for which, labels in (('predicted', predicted), ('true', true)):
        if labels.max() >= NUM_LABELS:
            msg = f'{which} label ID {labels.max()}, expected 0 to {NUM_LABELS - 1}'
            raise ValueError(msg)


def _label_of(instances: np.ndarray) -> np.ndarray:
    return np.where(instances < INSTANCE_ID_BASE, instances, instances // INSTANCE_ID_BASE)


def _write_masks(
    folder: Path, predicted: np.ndarray, scores: Mapping[int, float]
) -> dict[str, dict[str, Any]]:
    ids = np.unique(predicted)
    return {
        _write(folder / f'{instance_id}.pgm', (predicted == instance_id).astype(np.uint8) * 255): {
            'labelID': instance_id // INSTANCE_ID_BASE,
            'conf': scores.get(instance_id, 1.0),
        }
        for instance_id in ids[ids >= INSTANCE_ID_BASE].tolist()
    }


def _write(path: Path, picture: np.ndarray) -> str:
    # Not compressed: that would take longer than the scripts themselves.
    if not cv2.imwrite(str(path), picture):
        msg = f'{path}: cannot be written'
        raise OSError(msg)
    return str(path)
