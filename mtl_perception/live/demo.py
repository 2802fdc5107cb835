"""The demo: a camera and the node in processes of their own, and a recorder that judges them."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tqdm import tqdm

from mtl_perception.bags.writer import BagWriter
from mtl_perception.commands.options import ASSUMED_FOCAL_LENGTH
from mtl_perception.data.cityscapes import write_frame
from mtl_perception.evaluation.evaluate import METRICS_FILE, Evaluation
from mtl_perception.evaluation.report import Metrics, metrics_table
from mtl_perception.files import make_folder, write_json, write_picture
from mtl_perception.frame import Camera, Frame
from mtl_perception.inference.predictor import Predictor
from mtl_perception.live.processes import (
    CameraProcess,
    RecordedNode,
    Sent,
    camera_process,
    isolate,
    recorded_node,
)
from mtl_perception.live.recorder import RecordedFrame, Recorder
from mtl_perception.messages.pixels import image_to_map
from mtl_perception.messages.stamps import SECOND
from mtl_perception.pictures.sheets import by_kind, comparison_row, overview_sheet
from mtl_perception.prediction import Prediction
from mtl_perception.ros.messages import camera_info, rgb_to_image
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.sources import ImageSource, Pictures, open_source
from mtl_perception.synthetic import synthetic_drive
from mtl_perception.tasks import TASKS

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

FRAME_TIMEOUT = 60.0
"""Seconds to wait for one frame."""

FATES = ('published', 'overtaken', 'lost')

OVERVIEW_FILE = 'overview.png'
OVERVIEW_ROWS = 6


def run_demo(
    *,
    source: str | None,
    focal_length: float | None,
    frames: int,
    rate: float,
    checkpoint: Path,
    device: str,
    runtime: str,
    seed: int,
    output: Path,
) -> None:
    """Run camera and node until ``frames`` results have been published; write and print what came.

    Args:
        source: what the camera publishes; ``None``: a synthetic street.
        focal_length: Pixels, of images without a camera; ``None``: unknown.
        frames: published results after which to end.
        rate: of the camera, Hz.
        checkpoint: of the node.
        device: of the node.
        runtime: of the node.
        seed: of the synthetic street.
        output: folder for the results.

    Raises:
        ValueError, OSError: source, checkpoint or output folder cannot be used, or the node ended;
            the text says why.
    """
    make_folder(output)
    predictor = Predictor(checkpoint, device=device, runtime=runtime, needs=TASKS)
    evaluation = Evaluation()
    print(predictor.description)
    if source is None:
        source = str(_render_drive(seed, output / 'street'))
    images = open_source(source)
    if not len(images):
        msg = f'{source}: has no end; publish it with "mtl camera" instead'
        raise ValueError(msg)
    isolate()
    with recorded_node(
        NAMESPACE,
        TOPICS,
        image=CAMERA_TOPIC,
        camera_info=CAMERA_INFO_TOPIC,
        parameters={'checkpoint': checkpoint.resolve(), 'device': device, 'runtime': runtime},
        log=output / 'node.log',
    ) as node:
        node.wait_until_active()
        with camera_process(
            images, rate, topic=CAMERA_TOPIC, frame_id=FRAME_ID, focal_length=focal_length
        ) as camera:
            _record(node, camera, frames)
            sent = camera.stop()
        node.wait_until_idle()
    result = _Result(sent, node.recorder)
    result.check_headers()
    scores = _judge(result, images, focal_length, predictor, evaluation, output)
    write_json(output / METRICS_FILE, {**result.figures(), **scores})
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


def _record(node: RecordedNode, camera: CameraProcess, frames: int) -> None:
    complete = node.recorder.complete
    with tqdm(desc='published frames', total=frames, unit='frame', leave=False) as bar:
        while bar.n < frames:
            before = bar.n

            def has_more(n: int = before) -> bool:
                return len(complete()) > n or not camera.is_alive()

            node.spin_until(has_more, FRAME_TIMEOUT, 'the node published nothing')
            if not camera.is_alive():
                msg = 'the camera ended; its source may have no image that can be read'
                raise ValueError(msg)
            bar.update(min(frames, len(complete())) - before)


class _Result:
    """What was sent and what came back."""

    def __init__(self, sent: Sequence[Sent], recorder: Recorder) -> None:
        self.names = {entry.stamp: entry.name for entry in sent}
        self.frames = recorder.frames
        self.stamps = recorder.complete()
        self._overtaken = recorder.counts.overtaken
        self._received = recorder.counts.received

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
    focal_length: float | None,
    predictor: Predictor,
    evaluation: Evaluation,
    output: Path,
) -> Metrics:
    """Write bag and overview; return the published maps' metrics where there is truth."""
    rows = []
    shown = {result.stamps[i] for i in _spread(len(result.stamps), OVERVIEW_ROWS)}
    frames = {
        frame.name: _calibrated(frame, focal_length)
        for frame in _frames(images, {result.names[stamp] for stamp in result.stamps})
    }
    if any(frame.camera is None for frame in frames.values()):
        print(ASSUMED_FOCAL_LENGTH)
    with_truth = any(frame.has_truth for frame in frames.values())
    with BagWriter(output / 'bag') as bag:
        for stamp in tqdm(result.stamps, 'comparing', unit='frame', leave=False):
            frame, recorded = frames[result.names[stamp]], result.frames[stamp]
            _write_to_bag(bag, stamp, frame, recorded)
            prediction = _published(recorded)
            if frame.has_truth:
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
                truth = by_kind(frame) if with_truth else None
                rows.append(comparison_row(frame.image, by_kind(prediction), truth))
    write_picture(output / OVERVIEW_FILE, overview_sheet(rows))
    return evaluation.compute()


def _frames(images: ImageSource, names: set[str]) -> Iterator[Frame]:
    """Yield the frames that were sent, with what ground truth they have."""
    if isinstance(images, Pictures):
        yield from (paths.read() for paths in images.frames if paths.name in names)
        return
    for image in images:
        if image.name in names:
            yield Frame(image.name, image.image, camera=image.camera)


def _calibrated(frame: Frame, focal_length: float | None) -> Frame:
    """Return the frame with the camera that was published with it."""
    if frame.camera is not None or not focal_length:
        return frame
    height, width = frame.image.shape[:2]
    return replace(frame, camera=Camera.assumed(height, width, focal_length))


def _spread(n: int, count: int) -> list[int]:
    """Return ``count`` indices spread evenly over ``n``."""
    return sorted({round(i) for i in np.linspace(0, n - 1, count)})


def _write_to_bag(bag: BagWriter, stamp: int, frame: Frame, recorded: RecordedFrame) -> None:
    """Write the image and what came of it, all at the time of the image's stamp."""
    header = Header(frame_id=FRAME_ID)
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, SECOND)
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
