"""Recording of a node, whose messages the test publishes over DDS."""

import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from mtl_perception.live.processes import recording
from mtl_perception.live.recorder import LOSSLESS_QOS
from mtl_perception.ros.diagnostics import (
    Counts,
    NodeStatus,
    Situation,
    Snapshot,
    diagnostic_status,
)

TOPICS = {'/node/a': Image, '/node/b': Image}


@pytest.fixture
def recorder(ros):  # noqa: ARG001 (its domain)
    with recording(TOPICS, '/node') as recorder:
        yield recorder


@pytest.fixture
def publish(ros, recorder):
    """Return a function that publishes a status or an image, and waits for its arrival."""
    images = {topic: ros.node.create_publisher(Image, topic, LOSSLESS_QOS) for topic in TOPICS}
    statuses = ros.node.create_publisher(DiagnosticArray, '/diagnostics', 10)
    publishers = (*images.values(), statuses)
    ros.spin_until(lambda: all(publisher.get_subscription_count() for publisher in publishers))

    def publish_status(counts: Counts, node: str = '/node') -> None:
        seen = recorder.statuses
        status = diagnostic_status(node, 'robot', Situation('active'), Snapshot(counts))
        statuses.publish(DiagnosticArray(status=[status]))
        recorder.spin_until(lambda: recorder.statuses > seen, 5.0 if node == '/node' else 0.5)

    def publish_image(topic: str, stamp: int) -> None:
        image = Image()
        image.header.stamp.sec = stamp
        images[topic].publish(image)
        found = recorder.frames[stamp * 10**9].messages
        assert recorder.spin_until(lambda: topic in found, 5.0)

    return publish_status, publish_image


def test_a_recorder_is_idle_when_the_node_and_all_its_results_are(recorder, publish):
    publish_status, publish_image = publish
    publish_status(Counts(received=7, published=7))
    recorder.start_counting()
    since = recorder.statuses
    done = Counts(received=9, published=8, overtaken=1)
    publish_status(done._replace(received=10))
    publish_status(done._replace(received=10))
    assert recorder.counts.pending == 1
    assert not recorder.is_idle(since)
    publish_status(done)
    publish_image('/node/a', stamp=1)
    assert recorder.complete() == []
    assert not recorder.is_idle(since)
    publish_image('/node/b', stamp=1)
    assert recorder.complete() == [10**9]
    assert recorder.is_idle(since)
    assert not recorder.is_idle(recorder.statuses - 1)


def test_the_status_of_another_node_is_ignored(recorder, publish):
    publish_status, _ = publish
    publish_status(Counts(), node='/other')
    assert (recorder.statuses, recorder.status) == (0, NodeStatus())
    publish_status(Counts(received=3))
    assert (recorder.statuses, recorder.counts.received) == (1, 3)


def test_spinning_ends_with_the_condition_or_in_time(recorder):
    began = time.monotonic()
    assert recorder.spin_until(lambda: True, 60.0)
    assert not recorder.spin_until(lambda: False, 0.2)
    recorder.spin_for(0.1)
    assert 0.3 <= time.monotonic() - began < 30
