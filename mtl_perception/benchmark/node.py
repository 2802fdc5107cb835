# SPDX-License-Identifier: Apache-2.0
"""Speed of the node: a camera, the node and a recorder over DDS, as on a robot."""

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from tqdm import tqdm

from mtl_perception.benchmark.measuring import Machine, Times, describe_machine, times_of
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor
from mtl_perception.live.delivery import Delivery
from mtl_perception.live.processes import camera_topic, recorded_node
from mtl_perception.live.recorder import (
    DISCOVERY_TIMEOUT,
    END_TIMEOUT,
    LOSSLESS_QOS,
    START_TIMEOUT,
    NodeError,
    Recorder,
    recording,
)
from mtl_perception.live.replay import published_topics
from mtl_perception.memory import resident_memory, reuse_freed_memory
from mtl_perception.messages.stamps import SECOND
from mtl_perception.ros.camera import CameraNode
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.sources import SYNTHETIC, open_source
from mtl_perception.tasks import TASKS

NAMESPACE = '/mtl_benchmark'
NODE = f'{NAMESPACE}/{NODE_NAME}'
CAMERA_TOPIC = camera_topic(NAMESPACE)
RELAYED = f'{NAMESPACE}/relayed'

PICTURES = 10
"""Number of pictures of the synthetic street, which the camera keeps in memory."""

WARM_UP = 3.0
"""Seconds between the first result and the measurement."""

FASTER = 2.0
"""Rate of a camera that always has an image waiting, relative to network and grouping alone."""

NOT_OWN = ('frame', 'age', 'waiting', 'configure', 'network')
"""Times that are not the node's own work; ``configure`` is the network's setup for a new size."""

OUTCOMES = ('sent', 'published', 'overtaken', 'lost')


@dataclass(frozen=True)
class Resources:
    """Resident memory in MiB, threads, open files and CPU seconds since the start of a process."""

    memory: float
    threads: int
    descriptors: int
    cpu: float


@dataclass(frozen=True)
class Run:
    """Results received while a camera was running.

    Attributes:
        rate: Rate of the camera in Hz.
        seconds: Duration of the measurement.
        fps: Results per second.
        latency: Milliseconds from the stamp of an image to the arrival of its last result.
    """

    rate: float
    seconds: float
    fps: float
    latency: Times

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class NodeRun(Run):
    """Results, diagnostics and resources of the node while a camera was running.

    Attributes:
        delivery: Numbers of images, including those outside the measurement.
        stages: Mean milliseconds of each stage, of the whole frame, and the age of the results.
        start: Resources at the start of the measurement.
        end: Resources at the end of the measurement.
    """

    delivery: Delivery
    stages: Mapping[str, float]
    start: Resources
    end: Resources

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON; ``cpu`` is the CPU time per result in milliseconds."""
        delivery = self.delivery.figures()
        besides_network = sum(ms for stage, ms in self.stages.items() if stage not in NOT_OWN)
        return {
            **{name: value for name, value in asdict(self).items() if name != 'delivery'},
            **{outcome: delivery[outcome] for outcome in OUTCOMES},
            'besides_network': besides_network,
            'besides_network_and_grouping': besides_network - self.stages['instance'],
            'cpu': (self.end.cpu - self.start.cpu) * 1e3 / self.latency.calls,
        }


@dataclass(frozen=True)
class Alone:
    """Rate and times of network and grouping without ROS."""

    fps: float
    latency: Times

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {'fps': self.fps, **asdict(self.latency)}


RUNS = {
    'node': 'the node',
    'never_waits': 'the node, an image always waiting',
    'alone': 'network and grouping alone',
    'relay': 'a relay that copies the image',
}
"""Titles of the runs of ``NodeBenchmark``."""


@dataclass(frozen=True)
class NodeBenchmark:
    """Result of ``benchmark_node``; its text is a table.

    Attributes:
        machine: Hardware and software of the measurement.
        network: Description of the network.
        size: (height, width) of the images.
        node: Node with a camera of the requested rate.
        never_waits: Node with an image always waiting; ``None`` without comparison.
        alone: Network and grouping without ROS; ``None`` without comparison.
        relay: Process that only copies the image; ``None`` without comparison.
    """

    machine: Machine
    network: str
    size: tuple[int, int]
    node: NodeRun
    never_waits: NodeRun | None = None
    alone: Alone | None = None
    relay: Run | None = None

    @property
    def runs(self) -> dict[str, Run | Alone]:
        """Measured runs by name."""
        return {name: run for name in RUNS if (run := getattr(self, name)) is not None}

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON; times are in milliseconds, memory is in MiB."""
        figures: dict[str, Any] = {
            'machine': asdict(self.machine),
            'network': self.network,
            'size': list(self.size),
            **{name: run.figures() for name, run in self.runs.items()},
        }
        if self.never_waits is not None and self.alone is not None:
            figures['share_of_alone'] = self.never_waits.fps / self.alone.fps
        return figures

    def __str__(self) -> str:
        return '\n'.join(self._lines())

    def _lines(self) -> Iterator[str]:
        node, figures, (height, width) = self.node, self.figures(), self.size
        yield f'{self.machine}, {self.machine.gpu}' if self.machine.gpu else str(self.machine)
        yield f'{width}×{height} at {node.rate:g} Hz for {node.seconds:.0f} s'
        yield ''
        yield f'{"":<36}{"frames/s":>9}{"median":>12}{"p99":>12}{"quartiles":>12}'
        for name, run in self.runs.items():
            spread = f'{run.latency.spread:>9,.1f} ms'
            yield f'{RUNS[name]:<36}{run.fps:>9.1f}{run.latency}{spread}'
        if 'share_of_alone' in figures:
            yield f'with an image always waiting: {figures["share_of_alone"]:.0%} of the rate alone'
        yield str(node.delivery)
        yield ''
        yield 'ms per frame, mean of the last 10 s'
        yield from (f'  {stage:<34}{ms:>9.1f}' for stage, ms in node.stages.items())
        yield (
            'without network and waiting: {besides_network:.1f} ms, also without grouping '
            '{besides_network_and_grouping:.1f} ms; CPU time {cpu:.0f} ms per frame'
        ).format(**figures['node'])
        yield ''
        start, end = node.start, node.end
        growth = end.memory - start.memory
        yield f'memory      {start.memory:.1f} → {end.memory:.1f} MiB ({growth:+.1f})'
        yield f'threads     {start.threads} → {end.threads}'
        yield f'descriptors {start.descriptors} → {end.descriptors}'


def benchmark_node(
    *,
    checkpoint: Path,
    device: str,
    runtime: str,
    size: tuple[int, int],
    rate: float,
    seconds: float,
    seed: int,
    compare: bool,
) -> NodeBenchmark:
    """Measure the node with a camera that publishes a synthetic street.

    Args:
        checkpoint: Checkpoint of the node.
        device: Device of the node.
        runtime: Runtime of the node.
        size: (height, width) of the images.
        rate: Rate of the camera in Hz.
        seconds: Duration of each measurement.
        seed: Seed of the synthetic street.
        compare: Whether to measure also a relay instead of the node, network and grouping without
            ROS, and the node with a camera that always has an image waiting.

    Raises:
        ValueError, OSError: The node cannot run.
    """
    reuse_freed_memory()
    predictor = Predictor(checkpoint, device=device, runtime=runtime, needs=TASKS)
    street = itertools.islice(open_source(SYNTHETIC, size=size, seed=seed), PICTURES)
    images = list(tqdm(street, 'rendering', PICTURES, unit='frame', leave=False))
    never_waits = alone = relay = None
    with (
        tempfile.TemporaryDirectory() as folder,
        recorded_node(
            NAMESPACE,
            dict.fromkeys(published_topics(NODE).values(), Image),
            Path(folder) / 'node.log',
            keep_data=False,
            checkpoint=checkpoint.resolve(),
            device=device,
            runtime=runtime,
        ) as (recorder, pid),
    ):
        recorder.wait_until_active()
        recorder.expect(recorder.is_connected, DISCOVERY_TIMEOUT, 'the outputs are not connected')
        run = _measure_node(recorder, pid, images, rate, seconds)
        if compare:
            times = _time_predictor(predictor, images, seconds / 2)
            fast = FASTER * 1e3 / times_of(times).median
            never_waits = _measure_node(recorder, pid, images, fast, seconds)
            times += _time_predictor(predictor, images, seconds / 2)
            alone = Alone(1e3 * len(times) / sum(times), times_of(times))
    description = predictor.description
    predictor.close()
    if compare:
        relay = _measure_relay(images, rate, seconds)
    return NodeBenchmark(describe_machine(), description, size, run, never_waits, alone, relay)


def _measure_node(
    recorder: Recorder, pid: int, images: Sequence[Frame], rate: float, seconds: float
) -> NodeRun:
    recorder.start_counting()
    with _background(_camera, images, rate) as pipe:
        recorder.expect(lambda: recorder.results, START_TIMEOUT, 'the node published nothing')
        recorder.spin_for(WARM_UP)
        before, start = _resources(pid), time.time_ns()
        recorder.spin_for(seconds)
        after, end = _resources(pid), time.time_ns()
        stages = recorder.status.milliseconds
    if not recorder.wait_until_idle():
        msg = f'the node did not finish its images: {recorder.status.message}'
        raise NodeError(msg)
    if recorder.counts.bad or recorder.counts.failed:
        msg = f'the node could not use an image: {recorder.status.problem}'
        raise NodeError(msg)
    return NodeRun(
        **vars(_run(recorder, rate, start, end)),
        delivery=Delivery(pipe.recv(), recorder.results, recorder.counts),
        stages=stages,
        start=before,
        end=after,
    )


def _run(recorder: Recorder, rate: float, start: int, end: int) -> Run:
    """Return the results that arrived between two times in nanoseconds."""
    frames = ((stamp, recorder.frames[stamp].arrival) for stamp in recorder.complete())
    latencies = [(arrival - stamp) / 1e6 for stamp, arrival in frames if start <= arrival < end]
    seconds = (end - start) / SECOND
    if not latencies:
        msg = f'nothing was published in {seconds:.0f} s; measure for longer'
        raise ValueError(msg)
    return Run(rate, seconds, len(latencies) / seconds, times_of(latencies))


def _time_predictor(predictor: Predictor, images: Sequence[Frame], seconds: float) -> list[float]:
    """Return the milliseconds of network and grouping on one image after the other."""
    predictor.predict(images[0].image)
    times: list[float] = []
    endless = itertools.cycle(images)
    while sum(times) < seconds * 1e3:
        image = next(endless).image
        start = time.perf_counter()
        predictor.predict(image)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _measure_relay(images: Sequence[Frame], rate: float, seconds: float) -> Run:
    """Measure a process that only publishes every image again."""
    with (
        recording({RELAYED: Image}, NODE, keep_data=False) as recorder,
        _background(_relay),
        _background(_camera, images, rate),
    ):
        recorder.expect(lambda: recorder.results, START_TIMEOUT, 'the relay published nothing')
        recorder.spin_for(WARM_UP)
        start = time.time_ns()
        recorder.spin_for(seconds)
        return _run(recorder, rate, start, time.time_ns())


@contextlib.contextmanager
def _background(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Run ``target`` in a new process, with one end of a pipe as its last argument.

    At the end of the context the pipe tells it to end. Yields the other end of the pipe.

    Raises:
        ValueError: The process does not end.
    """
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    try:
        yield ours
        ours.send('stop')
        process.join(END_TIMEOUT)
        if process.exitcode != 0:
            msg = f'the process of {target.__name__} did not end within {END_TIMEOUT:.0f} s'
            raise ValueError(msg)
    finally:
        process.kill()


def _camera(images: Iterable[Frame], rate: float, pipe: Connection) -> None:
    """Publish in a loop until the pipe has a message; answer with the number of images."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent process handles Ctrl+C.

    def on_published(*_: object) -> None:
        if pipe.poll():
            camera.stop()

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    camera = CameraNode(
        images,
        rate=rate,
        topic=CAMERA_TOPIC,
        loop=True,
        wait_for_subscriber=True,
        on_published=on_published,
    )
    camera.run()
    pipe.send(camera.published)
    rclpy.try_shutdown()


def _relay(pipe: Connection) -> None:
    """Publish every image again until the pipe has a message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent process handles Ctrl+C.
    reuse_freed_memory()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node('relay')
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(Image, RELAYED, LOSSLESS_QOS)
    node.create_subscription(Image, CAMERA_TOPIC, publisher.publish, best_effort)
    while not pipe.poll():
        rclpy.spin_once(node, timeout_sec=1.0)
    rclpy.try_shutdown()


def _resources(pid: int) -> Resources:
    process = Path('/proc', str(pid))
    # The name of the command comes first, in brackets, and may contain any character.
    user, system = process.joinpath('stat').read_text().rpartition(')')[2].split()[11:13]
    return Resources(
        memory=resident_memory(pid) or math.nan,
        threads=len(list(process.joinpath('task').iterdir())),
        descriptors=len(list(process.joinpath('fd').iterdir())),
        cpu=(int(user) + int(system)) / os.sysconf('SC_CLK_TCK'),
    )
