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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

import cv2
import numpy as np

from mtl_perception.evaluation.metrics import SemanticScores, mean_of_known, semantic_scores
from mtl_perception.labels import INSTANCE_ID_BASE, LABELS, NUM_LABELS, THING_IDS

FAST_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class AveragePrecision(TypedDict):
    """Average precision of a class at overlaps 0.5 to 0.95, and at 0.5."""

    ap: float | None
    ap50: float | None


class InstanceScores(AveragePrecision):
    """Means over the classes that the truth holds; ``per_class`` has ``None`` for the others."""

    per_class: dict[str, AveragePrecision]


class OfficialSemantic:
    """Pixel-level evaluation.

    The script's instance-weighted iIoU is not asked for: it needs instance truth on every frame.
    """

    def __init__(self) -> None:
        self._script, self._arguments = _load('evalPixelLevelSemanticLabeling')
        self._arguments.evalInstLevelScore = False
        self._confusion = self._script.generateMatrix(self._arguments)

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Count one frame.

        Args:
            predicted: ``(H, W)`` uint8 label IDs, at the size of ``true``.
            true: ``(H, W)`` uint8 label IDs.

        Raises:
            ValueError: a value is no label ID, or the sizes differ.
        """
        _check(predicted, true)
        with _scratch() as folder:
            self._script.evaluatePair(
                _write(folder / 'prediction.png', predicted),
                _write(folder / 'truth_labelIds.png', true),
                self._confusion,
                {},
                {},
                self._arguments,
            )

    def compute(self) -> SemanticScores | None:
        """Return the scores, ``None`` if no frame was added."""
        if not self._confusion.any():
            return None
        script, arguments = self._script, self._arguments
        return semantic_scores(
            self._confusion,
            class_iou=lambda label: script.getIouScoreForLabel(label, self._confusion, arguments),
            category_iou=lambda category: script.getIouScoreForCategory(
                category, self._confusion, arguments
            ),
        )


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
            truth = _write(folder / 'truth_instanceIds.png', true.astype(np.uint16))
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
        _write(folder / f'{instance_id}.png', (predicted == instance_id).astype(np.uint8) * 255): {
            'labelID': instance_id // INSTANCE_ID_BASE,
            'conf': scores.get(instance_id, 1.0),
        }
        for instance_id in ids[ids >= INSTANCE_ID_BASE].tolist()
    }


def _write(path: Path, picture: np.ndarray) -> str:
    if not cv2.imwrite(str(path), picture, FAST_PNG):
        msg = f'{path}: cannot be written'
        raise OSError(msg)
    return str(path)
