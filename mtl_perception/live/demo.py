# SPDX-License-Identifier: Apache-2.0
"""Replay a synthetic drive, or pictures, through a node in a process of its own and evaluate it."""

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

from tqdm import tqdm

from mtl_perception.bags.dataset import write_dataset_bag
from mtl_perception.bags.frames import BagFrames, Selection
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.replay import Replayed
from mtl_perception.bags.topics import find_topics
from mtl_perception.data.cityscapes import DatasetError, FramePaths
from mtl_perception.files import make_folder, write_picture
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor
from mtl_perception.live.delivery import Delivery
from mtl_perception.live.processes import camera_topic, recorded_node
from mtl_perception.live.replay import recorded_frames, recorded_topics, replay_and_evaluate
from mtl_perception.pictures.sheets import by_kind, comparison_row, overview_sheet
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.sources import SYNTHETIC_SIZE, Pictures, open_source
from mtl_perception.synthetic import synthetic_drive
from mtl_perception.tasks import TASKS

NAMESPACE = '/mtl_demo'
NODE = f'{NAMESPACE}/{NODE_NAME}'
CAMERA_TOPIC = camera_topic(NAMESPACE)

OVERVIEW_ROWS = 6

_log = logging.getLogger(__name__)


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
) -> tuple[Replayed, Delivery, BagFrames]:
    """Send ``frames`` images to a node over DDS and evaluate the results that it publishes.

    Args:
        source: Picture, folder of pictures or video, repeated if it is shorter than ``frames``;
            ``None``: a synthetic drive.
        focal_length: Pixels, for images without a camera; ``None``: unknown.
        frames: Number of images to send.
        rate: Images per second.
        checkpoint: Checkpoint of the node, and of the predictor to compare with.
        device: Device of both.
        runtime: Runtime of both.
        seed: Seed of the synthetic drive.
        output: Folder for the results.

    Returns:
        Evaluation of the published maps, delivery of the images, and the frames sent.

    Raises:
        ValueError, OSError: Source, checkpoint or output folder cannot be used, or the node ended.
    """
    make_folder(output)
    predictor = Predictor(checkpoint, device=device, runtime=runtime, needs=TASKS)
    print(predictor.description)
    if source is None:
        height, width = SYNTHETIC_SIZE
        images = synthetic_drive(seed, frames, height=height, width=width)
    else:
        images = _frames(source, frames)
    with recorded_node(
        NAMESPACE,
        recorded_topics(NODE),
        output / 'node.log',
        checkpoint=checkpoint.resolve(),
        device=device,
        runtime=runtime,
    ) as (recorder, _):
        # The node loads its network in the meantime.
        with tqdm(images, 'preparing', frames, unit='frame', leave=False) as bar:
            write_dataset_bag(
                bar, output / 'drive', rate=rate, image_topic=CAMERA_TOPIC, frame_id='demo_camera'
            )
        with BagReader(output / 'drive') as bag:
            if CAMERA_TOPIC not in bag.topics:
                msg = f'{source}: no image that can be read'
                raise ValueError(msg)
            topics = find_topics(bag, image=CAMERA_TOPIC)
            sent = BagFrames(bag, topics, Selection(focal_length=focal_length))
            replayed, delivery = replay_and_evaluate(sent, predictor, output, recorder, rate=1.0)
    with BagReader(output / 'bag') as bag:
        every = max(1, delivery.published // OVERVIEW_ROWS)
        shown = recorded_frames(bag, sent, NODE, every=every, limit=OVERVIEW_ROWS)
        rows = [
            comparison_row(
                item.frame.image,
                by_kind(item.published),
                by_kind(item.frame) if shown.topics.truth else None,
            )
            for item in shown
            if item.published is not None
        ]
    write_picture(output / 'overview.png', overview_sheet(rows))
    return replayed, delivery, sent


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
