"""What is measured while training is what the official evaluation measures."""

import numpy as np
import pytest
import torch

from mtl_perception.evaluation.metrics import DepthMetrics, OffsetMetrics
from mtl_perception.evaluation.official import OfficialSemantic
from mtl_perception.labels import EVALUATED_IDS, NUM_LABELS
from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.tasks import semantic
from mtl_perception.tasks.depth import decode
from mtl_perception.training.metrics import ValidationMetrics

FOCAL_LENGTH = 280.0


def random_frame(random, height, width):
    """Return what a network might say of a frame, and the frame's truth with void and unknowns."""
    labels = random.integers(0, NUM_LABELS, (height, width)).astype(np.uint8)
    guess = random.choice(EVALUATED_IDS, (height, width))
    predicted = np.where((random.random((height, width)) < 0.7) & (labels > 6), labels, guess)
    logits = random.normal(0, 0.1, (NUM_LABELS, height, width)).astype(np.float32)
    np.put_along_axis(logits, predicted[None], 5.0, axis=0)
    offsets = random.normal(0, 20, (2, height, width)).astype(np.float32)
    offsets[:, random.random((height, width)) < 0.5] = np.nan
    disparity = random.uniform(0.3, 20, (height, width)).astype(np.float32)
    disparity[random.random((height, width)) < 0.3] = np.nan
    noise = random.normal(0, 1, (3, height, width)).astype(np.float32)
    return labels, logits, offsets, np.nan_to_num(offsets) + noise[:2], disparity, noise[2]


def test_iou_offset_and_disparity_errors_are_those_of_the_final_evaluation():
    random = np.random.default_rng(0)
    ours = ValidationMetrics()
    official, offset_metrics, depth_metrics = OfficialSemantic(), OffsetMetrics(), DepthMetrics()
    for size in ((40, 60), (32, 48), (64, 20)):
        labels, logits, offsets, votes, disparity, noise = random_frame(random, *size)
        found = np.nan_to_num(disparity, nan=3.0) + noise
        output = NetworkOutput(
            semantic=torch.from_numpy(logits)[None],
            instance=torch.from_numpy(votes)[None],
            depth=torch.from_numpy(found)[None, None],
        )
        batch = {
            'semantic': torch.from_numpy(semantic.target(labels))[None],
            'instance': torch.from_numpy(offsets)[None],
            'depth': torch.from_numpy(disparity)[None],
            'focal_length': torch.tensor([FOCAL_LENGTH]),
        }
        ours.update(output, batch)
        official.add(semantic.decode(output.semantic).labels[0].numpy(), labels)
        offset_metrics.update(votes, offsets)
        depth_metrics.update_disparity(found, disparity)
        depth = decode(disparity, FOCAL_LENGTH, 1e9)
        depth_metrics.update(decode(found, FOCAL_LENGTH, 80.0), depth)
    figures = {name: float(value) for name, value in ours.compute().items()}
    offset, depth = offset_metrics.compute(), depth_metrics.compute()
    expected = {
        'val/iou': official.compute()['iou_class'],
        'val/offset_px': offset['mean_error_px'],
        'val/offset_rms_px': offset['rms_error_px'],
        'val/disparity_px': depth['mean_disparity_error_px'],
        'val/disparity_rms_px': depth['rms_disparity_error_px'],
        'val/abs_rel': depth['abs_rel'],
    }
    assert figures == pytest.approx(expected, abs=1e-6)
    assert 0.3 < figures['val/iou'] < 0.7


def test_a_perfect_prediction_has_iou_one_and_no_error():
    random = np.random.default_rng(1)
    labels, _, offsets, _, disparity, _ = random_frame(random, 40, 60)
    labels = np.where(np.isin(labels, EVALUATED_IDS), labels, 0).astype(np.uint8)
    logits = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), NUM_LABELS)
    output = NetworkOutput(
        semantic=logits.permute(2, 0, 1)[None].float(),
        instance=torch.from_numpy(np.nan_to_num(offsets))[None],
        depth=torch.from_numpy(np.nan_to_num(disparity, nan=1.0))[None, None],
    )
    metrics = ValidationMetrics()
    batch = {
        'semantic': torch.from_numpy(semantic.target(labels))[None],
        'instance': torch.from_numpy(offsets)[None],
        'depth': torch.from_numpy(disparity)[None],
        'focal_length': torch.tensor([FOCAL_LENGTH]),
    }
    metrics.update(output, batch)
    figures = {name: float(value) for name, value in metrics.compute().items()}
    assert figures.pop('val/iou') == 1.0
    assert set(figures.values()) == {0.0}
    assert len(figures) == 5
