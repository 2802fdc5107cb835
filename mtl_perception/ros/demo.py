"""The demo: a camera and the node in processes of their own, and a recorder that judges them."""

import contextlib
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tqdm import tqdm

from mtl_perception.data.cityscapes import write_frame
from mtl_perception.data.frame import Frame
from mtl_perception.data.sources import ImageSource, Pictures, SourceImage, open_source
from mtl_perception.data.synthetic import synthetic_drive
from mtl_perception.evaluation.evaluate import METRICS_FILE, Evaluation
from mtl_perception.evaluation.report import Metrics, metrics_table, write_metrics
from mtl_perception.files import make_folder, write_picture
from mtl_perception.inference.predictor import Prediction, Predictor
from mtl_perception.ros.bag import BagWriter
from mtl_perception.ros.camera import CameraNode
from mtl_perception.ros.messages import camera_info, image_to_map, rgb_to_image
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.ros.recorder import QUEUE_DEPTH, RecordedFrame, Recorder
from mtl_perception.ros.transport import transport_environment
from mtl_perception.share import default_checkpoint
from mtl_perception.visualization import map_row, overview_sheet

NAMESPACE = '/mtl_demo'
NODE = f'{NAMESPACE}/{NODE_NAME}'
CAMERA_TOPIC = f'{NAMESPACE}/camera/image'
CAMERA_INFO_TOPIC = f'{NAMESPACE}/camera/camera_info'
FRAME_ID = 'demo_camera'

SEMANTIC = f'{NODE}/semantic/image'
INSTANCE = f'{NODE}/instance/image'
DEPTH = f'{NODE}/depth/image'
TOPICS = {SEMANTIC: Image, INSTANCE: Image, DEPTH: Image, f'{NODE}/depth/camera_info': CameraInfo}

DRIVE_FRAMES = 90
DRIVE_SIZE = (480, 640)

START_TIMEOUT = 120.0
FRAME_TIMEOUT = 60.0
END_TIMEOUT = 20.0
"""Seconds to wait for the node to be active, for one frame, and for a process to end."""

MAX_DOMAIN = 100
"""Domain IDs up to this leave room for ports on every system."""

FATES = ('published', 'overtaken', 'lost')

OVERVIEW_FILE = 'overview.png'
OVERVIEW_ROWS = 6
TITLES = (
    'input',
    'semantic',
    'instance',
    'depth',
    'semantic, truth',
    'instance, truth',
    'depth, truth',
)
PANEL_WIDTH = 320
POLL = 0.1


@dataclass(frozen=True)
class Sent:
    """An image that the camera published: its name in the source, and its stamp in nanoseconds."""

    name: str
    stamp: int


def run_demo(
    *,
    source: str | None,
    frames: int,
    rate: float,
    checkpoint: Path | None,
    device: str,
    runtime: str,
    seed: int,
    output: Path,
) -> None:
    """Run camera and node until ``frames`` results have been published; write and print what came.

    Args:
        source: what the camera publishes; ``None``: a synthetic street.
        frames: published results after which to end.
        rate: of the camera, Hz.
        checkpoint: of the node; ``None``: the embedded one.
        device: of the node.
        runtime: of the node.
        seed: of the synthetic street.
        output: folder for the results.

    Raises:
        ValueError, OSError: source, checkpoint or output folder cannot be used, or the node ended;
            the text says why.
    """
    make_folder(output)
    path = default_checkpoint() if checkpoint is None else checkpoint
    predictor = Predictor(path, device=device, runtime=runtime)
    evaluation = Evaluation()
    print(predictor.description)
    if source is None:
        source = str(_render_drive(seed, output / 'street'))
    images = open_source(source)
    if not len(images):
        msg = f'{source}: has no end; publish it with "mtl camera" instead'
        raise ValueError(msg)
    os.environ.update(transport_environment(os.environ))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    # Away from the user's robot, and from another demo.
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % MAX_DOMAIN)
    options = {'checkpoint': path.resolve(), 'device': device, 'runtime': runtime}
    with _node_process(options, output / 'node.log') as node, _recorder() as recorder:
        _wait_until_active(recorder, node)
        with _camera_process(source, rate) as camera:
            _record(recorder, node, camera, frames)
            sent = camera.stop()
        _drain(recorder, node)
    result = _Result(sent, recorder)
    result.check_headers()
    scores = _judge(result, images, predictor, evaluation, output)
    write_metrics(output / METRICS_FILE, {**result.figures(), **scores})
    print(result.table())
    print(metrics_table(scores))
    print(f'written to {output}')


def _render_drive(seed: int, root: Path) -> Path:
    """Render the street that the camera films, with its truth, in the Cityscapes layout."""
    height, width = DRIVE_SIZE
    drive = synthetic_drive(seed, DRIVE_FRAMES, height=height, width=width)
    for frame in tqdm(drive, 'rendering a street', DRIVE_FRAMES, unit='frame', leave=False):
        write_frame(root, 'demo', frame)
    return root / 'leftImg8bit' / 'demo'


@contextlib.contextmanager
def _node_process(options: Mapping[str, Any], log: Path) -> Iterator[subprocess.Popen]:
    """Start the node; let it end by SIGINT, as Ctrl+C would."""
    command = [sys.executable, '-m', 'mtl_perception.ros.node', '--ros-args']
    command += ['--remap', f'__ns:={NAMESPACE}', '--remap', f'~/image:={CAMERA_TOPIC}']
    command += ['--remap', f'~/camera_info:={CAMERA_INFO_TOPIC}']
    for name, value in options.items():
        command += ['--param', f'{name}:={value}']
    for topic in TOPICS:
        # The recorder must miss nothing, however late it is.
        command += ['--param', f'qos_overrides.{topic}.publisher.depth:={QUEUE_DEPTH}']
    with log.open('w') as file, subprocess.Popen(command, stdout=file, stderr=file) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                print(
                    f'the node did not end within {END_TIMEOUT:.0f} s; see {log}', file=sys.stderr
                )


@contextlib.contextmanager
def _recorder() -> Iterator[Recorder]:
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield Recorder(TOPICS, NODE)
    finally:
        rclpy.try_shutdown()


class _Camera:
    """The camera's process, and what it says of the images it sent."""

    def __init__(self, process: multiprocessing.process.BaseProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def stop(self) -> list[Sent]:
        """Let the camera end; return what it sent."""
        self._pipe.send('stop')
        if not self._pipe.poll(END_TIMEOUT):
            msg = f'the camera did not end within {END_TIMEOUT:.0f} s'
            raise ValueError(msg)
        return self._pipe.recv()


@contextlib.contextmanager
def _camera_process(source: str, rate: float) -> Iterator[_Camera]:
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_publish, args=(source, rate, theirs), daemon=True)
    process.start()
    try:
        yield _Camera(process, ours)
    except BaseException:
        process.kill()
        raise
    process.join(END_TIMEOUT)


def _publish(source: str, rate: float, pipe: Connection) -> None:
    """Publish ``source`` again and again until the pipe says stop; then send what was published."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's
    sent: list[Sent] = []

    def on_published(image: SourceImage, header: Header) -> None:
        sent.append(Sent(image.name, _nanoseconds(header)))
        if pipe.poll():
            camera.stop()

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    camera = CameraNode(
        open_source(source),
        rate=rate,
        frame_id=FRAME_ID,
        topic=CAMERA_TOPIC,
        loop=True,
        wait_for_subscriber=True,
        on_published=on_published,
        node_name='demo_camera',
    )
    camera.run()
    pipe.send(sent)
    rclpy.try_shutdown()


def _wait_until_active(recorder: Recorder, node: subprocess.Popen) -> None:
    def is_ready() -> bool:
        values = recorder.diagnostics
        return values.get('state') == 'active' and int(values['subscribers']) >= len(TOPICS)

    _spin_until(recorder, node, is_ready, START_TIMEOUT, 'the node was not active')


def _record(recorder: Recorder, node: subprocess.Popen, camera: _Camera, frames: int) -> None:
    with tqdm(desc='published frames', total=frames, unit='frame', leave=False) as bar:
        while bar.n < frames:
            before = bar.n

            def has_more(n: int = before) -> bool:
                return len(recorder.complete()) > n or not camera.is_alive()

            _spin_until(recorder, node, has_more, FRAME_TIMEOUT, 'the node published nothing')
            if not camera.is_alive():
                msg = 'the camera ended; its source may have no image that can be read'
                raise ValueError(msg)
            bar.update(min(frames, len(recorder.complete())) - before)


def _drain(recorder: Recorder, node: subprocess.Popen) -> None:
    """Wait until the node has said, after its last image, what became of all of them."""
    seen = recorder.diagnostics_count

    def is_idle() -> bool:
        # The next status may have been made before the last image was done.
        if recorder.diagnostics_count < seen + 2:
            return False
        values = recorder.diagnostics
        if int(values['bad messages']) or int(values['failed']):
            msg = f'the node could not use an image: {values["last problem"]}'
            raise ValueError(msg)
        done = int(values['published']) + int(values['overtaken'])
        return done == int(values['received']) and len(recorder.complete()) == int(
            values['published']
        )

    _spin_until(recorder, node, is_idle, END_TIMEOUT, 'the node did not finish its images')


def _spin_until(
    recorder: Recorder,
    node: subprocess.Popen,
    is_done: Callable[[], bool],
    timeout: float,
    problem: str,
) -> None:
    deadline = time.monotonic() + timeout
    while not is_done():
        rclpy.spin_once(recorder, timeout_sec=POLL)
        if node.poll() is not None:
            msg = f'the node ended with status {node.returncode}; see node.log'
            raise ValueError(msg)
        if time.monotonic() > deadline:
            why = recorder.diagnostics_message or 'it says nothing on /diagnostics; see node.log'
            msg = f'{problem} within {timeout:.0f} s: {why}'
            raise ValueError(msg)


class _Result:
    """What was sent and what came back."""

    def __init__(self, sent: Sequence[Sent], recorder: Recorder) -> None:
        self.names = {entry.stamp: entry.name for entry in sent}
        self.frames = recorder.frames
        self.stamps = recorder.complete()
        self._overtaken = int(recorder.diagnostics['overtaken'])
        self._received = int(recorder.diagnostics['received'])

    def check_headers(self) -> None:
        """Refuse outputs whose header is not that of an image the camera sent."""
        for stamp, frame in self.frames.items():
            for topic, data in frame.messages.items():
                header = deserialize_message(data, TOPICS[topic]).header
                if stamp not in self.names or header.frame_id != FRAME_ID:
                    msg = f'{topic}: stamp {stamp}, frame_id {header.frame_id!r} were never sent'
                    raise ValueError(msg)

    def figures(self) -> dict[str, Any]:
        """Return what became of the frames, and how long it took."""
        arrivals = [self.frames[stamp].arrival for stamp in self.stamps]
        latencies = [
            (arrival - stamp) / 1e6 for stamp, arrival in zip(self.stamps, arrivals, strict=True)
        ]
        seconds = (arrivals[-1] - arrivals[0]) / 1e9
        return {
            'frames_sent': len(self.names),
            'frames_published': len(self.stamps),
            'frames_overtaken': self._overtaken,
            'frames_lost': len(self.names) - self._received,
            'fps': (len(arrivals) - 1) / seconds if seconds else None,
            'latency_ms': {
                'median': statistics.median(latencies),
                'p99': float(np.percentile(latencies, 99)),
            },
        }

    def table(self) -> str:
        """Return the figures as lines of text."""
        values = self.figures()
        fates = ', '.join(f'{values[f"frames_{fate}"]} {fate}' for fate in FATES)
        latency = values['latency_ms']
        lines = (
            f'sent      {values["frames_sent"]}: {fates}',
            f'rate      {values["fps"] or 0:.1f} frames/s',
            f'latency   {latency["median"]:.0f} ms median, {latency["p99"]:.0f} ms p99',
        )
        return '\n'.join(lines)


def _judge(
    result: _Result,
    images: ImageSource,
    predictor: Predictor,
    evaluation: Evaluation,
    output: Path,
) -> Metrics:
    """Write bag and overview; return the published maps' metrics where there is truth."""
    rows = []
    shown = {result.stamps[i] for i in _spread(len(result.stamps), OVERVIEW_ROWS)}
    frames = _frames(images, {result.names[stamp] for stamp in result.stamps})
    with_truth = any(_has_truth(frame) for frame in frames.values())
    with BagWriter(output / 'bag') as bag:
        for stamp in tqdm(result.stamps, 'comparing', unit='frame', leave=False):
            frame, recorded = frames[result.names[stamp]], result.frames[stamp]
            _write_to_bag(bag, stamp, frame, recorded)
            prediction = _published(recorded)
            if _has_truth(frame):
                # These are not published; the node computed the very same.
                offline = predictor.predict(frame.image, frame.focal_length)
                prediction = replace(
                    prediction,
                    scores=offline.scores,
                    offsets=offline.offsets,
                    disparity=offline.disparity,
                )
            evaluation.add(frame, prediction)
            if stamp in shown:
                rows.append(_overview_row(frame, prediction, with_truth))
    write_picture(output / OVERVIEW_FILE, overview_sheet(rows, TITLES[: len(rows[0])]))
    return evaluation.compute()


def _frames(images: ImageSource, names: set[str]) -> dict[str, Frame]:
    """Return the frames that were sent, with what ground truth they have."""
    if isinstance(images, Pictures):
        return {paths.name: paths.read() for paths in images.frames if paths.name in names}
    return {
        image.name: Frame(image.name, image.image, camera=image.camera)
        for image in images
        if image.name in names
    }


def _spread(n: int, count: int) -> list[int]:
    """Return ``count`` indices spread evenly over ``n``."""
    return sorted({round(i) for i in np.linspace(0, n - 1, count)})


def _write_to_bag(bag: BagWriter, stamp: int, frame: Frame, recorded: RecordedFrame) -> None:
    """Write the image and what came of it, all at the time of the image's stamp."""
    header = Header(frame_id=FRAME_ID)
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    messages = [(CAMERA_TOPIC, rgb_to_image(frame.image, header))]
    if frame.camera is not None:
        height, width = frame.image.shape[:2]
        messages.append((CAMERA_INFO_TOPIC, camera_info(frame.camera, width, height, header)))
    for topic, message in messages:
        bag.write(topic, type(message), stamp, serialize_message(message))
    for topic, data in recorded.messages.items():
        bag.write(topic, TOPICS[topic], stamp, data)


def _published(recorded: RecordedFrame) -> Prediction:
    labels, instances, depth = (
        image_to_map(deserialize_message(recorded.messages[topic], Image))
        for topic in (SEMANTIC, INSTANCE, DEPTH)
    )
    return Prediction(labels, np.full_like(labels, 255), instances, depth=depth)


def _overview_row(frame: Frame, prediction: Prediction, with_truth: bool) -> list[np.ndarray]:
    height = round(PANEL_WIDTH * frame.image.shape[0] / frame.image.shape[1])
    image = cv2.resize(frame.image, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
    size = height, PANEL_WIDTH
    row = [image, *map_row(prediction.labels, prediction.instances, prediction.depth, *size)]
    if with_truth:
        row += map_row(frame.labels, frame.instances, frame.depth, *size)
    return row


def _has_truth(frame: Frame) -> bool:
    return any(truth is not None for truth in (frame.labels, frame.instances, frame.depth))


def _nanoseconds(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
