# SPDX-License-Identifier: Apache-2.0
"""Heartbeat of a node that only subscribes to images."""

from collections.abc import Callable, Iterator
from threading import Event, Lock

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from mtl_perception.ros import heartbeat
from mtl_perception.ros.diagnostics import Phase, Situation, Snapshot
from mtl_perception.ros.heartbeat import Heartbeat, State

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture
def watch(ros, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[DiagnosticArray]]]:
    """Return a function that starts a node and returns its collected diagnostics."""
    monkeypatch.setattr(heartbeat, 'PERIOD', 0.05)
    started = []

    def start(
        message_type: type = Image,
        topic: str = '/camera/image',
        qos: QoSProfile = BEST_EFFORT,
        phase: Phase = 'active',
    ) -> list[DiagnosticArray]:
        remapping = ['--ros-args', '-r', '~/image:=/camera/image']
        node = ros.add(Node('camera_user', context=ros.context, cli_args=remapping))
        subscription = node.create_subscription(message_type, topic, print, qos)
        output = node.create_publisher(Image, '~/result', 1)
        situation = Situation(phase, topic=topic, facts={'device': 'abacus'})
        state = State(situation, Snapshot(), subscription, [output])
        started.append(Heartbeat(node, lambda: state, Lock()))
        started[-1].start()
        return ros.collect(DiagnosticArray, '/diagnostics')

    yield start
    for beat in started:
        beat.stop()


def test_the_status_joins_the_nodes_state_and_the_graph(ros, watch: Callable) -> None:
    ros.collect(Image, '/camera_user/result')
    collected = watch()
    ros.node.create_publisher(Image, '/camera/image', BEST_EFFORT)
    ros.node.create_publisher(Image, '/camera/image', BEST_EFFORT)

    def values() -> dict[str, str]:
        return {value.key: value.value for value in collected[-1].status[0].values}

    ros.spin_until(lambda: collected and values()['publishers'] == '2')
    ros.spin_until(lambda: values()['subscribers'] == '1')
    assert collected[-1].status[0].name == 'camera_user: pipeline'
    assert (values()['state'], values()['device']) == ('active', 'abacus')
    assert values()['input topic'] == '/camera/image'


def test_compressed_topics_are_named_as_they_are_to_be_remapped(ros, watch: Callable) -> None:
    collected = watch(CompressedImage, '/camera/image/compressed')
    ros.node.create_publisher(CompressedImage, '/front/image_raw/compressed', 1)
    ros.node.create_publisher(CompressedImage, '/front/depth/compressedDepth', 1)
    found = ros.status(collected, 'images are published')
    assert 'published on /front/image_raw: remap' in found.message


def test_a_topic_of_the_other_transport_is_suggested(ros, watch: Callable) -> None:
    collected = watch(CompressedImage, '/camera/image/compressed')
    ros.node.create_publisher(Image, '/camera/image', 1)
    found = ros.status(collected, 'has one')
    assert '/camera/image has one: set image_transport: raw' in found.message


def test_diagnostics_name_the_publisher_whose_qos_does_not_suit(ros, watch: Callable) -> None:
    collected = watch(qos=RELIABLE)
    ros.node.create_publisher(Image, '/camera/image', BEST_EFFORT)
    found = ros.status(collected, 'incompatible QoS')
    assert found.level == DiagnosticStatus.ERROR
    assert '/test on /camera/image has an incompatible QoS' in found.message
    assert 'reliab' in found.message.lower()


def test_the_heartbeat_does_not_wait_for_a_context_that_destroys_its_nodes(
    ros, watch: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch()
    beat = Event()
    with monkeypatch.context() as patch:
        # The context locks itself; it ends when the thread of the heartbeat ends.
        patch.setattr(ros.context, 'ok', lambda: beat.wait(10))
        patch.setattr(heartbeat, 'loss_hint', lambda *_: beat.set() or '')
        assert beat.wait(5)


@pytest.mark.parametrize(('phase', 'count'), [('active', 1), ('inactive', 0)])
def test_the_log_has_a_problem_that_lasts_once(
    ros, watch: Callable, capfd: pytest.CaptureFixture, phase: Phase, count: int
) -> None:
    collected = watch(phase=phase)
    ros.spin_until(lambda: len(collected) > 2 * heartbeat.PATIENCE)
    text = 'no publisher on /camera/image' if phase == 'active' else 'send the transition activate'
    assert text in collected[-1].status[0].message
    assert capfd.readouterr().err.count(text) == count
