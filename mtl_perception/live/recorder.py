"""Collect what the node publishes, frame by frame, over DDS."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from mtl_perception.messages.stamps import header_stamp

QUEUE_DEPTH = 20
"""Messages of a topic that wait while another is being stored."""


@dataclass
class RecordedFrame:
    """The outputs that carry one stamp.

    Attributes:
        messages: serialized, by topic.
        arrival: wall clock in nanoseconds when the latest of them came.
    """

    messages: dict[str, bytes] = field(default_factory=dict)
    arrival: int = 0


class Recorder(Node):
    """Subscribes to topics of the node and keeps every message in serialized form, by its stamp.

    Attributes:
        frames: by stamp in nanoseconds.
        diagnostics: the values of the node's latest status.
        diagnostics_message: its sentence.
        diagnostics_count: how many statuses have come.

    Args:
        topics: names and message classes; every message must begin with a header.
        node_name: fully qualified, of the node whose diagnostics to keep.
        keep_data: whether to keep the messages, not only when they came.
    """

    def __init__(
        self, topics: Mapping[str, type], node_name: str, *, keep_data: bool = True
    ) -> None:
        super().__init__('recorder', namespace=node_name.rpartition('/')[0])
        self.frames: dict[int, RecordedFrame] = defaultdict(RecordedFrame)
        self.diagnostics: dict[str, str] = {}
        self.diagnostics_message = ''
        self.diagnostics_count = 0
        self._topics = dict(topics)
        self._node_name = node_name
        self._keep_data = keep_data
        qos = QoSProfile(depth=QUEUE_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        for topic, message_type in topics.items():
            self.create_subscription(message_type, topic, self._keep(topic), qos, raw=True)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def complete(self) -> list[int]:
        """Return the stamps of the frames of which every topic has come, in order."""
        needed = len(self._topics)
        return sorted(stamp for stamp, f in self.frames.items() if len(f.messages) == needed)

    def _keep(self, topic: str) -> Callable[[bytes], None]:
        return partial(self._on_message, topic)

    def _on_message(self, topic: str, data: bytes) -> None:
        frame = self.frames[header_stamp(data)]
        frame.messages[topic] = data if self._keep_data else b''
        frame.arrival = time.time_ns()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id and status.name == f'{self._node_name.lstrip("/")}: pipeline':
                self.diagnostics = {entry.key: entry.value for entry in status.values}
                self.diagnostics_message = status.message
                self.diagnostics_count += 1
