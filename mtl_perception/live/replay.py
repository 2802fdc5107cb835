"""Let the running node work on the frames of a bag, over DDS, and keep what it publishes."""

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tqdm import tqdm

from mtl_perception.bags.frames import BagFrame, BagFrames, Selection
from mtl_perception.bags.messages import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    deserialize,
    serialize,
)
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.replay import Replayed, prefetched, replay, write_input
from mtl_perception.bags.topics import find_topics
from mtl_perception.bags.writer import BagWriter
from mtl_perception.inference.predictor import Predictor
from mtl_perception.live.processes import recording
from mtl_perception.live.recorder import QUEUE_DEPTH, Recorder
from mtl_perception.messages.calibration import intrinsics
from mtl_perception.ros.transport import transport_environment
from mtl_perception.tasks import TASKS

MESSAGE_CLASSES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, CAMERA_INFO: CameraInfo}

NODE_INPUTS = 2
"""An active node's subscriptions: images, raw or compressed, and CameraInfo."""

DISCOVERY_TIMEOUT = 15.0
LOADING_TIMEOUT = 120.0
IDLE_TIMEOUT = 20.0
"""Seconds to wait for the node to be found, to have loaded its network, to finish its images."""

RESEND_AFTER = 5.0
"""Seconds after which an image without a result is sent again; twice that the next time."""

MAX_RESENT = 4

POLL = 0.05

COUNTED = ('received', 'published', 'overtaken', 'bad messages', 'failed')
"""Values of the node's diagnostics."""

PERCENTILES = {'median': 50, 'p90': 90, 'p99': 99, 'max': 100}


class NodeError(ValueError):
    """The node that images are to be sent to cannot be used; the text says why."""


@dataclass
class Fates:
    """What became of the images that were sent.

    Attributes:
        node: that they were sent to.
        rate: times real time; ``None``: in lockstep.
        sent: images, each counted once.
        published: of which all results came.
        overtaken: that a newer one replaced in the node before their turn.
        lost: on the way to the node, or their results on the way back.
        failed: that the node could not use.
        resent: how often an image was sent again.
        seconds: from the first image to the last result.
        latencies: by stamp, milliseconds from sending to the last result.
    """

    node: str
    rate: float | None
    sent: int = 0
    published: int = 0
    overtaken: int = 0
    lost: int = 0
    failed: int = 0
    resent: int = 0
    seconds: float = 0.0
    latencies: dict[int, float] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds of them."""
        values = list(self.latencies.values())
        return {
            'node': self.node,
            'rate': self.rate,
            'sent': self.sent,
            'published': self.published,
            'overtaken': self.overtaken,
            'lost': self.lost,
            'failed': self.failed,
            'resent': self.resent,
            'fps': self.published / self.seconds if self.seconds else None,
            'latency_ms': {
                name: float(np.percentile(values, q)) if values else None
                for name, q in PERCENTILES.items()
            },
        }

    def table(self) -> str:
        """Return them as lines of text."""
        figures = self.figures()
        fates = ', '.join(
            f'{figures[fate]} {fate}' for fate in ('published', 'overtaken', 'lost', 'failed')
        )
        latency = ', '.join(f'{ms:.0f} ms {name}' for name, ms in figures['latency_ms'].items())
        return (
            f'sent      {self.sent}: {fates}; {self.resent} sent again\n'
            f'node      {figures["fps"] or 0:.1f} results/s; latency {latency}'
        )


def published_topics(node: str) -> dict[str, str]:
    """Return the topics of the maps that ``node`` publishes, by task."""
    return {task: f'{node}/{task}/image' for task in TASKS}


def replay_live(frames: BagFrames, node: str, bag: Path, *, rate: float | None = None) -> Fates:
    """Send ``frames`` to a running node; write those with a result, and the results, to ``bag``.

    Each image is sent as it is in the bag, stamp and all, after its CameraInfo. Of images that
    share a stamp only the first is sent.

    Args:
        frames: to take once.
        node: fully qualified name.
        bag: folder for input and results.
        rate: times real time; ``None``: in lockstep, each image when the result of the one before
            is there, and again if it does not come.

    Raises:
        NodeError: there is no such node, it is not active, or it takes other images.
        OSError: the bag cannot be written.
    """
    os.environ.update(transport_environment(os.environ))
    topics: dict[str, type] = dict.fromkeys(published_topics(node).values(), Image)
    topics[f'{node}/depth/camera_info'] = CameraInfo
    with (
        recording(topics, node) as recorder,
        SingleThreadedExecutor() as executor,
        BagWriter(bag) as writer,
    ):
        executor.add_node(recorder)
        run = _Run(recorder, executor, topics, writer, Fates(node, rate))
        run.connect(frames)
        with tqdm(desc='live', total=len(frames), unit='frame', disable=None) as bar:
            items = _once(prefetched(frames, QUEUE_DEPTH), bar)
            if rate is None:
                run.in_lockstep(items)
            else:
                run.in_real_time(items, rate)
    if not run.fates.published:
        msg = f'{node}: none of {run.fates.sent} images came to a result'
        raise NodeError(msg)
    return run.fates


def replay_and_evaluate(
    frames: BagFrames,
    predictor: Predictor,
    output: Path,
    node: str,
    *,
    rate: float | None = None,
    keep_bag: bool = True,
) -> tuple[Replayed, Fates]:
    """Send ``frames`` to a running node and evaluate the maps that it publishes.

    Args:
        frames: Frames, iterated once.
        predictor: Predictor with the network of the node, for values that a node does not publish.
        output: Folder for ``frames.png`` and the bag of input and results.
        node: Fully qualified name.
        rate: Speed relative to real time; ``None`` for lockstep.
        keep_bag: Whether to keep the bag.

    Raises:
        BagError, NodeError, OSError: See ``replay`` and ``replay_live``.
    """
    with tempfile.TemporaryDirectory(prefix='mtl_replay_') as folder:
        bag = (output if keep_bag else Path(folder)) / 'bag'
        fates = replay_live(frames, node, bag, rate=rate)
        with BagReader(bag) as recorded:
            truth = frames.topics.truth.items()
            topics = find_topics(
                recorded,
                image=frames.topics.image,
                # Ground truth that matches no image was not recorded.
                truth={task: name for task, name in truth if name in recorded.topics},
                published=published_topics(node),
            )
            matching = Selection(
                tolerance=frames.selection.tolerance, focal_length=frames.selection.focal_length
            )
            return replay(BagFrames(recorded, topics, matching), predictor, output), fates


class _Run:
    """Sends images and keeps results."""

    def __init__(
        self,
        recorder: Recorder,
        executor: Executor,
        topics: dict[str, type],
        writer: BagWriter,
        fates: Fates,
    ) -> None:
        self.fates = fates
        self._recorder = recorder
        self._topics = topics
        self._node = fates.node
        self._calibration_topic = f'{fates.node}/depth/camera_info'
        self._writer = writer
        self._sent: dict[int, tuple[BagFrame, int]] = {}
        self._last_result = 0.0
        self._executor = executor

    def connect(self, frames: BagFrames) -> None:
        """Find the node and its input topics, and be found by it."""
        self._wait_until_active()
        wanted = frames.topics.image
        self._spin_until(lambda: len(self._inputs()) == NODE_INPUTS, DISCOVERY_TIMEOUT)
        inputs = self._inputs()
        kind = frames.image_type
        if not {kind, CAMERA_INFO} <= inputs.keys():
            transport = 'compressed' if kind == COMPRESSED_IMAGE else 'raw'
            msg = (
                f'{self._node} does not take {kind}, which {wanted} of the bag is; set its '
                f'parameter image_transport to {transport}'
            )
            raise NodeError(msg)
        others = self._recorder.count_publishers(inputs[kind])
        if others:
            msg = f'{inputs[kind]} has a publisher already, whose images would come in between'
            raise NodeError(msg)
        self._spin_until(lambda: not self._unpublished(), DISCOVERY_TIMEOUT)
        if absent := self._unpublished():
            msg = f'{self._node} does not publish {", ".join(absent)}; has its network all tasks?'
            raise NodeError(msg)
        qos = QoSProfile(depth=QUEUE_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        create = self._recorder.create_publisher
        self._image = create(MESSAGE_CLASSES[kind], inputs[kind], qos)
        self._info = create(CameraInfo, inputs[CAMERA_INFO], qos)
        publishers = (self._image, self._info)

        def is_connected() -> bool:
            has_listeners = all(publisher.get_subscription_count() for publisher in publishers)
            listening = int(self._recorder.diagnostics['subscribers'])
            return has_listeners and listening >= len(self._topics)

        if not self._spin_until(is_connected, DISCOVERY_TIMEOUT):
            msg = f'{self._node}: its topics and those here did not connect'
            raise NodeError(msg)

    def in_lockstep(self, items: Iterator[BagFrame]) -> None:
        """Send each image when the result of the one before is there."""
        began = time.monotonic()
        for item in items:
            self.fates.sent += 1
            self._send(item)
            self._resend_until_answered(item)
            self._keep(item.stamp)
        self.fates.seconds = time.monotonic() - began

    def in_real_time(self, items: Iterator[BagFrame], rate: float) -> None:
        """Send each image when its time has come, and see what becomes of it."""
        before = self._counts()
        began, first = time.monotonic(), None
        for item in items:
            first = item.time if first is None else first
            due = began + (item.time - first) / 1e9 / rate
            for _ in self._topics:
                # However late it is: results must not pile up.
                self._executor.spin_once(timeout_sec=0)
            while (left := due - time.monotonic()) > 0:
                self._executor.spin_once(timeout_sec=min(left, POLL))
            self._collect()
            self._send(item)
            self.fates.sent += 1
        seen = self._recorder.diagnostics_count

        def is_idle() -> bool:
            self._collect()
            # The next status may have been made before the last image was done.
            counts = {name: value - before[name] for name, value in self._counts().items()}
            done = sum(counts.values()) - counts['received']
            return (
                self._recorder.diagnostics_count >= seen + 2
                and done == counts['received']
                and self.fates.published == counts['published']
            )

        self._spin_until(is_idle, IDLE_TIMEOUT)
        counts = {name: value - before[name] for name, value in self._counts().items()}
        self.fates.overtaken = counts['overtaken']
        self.fates.failed = counts['bad messages'] + counts['failed']
        never_came = self.fates.sent - counts['received']
        self.fates.lost = never_came + counts['published'] - self.fates.published
        self.fates.seconds = self._last_result - began

    def _resend_until_answered(self, item: BagFrame) -> None:
        for resent in range(MAX_RESENT + 1):
            if resent:
                self._send(item)
                self.fates.resent += 1
            if self._spin_until(lambda: self._has_result(item), RESEND_AFTER * 2**resent):
                return
        msg = (
            f'{self._node}: no result for the image with stamp {item.frame.name}: '
            f'{self._recorder.diagnostics_message}'
        )
        raise NodeError(msg)

    def _wait_until_active(self) -> None:
        recorder = self._recorder
        if not self._spin_until(lambda: bool(recorder.diagnostics), DISCOVERY_TIMEOUT):
            msg = (
                f'no node {self._node} is running in this ROS domain; start it with ros2 launch '
                'mtl_perception mtl.launch.py, or name it with --node'
            )
            raise NodeError(msg)
        self._spin_until(lambda: recorder.diagnostics['state'] != 'loading', LOADING_TIMEOUT)
        seen = recorder.diagnostics_count

        def is_settled() -> bool:
            # A node that has just loaded its network is about to be activated.
            is_active = recorder.diagnostics['state'] == 'active'
            return is_active or recorder.diagnostics_count >= seen + 2

        self._spin_until(is_settled, DISCOVERY_TIMEOUT)
        if recorder.diagnostics['state'] != 'active':
            msg = f'{self._node} is not active: {recorder.diagnostics_message}'
            raise NodeError(msg)

    def _unpublished(self) -> list[str]:
        return [topic for topic in self._topics if not self._recorder.count_publishers(topic)]

    def _inputs(self) -> dict[str, str]:
        """Return the topics that the node takes images and calibrations from, by their type."""
        namespace, _, name = self._node.rpartition('/')
        find = self._recorder.get_subscriber_names_and_types_by_node
        try:
            found = find(name, namespace or '/')
        except NodeNameNonExistentError:
            return {}  # its messages may come before the news of the node itself
        return {types[0]: topic for topic, types in found if types[0] in MESSAGE_CLASSES}

    def _send(self, item: BagFrame) -> None:
        self._sent[item.stamp] = item, time.time_ns()
        self._recorder.frames.pop(item.stamp, None)
        self._info.publish(serialize(item.info))
        self._image.publish(item.image.data)

    def _has_result(self, item: BagFrame) -> bool:
        """Return whether all results are there, and made with the image's own CameraInfo."""
        if item.stamp not in self._recorder.complete():
            return False
        data = self._recorder.frames[item.stamp].messages[self._calibration_topic]
        info = deserialize(data, CAMERA_INFO)
        focal_ratio = intrinsics(info, info.width, info.height).fy / info.height
        return math.isclose(focal_ratio, item.frame.focal_ratio, rel_tol=1e-9)

    def _collect(self) -> None:
        for stamp in self._recorder.complete():
            self._keep(stamp)

    def _keep(self, stamp: int) -> None:
        """Write an image and its results; forget those before it, to which none will come."""
        while (oldest := next(iter(self._sent), stamp)) != stamp:
            del self._sent[oldest]
        recorded = self._recorder.frames.pop(stamp)
        if stamp not in self._sent:
            return  # came twice, as the image was sent again
        item, sent_at = self._sent.pop(stamp)
        write_input(self._writer, item)
        for topic, data in recorded.messages.items():
            self._writer.write(topic, self._topics[topic], item.time, data)
        self.fates.published += 1
        self.fates.latencies[stamp] = (recorded.arrival - sent_at) / 1e6
        self._last_result = time.monotonic()

    def _counts(self) -> dict[str, int]:
        return {name: int(self._recorder.diagnostics[name]) for name in COUNTED}

    def _spin_until(self, is_done: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not is_done():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=POLL)
        return True


def _once(items: Iterator[BagFrame], bar: tqdm) -> Iterator[BagFrame]:
    """Yield the items whose stamp has not come before, as they could not be told apart."""
    stamps = set()
    for item in items:
        if item.stamp not in stamps:
            stamps.add(item.stamp)
            yield item
        bar.update()
