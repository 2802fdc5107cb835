# SPDX-License-Identifier: Apache-2.0
"""Replay a bag to a running node over DDS, record its results and evaluate them."""

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rclpy.node import NodeNameNonExistentError
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tqdm import tqdm

from mtl_perception.bags.frames import BagFrame, BagFrames
from mtl_perception.bags.messages import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    deserialize,
    serialize,
)
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.replay import Replayed, prefetched, replay, write_input, write_report
from mtl_perception.bags.topics import find_topics
from mtl_perception.bags.writer import BagWriter
from mtl_perception.inference.predictor import Predictor
from mtl_perception.live.delivery import Delivery
from mtl_perception.live.recorder import DISCOVERY_TIMEOUT, LOSSLESS_QOS, NodeError, Recorder
from mtl_perception.messages.calibration import intrinsics
from mtl_perception.messages.stamps import SECOND
from mtl_perception.ros.diagnostics import Counts
from mtl_perception.tasks import TASKS

MESSAGE_CLASSES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, CAMERA_INFO: CameraInfo}

NODE_INPUTS = 2
"""Subscriptions of an active node: images, raw or compressed, and CameraInfo."""

RESEND_AFTER = 5.0
"""Seconds until an image without a result is sent again; doubled after each attempt."""

MAX_RESENT = 4

PREFETCHED = 20
"""Frames read in advance."""


def published_topics(node: str) -> dict[str, str]:
    """Return the topics of the maps that ``node`` publishes, by task."""
    return {task: f'{node}/{task}/image' for task in TASKS}


def recorded_topics(node: str) -> dict[str, type]:
    """Return the message classes of the outputs of ``node`` to record, by topic."""
    maps = dict.fromkeys(published_topics(node).values(), Image)
    return {**maps, _calibration_topic(node): CameraInfo}


def replay_and_evaluate(
    frames: BagFrames,
    predictor: Predictor,
    output: Path,
    recorder: Recorder,
    *,
    rate: float | None = None,
    keep_bag: bool = True,
) -> tuple[Replayed, Delivery]:
    """Send ``frames`` to a running node, evaluate the maps that it publishes, and write a report.

    Each image is sent unchanged, with its stamp, after its CameraInfo. Only the first of several
    images with one stamp is sent. With a ``rate``, the first image is sent twice: its first result
    does not count, as the node prepares the network for a new size.

    Args:
        frames: Frames, iterated once.
        predictor: Predictor with the network of the node, for values that a node does not publish.
        output: Folder for pictures, figures, and the bag of images with results and the results.
        recorder: Recorder of the ``recorded_topics`` of the node.
        rate: Speed relative to real time; ``None``: each image after the result of the previous,
            and again if no result arrives.
        keep_bag: Whether to keep the bag.

    Raises:
        NodeError: The node is not active, takes other images, lacks an output, or has no result.
        OSError: A file cannot be written.
    """
    node = recorder.node_name
    recorder.wait_until_active()
    with tempfile.TemporaryDirectory(prefix='mtl_replay_') as folder:
        bag = (output if keep_bag else Path(folder)) / 'bag'
        with BagWriter(bag) as writer:
            delivery = _Player(recorder, writer).play(frames, rate)
        with BagReader(bag) as recorded:
            replayed = replay(recorded_frames(recorded, frames, node), predictor, output)
    figures = {'node': node, 'rate': rate, **delivery.figures()}
    write_report(output, replayed, frames, delivery=figures, latencies=delivery.latencies)
    return replayed, delivery


def recorded_frames(
    bag: BagReader, frames: BagFrames, node: str, *, every: int = 1, limit: int | None = None
) -> BagFrames:
    """Return the frames of a bag of ``replay_and_evaluate``, with the maps that ``node`` published.

    Args:
        bag: Bag of images with results, and of the results.
        frames: Frames that were sent.
        node: Fully qualified name of the node.
        every: Step between selected frames.
        limit: Largest number of frames.
    """
    truth = frames.topics.truth.items()
    topics = find_topics(
        bag,
        image=frames.topics.image,
        # Ground truth that matches no image was not recorded.
        truth={task: name for task, name in truth if name in bag.topics},
        published=published_topics(node),
    )
    selection = replace(frames.selection, start=0.0, duration=None, every=every, limit=limit)
    return BagFrames(bag, topics, selection)


class _Player:
    """Sends images to a node and keeps its results."""

    def __init__(self, recorder: Recorder, writer: BagWriter) -> None:
        self._recorder = recorder
        self._node = recorder.node_name
        self._writer = writer
        self._waiting: dict[int, tuple[BagFrame, int]] = {}
        self._latencies: dict[int, float] = {}
        self._first_sent = 0
        self._last_result = 0

    def play(self, frames: BagFrames, rate: float | None) -> Delivery:
        """Send the frames; write images with results, and the results."""
        self._connect(frames)
        with tqdm(desc='live', total=len(frames), unit='frame', disable=None) as bar:
            items = _unique(prefetched(frames, PREFETCHED), bar)
            delivery = self._in_lockstep(items) if rate is None else self._in_time(items, rate)
        if not delivery.published:
            msg = f'{self._node}: no result for any of {delivery.sent} images'
            raise NodeError(msg)
        return delivery

    def _connect(self, frames: BagFrames) -> None:
        """Publish on the input topics of the node and wait until all topics are connected."""
        recorder = self._recorder
        recorder.spin_until(lambda: len(self._inputs()) == NODE_INPUTS, DISCOVERY_TIMEOUT)
        inputs = self._inputs()
        kind = frames.image_type
        if not {kind, CAMERA_INFO} <= inputs.keys():
            transport = 'compressed' if kind == COMPRESSED_IMAGE else 'raw'
            msg = (
                f'{self._node} does not take {kind}, the type of {frames.topics.image}; '
                f'set its parameter image_transport to {transport}'
            )
            raise NodeError(msg)
        if recorder.count_publishers(inputs[kind]):
            msg = f'{inputs[kind]} has another publisher; stop it, as its images would interfere'
            raise NodeError(msg)
        recorder.spin_until(lambda: not self._unpublished(), DISCOVERY_TIMEOUT)
        if absent := self._unpublished():
            msg = f'{self._node} does not publish {", ".join(absent)}; use a network with all tasks'
            raise NodeError(msg)
        self._image = recorder.create_publisher(MESSAGE_CLASSES[kind], inputs[kind], LOSSLESS_QOS)
        self._info = recorder.create_publisher(CameraInfo, inputs[CAMERA_INFO], LOSSLESS_QOS)
        recorder.expect(
            lambda: (
                self._image.get_subscription_count()
                and self._info.get_subscription_count()
                and recorder.is_connected()
            ),
            DISCOVERY_TIMEOUT,
            f'{self._node}: topics not connected',
        )

    def _in_lockstep(self, items: Iterator[BagFrame]) -> Delivery:
        """Send each image after the result of the previous one."""
        resent = 0
        for item in items:
            resent += self._send_until_answered(item)
            self._keep(item.stamp)
        sent = len(self._latencies)
        return self._delivery(sent, Counts(received=sent, published=sent), resent)

    def _in_time(self, items: Iterator[BagFrame], rate: float) -> Delivery:
        """Send each image at its time in the bag, whether or not the node is ready."""
        recorder = self._recorder
        began, first, sent = 0.0, 0, 0
        for sent, item in enumerate(items, 1):
            if sent == 1:
                self._warm_up(item)
                began, first = time.monotonic(), item.time
            due = began + (item.time - first) / SECOND / rate
            recorder.spin_for(due - time.monotonic())
            self._collect()
            self._send(item)
        recorder.wait_until_idle()
        self._collect()
        return self._delivery(sent, recorder.counts)

    def _warm_up(self, item: BagFrame) -> None:
        """Send an image whose result does not count."""
        recorder = self._recorder
        recorder.start_counting()
        self._send(item)
        # A node under load may report that it is idle before the image reaches it.
        recorder.spin_until(lambda: recorder.counts.received, RESEND_AFTER)
        recorder.wait_until_idle()
        recorder.start_counting()
        recorder.frames.clear()
        self._first_sent = 0

    def _send_until_answered(self, item: BagFrame) -> int:
        """Return how often the image was sent again."""
        for resent in range(MAX_RESENT + 1):
            self._send(item)
            timeout = RESEND_AFTER * 2**resent
            if self._recorder.spin_until(lambda: self._has_result(item), timeout):
                return resent
        msg = (
            f'{self._node}: no result for the image with stamp {item.frame.name}: '
            f'{self._recorder.status.message}'
        )
        raise NodeError(msg)

    def _unpublished(self) -> list[str]:
        recorder = self._recorder
        return [topic for topic in recorder.topics if not recorder.count_publishers(topic)]

    def _inputs(self) -> dict[str, str]:
        """Return the input topics of the node by their type."""
        namespace, _, name = self._node.rpartition('/')
        find = self._recorder.get_subscriber_names_and_types_by_node
        try:
            found = find(name, namespace or '/')
        except NodeNameNonExistentError:
            return {}  # Messages of a node may arrive before it is discovered.
        return {types[0]: topic for topic, types in found if types[0] in MESSAGE_CLASSES}

    def _send(self, item: BagFrame) -> None:
        now = time.time_ns()
        self._first_sent = self._first_sent or now
        self._waiting[item.stamp] = item, now
        self._recorder.frames.pop(item.stamp, None)
        self._info.publish(serialize(item.info))
        self._image.publish(item.image.data)

    def _has_result(self, item: BagFrame) -> bool:
        """Return whether all results, computed with the CameraInfo of the image, have arrived."""
        if item.stamp not in self._recorder.complete():
            return False
        data = self._recorder.frames[item.stamp].messages[_calibration_topic(self._node)]
        info = deserialize(data, CAMERA_INFO)
        focal_ratio = intrinsics(info, info.width, info.height).fy / info.height
        return math.isclose(focal_ratio, item.frame.focal_ratio, rel_tol=1e-9)

    def _collect(self) -> None:
        for stamp in self._recorder.complete():
            self._keep(stamp)

    def _keep(self, stamp: int) -> None:
        """Write an image and its results; forget earlier images, whose results are lost."""
        recorded = self._recorder.frames.pop(stamp)
        if stamp not in self._waiting:
            return  # A second result of an image that was sent again.
        while (oldest := next(iter(self._waiting))) != stamp:
            del self._waiting[oldest]
        item, sent_at = self._waiting.pop(stamp)
        write_input(self._writer, item)
        for topic, data in recorded.messages.items():
            self._writer.write(topic, self._recorder.topics[topic], item.time, data)
        self._latencies[stamp] = (recorded.arrival - sent_at) / 1e6
        self._last_result = recorded.arrival

    def _delivery(self, sent: int, counts: Counts, resent: int = 0) -> Delivery:
        seconds = max(0, self._last_result - self._first_sent) / SECOND
        return Delivery(sent, len(self._latencies), counts, resent, seconds, self._latencies)


def _calibration_topic(node: str) -> str:
    return f'{node}/depth/camera_info'


def _unique(items: Iterator[BagFrame], bar: tqdm) -> Iterator[BagFrame]:
    """Yield the items with a new stamp; results of equal stamps cannot be told apart."""
    stamps = set()
    for item in items:
        if item.stamp not in stamps:
            stamps.add(item.stamp)
            yield item
        bar.update()
