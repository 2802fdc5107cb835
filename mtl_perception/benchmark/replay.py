# SPDX-License-Identifier: Apache-2.0
"""Benchmark a replay against the predictor alone: the cost of reading, evaluating and writing."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from mtl_perception.bags.dataset import write_dataset_bag
from mtl_perception.bags.frames import BagFrames, Selection
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.replay import replay
from mtl_perception.bags.topics import find_topics
from mtl_perception.benchmark.measuring import Result, Times, describe_machine, times_of
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor


@dataclass(frozen=True)
class Row(Times):
    """Times per frame, and median of the rates relative to the predictor alone in each round."""

    what: str
    share_of_rate: float

    def __str__(self) -> str:
        return f'{self.what:<28}{super().__str__()}{self.share_of_rate:>8.0%}'


@dataclass(frozen=True)
class ReplayBenchmark(Result):
    """Durations of the predictor alone and of two replays of ``size`` (height, width) frames."""

    network: str
    frames: int
    size: Sequence[int]
    rows: Sequence[Row]

    def __str__(self) -> str:
        height, width = self.size
        lines = (
            self.machine,
            f'{self.frames} frames of {height}×{width}; {self.network}',
            f'{"a frame":<28}{"median":>12}{"p99":>12}{"rate":>8}',
            *self.rows,
        )
        return '\n'.join(map(str, lines))


def benchmark_replay(
    predictor: Predictor, frames: Sequence[Frame], *, repetitions: int
) -> ReplayBenchmark:
    """Time the predictor and two replays of a bag of ``frames`` with ground truth, in turns."""
    cv2.setNumThreads(1)  # as mtl replay does
    with tempfile.TemporaryDirectory(prefix='mtl_benchmark_') as folder:
        source, result = Path(folder, 'source'), Path(folder, 'result')
        write_dataset_bag(frames, source)
        predictor.predict(frames[0].image, frames[0].focal_length)
        seconds = [
            {
                'predictor alone': _alone(predictor, frames),
                'replay': _replay(predictor, source, None),
                'replay, result bag written': _replay(predictor, source, result),
            }
            for _ in range(repetitions)
        ]
    rows = []
    for what in seconds[0]:
        times = times_of([each[what] / len(frames) * 1e3 for each in seconds])
        share = statistics.median(each['predictor alone'] / each[what] for each in seconds)
        rows.append(Row(**vars(times), what=what, share_of_rate=share))
    size = frames[0].image.shape[:2]
    return ReplayBenchmark(describe_machine(), predictor.description, len(frames), size, rows)


def _alone(predictor: Predictor, frames: Sequence[Frame]) -> float:
    start = time.perf_counter()
    for frame in frames:
        predictor.predict(frame.image, frame.focal_length)
    return time.perf_counter() - start


def _replay(predictor: Predictor, source: Path, bag: Path | None) -> float:
    with BagReader(source) as reader:
        frames = BagFrames(reader, find_topics(reader), Selection())
        replayed = replay(frames, predictor, source.parent, bag=bag)
    if replayed.bag_error is not None:
        raise replayed.bag_error
    return replayed.seconds
