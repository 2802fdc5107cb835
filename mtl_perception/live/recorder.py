"""Record the outputs and the status of a node over DDS."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from mtl_perception.messages.stamps import header_stamp
from mtl_perception.ros.diagnostics import Counts, NodeStatus, status_name

LOSSLESS_QOS = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
"""QoS of topics whose messages must all arrive, even when the receiver is late."""

POLL = 0.05
"""Longest time between two checks of a condition, in seconds."""


@dataclass
class RecordedFrame:
    """Outputs of the node that carry one stamp.

    Attributes:
        messages: Serialized messages by topic.
        arrival: Wall clock at the arrival of the latest message, in nanoseconds.
    """

    messages: dict[str, bytes] = field(default_factory=dict)
    arrival: int = 0


class Recorder(Node):
    """Subscribes to outputs of a node and keeps every serialized message by its stamp.

    Attributes:
        frames: Recorded frames by stamp in nanoseconds.
        status: Latest status of the node.
        statuses: Number of statuses received.
        results: Number of frames completed since ``start_counting``.

    Args:
        topics: Message classes by topic; every message must begin with a header.
        node_name: Fully qualified name of the node to record.
        keep_data: Whether to keep the messages in addition to their arrival.
    """

    def __init__(
        self, topics: Mapping[str, type], node_name: str, *, keep_data: bool = True
    ) -> None:
        super().__init__('recorder', namespace=node_name.rpartition('/')[0])
        self.topics = dict(topics)
        self.node_name = node_name
        self.frames: dict[int, RecordedFrame] = defaultdict(RecordedFrame)
        self.status = NodeStatus()
        self.statuses = 0
        self.results = 0
        self._start = Counts()
        self._keep_data = keep_data
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self)
        for topic, message_type in topics.items():
            on_message = partial(self._on_message, topic)
            self.create_subscription(message_type, topic, on_message, LOSSLESS_QOS, raw=True)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    @property
    def counts(self) -> Counts:
        """Numbers of images that the node reported since ``start_counting``."""
        return self.status.counts - self._start

    def start_counting(self) -> None:
        """Reset ``counts`` and ``results`` to zero."""
        self._start = self.status.counts
        self.results = 0

    def complete(self) -> list[int]:
        """Return the stamps of the frames with a message on every topic, in order."""
        return sorted(stamp for stamp, frame in self.frames.items() if self._is_complete(frame))

    def is_idle(self, since: int) -> bool:
        """Return whether the node has finished its images and all results have arrived.

        Args:
            since: Value of ``statuses`` when the last image was sent.
        """
        # The first status after the last image may have been computed before its arrival.
        if self.statuses < since + 2:
            return False
        return not self.counts.pending and self.results == self.counts.published

    def spin_until(self, condition: Callable[[], object], timeout: float) -> bool:
        """Receive messages until ``condition`` holds, for ``timeout`` seconds at most.

        Returns:
            Whether the condition holds.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left, POLL))
        return True

    def spin_for(self, seconds: float) -> None:
        """Receive messages for ``seconds``, and one that is waiting per topic in any case."""
        for _ in self.topics:
            self._executor.spin_once(timeout_sec=0)
        self.spin_until(lambda: False, seconds)

    def destroy_node(self) -> None:
        """Release the node and its executor."""
        self._executor.shutdown()
        super().destroy_node()

    def _is_complete(self, frame: RecordedFrame) -> bool:
        return len(frame.messages) == len(self.topics)

    def _on_message(self, topic: str, data: bytes) -> None:
        frame = self.frames[header_stamp(data)]
        was_complete = self._is_complete(frame)
        frame.messages[topic] = data if self._keep_data else b''
        frame.arrival = time.time_ns()
        self.results += self._is_complete(frame) and not was_complete

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.hardware_id and status.name == status_name(self.node_name):
                self.status = NodeStatus.from_message(status)
                self.statuses += 1
