"""Delivery of images to a node and of its results back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_perception.ros.diagnostics import Counts

PERCENTILES = {'median': 50, 'p90': 90, 'p99': 99, 'max': 100}


@dataclass(frozen=True)
class Delivery:
    """Numbers of images sent to a node, by their outcome.

    Attributes:
        sent: Images sent, each counted once.
        published: Images with all results received.
        overtaken: Images that the node dropped for a newer one.
        lost: Images lost on the way to the node, or whose results were lost on the way back.
        failed: Images that the node could not use.
        resent: Number of repeated transmissions.
        node: Fully qualified name of the node.
        rate: Speed relative to real time; ``None``: each image after the result of the previous.
        seconds: Time from the first image to the last result.
        latencies: Milliseconds from sending an image to its last result, by stamp.
    """

    sent: int
    published: int
    overtaken: int = 0
    lost: int = 0
    failed: int = 0
    resent: int = 0
    node: str = ''
    rate: float | None = None
    seconds: float = 0.0
    latencies: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def from_counts(cls, counts: Counts, *, sent: int, published: int, **more: Any) -> 'Delivery':
        """Return the delivery according to the node and to its receiver.

        Args:
            counts: Numbers of images that the node reported.
            sent: Images sent to the node.
            published: Images with all results received.
            more: Further attributes.
        """
        return cls(
            sent,
            published,
            overtaken=counts.overtaken,
            lost=sent - counts.received + counts.published - published,
            failed=counts.bad + counts.failed,
            **more,
        )

    @property
    def fps(self) -> float | None:
        """Results per second; ``None`` without a duration."""
        return self.published / self.seconds if self.seconds else None

    @property
    def latency_ms(self) -> dict[str, float | None]:
        """Percentiles of the latencies by name, in milliseconds; ``None`` without any."""
        values = list(self.latencies.values())
        return {
            name: float(np.percentile(values, q)) if values else None
            for name, q in PERCENTILES.items()
        }

    def figures(self) -> dict[str, Any]:
        """Return the figures for ``metrics.json``."""
        return {
            'node': self.node,
            'rate': self.rate,
            'sent': self.sent,
            'published': self.published,
            'overtaken': self.overtaken,
            'lost': self.lost,
            'failed': self.failed,
            'resent': self.resent,
            'fps': self.fps,
            'latency_ms': self.latency_ms,
        }

    def __str__(self) -> str:
        text = (
            f'sent      {self.sent}: {self.published} published, {self.overtaken} dropped, '
            f'{self.lost} lost, {self.failed} failed; {self.resent} sent again'
        )
        if self.latencies:
            latency = ', '.join(f'{ms:.0f} ms {name}' for name, ms in self.latency_ms.items())
            text += f'\nnode      {self.fps or 0:.1f} results/s; latency {latency}'
        return text
