# SPDX-License-Identifier: Apache-2.0
"""Recording of a node, whose messages the test publishes over DDS."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from mtl_perception.live import recorder as recorder_module
from mtl_perception.live.recorder import LOSSLESS_QOS, NodeError, recording
from mtl_perception.ros.diagnostics import (
    Counts,
    Phase,
    Situation,
    Snapshot,
    diagnostic_status,
)

TOPICS = {'/node/a': Image, '/node/b': Image}
NOTHING = Counts()


@pytest.fixture
def recorder(ros):  # noqa: ARG001 (its domain)
    with recording(TOPICS, '/node') as recorder:
        yield recorder


@pytest.fixture
def publish(ros, recorder):
    """Return functions that publish statuses, and an image whose arrival they wait for."""
    images = {topic: ros.node.create_publisher(Image, topic, LOSSLESS_QOS) for topic in TOPICS}
    statuses = ros.node.create_publisher(DiagnosticArray, '/diagnostics', 10)
    publishers = (*images.values(), statuses)
    ros.spin_until(lambda: all(publisher.get_subscription_count() for publisher in publishers))

    def publish_statuses(counts: Counts, *phases: Phase, node: str = '/node') -> None:
        for phase in phases:
            status = diagnostic_status(node, 'robot', Situation(phase), Snapshot(counts))
            statuses.publish(DiagnosticArray(status=[status]))
        statuses.wait_for_all_acked()

    def publish_image(topic: str, stamp: int) -> None:
        image = Image()
        image.header.stamp.sec = stamp
        images[topic].publish(image)
        found = recorder.frames[stamp * 10**9].messages
        assert recorder.spin_until(lambda: topic in found, 5.0)

    return publish_statuses, publish_image


@contextmanager
def heartbeat(publish_statuses, counts: Counts) -> Iterator[None]:
    """Publish the status of an active node again and again."""
    stopping = threading.Event()

    def run() -> None:
        while not stopping.wait(0.1):
            publish_statuses(counts, 'active')

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_recorder_is_idle_when_the_node_and_all_its_results_are(recorder, publish, monkeypatch):
    monkeypatch.setattr(recorder_module, 'END_TIMEOUT', 1.0)
    publish_statuses, publish_image = publish
    publish_statuses(Counts(received=7, published=7), 'active')
    assert recorder.spin_until(lambda: recorder.statuses, 5.0)
    recorder.start_counting()
    done = Counts(received=9, published=8, overtaken=1)
    with heartbeat(publish_statuses, done._replace(received=10)):
        assert not recorder.wait_until_idle()
    assert recorder.counts.pending == 1
    with heartbeat(publish_statuses, done):
        publish_image('/node/a', stamp=1)
        assert recorder.complete() == []
        assert not recorder.wait_until_idle()
        publish_image('/node/b', stamp=1)
        assert recorder.complete() == [10**9]
        assert recorder.wait_until_idle()


def test_statuses_that_wait_or_a_single_one_do_not_make_a_recorder_idle(
    recorder, publish, monkeypatch
):
    monkeypatch.setattr(recorder_module, 'END_TIMEOUT', 1.0)
    publish_statuses, _ = publish
    publish_statuses(NOTHING, *['active'] * 5)
    assert not recorder.wait_until_idle()
    assert recorder.statuses == 5
    timer = threading.Timer(0.5, publish_statuses, (NOTHING, 'active'))
    timer.start()
    assert not recorder.wait_until_idle()
    timer.join()
    assert recorder.statuses == 6


def test_a_node_that_has_just_loaded_its_network_is_awaited(recorder, publish):
    publish_statuses, _ = publish
    publish_statuses(NOTHING, 'unconfigured', 'loading', 'inactive', 'inactive', 'active')
    recorder.wait_until_active()
    publish_statuses(NOTHING, 'loading', 'inactive', 'inactive', 'inactive')
    assert recorder.spin_until(lambda: recorder.status.phase == 'loading', 5.0)
    with pytest.raises(NodeError, match='/node is not active: inactive: send the transition'):
        recorder.wait_until_active()


def test_the_status_of_another_node_is_ignored(recorder, publish):
    publish_statuses, _ = publish
    publish_statuses(NOTHING, 'active', node='/other')
    publish_statuses(Counts(received=3), 'active')
    assert recorder.spin_until(lambda: recorder.statuses, 5.0)
    assert (recorder.statuses, recorder.counts.received) == (1, 3)


def test_waiting_ends_with_the_error_of_the_check(ros):  # noqa: ARG001 (its domain)
    def check() -> None:
        msg = 'the node ended'
        raise NodeError(msg)

    with (
        recording(TOPICS, '/node', check=check) as recorder,
        pytest.raises(NodeError, match='the node ended'),
    ):
        recorder.spin_for(60.0)


def test_spinning_ends_with_the_condition_or_in_time(recorder):
    began = time.monotonic()
    assert recorder.spin_until(lambda: True, 60.0)
    assert not recorder.spin_until(lambda: False, 0.2)
    recorder.spin_for(0.1)
    assert 0.3 <= time.monotonic() - began < 30
