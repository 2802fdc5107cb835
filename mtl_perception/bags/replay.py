# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a predictor on every frame of a bag, at the speed of the network.

Four threads work at the same time: one reads and decodes, one runs the network, one postprocesses
and writes the result bag, and the calling thread evaluates.
"""

import csv
import io
import statistics
import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from mtl_perception.bags.frames import BagFrame, BagFrames
from mtl_perception.bags.messages import CAMERA_INFO, map_message, rgb_message, serialize
from mtl_perception.bags.reader import BagError
from mtl_perception.bags.writer import BagWriter
from mtl_perception.evaluation.evaluate import METRICS_FILE, Evaluation
from mtl_perception.evaluation.report import FrameScores, Metrics, metrics_table, number, percent
from mtl_perception.evaluation.stability import Change, StabilityScores, TemporalStability
from mtl_perception.files import write_file, write_json
from mtl_perception.inference.predictor import Predictor
from mtl_perception.labels import INSTANCE_ID_BASE
from mtl_perception.messages.calibration import camera_info_scaled
from mtl_perception.messages.stamps import format_stamp
from mtl_perception.prediction import MAP_TOPICS, NetworkMaps, Prediction

T = TypeVar('T')

NODE = '/mtl_perception'
"""Namespace of the predictions in the result bag: the default name of the node."""

ROWS_FILE = 'per_frame.csv'

QUEUED = 3
"""Frames that a stage computes ahead of the next one, at most."""


@dataclass(frozen=True)
class Row:
    """One frame of ``per_frame.csv``.

    Attributes:
        stamp: Stamp in nanoseconds.
        scores: Accuracy.
        change: Change since the previous frame; ``None`` without a previous frame.
        instances: Number of predicted instances; ``None`` if not a task of the network.
        identical: Whether a node's maps equal the predictor's; ``None`` without a node.
        milliseconds: Duration of each stage.
    """

    stamp: int
    scores: FrameScores
    change: Change | None
    instances: int | None
    identical: bool | None
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class Replayed:
    """Result of a replay; its text is a table of the figures.

    Attributes:
        metrics: Accuracy, as ``mtl evaluate`` measures it.
        stability: Changes from frame to frame; ``None`` where no frame follows another.
        rows: One row per frame.
        seconds: Time from the first frame read to the last one evaluated.
        bag_error: Reason why the result bag is missing although it was requested.
    """

    metrics: Metrics
    stability: StabilityScores | None
    rows: Sequence[Row]
    seconds: float
    bag_error: OSError | None

    @property
    def fps(self) -> float:
        """Frames per second."""
        return len(self.rows) / self.seconds

    @property
    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Median and 99th percentile of each stage's duration, over the frames that have it."""
        stages = defaultdict(list)
        for row in self.rows:
            for stage, value in row.milliseconds.items():
                stages[stage].append(value)
        return {
            stage: {'median': statistics.median(values), 'p99': float(np.percentile(values, 99))}
            for stage, values in stages.items()
        }

    @property
    def identical(self) -> int:
        """Number of frames whose published maps equal the predictor's."""
        return sum(row.identical is True for row in self.rows)

    def figures(self) -> dict[str, Any]:
        """Return metrics, stability, rate and durations under their names in ``metrics.json``."""
        return {
            **self.metrics,
            'stability': self.stability,
            'fps': self.fps,
            'milliseconds': self.milliseconds,
        }

    def __str__(self) -> str:
        medians = ', '.join(
            f'{stage} {times["median"]:.1f}' for stage, times in self.milliseconds.items()
        )
        lines = [f'rate      {self.fps:.1f} frames/s', f'stages    {medians} ms median']
        if any((self.metrics['semantic'], self.metrics['instance'], self.metrics['depth'])):
            lines.insert(0, metrics_table(self.metrics))
        if stability := self.stability:
            lines.append(
                f'stability {percent(stability["label_change"])} of labels change; '
                f'depth changes by {number(stability["depth_change"])} on average (|ln ratio|); '
                f'flow tracks {percent(stability["valid"])} of all pixels'
            )
        return '\n'.join(lines)


def replay(
    frames: BagFrames, predictor: Predictor, output: Path, *, bag: Path | None = None
) -> Replayed:
    """Evaluate ``predictor`` on ``frames``, and write pictures and the result bag.

    Maps that a node published are evaluated in place of the predictor's. Scores, offsets and
    disparity, which AP and two errors need and a node does not publish, are then the predictor's,
    but only where its labels and instances equal the published ones to the last bit.

    Args:
        frames: Frames, iterated once.
        predictor: Predictor, not to be used elsewhere during the call.
        output: Folder for ``frames.png``.
        bag: Folder for input and predictions. If writing fails after the bag was opened, the bag
            is removed and the evaluation continues.

    Raises:
        BagError: No frame can be used.
        OSError: ``output`` cannot be written, or ``bag`` cannot be opened.
    """

    def infer(item: BagFrame) -> tuple[BagFrame, NetworkMaps]:
        return item, predictor.infer(item.frame.image)

    def finish(inferred: tuple[BagFrame, NetworkMaps]) -> _Result:
        item, maps = inferred
        prediction = predictor.postprocess(maps, item.frame.focal_ratio)
        identical = None
        if item.published is not None:
            prediction, identical = _completed(item.published, prediction)
        began = time.perf_counter()
        result_bag.add(item, prediction)
        return _Result(item, prediction, identical, maps.labels.shape, _milliseconds_since(began))

    evaluator = _Evaluator(has_truth=bool(frames.topics.truth))
    rows = []
    with (
        _ResultBag(bag) as result_bag,
        closing(prefetched(frames, QUEUED)) as read,
        closing(prefetched(map(infer, read), QUEUED)) as inferred,
        closing(prefetched(map(finish, inferred), QUEUED)) as finished,
        tqdm(desc='replay', total=len(frames), unit='frame', disable=None) as bar,
    ):
        began = time.perf_counter()
        for result in finished:
            rows.append(evaluator.add(result))
            bar.update()
        if not rows:
            msg = '; '.join(['no image of the bag can be used', *frames.tally.notes()])
            raise BagError(msg)
        seconds = time.perf_counter() - began
        evaluator.evaluation.write_pictures(output)
    metrics, stability = evaluator.evaluation.compute(), evaluator.stability.compute()
    return Replayed(metrics, stability, rows, seconds, result_bag.error)


def write_report(
    output: Path,
    replayed: Replayed,
    source: BagFrames,
    *,
    delivery: Mapping[str, Any] | None = None,
    latencies: Mapping[int, float] | None = None,
) -> None:
    """Write ``metrics.json`` and ``per_frame.csv``.

    Args:
        output: Folder of both files.
        replayed: Result of a replay.
        source: Frames of the replayed bag, for their counts and notes.
        delivery: Figures on the images that were sent to a node, for a live replay.
        latencies: Milliseconds from sending an image to its last result, by stamp.

    Raises:
        OSError: A file cannot be written.
    """
    figures = replayed.figures()
    if delivery is not None:
        figures['live'] = {**delivery, 'identical': replayed.identical}
    figures['bag'] = source.figures()
    write_json(output / METRICS_FILE, figures)
    lines = [_line(row, (latencies or {}).get(row.stamp)) for row in replayed.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)))
    writer.writeheader()
    writer.writerows(lines)
    write_file(output / ROWS_FILE, text.getvalue().encode())


def prefetched(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield ``items`` in order while another thread computes the next ones.

    An exception of ``items`` is raised in the place of its item. Closing the generator ends the
    thread after the item in progress.

    Args:
        items: Items, iterated in the other thread only.
        depth: Largest number of items computed ahead.
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1) as thread:
        ahead = deque(thread.submit(next, iterator, end) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not end:
                ahead.append(thread.submit(next, iterator, end))
                yield item  # type: ignore[misc]
        finally:
            for future in ahead:
                future.cancel()


@dataclass(frozen=True)
class _Result:
    """A frame with the prediction to evaluate."""

    item: BagFrame
    prediction: Prediction
    identical: bool | None
    network_size: tuple[int, int]
    write_milliseconds: float


def _completed(published: Prediction, own: Prediction) -> tuple[Prediction, bool]:
    """Return ``published`` with the predictor's other values, and whether all maps are equal.

    Scores and offsets belong to instances, so the values are added only if those are equal.
    """
    labels, instances, depth = published.labels, published.instances, published.depth
    here = own.resized(*labels.shape)
    if not (_equal(here.labels, labels) and _equal(here.instances, instances)):
        return replace(published, milliseconds=own.milliseconds), False
    completed = replace(own, labels=labels, instances=instances, depth=depth)
    return completed, _equal(here.depth, depth)


class _Evaluator:
    """Accuracy and temporal stability of the frames so far."""

    def __init__(self, *, has_truth: bool) -> None:
        self.evaluation = Evaluation()
        self.stability = TemporalStability()
        self._has_truth = has_truth
        self._last_stamp = 0

    def add(self, result: _Result) -> Row:
        item, prediction = result.item, result.prediction
        began = time.perf_counter()
        if item.stamp <= self._last_stamp:
            self.stability.restart()
        self._last_stamp = item.stamp
        change = self.stability.add(item.frame.image, prediction.resized(*result.network_size))
        steadiness = None
        if not self._has_truth and change is not None and change.label is not None:
            steadiness = 1 - change.label
        scores = self.evaluation.add(item.frame, prediction, steadiness)
        milliseconds = {
            'decode': item.milliseconds,
            **prediction.milliseconds,
            'metrics': _milliseconds_since(began),
            'write': result.write_milliseconds,
        }
        ids = None if prediction.instances is None else np.unique(prediction.instances)
        instances = None if ids is None else int((ids >= INSTANCE_ID_BASE).sum())
        return Row(item.stamp, scores, change, instances, result.identical, milliseconds)


class _ResultBag:
    """Bag of input and predictions, abandoned with an ``error`` if writing fails."""

    def __init__(self, path: Path | None) -> None:
        self.error: OSError | None = None
        self._writer = None if path is None else BagWriter(path)

    def __enter__(self) -> '_ResultBag':
        if self._writer is not None:
            self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None:
            try:
                self._writer.__exit__(*error)
            except OSError as err:
                self.error = err

    def add(self, item: BagFrame, prediction: Prediction) -> None:
        if self._writer is None:
            return
        try:
            write_input(self._writer, item)
            for topic, message in _outputs(item, prediction):
                self._writer.write_message(f'{NODE}/{topic}', item.time, message)
        except OSError as err:
            self.error = err
            self._writer.__exit__(type(err))
            self._writer = None


def write_input(writer: BagWriter, item: BagFrame) -> None:
    """Write the image, its CameraInfo and its ground truth unchanged.

    Raises:
        OSError: The bag cannot be written.
    """
    if item.is_calibrated:
        topic = f'{item.image.topic.removesuffix("/compressed").rpartition("/")[0]}/camera_info'
        writer.write(topic, CAMERA_INFO, item.time, serialize(item.info))
    for message in (item.image, *item.truth):
        writer.write(message.topic, message.type, item.time, message.data)


def _outputs(item: BagFrame, prediction: Prediction) -> Iterator[tuple[str, Any]]:
    """Yield topics, relative to the node, and messages as the node publishes them."""
    image, head = item.frame.image, item.header
    height, width = image.shape[:2]
    maps = prediction.resized(height, width)
    for topic in MAP_TOPICS:
        values = topic.picture(maps)
        if values is not None:
            message = map_message if values.ndim == 2 else rgb_message
            yield topic.name, message(values, head)
    if maps.depth is not None:
        yield 'depth/camera_info', camera_info_scaled(item.info, width, height, head)
    yield 'overlay/image', rgb_message(prediction.overlay(image), head)


def _line(row: Row, latency: float | None) -> dict[str, Any]:
    scores, change = row.scores, row.change
    return {
        'stamp': format_stamp(row.stamp),
        'iou_class': scores.iou_class,
        'abs_rel': scores.abs_rel,
        'delta1': scores.delta1,
        'label_change': change and change.label,
        'depth_change': change and change.depth,
        'instances': row.instances,
        **({} if row.identical is None else {'identical': row.identical}),
        **{f'{stage}_ms': round(value, 3) for stage, value in row.milliseconds.items()},
        **({} if latency is None else {'latency_ms': latency}),
    }


def _milliseconds_since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and a.tobytes() == b.tobytes()
