"""What a replay adds to the network: its rate beside that of the predictor alone, in turns."""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from mtl_perception.bags.dataset import write_dataset_bag
from mtl_perception.bags.frames import BagFrames, Selection
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.replay import replay
from mtl_perception.bags.topics import find_topics
from mtl_perception.benchmark.measuring import machine, milliseconds_columns, times_of
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor

ALONE, MEASURED, WRITTEN = 'predictor alone', 'replay', 'replay, result bag written'


def benchmark_replay(
    predictor: Predictor, frames: Sequence[Frame], *, repetitions: int
) -> dict[str, Any]:
    """Time the predictor and two replays of a bag of ``frames``, with truth, in turns.

    Returns:
        ``rows`` with milliseconds a frame and the rate as a share of the predictor's, the median
        over the rounds.
    """
    cv2.setNumThreads(1)  # as mtl replay does
    per_frame: dict[str, list[float]] = {ALONE: [], MEASURED: [], WRITTEN: []}
    with tempfile.TemporaryDirectory(prefix='mtl_benchmark_') as folder:
        source = Path(folder, 'source')
        write_dataset_bag(frames, source)
        predictor.predict(frames[0].image, frames[0].focal_length)
        for _ in range(repetitions):
            seconds = {
                ALONE: _alone(predictor, frames),
                MEASURED: _replay(predictor, source, Path(folder), None),
                WRITTEN: _replay(predictor, source, Path(folder), Path(folder, 'result')),
            }
            for name, value in seconds.items():
                per_frame[name].append(value / len(frames) * 1e3)
    height, width = frames[0].image.shape[:2]
    shares = {
        name: times_of([alone / own for alone, own in zip(per_frame[ALONE], values, strict=True)])
        for name, values in per_frame.items()
    }
    return {
        'machine': machine(),
        'network': predictor.description,
        'frames': len(frames),
        'size': [height, width],
        'rows': [
            {
                'what': name,
                **dataclasses.asdict(times_of(values)),
                'share_of_rate': shares[name].median,
            }
            for name, values in per_frame.items()
        ],
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures as lines of text."""
    height, width = figures['size']
    lines = [
        f'{figures["machine"]["cpu"]}, {figures["machine"]["cores"]} cores',
        f'{figures["frames"]} frames of {height}×{width}; {figures["network"]}',
        f'{"a frame":<28}{"median":>12}{"p99":>12}{"rate":>8}',
    ]
    lines += [
        f'{row["what"]:<28}{milliseconds_columns(row)}{row["share_of_rate"]:>8.0%}'
        for row in figures['rows']
    ]
    return '\n'.join(lines)


def _alone(predictor: Predictor, frames: Sequence[Frame]) -> float:
    start = time.perf_counter()
    for frame in frames:
        predictor.predict(frame.image, frame.focal_length)
    return time.perf_counter() - start


def _replay(predictor: Predictor, source: Path, output: Path, bag: Path | None) -> float:
    with BagReader(source) as reader:
        frames = BagFrames(reader, find_topics(reader), Selection())
        replayed = replay(frames, predictor, output, bag=bag)
    if replayed.bag_error is not None:
        raise replayed.bag_error
    return replayed.seconds
