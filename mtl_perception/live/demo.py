"""Replay a synthetic drive, or pictures, through a node in a process of its own and evaluate it."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mtl_perception.bags.dataset import write_dataset_bag
from mtl_perception.bags.frames import BagFrames, Selection
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.replay import Replayed, replay, write_report
from mtl_perception.bags.topics import find_topics
from mtl_perception.data.cityscapes import DatasetError, FramePaths
from mtl_perception.evaluation.report import metrics_table
from mtl_perception.files import make_folder, write_picture
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor
from mtl_perception.live.delivery import Delivery
from mtl_perception.live.processes import camera_topic, isolate, recorded_node
from mtl_perception.live.replay import play, recorded_frames, recorded_topics
from mtl_perception.pictures.sheets import by_kind, comparison_row, overview_sheet
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.sources import Pictures, open_source
from mtl_perception.synthetic import synthetic_drive
from mtl_perception.tasks import TASKS

NAMESPACE = '/mtl_demo'
NODE = f'{NAMESPACE}/{NODE_NAME}'
CAMERA_TOPIC = camera_topic(NAMESPACE)
FRAME_ID = 'demo_camera'

DRIVE_SIZE = (480, 640)
"""(height, width) of the synthetic drive."""

OVERVIEW_FILE = 'overview.png'
OVERVIEW_ROWS = 6

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demo:
    """Result of a demo; its text is a table of the figures.

    Attributes:
        replayed: Evaluation of the maps that the node published.
        delivery: Numbers of images and their latency.
        uncalibrated: Number of frames with an unknown focal length.
    """

    replayed: Replayed
    delivery: Delivery
    uncalibrated: int

    def __str__(self) -> str:
        identical, frames = self.replayed.identical, len(self.replayed.rows)
        return (
            f'{metrics_table(self.replayed.metrics)}\n{self.delivery}\n'
            f'identical {identical} of {frames} results to the predictor'
        )


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
) -> Demo:
    """Send ``frames`` images to a node over DDS and evaluate the results that it publishes.

    Args:
        source: Picture, folder of pictures or video, repeated if it is shorter than ``frames``;
            ``None``: a synthetic drive.
        focal_length: Vertical focal length in pixels of images without a camera; ``None``:
            unknown.
        frames: Number of images to send.
        rate: Images per second.
        checkpoint: Checkpoint of the node.
        device: Device of the node.
        runtime: Runtime of the node.
        seed: Seed of the synthetic drive.
        output: Folder for the results.

    Raises:
        ValueError, OSError: Source, checkpoint or output folder cannot be used, or the node ended.
    """
    make_folder(output)
    predictor = Predictor(checkpoint, device=device, runtime=runtime, needs=TASKS)
    print(predictor.description)
    images = _drive(seed, frames) if source is None else _frames(source, frames)
    selection = Selection(focal_length=focal_length)
    isolate()
    with tempfile.TemporaryDirectory(prefix='drive_', dir=output) as folder:
        drive = Path(folder) / 'bag'
        with tqdm(images, 'preparing', frames, unit='frame', leave=False) as bar:
            write_dataset_bag(bar, drive, rate=rate, image_topic=CAMERA_TOPIC, frame_id=FRAME_ID)
        with BagReader(drive) as bag:
            if CAMERA_TOPIC not in bag.topics:
                msg = f'{source}: no image that can be read'
                raise ValueError(msg)
            sent = BagFrames(bag, find_topics(bag, image=CAMERA_TOPIC), selection)
            with recorded_node(
                NAMESPACE,
                recorded_topics(NODE),
                checkpoint=checkpoint,
                device=device,
                runtime=runtime,
                log=output / 'node.log',
            ) as node:
                node.wait_until_active()
                delivery = play(sent, node.recorder, output / 'bag', rate=1.0)
                node.check_running()
    with BagReader(output / 'bag') as bag:
        published = recorded_frames(bag, sent, NODE)
        replayed = replay(published, predictor, output)
        write_report(
            output,
            replayed,
            published,
            delivery=delivery.figures(),
            latencies=delivery.latencies,
        )
        every = max(1, delivery.published // OVERVIEW_ROWS)
        shown = BagFrames(bag, published.topics, Selection(every=every, limit=OVERVIEW_ROWS))
        write_picture(output / OVERVIEW_FILE, _overview(shown))
    return Demo(replayed, delivery, sent.tally.uncalibrated)


def _drive(seed: int, frames: int) -> Iterator[Frame]:
    height, width = DRIVE_SIZE
    return synthetic_drive(seed, frames, height=height, width=width)


def _frames(source: str, count: int) -> Iterator[Frame]:
    """Return ``count`` frames of a source, which is repeated if it is shorter."""
    images = open_source(source)
    if not len(images):
        msg = f'{source}: has no end; publish it with "mtl camera" instead'
        raise ValueError(msg)
    repetitions = -(-count // len(images))
    if isinstance(images, Pictures):
        return islice(_readable(images.frames * repetitions), count)
    return islice(chain.from_iterable(repeat(images, repetitions)), count)


def _readable(frames: Iterable[FramePaths]) -> Iterator[Frame]:
    """Yield frames with their ground truth; log and skip frames that cannot be read."""
    for paths in frames:
        try:
            yield paths.read()
        except (DatasetError, OSError) as err:
            _log.warning('%s', err)


def _overview(frames: BagFrames) -> np.ndarray:
    """Return a sheet of inputs, published maps and ground truth, RGB."""
    rows = []
    for item in frames:
        if item.published is not None:
            truth = by_kind(item.frame) if frames.topics.truth else None
            rows.append(comparison_row(item.frame.image, by_kind(item.published), truth))
    return overview_sheet(rows)
