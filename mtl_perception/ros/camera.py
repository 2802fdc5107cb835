# SPDX-License-Identifier: Apache-2.0
"""Publish images from any source as a ROS 2 camera, at a steady rate."""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mtl_perception.frame import Camera, Frame
from mtl_perception.ros.messages import camera_info, rgb_to_compressed, rgb_to_image

HISTORY_DEPTH = 5
"""Sent images kept for retransmission to reliable subscribers, as in the sensor data QoS."""

DELIVERY_TIMEOUT = Duration(seconds=2)
"""Longest wait for reliable subscribers to receive the last images."""

POLL = 0.1
"""Polling interval while waiting, in seconds."""

SLOW = 1.0
"""Total delay from which a source is reported as too slow, in seconds."""


class CameraNode(Node):
    """Publishes images with stamps of its clock, and CameraInfo if the focal length is known.

    The publishers are reliable, so that both reliable and best-effort subscribers match.

    Attributes:
        published: Number of frames published so far.

    Args:
        images: Frames to publish; iterated over repeatedly with ``loop``.
        rate: Frames per second.
        frame_id: Name of the optical frame.
        topic: Topic of the images; the compressed images are at ``<topic>/compressed``.
        camera_info_topic: Topic of the CameraInfo; camera_info next to the images by default.
        focal_length: Vertical focal length of images without a camera, in pixels; ``None``:
            unknown.
        compressed: Whether to publish JPEG images too.
        loop: Whether to restart at the end.
        count: Number of frames to publish; ``None``: all.
        wait_for_subscriber: Whether to wait for a subscriber before the first frame.
        on_published: Function called with the frame and its header after each publication.
        options: Options of ``rclpy.node.Node``.

    Raises:
        ValueError: The rate is not positive.
    """

    def __init__(
        self,
        images: Iterable[Frame],
        *,
        rate: float = 30.0,
        frame_id: str = 'camera',
        topic: str = 'image',
        camera_info_topic: str = '',
        focal_length: float | None = None,
        compressed: bool = False,
        loop: bool = False,
        count: int | None = None,
        wait_for_subscriber: bool = False,
        on_published: Callable[[Frame, Header], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__('camera', **options)
        if not rate > 0:
            msg = f'rate must be positive, got {rate}'
            raise ValueError(msg)
        self.published = 0
        self._images = images
        self._period = 1.0 / rate
        self._frame_id = frame_id
        self._focal_length = focal_length
        self._loop = loop
        self._count = count
        self._wait_for_subscriber = wait_for_subscriber
        self._on_published = on_published
        self._stopping = threading.Event()
        self._behind = 0.0
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self)
        qos = QoSProfile(depth=HISTORY_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        info_topic = camera_info_topic or ''.join(topic.rpartition('/')[:2]) + 'camera_info'
        self._image = self.create_publisher(Image, topic, qos)
        self._camera_info = self.create_publisher(CameraInfo, info_topic, qos)
        self._compressed = None
        if compressed:
            self._compressed = self.create_publisher(CompressedImage, f'{topic}/compressed', qos)

    def run(self) -> None:
        """Publish until the images or the count end, ``stop`` is called or ROS shuts down.

        The node spins itself; it must not be added to an executor.

        Raises:
            ValueError: The source has no image.
        """
        if self._wait_for_subscriber:
            while not self._has_subscriber() and self._is_running():
                self._spin_until(time.monotonic() + POLL)
        images = itertools.islice(self._endless() if self._loop else self._images, self._count)
        due = -math.inf
        while True:
            # The next image is read only when due; a device's image would age while it waits.
            self._spin_until(due)
            if not self._is_running():
                return
            source = next(images, None)
            if source is None:
                break
            now = time.monotonic()
            if due == -math.inf:
                due = now
            elif now - due > self._period:
                self._note_delay(now - due)
                due = now
            self._publish(source)
            due += self._period
        if not self.published:
            msg = 'the source has no image that can be read'
            raise ValueError(msg)
        # Exiting now would drop images that are still on their way.
        for publisher in filter(None, (self._camera_info, self._image, self._compressed)):
            publisher.wait_for_all_acked(DELIVERY_TIMEOUT)

    def stop(self) -> None:
        """Make ``run`` return soon; may be called from any thread."""
        self._stopping.set()

    def _endless(self) -> Iterator[Frame]:
        while True:
            image = None
            for image in self._images:
                yield image
            if image is None:
                return

    def _is_running(self) -> bool:
        return self.context.ok() and not self._stopping.is_set()

    def _has_subscriber(self) -> bool:
        publishers = filter(None, (self._image, self._compressed))
        return any(publisher.get_subscription_count() for publisher in publishers)

    def _spin_until(self, due: float) -> None:
        while self._is_running() and (left := due - time.monotonic()) > 0:
            try:
                self._executor.spin_once(timeout_sec=min(left, POLL))
            except ExternalShutdownException:
                return

    def _publish(self, source: Frame) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        height, width = source.image.shape[:2]
        camera = source.camera
        if camera is None and self._focal_length is not None:
            camera = Camera.assumed(height, width, self._focal_length)
        if camera is not None:
            self._camera_info.publish(camera_info(camera, width, height, header))
        self._image.publish(rgb_to_image(source.image, header))
        if self._compressed is not None and self._compressed.get_subscription_count():
            self._compressed.publish(rgb_to_compressed(source.image, header))
        self.published += 1
        if self._on_published is not None:
            self._on_published(source, header)

    def _note_delay(self, seconds: float) -> None:
        is_reported = self._behind > SLOW
        self._behind += seconds
        if not is_reported and self._behind > SLOW:
            self.get_logger().warning(
                f'the source cannot keep {1 / self._period:g} Hz: {self.published} frames are '
                f'{self._behind:.1f} s late'
            )
