# SPDX-License-Identifier: Apache-2.0
"""Delivery of images to a node and of its results back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_perception.ros.diagnostics import Counts

PERCENTILES = {'median': 50, 'p90': 90, 'p99': 99, 'max': 100}


@dataclass(frozen=True)
class Delivery:
    """Images sent to a node and the results received.

    Attributes:
        sent: Images sent, each counted once.
        published: Images with all results received.
        counts: Numbers of images that the node reported.
        resent: Number of repeated transmissions.
        seconds: Time from the first image to the last result.
        latencies: Milliseconds from sending an image to its last result, by stamp.
    """

    sent: int
    published: int
    counts: Counts
    resent: int = 0
    seconds: float = 0.0
    latencies: Mapping[int, float] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Return the figures for ``metrics.json``; ``None`` where there is no result."""
        counts, latencies = self.counts, list(self.latencies.values())
        return {
            'sent': self.sent,
            'published': self.published,
            'overtaken': counts.overtaken,
            # Images on the way to the node, and results on the way back.
            'lost': self.sent - counts.received + counts.published - self.published,
            'failed': counts.bad + counts.failed,
            'resent': self.resent,
            'fps': self.published / self.seconds if self.seconds else None,
            'latency_ms': {
                name: float(np.percentile(latencies, q)) if latencies else None
                for name, q in PERCENTILES.items()
            },
        }

    def __str__(self) -> str:
        figures = self.figures()
        text = (
            'sent      {sent}: {published} published, {overtaken} dropped, {lost} lost, '
            '{failed} failed; {resent} sent again'
        ).format(**figures)
        if self.latencies:
            latency = ', '.join(f'{ms:.0f} ms {name}' for name, ms in figures['latency_ms'].items())
            text += f'\nnode      {figures["fps"] or 0:.1f} results/s; latency {latency}'
        return text
