# SPDX-License-Identifier: Apache-2.0
"""Heartbeat of the node: its status on ``/diagnostics``, once a second."""

import os
import socket
import threading
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.subscription import Subscription
from rclpy.utilities import get_rmw_implementation_identifier

from mtl_perception.ros.diagnostics import Situation, Snapshot, diagnostic_status
from mtl_perception.ros.pipeline import throttled
from mtl_perception.ros.transport import loss_hint

PERIOD = 1.0
"""Seconds between diagnostics messages."""

PATIENCE = 10
"""Consecutive bad statuses before a warning is logged."""

REPEATED = throttled(60.0)
"""Throttle of repeated warnings."""


@dataclass(frozen=True)
class State:
    """The part of a status that the node knows.

    Attributes:
        situation: Situation without the attributes that the ROS graph supplies.
        snapshot: Counts and measurements of the pipeline.
        subscription: Image subscription; ``None`` unless the node is active.
        outputs: Publishers of the outputs.
    """

    situation: Situation
    snapshot: Snapshot
    subscription: Subscription | None
    outputs: Collection[Publisher]


class Heartbeat:
    """Publishes the status of a node and logs lasting problems.

    It runs in a thread, not in a timer: it has to report a node that is busy loading or waits for
    simulated time, and rclpy fails if one executor thread destroys what another one waits for.

    Attributes:
        problems: Consecutive bad statuses of the active node.

    Args:
        node: Node to report on.
        state: Function that returns the state of the node.
        entities: Lock of the node's entities and of ``problems``; a transition holds it meanwhile.
    """

    def __init__(self, node: Node, state: Callable[[], State], entities: threading.Lock) -> None:
        self.problems = 0
        self._node = node
        self._state = state
        self._entities = entities
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='diagnostics', daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        # No context.ok() here: a context that shuts down locks it while it destroys its nodes.
        while not self._stopping.wait(PERIOD):
            try:
                self._publish()
            except Exception:
                # ROS may have been shut down in the meantime.
                if not self._stopping.is_set() and self._node.context.ok():
                    self._node.get_logger().error(f'no diagnostics: {traceback.format_exc()}')

    def _publish(self) -> None:
        node = self._node
        with self._entities:
            state = self._state()
            situation = self._with_graph(state)
            status = diagnostic_status(
                node.get_fully_qualified_name(), socket.gethostname(), situation, state.snapshot
            )
            is_problem = situation.phase == 'active' and status.level != DiagnosticStatus.OK
            self.problems = problems = self.problems + 1 if is_problem else 0
        array = DiagnosticArray()
        array.header.stamp = node.get_clock().now().to_msg()
        array.status.append(status)
        self._publisher.publish(array)
        if problems >= PATIENCE:
            node.get_logger().warning(status.message, **REPEATED)

    def _with_graph(self, state: State) -> Situation:
        publishers, incompatible = self._offers(state.subscription)
        return replace(
            state.situation,
            publishers=publishers,
            incompatible=incompatible,
            subscribers=sum(output.get_subscription_count() for output in state.outputs),
            large_images_hint=loss_hint(os.environ, get_rmw_implementation_identifier()),
        )

    def _offers(self, subscription: Subscription | None) -> tuple[int, tuple[str, ...]]:
        """Return the number of usable image publishers and the faults of the others."""
        if subscription is None:
            return 0, ()
        topic = subscription.topic_name
        wanted_type = f'sensor_msgs/msg/{subscription.msg_type.__name__}'
        faults = []
        offers = self._node.get_publishers_info_by_topic(topic)
        for offer in offers:
            name = f'{offer.node_namespace.rstrip("/")}/{offer.node_name} on {topic}'
            compatible, reason = qos_check_compatible(offer.qos_profile, subscription.qos_profile)
            if offer.topic_type != wanted_type:
                faults.append(f'{name} publishes {offer.topic_type}, not {wanted_type}')
            elif compatible == QoSCompatibility.ERROR:
                faults.append(f'{name} has an incompatible QoS: {reason.rstrip("; ")}')
        if not offers:
            return 0, self._elsewhere(topic, wanted_type)
        return len(offers) - len(faults), tuple(faults)

    def _elsewhere(self, topic: str, wanted_type: str) -> tuple[str, ...]:
        """Return other topics with images and the settings that select them, as text."""
        node = self._node
        absent = f'no publisher on {topic}'
        image = node.resolve_topic_name('~/image')
        is_compressed = topic != image
        other = image if is_compressed else f'{image}/compressed'
        if node.count_publishers(other):
            transport = 'raw' if is_compressed else 'compressed'
            return (f'{absent}; {other} has one: set image_transport: {transport}',)
        suffix = '/compressed' if is_compressed else ''
        own = {publisher.topic_name for publisher in node.publishers}
        topics = [
            name.removesuffix(suffix)  # the name that ~/image has to be remapped to
            for name, types in node.get_topic_names_and_types()
            if wanted_type in types
            and name.endswith(suffix)
            and name not in own
            and node.count_publishers(name)
        ]
        if not topics:
            return ()
        remedy = 'remap ~/image, or give mtl.launch.py image:='
        return (f'{absent}; images are published on {", ".join(topics)}: {remedy}',)
