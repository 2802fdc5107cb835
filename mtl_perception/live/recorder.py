# SPDX-License-Identifier: Apache-2.0
"""Record the outputs and the status of a node over DDS."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from mtl_perception.messages.stamps import header_stamp
from mtl_perception.ros.diagnostics import Counts, NodeStatus, status_name

LOSSLESS_QOS = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
"""QoS of topics whose messages must all arrive, even when the receiver is late."""

DISCOVERY_TIMEOUT = 15.0
"""Longest time until a running node and its topics are found, in seconds."""

START_TIMEOUT = 120.0
"""Longest time until a node runs, has loaded its network or has a first result, in seconds."""

END_TIMEOUT = 20.0
"""Longest time until a process has ended or a node has finished its images, in seconds."""

SETTLED = 3
"""Statuses after loading until the node is not about to be activated."""

STATUS_DEPTH = 10
"""Largest number of diagnostics messages that wait for the recorder."""

POLL = 0.05
"""Longest time between two checks of a condition, in seconds."""


class NodeError(ValueError):
    """The node cannot be used; the text states the reason."""


@dataclass
class RecordedFrame:
    """Outputs with one stamp: serialized messages by topic, and the arrival of the latest.

    ``arrival`` is in nanoseconds of the wall clock.
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
        check: Function called while waiting; raises an error if waiting is in vain.
    """

    def __init__(
        self,
        topics: Mapping[str, type],
        node_name: str,
        *,
        keep_data: bool = True,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__('recorder', namespace=node_name.rpartition('/')[0])
        self.topics = dict(topics)
        self.node_name = node_name
        self.frames: dict[int, RecordedFrame] = defaultdict(RecordedFrame)
        self.status = NodeStatus()
        self.statuses = 0
        self.results = 0
        self._start = Counts()
        self._since_loading = 0
        self._keep_data = keep_data
        self._check = check
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self)
        for topic, message_type in topics.items():
            on_message = partial(self._on_message, topic)
            self.create_subscription(message_type, topic, on_message, LOSSLESS_QOS, raw=True)
        self.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, STATUS_DEPTH
        )

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

    def is_connected(self) -> bool:
        """Return whether the node has found as many subscribers as there are topics."""
        return self.status.subscribers >= len(self.topics)

    def wait_until_active(self) -> None:
        """Wait until the node has loaded its network and is active.

        Raises:
            NodeError: The node does not run, or is not active.
        """
        if not self.spin_until(lambda: self.statuses, DISCOVERY_TIMEOUT):
            msg = (
                f'no node {self.node_name} is running in this ROS domain; start it with ros2 '
                'launch mtl_perception mtl.launch.py, or name it with --node'
            )
            raise NodeError(msg)
        self.spin_until(
            lambda: self.status.phase == 'active' or self._since_loading >= SETTLED, START_TIMEOUT
        )
        if self.status.phase != 'active':
            msg = f'{self.node_name} is not active: {self.status.message}'
            raise NodeError(msg)

    def wait_until_idle(self) -> bool:
        """Wait until the node has finished its images and all results have arrived.

        Statuses that arrived before the call do not count: they may precede the last image.

        Returns:
            Whether it has within ``END_TIMEOUT``.
        """
        self._receive_waiting()
        # The next status may still have been computed before the last image arrived.
        needed = self.statuses + 2
        return self.spin_until(
            lambda: (
                self.statuses >= needed
                and not self.counts.pending
                and self.results == self.counts.published
            ),
            END_TIMEOUT,
        )

    def expect(self, condition: Callable[[], object], timeout: float, problem: str) -> None:
        """Receive messages until ``condition`` holds.

        Raises:
            NodeError: It does not hold after ``timeout`` seconds; the text begins with ``problem``.
        """
        if not self.spin_until(condition, timeout):
            msg = f'{problem} within {timeout:.0f} s: {self.status.message}'
            raise NodeError(msg)

    def spin_until(self, condition: Callable[[], object], timeout: float) -> bool:
        """Receive messages until ``condition`` holds, for ``timeout`` seconds at most.

        Returns:
            Whether the condition holds.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self._check()
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

    def _receive_waiting(self) -> None:
        """Receive all statuses that are waiting; a round takes one message of each topic."""
        for _ in range(STATUS_DEPTH * (len(self.topics) + 1)):
            self._executor.spin_once(timeout_sec=0)

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
                is_loading = self.status.phase == 'loading'
                self._since_loading = 0 if is_loading else self._since_loading + 1


@contextlib.contextmanager
def recording(topics: Mapping[str, type], node_name: str, **options: Any) -> Iterator[Recorder]:
    """Start ROS in this process and yield a ``Recorder`` with these arguments."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    with contextlib.ExitStack() as stack:
        stack.callback(rclpy.try_shutdown)
        recorder = Recorder(topics, node_name, **options)
        stack.callback(recorder.destroy_node)
        yield recorder
