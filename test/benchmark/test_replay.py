# SPDX-License-Identifier: Apache-2.0
"""Consistency of the figures of ``mtl benchmark replay``."""

import pytest

from mtl_perception.benchmark.replay import benchmark_replay
from mtl_perception.inference.predictor import Predictor
from mtl_perception.synthetic import synthetic_drive


@pytest.mark.slow
def test_the_predictor_alone_and_both_replays_are_timed(tiny_checkpoint):
    predictor = Predictor(tiny_checkpoint, device='cpu', runtime='torch')
    frames = list(synthetic_drive(0, 3, height=64, width=128))
    benchmark = benchmark_replay(predictor, frames, repetitions=1)
    alone, measured, written = benchmark.rows
    assert alone.what == 'predictor alone'
    assert alone.share_of_rate == 1
    for row in (measured, written):
        assert row.calls == 1
        assert row.share_of_rate == pytest.approx(alone.median / row.median)
    assert (benchmark.frames, benchmark.size) == (3, (64, 128))
    assert 'replay, result bag written' in str(benchmark)
