# SPDX-License-Identifier: Apache-2.0
"""Pipeline between its callbacks and its publishers, with stages that the test releases."""

import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from rclpy.clock import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mtl_perception.frame import Camera
from mtl_perception.prediction import NetworkMaps, Prediction
from mtl_perception.ros import calibration, pipeline
from mtl_perception.ros.messages import camera_info, rgb_to_image
from mtl_perception.ros.outputs import OUTPUTS
from mtl_perception.ros.pipeline import Pipeline

SEMANTIC = next(output for output in OUTPUTS if output.topic == 'semantic/image')
TIMEOUT = 10


class Gate:
    """Gate that reports each image and lets it pass or fail on command."""

    def __init__(self) -> None:
        self._came: queue.Queue[int] = queue.Queue()
        self._answers: queue.Queue[Exception | None] = queue.Queue()

    def __call__(self, number: int) -> None:
        self._came.put(number)
        answer = self._answers.get(timeout=TIMEOUT)
        if answer is not None:
            raise answer

    def wait_for(self, number: int) -> None:
        assert self._came.get(timeout=TIMEOUT) == number

    def let_pass(self, times: int = 1) -> None:
        for _ in range(times):
            self._answers.put(None)

    def let_fail(self) -> None:
        self._answers.put(ArithmeticError('no result'))


class FakePredictor:
    """Predictor that returns the red channel of the image as its labels."""

    def __init__(self) -> None:
        self.infers, self.interprets = Gate(), Gate()
        self.focal_ratios: list[float] = []

    def infer(self, image: np.ndarray) -> NetworkMaps:
        labels = image[::2, ::2, 0]
        self.infers(labels[0, 0])
        return NetworkMaps(labels, labels, milliseconds={'preprocess': 1.0, 'network': 2.0})

    def postprocess(self, maps: NetworkMaps, focal_ratio: float, **_: bool) -> Prediction:
        self.focal_ratios.append(focal_ratio)
        self.interprets(maps.labels[0, 0])
        return Prediction(maps.labels, maps.confidence, milliseconds=maps.milliseconds)


class FakePublisher:
    def __init__(self) -> None:
        self.subscribers = 1
        self.asked: queue.Queue[None] = queue.Queue()
        self.published: queue.Queue[tuple[int, int]] = queue.Queue()

    def get_subscription_count(self) -> int:
        self.asked.put(None)
        return self.subscribers

    def publish(self, msg: Image) -> None:
        self.published.put((msg.header.stamp.sec, msg.data[0]))

    def numbers(self) -> list[int]:
        """Return the published stamps; each message must hold the image of its stamp."""
        found = [self.published.get_nowait() for _ in range(self.published.qsize())]
        assert all(stamp == label for stamp, label in found)
        return [stamp for stamp, _ in found]


class FakeLogger:
    def __init__(self) -> None:
        self.said: queue.Queue[str] = queue.Queue()

    def info(self, _text: str) -> None:
        pass

    def warning(self, text: str, **_: float) -> None:
        self.said.put(text)

    error = warning


class World(SimpleNamespace):
    pipeline: Pipeline
    predictor: FakePredictor
    publisher: FakePublisher
    logger: FakeLogger
    asked: threading.Event
    expects_camera_info = False

    def expects(self) -> bool:
        self.asked.set()
        return self.expects_camera_info

    def send(self, *numbers: int, encoding: str = 'rgb8') -> None:
        for number in numbers:
            header = Header()
            header.stamp.sec = number
            msg = rgb_to_image(np.full((4, 6, 3), number, np.uint8), header)
            msg.encoding = encoding
            self.pipeline.on_image(msg)

    def let_everything_pass(self) -> None:
        for gate in (self.predictor.infers, self.predictor.interprets):
            gate.let_pass(100)

    def counts(self) -> dict[str, int]:
        """Return the number of images by result; the numbers add up to the received images."""
        found = self.pipeline.statistics.snapshot().counts._asdict()
        received = found.pop('received')
        assert sum(found.values()) == received
        return {result: count for result, count in found.items() if count}


@pytest.fixture
def world() -> Iterator[World]:
    predictor, publisher, logger = FakePredictor(), FakePublisher(), FakeLogger()
    pipeline = Pipeline(
        predictor,
        {SEMANTIC: publisher},
        SimpleNamespace(output_size='input', focal_length=0.0),
        expects_camera_info=lambda: found.expects(),
        context=SimpleNamespace(ok=lambda: True),
        clock=Clock(),
        logger=logger,
    )
    found = World(
        pipeline=pipeline,
        predictor=predictor,
        publisher=publisher,
        logger=logger,
        asked=threading.Event(),
    )
    pipeline.start()
    yield found
    found.let_everything_pass()
    pipeline.stop()


def test_the_next_image_is_in_the_network_while_the_one_before_is_grouped(world: World) -> None:
    world.send(1)
    world.predictor.infers.wait_for(1)
    world.predictor.infers.let_pass()
    world.predictor.interprets.wait_for(1)
    world.send(2)
    world.predictor.infers.wait_for(2)
    assert world.publisher.numbers() == []


def test_one_image_waits_and_a_newer_one_overtakes_it(world: World) -> None:
    world.send(1)
    world.predictor.infers.wait_for(1)
    world.send(2, 3, 4)
    world.let_everything_pass()
    world.predictor.infers.wait_for(4)
    world.pipeline.stop()
    assert world.publisher.numbers() == [1, 4]
    assert world.counts() == {'published': 2, 'overtaken': 2}


def test_the_network_takes_no_image_before_the_last_one_is_taken_from_it(world: World) -> None:
    world.send(1)
    world.predictor.infers.wait_for(1)
    world.predictor.infers.let_pass(2)
    world.predictor.interprets.wait_for(1)
    world.send(2)
    world.predictor.infers.wait_for(2)
    # The network has finished 2 while 1 is still postprocessed: 3 waits, so 4 replaces it.
    world.send(3, 4)
    world.predictor.infers.let_pass()
    world.predictor.interprets.let_pass(100)
    world.predictor.infers.wait_for(4)
    world.pipeline.stop()
    assert world.publisher.numbers() == [1, 2, 4]
    assert world.counts() == {'published': 3, 'overtaken': 1}


def test_images_leave_in_the_order_of_their_stamps(world: World) -> None:
    world.let_everything_pass()
    for number in range(1, 40):
        world.send(number)
        world.predictor.infers.wait_for(number)
    world.pipeline.stop()
    assert world.publisher.numbers() == list(range(1, 40))


def test_stop_publishes_what_is_in_work_and_counts_what_waits(world: World) -> None:
    world.send(1)
    world.predictor.infers.wait_for(1)
    world.predictor.infers.let_pass()
    world.predictor.interprets.wait_for(1)
    world.send(2)
    world.predictor.infers.wait_for(2)
    world.send(3)
    stopping = threading.Thread(target=world.pipeline.stop)
    stopping.start()
    world.let_everything_pass()
    stopping.join(TIMEOUT)
    assert not stopping.is_alive()
    assert world.publisher.numbers() == [1, 2]
    assert world.counts() == {'published': 2, 'overtaken': 1}


def test_an_image_after_stop_is_not_taken(world: World) -> None:
    world.pipeline.stop()
    world.send(1)
    assert world.counts() == {}


@pytest.mark.parametrize('stage', ['infers', 'interprets'])
def test_an_error_in_either_stage_costs_that_image_alone(world: World, stage: str) -> None:
    getattr(world.predictor, stage).let_fail()
    world.let_everything_pass()
    for number in (1, 2, 3):
        world.send(number)
        world.predictor.infers.wait_for(number)
    world.pipeline.stop()
    assert world.publisher.numbers() == [2, 3]
    assert world.counts() == {'published': 2, 'failed': 1}
    assert world.pipeline.statistics.snapshot().problem == 'ArithmeticError: no result'


def test_a_bad_message_costs_itself_alone(world: World) -> None:
    world.let_everything_pass()
    world.send(1, encoding='nonsense')
    assert 'nonsense' in world.logger.said.get(timeout=TIMEOUT)
    world.send(2)
    world.predictor.infers.wait_for(2)
    world.pipeline.stop()
    assert world.publisher.numbers() == [2]
    assert world.counts() == {'published': 1, 'bad': 1}


def test_stages_add_up_to_the_time_from_arrival_to_publication(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=10.0)
    monkeypatch.setattr(pipeline, 'time', SimpleNamespace(perf_counter=lambda: clock.now))

    def take(seconds: float, call: Callable) -> Callable:
        def timed(*arguments, **options):
            clock.now += seconds
            return call(*arguments, **options)

        return timed

    world.let_everything_pass()
    publish = world.publisher.publish
    monkeypatch.setattr(world.publisher, 'get_subscription_count', take(0.001, lambda: 1))
    # The duration that the predictor reports.
    monkeypatch.setattr(world.predictor, 'infer', take(0.003, world.predictor.infer))
    monkeypatch.setattr(world.publisher, 'publish', take(0.007, publish))
    inferred: list[pipeline.Inferred] = []
    arrival = pipeline.Arrival(rgb_to_image(np.ones((4, 6, 3), np.uint8), Header()), clock.now)
    clock.now += 0.1
    world.pipeline._infer(inferred.append, arrival)
    clock.now += 0.2
    world.pipeline._publish(inferred[0])
    stages = world.pipeline.statistics.snapshot().milliseconds
    expected = {'waiting': 300, 'decode': 1, 'preprocess': 1, 'network': 2, 'publish': 7}
    assert stages == pytest.approx({**expected, 'frame': sum(expected.values())})
    assert stages['frame'] == pytest.approx((clock.now - arrival.time) * 1e3)


def test_an_image_that_nobody_wants_is_counted_and_not_computed(world: World) -> None:
    world.publisher.subscribers = 0
    world.send(1)
    world.publisher.asked.get(timeout=TIMEOUT)
    world.pipeline.stop()
    assert world.counts() == {'unwanted': 1}


def test_the_first_image_waits_for_a_camera_info_that_somebody_publishes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, 'PATIENCE', TIMEOUT)
    world.expects_camera_info = True
    world.let_everything_pass()
    world.send(1)
    assert world.asked.wait(TIMEOUT)
    world.pipeline.on_camera_info(camera_info(Camera(7.0, 7.0, 3.0, 2.0), 6, 4, Header()))
    assert world.publisher.published.get(timeout=TIMEOUT)[0] == 1
    assert world.predictor.focal_ratios == [7.0 / 4]


def test_an_image_that_would_not_fit_into_the_network_is_left_out(world: World) -> None:
    world.pipeline.on_image(rgb_to_image(np.zeros((1, 17, 3), np.uint8), Header()))
    assert '17×1' in world.logger.said.get(timeout=TIMEOUT)
    assert world.counts() == {'bad': 1}
