"""From an image message to everything that is subscribed to, in a thread of its own."""

import time
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from rclpy.clock import Clock
from rclpy.context import Context
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mtl_perception.data.frame import Camera
from mtl_perception.inference.predictor import Predictor
from mtl_perception.ros.calibration import Calibration
from mtl_perception.ros.diagnostics import Statistics
from mtl_perception.ros.messages import (
    MessageError,
    camera_info,
    compressed_to_rgb,
    image_to_rgb,
    intrinsics,
)
from mtl_perception.ros.outputs import OUTPUTS, Output, Result
from mtl_perception.ros.parameters import Values
from mtl_perception.ros.worker import NewestItemWorker

DECODERS: dict[type, Callable[[Any], np.ndarray]] = {
    Image: image_to_rgb,
    CompressedImage: compressed_to_rgb,
}

WARM_UP_SIZE = (720, 1280)
"""(height, width) of the image to warm up with, as the camera's is not known by then."""

THROTTLE = 5.0
"""Seconds between two log lines about images that were left out."""


class Pipeline:
    """Works on the newest image; what nobody subscribes to is not computed.

    A bad image or a failing network is counted and logged, and the next image is taken.

    Attributes:
        statistics: since ``start``.

    Args:
        predictor: used by the worker alone from now on, except for what ``apply`` replaces.
        publishers: of each output.
        values: of the parameters.
        context: whose shutdown ends everything.
        clock: that stamps are compared to.
        logger: of the node.
    """

    def __init__(
        self,
        predictor: Predictor,
        publishers: Mapping[Output, Any],
        values: Values,
        *,
        context: Context,
        clock: Clock,
        logger: RcutilsLogger,
    ) -> None:
        self.predictor = predictor
        self.publishers = publishers
        self.statistics = Statistics()
        self._values = values
        self._context = context
        self._clock = clock
        self._logger = logger
        self._calibration = Calibration(logger)
        self._worker: NewestItemWorker[Image | CompressedImage] | None = None

    def apply(self, values: Values) -> None:
        """Use other values of the live parameters from the next image on."""
        self._values = values
        self.predictor.max_depth = values.max_depth
        self.predictor.grouping = values.grouping

    def warm_up(self) -> None:
        """Run every stage once: some build tables or compile code at their first call."""
        height, width = WARM_UP_SIZE
        header = Header()
        camera = Camera(width, width, width / 2, height / 2)
        info = camera_info(camera, width, height, header)
        image = np.zeros((height, width, 3), np.uint8)
        prediction = self.predictor.predict(image)
        result = Result(header, image, info, prediction, at_input_size=True)
        for output in OUTPUTS:
            output.build(result)

    def start(self) -> None:
        """Begin to work on images."""
        self.statistics = Statistics()
        self._calibration = Calibration(self._logger)
        self._worker = NewestItemWorker(self._process, self.statistics.overtaken)

    def stop(self) -> None:
        """Finish the image that is being worked on, and take no other."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def close(self) -> None:
        """Stop, and let go of the network."""
        self.stop()
        self.predictor.close()

    def on_image(self, msg: Image | CompressedImage) -> None:
        """Take an image; called for every one that arrives."""
        self.statistics.received(_seconds(msg))
        if self._worker is not None:
            self._worker.put(msg)

    def on_camera_info(self, info: CameraInfo) -> None:
        """Take a calibration."""
        self._calibration.update(info)

    def _process(self, msg: Image | CompressedImage) -> None:
        try:
            wanted = [
                output
                for output, publisher in self.publishers.items()
                if publisher.get_subscription_count()
            ]
            if wanted:
                self._publish(msg, wanted)
        except MessageError as err:
            self.statistics.bad(str(err))
            self._logger.warning(f'image left out: {err}', throttle_duration_sec=THROTTLE)
        except Exception as err:
            if not self._context.ok():
                return
            self.statistics.failed(f'{type(err).__name__}: {err}')
            text = f'image left out: {traceback.format_exc()}'
            self._logger.error(text, throttle_duration_sec=THROTTLE)

    def _publish(self, msg: Image | CompressedImage, wanted: Collection[Output]) -> None:
        start = time.perf_counter()
        image = DECODERS[type(msg)](msg)
        decoded = time.perf_counter()
        result = self._predict(msg, image, wanted)
        predicted = time.perf_counter()
        for output in wanted:
            self.publishers[output].publish(output.build(result))
        stages = {
            'decode': (decoded - start) * 1e3,
            **result.prediction.milliseconds,
            'publish': (time.perf_counter() - predicted) * 1e3,
        }
        self.statistics.published(stages, self._clock.now().nanoseconds / 1e9 - _seconds(msg))

    def _predict(
        self, msg: Image | CompressedImage, image: np.ndarray, wanted: Collection[Output]
    ) -> Result:
        values = self._values
        height, width = image.shape[:2]
        info = self._calibration.look_up(msg.header, width, height, values.focal_length)
        prediction = self.predictor.predict(
            image,
            intrinsics(info, width, height).fy,
            instances=any(output.instances for output in wanted),
            depth=any(output.depth for output in wanted),
        )
        return Result(msg.header, image, info, prediction, values.output_size == 'input')


def _seconds(msg: Image | CompressedImage) -> float:
    stamp = msg.header.stamp
    return stamp.sec + stamp.nanosec * 1e-9
