# SPDX-License-Identifier: Apache-2.0
"""Pipeline from image messages to the subscribed outputs, in two threads."""

import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mtl_perception.frame import Camera
from mtl_perception.inference.predictor import Predictor
from mtl_perception.messages import MessageError
from mtl_perception.messages.pixels import compressed_to_rgb, image_to_rgb
from mtl_perception.messages.stamps import SECOND, nanoseconds
from mtl_perception.prediction import NetworkMaps
from mtl_perception.ros.calibration import Calibration
from mtl_perception.ros.diagnostics import Statistics
from mtl_perception.ros.messages import Converter, Memory, camera_info
from mtl_perception.ros.outputs import Output, Result
from mtl_perception.ros.parameters import Values
from mtl_perception.ros.stage import Stage

WARM_UP_SIZE = (720, 1280)
"""(height, width) of the warm-up image, as the size of the camera's images is not known yet."""

MAX_ASPECT_RATIO = 16
"""Largest accepted aspect ratio (width / height), as the network's input has a fixed height."""


def throttled(seconds: float) -> dict[str, Any]:
    """Return logger options that allow one line per ``seconds``.

    A steady clock, because a system clock that is set back would silence the logger until then.
    """
    return {
        'throttle_duration_sec': seconds,
        'throttle_time_source_type': Clock(clock_type=ClockType.STEADY_TIME),
    }


THROTTLE = throttled(5.0)
"""Throttle of the log lines on dropped images."""


@dataclass(frozen=True)
class Arrival:
    """An image and its time of arrival, by ``time.perf_counter``."""

    msg: Image | CompressedImage
    time: float


@dataclass(frozen=True)
class Inferred:
    """An image after inference.

    Attributes:
        wanted: Outputs to publish.
        values: Parameters at the start of inference.
        image: ``(H, W, 3)`` uint8 RGB.
        waiting: Seconds of waiting for the stage and, on the first image, for a CameraInfo.
        decoding: Seconds of decoding.
        time: End of inference, by ``time.perf_counter``.
    """

    msg: Image | CompressedImage
    wanted: Collection[Output]
    values: Values
    image: np.ndarray
    info: CameraInfo
    camera: Camera
    maps: NetworkMaps
    waiting: float
    decoding: float
    time: float


def warm_up(predictor: Predictor, outputs: Iterable[Output]) -> None:
    """Run every stage once, as some build tables or compile code at their first call."""
    height, width = WARM_UP_SIZE
    header = Header()
    info = camera_info(Camera.assumed(height, width), width, height, header)
    image = np.zeros((height, width, 3), np.uint8)
    result = Result(header, image, info, predictor.predict(image), at_input_size=True)
    for output in outputs:
        output.build(result, Memory())


class Pipeline:
    """Processes the newest image and computes only the outputs that have subscribers.

    One thread decodes images and runs the network, another postprocesses, builds and publishes, so
    consecutive frames overlap and leave in the order of their stamps. At most one image waits, and
    a newer one replaces it. The first thread takes the next image only when the second one has
    taken the previous one.

    Bad images and failures of the network are counted and logged; the next image is not affected.

    Attributes:
        converter: Conversion of images to RGB.
        statistics: Counts and measurements since ``start``. Every received image is published,
            overtaken, unwanted, bad, failed or in work; after ``stop`` none is in work.

    Args:
        predictor: Predictor, used by these two threads only.
        publishers: Publisher of each output.
        values: Parameters of the node.
        expects_camera_info: Function that returns whether a CameraInfo is to be expected.
        context: Context; errors after its shutdown are ignored.
        clock: Clock for the age of results.
        logger: Logger of the node.
    """

    def __init__(
        self,
        predictor: Predictor,
        publishers: Mapping[Output, Any],
        values: Values,
        *,
        expects_camera_info: Callable[[], bool],
        context: Context,
        clock: Clock,
        logger: RcutilsLogger,
    ) -> None:
        self._predictor = predictor
        self.publishers = publishers
        self.statistics = Statistics()
        self.converter = Converter()
        self._values = values
        self._context = context
        self._clock = clock
        self._logger = logger
        self._memory = {output: Memory() for output in publishers}
        self._new_calibration = partial(Calibration, logger, expects_camera_info)
        self._calibration = self._new_calibration()
        self._stages: tuple[Stage[Arrival], Stage[Inferred]] | None = None

    def apply(self, values: Values) -> None:
        """Use these values of the live parameters from the next image on."""
        self._values = values
        self._predictor.max_depth = values.max_depth
        self._predictor.grouping = values.grouping

    @property
    def focal_length(self) -> str:
        """Focal length of the latest image and its source, as text."""
        return self._calibration.focal_length

    def start(self) -> None:
        """Begin to process images."""
        self.statistics = Statistics()
        self._calibration = self._new_calibration()
        publication = Stage(self._publish, 'publication')
        inference = Stage(partial(self._infer, publication.hand_over), 'inference')
        self._stages = inference, publication

    def stop(self) -> None:
        """Finish the images in work; a waiting image counts as overtaken."""
        if self._stages is None:
            return
        inference, publication = self._stages
        if inference.stop() is not None:
            self.statistics.drop('overtaken')
        publication.stop()
        self._stages = None

    def on_image(self, msg: Image | CompressedImage) -> None:
        """Process an image, unless a newer one arrives first."""
        if self._stages is None:
            return
        inference, _ = self._stages
        self.statistics.received(nanoseconds(msg.header) / SECOND)
        if inference.offer(Arrival(msg, time.perf_counter())) is not None:
            self.statistics.drop('overtaken')

    def on_camera_info(self, info: CameraInfo) -> None:
        """Use a CameraInfo for the images of its frame_id."""
        self._calibration.update(info)

    def _infer(self, hand_over: Callable[[Inferred], None], arrival: Arrival) -> None:
        taken = time.perf_counter()
        msg, values = arrival.msg, self._values
        with self._counting_failures():
            wanted = [
                output
                for output, publisher in self.publishers.items()
                if publisher.get_subscription_count()
            ]
            if not wanted:
                self.statistics.drop('unwanted')
                return
            is_raw = isinstance(msg, Image)
            image = image_to_rgb(msg, self.converter) if is_raw else compressed_to_rgb(msg)
            height, width = image.shape[:2]
            if width > MAX_ASPECT_RATIO * height:
                text = (
                    f'an image of {width}×{height} pixels is more than {MAX_ASPECT_RATIO} times as '
                    'wide as high; is it from a line camera?'
                )
                raise MessageError(text)
            decoding = time.perf_counter() - taken
            info, camera = self._calibration.look_up(msg.header, width, height, values.focal_length)
            waiting = time.perf_counter() - arrival.time - decoding
            maps = self._predictor.infer(image)
            times = waiting, decoding, time.perf_counter()
            hand_over(Inferred(msg, wanted, values, image, info, camera, maps, *times))

    def _publish(self, inferred: Inferred) -> None:
        taken = time.perf_counter()
        msg, image, wanted = inferred.msg, inferred.image, inferred.wanted
        with self._counting_failures():
            prediction = self._predictor.postprocess(
                inferred.maps,
                inferred.camera.fy / len(image),
                instances=any('instance' in output.tasks for output in wanted),
                depth=any('depth' in output.tasks for output in wanted),
            )
            postprocessed = time.perf_counter()
            at_input_size = inferred.values.output_size == 'input'
            result = Result(msg.header, image, inferred.info, prediction, at_input_size)
            for output in wanted:
                message = output.build(result, self._memory[output])
                self.publishers[output].publish(message)
            stages = {
                'waiting': (inferred.waiting + taken - inferred.time) * 1e3,
                'decode': inferred.decoding * 1e3,
                **prediction.milliseconds,
                'publish': (time.perf_counter() - postprocessed) * 1e3,
            }
            age = (self._clock.now().nanoseconds - nanoseconds(msg.header)) / SECOND
            self.statistics.published(stages, age)

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        try:
            yield
        except MessageError as err:
            self.statistics.drop('bad', str(err))
            self._logger.warning(f'image dropped: {err}', **THROTTLE)
        except Exception as err:
            if not self._context.ok():
                return
            self.statistics.drop('failed', f'{type(err).__name__}: {err}')
            self._logger.error(f'image dropped: {traceback.format_exc()}', **THROTTLE)
