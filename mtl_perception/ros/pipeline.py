"""From an image message to everything that is subscribed to, in two threads of its own."""

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
"""(height, width) of the image to warm up with, as the camera's is not known by then."""

MAX_ASPECT_RATIO = 16
"""Of an image, width over height; the network sees it whole, and at a fixed height."""


def throttled(seconds: float) -> dict[str, Any]:
    """Return the options of a logger that let one line through in so many seconds.

    The system's clock may be set back, and all would be silent until that time comes again.
    """
    return {
        'throttle_duration_sec': seconds,
        'throttle_time_source_type': Clock(clock_type=ClockType.STEADY_TIME),
    }


THROTTLE = throttled(5.0)
"""How often images that were left out are logged."""


@dataclass(frozen=True)
class Arrival:
    """An image, and when it arrived by ``time.perf_counter``."""

    msg: Image | CompressedImage
    time: float


@dataclass(frozen=True)
class Inferred:
    """An image that the network is done with.

    Attributes:
        msg: the image.
        wanted: what to publish of it.
        values: of the parameters when it was taken.
        image: ``(H, W, 3)`` uint8 RGB.
        info: CameraInfo of the image.
        camera: Pinhole camera of the image.
        maps: what the network says of it.
        waiting: Seconds that it waited to be taken and, if the first, for its CameraInfo.
        decoding: Seconds that decoding took.
        time: Time when the network was done, by ``time.perf_counter``.
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
    """Works on the newest image; what nobody subscribes to is not computed.

    One thread decodes images and runs the network, another groups, builds and publishes, so that
    neighbouring frames overlap and leave in the order of their stamps. One image waits at most, and
    a newer one overtakes it; the first thread takes no image while the second has not taken the
    one before.

    A bad image or a failing network is counted and logged, and the next image is taken.

    Attributes:
        converter: Conversion of images to RGB.
        statistics: since ``start``; every image received is published, overtaken, not wanted, bad,
            failed or in work, and by ``stop`` none is in work.

    Args:
        predictor: used by the two threads alone from now on, except for what ``apply`` replaces.
        publishers: of each output.
        values: of the parameters.
        context: whose shutdown ends everything.
        expects_camera_info: whether somebody publishes it.
        clock: that stamps are compared to.
        logger: of the node.
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
        self._expects_camera_info = expects_camera_info
        self._context = context
        self._clock = clock
        self._logger = logger
        self._memory = {output: Memory() for output in publishers}
        self._calibration = Calibration(logger, expects_camera_info)
        self._stages: tuple[Stage[Arrival], Stage[Inferred]] | None = None

    def apply(self, values: Values) -> None:
        """Use other values of the live parameters from the next image on."""
        self._values = values
        self._predictor.max_depth = values.max_depth
        self._predictor.grouping = values.grouping

    @property
    def focal_length(self) -> str:
        """That of the latest image and where it is from, in words."""
        return self._calibration.focal_length

    def start(self) -> None:
        """Begin to work on images."""
        self.statistics = Statistics()
        self._calibration = Calibration(self._logger, self._expects_camera_info)
        publication = Stage(self._publish, 'publication')
        inference = Stage(partial(self._infer, publication.hand_over), 'inference')
        self._stages = inference, publication

    def stop(self) -> None:
        """Finish the images that are being worked on; one that waits counts as overtaken."""
        if self._stages is None:
            return
        inference, publication = self._stages
        if inference.stop() is not None:
            self.statistics.overtaken()
        publication.stop()
        self._stages = None

    def on_image(self, msg: Image | CompressedImage) -> None:
        """Take an image; called for every one that arrives."""
        if self._stages is None:
            return
        inference, _ = self._stages
        self.statistics.received(nanoseconds(msg.header) / SECOND)
        if inference.offer(Arrival(msg, time.perf_counter())) is not None:
            self.statistics.overtaken()

    def on_camera_info(self, info: CameraInfo) -> None:
        """Take a calibration."""
        self._calibration.update(info)

    def _infer(self, hand_over: Callable[[Inferred], None], arrival: Arrival) -> None:
        """Decode an image and run the network."""
        taken = time.perf_counter()
        msg, values = arrival.msg, self._values
        with self._counting_failures():
            wanted = [
                output
                for output, publisher in self.publishers.items()
                if publisher.get_subscription_count()
            ]
            if not wanted:
                self.statistics.unwanted()
                return
            is_raw = isinstance(msg, Image)
            image = image_to_rgb(msg, self.converter) if is_raw else compressed_to_rgb(msg)
            height, width = image.shape[:2]
            if width > MAX_ASPECT_RATIO * height:
                text = (
                    f'an image of {width}×{height} pixels is more than {MAX_ASPECT_RATIO} times as '
                    'wide as it is high; is this an image of a line camera?'
                )
                raise MessageError(text)
            decoding = time.perf_counter() - taken
            info, camera = self._calibration.look_up(msg.header, width, height, values.focal_length)
            waiting = time.perf_counter() - arrival.time - decoding
            maps = self._predictor.infer(image)
            inferred = Inferred(
                msg,
                wanted,
                values,
                image,
                info,
                camera,
                maps,
                waiting=waiting,
                decoding=decoding,
                time=time.perf_counter(),
            )
            hand_over(inferred)

    def _publish(self, inferred: Inferred) -> None:
        """Group, decode depth, build what is wanted and publish it."""
        taken = time.perf_counter()
        msg, image, wanted = inferred.msg, inferred.image, inferred.wanted
        with self._counting_failures():
            prediction = self._predictor.postprocess(
                inferred.maps,
                inferred.camera.fy / len(image),
                instances=any('instance' in output.tasks for output in wanted),
                depth=any('depth' in output.tasks for output in wanted),
            )
            interpreted = time.perf_counter()
            at_input_size = inferred.values.output_size == 'input'
            result = Result(msg.header, image, inferred.info, prediction, at_input_size)
            for output in wanted:
                message = output.build(result, self._memory[output])
                self.publishers[output].publish(message)
            stages = {
                'waiting': (inferred.waiting + taken - inferred.time) * 1e3,
                'decode': inferred.decoding * 1e3,
                **prediction.milliseconds,
                'publish': (time.perf_counter() - interpreted) * 1e3,
            }
            age = (self._clock.now().nanoseconds - nanoseconds(msg.header)) / SECOND
            self.statistics.published(stages, age)

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        try:
            yield
        except MessageError as err:
            self.statistics.bad(str(err))
            self._logger.warning(f'image left out: {err}', **THROTTLE)
        except Exception as err:
            if not self._context.ok():
                return
            self.statistics.failed(f'{type(err).__name__}: {err}')
            text = f'image left out: {traceback.format_exc()}'
            self._logger.error(text, **THROTTLE)
