"""How fast the node is: a camera, the node and a recorder over DDS, as on a robot."""

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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

from mtl_perception.benchmark.measuring import Times, machine, milliseconds_columns, times_of
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor
from mtl_perception.live.delivery import Delivery
from mtl_perception.live.processes import (
    START_TIMEOUT,
    RecordedNode,
    camera_process,
    isolate,
    piped_process,
    recorded_node,
    recording,
)
from mtl_perception.live.recorder import LOSSLESS_QOS, Recorder
from mtl_perception.memory import resident_memory, reuse_freed_memory
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.sources import SYNTHETIC, open_source
from mtl_perception.tasks import TASKS

NAMESPACE = '/mtl_benchmark'
NODE = f'{NAMESPACE}/{NODE_NAME}'
CAMERA_TOPIC = f'{NAMESPACE}/camera/image'
CAMERA_INFO_TOPIC = f'{NAMESPACE}/camera/camera_info'
FRAME_ID = 'camera'
TOPICS = {f'{NODE}/{task}/image': Image for task in TASKS}
RELAYED = f'{NAMESPACE}/relayed'

PICTURES = 10
"""Pictures of the synthetic street, which the camera holds in memory."""

WARM_UP = 3.0
"""Seconds from the first result until measuring begins."""

FASTER = 2.0
"""A camera that is so many times faster than network and grouping always has an image waiting."""

FATES = ('published', 'overtaken')

WHOLE = ('frame', 'age')
"""Times among the stages that are not one of them."""

NETWORK = ('configure', 'network')
"""The stages that are the network's; the first comes with an image of another size alone."""


@dataclass(frozen=True)
class Resources:
    """What a process holds, its memory in MiB, and its CPU seconds so far."""

    memory: float | None
    threads: int
    descriptors: int
    cpu: float


@dataclass(frozen=True)
class Run:
    """What came out while a camera was running.

    Attributes:
        rate: of the camera, Hz.
        seconds: how long was measured.
        fps: results a second.
        latency: milliseconds from an image's stamp to the arrival of the last of its results.
    """

    rate: float
    seconds: float
    fps: float
    latency: Times


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
) -> dict[str, Any]:
    """Measure the node, and return the figures, ready for JSON; times are in ms, memory in MiB.

    Args:
        checkpoint: of the node.
        device: of the node.
        runtime: of the node.
        size: (height, width) of the camera's images.
        rate: of the camera, Hz.
        seconds: how long to measure.
        seed: of the synthetic street that the camera films.
        compare: whether to measure as long a relay in the node's place, network and grouping
            without ROS, and the node with a camera that always has an image waiting.

    Raises:
        ValueError, OSError: the node cannot run; the text says why.
    """
    reuse_freed_memory()
    predictor = Predictor(checkpoint, device=device, runtime=runtime, needs=TASKS)
    street = itertools.islice(open_source(SYNTHETIC, size=size, seed=seed), PICTURES)
    images = list(tqdm(street, 'rendering', PICTURES, unit='frame', leave=False))
    isolate()
    figures: dict[str, Any] = {
        'machine': machine(),
        'network': predictor.description,
        'size': list(size),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        recorded_node(
            NAMESPACE,
            TOPICS,
            image=CAMERA_TOPIC,
            camera_info=CAMERA_INFO_TOPIC,
            parameters={'checkpoint': checkpoint.resolve(), 'device': device, 'runtime': runtime},
            log=Path(folder) / 'node.log',
            keep_data=False,
        ) as node,
    ):
        node.wait_until_active()
        figures['node'] = _measure_node(node, images, rate, seconds)
        if compare:
            times = _time_predictor(predictor, images, seconds / 2)
            fast = FASTER * 1e3 / times_of(times).median
            figures['never_waits'] = _measure_node(node, images, fast, seconds)
            times += _time_predictor(predictor, images, seconds / 2)
            figures['alone'] = {'fps': 1e3 * len(times) / sum(times), **asdict(times_of(times))}
            figures['share_of_alone'] = figures['never_waits']['fps'] / figures['alone']['fps']
    predictor.close()
    if compare:
        figures['relay'] = _measure_relay(images, rate, seconds)
    return figures


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures of ``benchmark_node`` as text."""
    return '\n'.join(_table_lines(figures))


def _measure_node(
    node: RecordedNode, images: Sequence[Frame], rate: float, seconds: float
) -> dict[str, Any]:
    """Run a camera for the node; return what came out, and what the node says of itself."""
    recorder = node.recorder
    recorder.start_counting()
    with camera_process(images, rate, topic=CAMERA_TOPIC, frame_id=FRAME_ID) as camera:
        node.spin_until(lambda: recorder.results, START_TIMEOUT, 'the node published nothing')
        node.spin_for(WARM_UP)
        before, start = _resources(node.pid), time.time_ns()
        node.spin_for(seconds)
        after, end = _resources(node.pid), time.time_ns()
        snapshot = recorder.status.snapshot
        stages = {**snapshot.milliseconds, 'age': snapshot.age or 0.0}
        sent = len(camera.stop())
    node.wait_until_idle()
    delivery = Delivery.from_counts(recorder.counts, sent=sent, published=recorder.results)
    outcomes = delivery.figures()
    run = _run_of(recorder, rate, start, end)
    own = {k: ms for k, ms in stages.items() if k not in (*WHOLE, 'waiting', *NETWORK)}
    return {
        **asdict(run),
        'sent': sent,
        **{outcome: outcomes[outcome] for outcome in (*FATES, 'lost')},
        'stages': stages,
        'besides_network': sum(own.values()),
        'besides_network_and_grouping': sum(own.values()) - own['instance'],
        'cpu': (after.cpu - before.cpu) * 1e3 / run.latency.calls,
        'start': asdict(before),
        'end': asdict(after),
    }


def _run_of(recorder: Recorder, rate: float, start: int, end: int) -> Run:
    """Return what came between two times in nanoseconds."""
    frames = ((stamp, recorder.frames[stamp].arrival) for stamp in recorder.complete())
    latencies = [(came - stamp) / 1e6 for stamp, came in frames if start <= came < end]
    if not latencies:
        msg = f'nothing was published in {(end - start) / 1e9:.0f} s; measure for longer'
        raise ValueError(msg)
    seconds = (end - start) / 1e9
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


def _measure_relay(images: Sequence[Frame], rate: float, seconds: float) -> dict[str, Any]:
    """Measure a process that publishes every image again and does nothing else."""
    with (
        recording({RELAYED: Image}, NODE, keep_data=False) as recorder,
        piped_process(_relay) as (_, pipe),
        camera_process(images, rate, topic=CAMERA_TOPIC, frame_id=FRAME_ID) as camera,
    ):
        if not recorder.spin_until(lambda: recorder.results, START_TIMEOUT):
            msg = f'the relay published nothing within {START_TIMEOUT:.0f} s'
            raise ValueError(msg)
        recorder.spin_for(WARM_UP)
        start = time.time_ns()
        recorder.spin_for(seconds)
        end = time.time_ns()
        camera.stop()
        pipe.send('stop')
        return asdict(_run_of(recorder, rate, start, end))


def _relay(pipe: Connection) -> None:
    """Publish every image again until the pipe says stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's
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
    # The command's name comes first, in brackets, and may hold anything.
    user, system = process.joinpath('stat').read_text().rpartition(')')[2].split()[11:13]
    return Resources(
        memory=resident_memory(pid),
        threads=len(list(process.joinpath('task').iterdir())),
        descriptors=len(list(process.joinpath('fd').iterdir())),
        cpu=(int(user) + int(system)) / os.sysconf('SC_CLK_TCK'),
    )


ROWS = {
    'node': 'the node',
    'never_waits': 'the node, an image always waiting',
    'alone': 'network and grouping alone',
    'relay': 'a relay that copies the image',
}


def _table_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    where, node = figures['machine'], figures['node']
    height, width = figures['size']
    yield f'{where["cpu"]}, {where["cores"]} cores' + (f', {where["gpu"]}' if where['gpu'] else '')
    yield f'{width}×{height} at {node["rate"]:g} Hz for {node["seconds"]:.0f} s'
    yield ''
    yield f'{"":<36}{"frames/s":>9}{"median":>12}{"p99":>12}{"quartiles":>12}'
    for key, name in ROWS.items():
        if key in figures:
            row = figures[key]
            latency = row.get('latency', row)
            times = f'{milliseconds_columns(latency)}{latency["spread"]:>9,.1f} ms'
            yield f'{name:<36}{row["fps"]:>9.1f}{times}'
    if 'share_of_alone' in figures:
        yield f'with an image always waiting: {figures["share_of_alone"]:.0%} of the rate alone'
    fates = ', '.join(f'{node[fate]} {fate}' for fate in (*FATES, 'lost'))
    yield f'sent {node["sent"]}: {fates}'
    yield ''
    yield 'ms a frame, mean of the last 10 s'
    yield from (f'  {stage:<34}{ms:>9.1f}' for stage, ms in node['stages'].items())
    yield (
        f'besides network and waiting: {node["besides_network"]:.1f} ms, without grouping '
        f'{node["besides_network_and_grouping"]:.1f} ms; CPU time {node["cpu"]:.0f} ms a frame'
    )
    yield ''
    start, end = node['start'], node['end']
    growth = end['memory'] - start['memory']
    yield f'memory      {start["memory"]:.1f} → {end["memory"]:.1f} MiB ({growth:+.1f})'
    yield f'threads     {start["threads"]} → {end["threads"]}'
    yield f'descriptors {start["descriptors"]} → {end["descriptors"]}'
