"""Benchmark a replay against the predictor alone: the cost of reading, evaluating and writing."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from mtl_perception.bags.dataset import write_dataset_bag
from mtl_perception.bags.frames import BagFrames, Selection
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.replay import replay
from mtl_perception.bags.topics import find_topics
from mtl_perception.benchmark.measuring import Machine, Times, describe_machine, times_of
from mtl_perception.frame import Frame
from mtl_perception.inference.predictor import Predictor

ALONE, EVALUATED, WRITTEN = 'predictor alone', 'replay', 'replay, result bag written'


@dataclass(frozen=True)
class ReplayBenchmark:
    """Durations of the predictor alone and of two replays.

    Attributes:
        machine: Machine that was measured.
        network: Description of the predictor.
        frames: Number of frames.
        size: Height and width of the frames.
        times: Milliseconds per frame, by alternative.
        shares: Rate relative to the predictor alone, by alternative; median over the rounds.
    """

    machine: Machine
    network: str
    frames: int
    size: tuple[int, int]
    times: Mapping[str, Times]
    shares: Mapping[str, float]

    def figures(self) -> dict[str, Any]:
        """Return the figures under their names in the JSON file."""
        return {
            'machine': dataclasses.asdict(self.machine),
            'network': self.network,
            'frames': self.frames,
            'size': list(self.size),
            'rows': [
                {'what': name, **dataclasses.asdict(times), 'share_of_rate': self.shares[name]}
                for name, times in self.times.items()
            ],
        }

    def __str__(self) -> str:
        height, width = self.size
        lines = [
            str(self.machine),
            f'{self.frames} frames of {height}×{width}; {self.network}',
            f'{"a frame":<28}{"median":>12}{"p99":>12}{"rate":>8}',
        ]
        for name, times in self.times.items():
            lines.append(f'{name:<28}{times}{self.shares[name]:>8.0%}')
        return '\n'.join(lines)


def benchmark_replay(
    predictor: Predictor, frames: Sequence[Frame], *, repetitions: int
) -> ReplayBenchmark:
    """Time the predictor and two replays of a bag of ``frames`` with ground truth, in turns."""
    cv2.setNumThreads(1)  # as mtl replay does
    milliseconds: dict[str, list[float]] = {ALONE: [], EVALUATED: [], WRITTEN: []}
    with tempfile.TemporaryDirectory(prefix='mtl_benchmark_') as folder:
        source, output = Path(folder, 'source'), Path(folder)
        write_dataset_bag(frames, source)
        predictor.predict(frames[0].image, frames[0].focal_length)
        for _ in range(repetitions):
            seconds = {
                ALONE: _alone(predictor, frames),
                EVALUATED: _replay(predictor, source, output, None),
                WRITTEN: _replay(predictor, source, output, output / 'result'),
            }
            for name, value in seconds.items():
                milliseconds[name].append(value / len(frames) * 1e3)
    height, width = frames[0].image.shape[:2]
    return ReplayBenchmark(
        describe_machine(),
        predictor.description,
        len(frames),
        (height, width),
        {name: times_of(values) for name, values in milliseconds.items()},
        {
            name: times_of(
                [alone / own for alone, own in zip(milliseconds[ALONE], values, strict=True)]
            ).median
            for name, values in milliseconds.items()
        },
    )


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
