# SPDX-License-Identifier: Apache-2.0
"""Figures of the images sent to a node."""

import pytest

from mtl_perception.live.delivery import Delivery
from mtl_perception.ros.diagnostics import Counts


def test_every_image_is_published_overtaken_lost_or_failed():
    counts = Counts(received=18, published=9, overtaken=5, bad=1, failed=3)
    figures = Delivery(20, 8, counts).figures()
    assert (figures['sent'], figures['published']) == (20, 8)
    assert (figures['overtaken'], figures['failed']) == (5, 4)
    assert figures['lost'] == 3  # two on the way to the node, one result on the way back


def test_figures_and_text_are_those_of_the_images():
    latencies = {stamp: float(stamp) for stamp in range(1, 102)}
    counts = Counts(received=150, published=101, overtaken=49)
    delivery = Delivery(150, 101, counts, seconds=10.1, latencies=latencies)
    figures = delivery.figures()
    assert figures['fps'] == pytest.approx(10.0)
    assert figures['latency_ms'] == {'median': 51.0, 'p90': 91.0, 'p99': 100.0, 'max': 101.0}
    assert str(delivery).splitlines() == [
        'sent      150: 101 published, 49 dropped, 0 lost, 0 failed; 0 sent again',
        'node      10.0 results/s; latency 51 ms median, 91 ms p90, 100 ms p99, 101 ms max',
    ]


def test_without_results_rate_and_latency_are_unknown():
    delivery = Delivery(3, 0, Counts())
    assert delivery.figures()['fps'] is None
    assert set(delivery.figures()['latency_ms'].values()) == {None}
    assert 'latency' not in str(delivery)
