# SPDX-License-Identifier: Apache-2.0
"""Validation metrics during training equal the metrics of the final evaluation."""

import json
import subprocess
import sys

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
    """Return a plausible output of a network, and ground truth with void and unknown pixels."""
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
    figures = ours.compute()
    offset, depth = offset_metrics.compute(), depth_metrics.compute()
    expected = {
        'val/iou': official.compute()['iou_class'],
        'val/offset_px': offset['mean_error_px'],
        'val/offset_rms_px': offset['rms_error_px'],
        'val/disparity_px': depth['mean_disparity_error_px'],
        'val/disparity_rms_px': depth['rms_disparity_error_px'],
        'val/abs_rel': depth['abs_rel'],
    }
    assert figures == pytest.approx(expected, rel=1e-12)
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
    figures = metrics.compute()
    assert figures.pop('val/iou') == 1.0
    assert set(figures.values()) == {0.0}
    assert len(figures) == 5


PROCESS = """
import json, sys
from pathlib import Path

import torch
from torch import distributed

from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.training.metrics import ValidationMetrics

folder, rank = Path(sys.argv[1]), int(sys.argv[2])
store = distributed.FileStore(str(folder / 'store'), 2)
distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
logits = torch.zeros(1, 34, 1, 4)
logits[:, 7] = 1
metrics = ValidationMetrics()
metrics.update(
    NetworkOutput(logits, depth=torch.full((1, 1, 1, 4), 3.0) if rank else None),
    {
        'semantic': torch.tensor([[[7, 7, 7, (8, 11)[rank]]]], dtype=torch.uint8),
        'depth': torch.full((1, 1, 4), 2.0),
        'focal_length': torch.tensor([100.0]),
    },
)
metrics.add_other_processes(torch.device('cpu'))
distributed.destroy_process_group()
(folder / f'{rank}.json').write_text(json.dumps(metrics.compute()))
"""


def test_every_process_has_the_figures_of_all(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, '-c', PROCESS, str(tmp_path), rank]) for rank in '01'
    ]
    assert [process.wait() for process in processes] == [0, 0]
    figures = [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in (0, 1)]
    # Road is found 6 times of 6 and predicted twice elsewhere; only one process predicts depth.
    expected = {
        'val/iou': (6 / 8 + 0 + 0) / 3,
        'val/disparity_px': 1.0,
        'val/disparity_rms_px': 1.0,
        'val/abs_rel': 1 / 3,
    }
    assert figures[0] == figures[1] == pytest.approx(expected)


def test_metrics_are_pooled_over_pixels():
    """One of two frames has a single valid pixel, so a mean over frames would differ."""
    metrics = ValidationMetrics()
    nan = np.nan
    for errors in ([1.0, 1.0, 1.0], [9.0, nan, nan]):
        offset = torch.tensor(errors)
        target = torch.stack([offset, offset * 0])[None, :, None]
        disparity = torch.where(offset.isnan(), nan, 2.0)[None, None]
        predicted = 2.0 + offset.nan_to_num()
        metrics.update(
            NetworkOutput(instance=torch.zeros(1, 2, 1, 3), depth=predicted[None, None, None]),
            {
                'instance': target,
                'depth': disparity,
                'focal_length': torch.tensor([100.0]),
            },
        )
    figures = metrics.compute()
    assert figures['val/offset_px'] == pytest.approx((1 + 1 + 1 + 9) / 4)
    assert figures['val/disparity_px'] == pytest.approx((1 + 1 + 1 + 9) / 4)
    # Depth is rig / disparity: from 2 to 3 px it shrinks by a third, from 2 to 11 px by 9/11.
    assert figures['val/abs_rel'] == pytest.approx((3 * (1 / 3) + 9 / 11) / 4)
    assert 'val/iou' not in figures
