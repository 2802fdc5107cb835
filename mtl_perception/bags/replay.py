"""Measure a predictor on the frames of a bag, every one of them, as fast as the network goes.

Reading and decoding, grouping and writing, and the metrics run beside the network, each in a thread
of its own.
"""

import contextlib
import csv
import io
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from tqdm import tqdm

from mtl_perception.bags.frames import BagFrame, BagFrames
from mtl_perception.bags.messages import CAMERA_INFO, map_message, rgb_message, serialize
from mtl_perception.bags.reader import BagError
from mtl_perception.bags.writer import BagWriter
from mtl_perception.evaluation.evaluate import Evaluation
from mtl_perception.evaluation.report import FrameScores, Metrics, metrics_table
from mtl_perception.evaluation.stability import Change, StabilityScores, TemporalStability
from mtl_perception.files import write_file
from mtl_perception.labels import INSTANCE_ID_BASE
from mtl_perception.messages.calibration import camera_info_scaled
from mtl_perception.messages.stamps import format_stamp
from mtl_perception.prediction import MAP_TOPICS, Prediction

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Predictor
    from mtl_perception.prediction import NetworkMaps

T = TypeVar('T')

NODE = '/mtl_perception'
"""Under which name predictions are written: the node's own."""

ROWS_FILE = 'per_frame.csv'

QUEUED = 4
"""Frames that wait before and after the network, at most."""


@dataclass(frozen=True)
class Judgement:
    """What the metrics say of one frame, and how long they took."""

    scores: FrameScores
    change: Change | None
    milliseconds: float


@dataclass(frozen=True)
class Row:
    """One frame of ``per_frame.csv``.

    Attributes:
        stamp: nanoseconds.
        judgement: of the metrics.
        instances: how many were predicted; ``None``: not a task of the network.
        identical: whether what the node published is what the predictor says; ``None``: no node.
        milliseconds: of each stage.
    """

    stamp: int
    judgement: Judgement
    instances: int | None
    identical: bool | None
    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class Replayed:
    """What came of a replay.

    Attributes:
        metrics: those of ``mtl evaluate``.
        stability: from frame to frame; ``None`` where no frame follows another.
        rows: one for each frame.
        seconds: from the first frame read to the last one measured.
        bag_error: why there is no result bag, though it was asked for.
    """

    metrics: Metrics
    stability: StabilityScores | None
    rows: Sequence[Row]
    seconds: float
    bag_error: OSError | None

    def figures(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds: the metrics, rate, latencies and stability."""
        stages: dict[str, list[float]] = {}
        for row in self.rows:
            for stage, value in row.milliseconds.items():  # not every frame has every stage
                stages.setdefault(stage, []).append(value)
        return {
            **self.metrics,
            'stability': self.stability,
            'fps': len(self.rows) / self.seconds,
            'milliseconds': {
                stage: {
                    'median': statistics.median(values),
                    'p99': float(np.percentile(values, 99)),
                }
                for stage, values in stages.items()
            },
        }

    def table(self) -> str:
        """Return the figures as lines of text."""
        figures = self.figures()
        lines = [metrics_table(self.metrics)] if any_truth(self.metrics) else []
        lines.append(f'rate      {figures["fps"]:.1f} frames/s')
        stages = figures['milliseconds'].items()
        medians = ', '.join(f'{stage} {times["median"]:.1f}' for stage, times in stages)
        lines.append(f'stages    {medians} ms median')
        if self.stability:
            label, depth, tracked = (
                _share(self.stability[name]) for name in ('label_change', 'depth_change', 'valid')
            )
            lines.append(
                f'stability {label} of labels and {depth} of depth change from frame to frame, '
                f'where flow tracks them: {tracked} of all pixels'
            )
        return '\n'.join(lines)


def replay(
    frames: BagFrames, predictor: 'Predictor', output: Path, *, bag: Path | None = None
) -> Replayed:
    """Measure ``predictor`` on ``frames``; write the pictures of the worst, and the result bag.

    Where frames carry what a node published, that is measured. What a node does not publish, and
    AP and the errors of offsets and disparity need, is then taken from the predictor, but only if
    the published maps are the predictor's to the last bit.

    Args:
        frames: to take once.
        predictor: used by this call alone meanwhile.
        output: folder for ``frames.png``.
        bag: folder for input and predictions. Where it cannot be written to its end, nothing is
            left of it and the measuring goes on.

    Raises:
        BagError: there is no frame that can be used.
        OSError: ``output`` cannot be written, or ``bag`` from the beginning.
    """
    with (
        _ResultBag(bag) as result,
        _Judging(bool(frames.topics.truth)) as judging,
        ThreadPoolExecutor(1, 'interpreting') as interpreting,
        tqdm(desc='replay', total=len(frames), unit='frame', disable=None) as bar,
    ):
        began = time.perf_counter()
        working: deque[Future[_Working]] = deque()
        rows: list[Row] = []

        def finish(keep: int) -> None:
            while len(working) > keep:
                rows.append(working.popleft().result().row())
                bar.update()

        for item in prefetched(frames, QUEUED):
            maps = predictor.infer(item.frame.image)
            working.append(interpreting.submit(_interpret, item, maps, predictor, result, judging))
            finish(QUEUED)
        finish(0)
        if not rows:
            msg = '; '.join(['no image of the bag can be used', *frames.tally.notes()])
            raise BagError(msg)
        seconds = time.perf_counter() - began
        metrics, stability = judging.compute()
        judging.write_pictures(output)
    return Replayed(metrics, stability, rows, seconds, result.error)


def write_rows(path: Path, rows: Iterable[Row], more: Mapping[int, Mapping[str, float]]) -> None:
    """Write ``per_frame.csv``, a line for each frame.

    Args:
        path: of the file.
        rows: of ``Replayed``.
        more: by stamp, further columns.

    Raises:
        OSError: the file cannot be written.
    """
    lines = [{**_line(row), **more.get(row.stamp, {})} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)))
    writer.writeheader()
    writer.writerows(lines)
    write_file(path, text.getvalue().encode())


def prefetched(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield ``items``, up to ``depth`` of which are taken in advance by another thread."""
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1, 'reading') as reading:
        waiting = deque(reading.submit(next, iterator, end) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(reading.submit(next, iterator, end))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True)
class _Working:
    """A frame whose metrics are being computed."""

    item: BagFrame
    prediction: Prediction
    identical: bool | None
    judgement: 'Future[Judgement]'
    write_milliseconds: float

    def row(self) -> Row:
        judgement = self.judgement.result()
        instances = self.prediction.instances
        return Row(
            stamp=self.item.stamp,
            judgement=judgement,
            instances=None
            if instances is None
            else int((np.unique(instances) >= INSTANCE_ID_BASE).sum()),
            identical=self.identical,
            milliseconds={
                'decode': self.item.milliseconds,
                **self.prediction.milliseconds,
                'metrics': judgement.milliseconds,
                'write': self.write_milliseconds,
            },
        )


def _interpret(
    item: BagFrame,
    maps: 'NetworkMaps',
    predictor: 'Predictor',
    result: '_ResultBag',
    judging: '_Judging',
) -> _Working:
    frame = item.frame
    prediction = predictor.postprocess(maps, frame.focal_ratio)
    size = maps.labels.shape
    identical = None
    if item.published is not None:
        prediction, identical = _completed(item.published, prediction)
    judgement = judging.submit(item, prediction, size)
    began = time.perf_counter()
    result.add(item, prediction)
    return _Working(item, prediction, identical, judgement, (time.perf_counter() - began) * 1e3)


def _completed(published: Prediction, own: Prediction) -> tuple[Prediction, bool]:
    """Return ``published`` with the unpublished values of ``own``, and whether both are equal.

    The values are added only where labels and instances are equal, as scores belong to instances.
    """
    labels, instances, depth = published.labels, published.instances, published.depth
    here = own.resized(*labels.shape)
    if not (_equal(here.labels, labels) and _equal(here.instances, instances)):
        return replace(published, milliseconds=own.milliseconds), False
    completed = replace(own, labels=labels, instances=instances, depth=depth)
    return completed, _equal(here.depth, depth)


class _Judging:
    """The metrics, in a thread of their own; a context manager."""

    def __init__(self, has_truth: bool) -> None:
        self._has_truth = has_truth
        self._evaluation = Evaluation()
        self._stability = TemporalStability()
        self._thread = ThreadPoolExecutor(1, 'judging')
        self._waiting: deque[Future[Judgement]] = deque()
        self._last_stamp = 0

    def __enter__(self) -> '_Judging':
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def submit(
        self, item: BagFrame, prediction: Prediction, size: tuple[int, int]
    ) -> 'Future[Judgement]':
        """Measure a frame, once not too many are waiting."""
        if len(self._waiting) >= QUEUED:
            self._waiting.popleft().result()
        future = self._thread.submit(self._judge, item, prediction, size)
        self._waiting.append(future)
        return future

    def compute(self) -> tuple[Metrics, StabilityScores | None]:
        """Return the results of all frames."""
        return self._evaluation.compute(), self._stability.compute()

    def write_pictures(self, output: Path) -> None:
        """Write the pictures of the best and the worst frames."""
        self._evaluation.write_pictures(output)

    def _judge(self, item: BagFrame, prediction: Prediction, size: tuple[int, int]) -> Judgement:
        began = time.perf_counter()
        if item.stamp <= self._last_stamp:
            self._stability.restart()
        self._last_stamp = item.stamp
        change = self._stability.add(item.frame.image, prediction.resized(*size))
        steadiness = None
        if not self._has_truth and change is not None and change.label is not None:
            steadiness = 1 - change.label
        scores = self._evaluation.add(item.frame, prediction, steadiness)
        return Judgement(scores, change, (time.perf_counter() - began) * 1e3)


class _ResultBag:
    """Input and predictions side by side; given up where they cannot be written.

    Attributes:
        error: why it was given up.
    """

    def __init__(self, path: Path | None) -> None:
        self.error: OSError | None = None
        self._path = path
        self._writer: BagWriter | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> '_ResultBag':
        if self._path is not None:
            self._writer = self._stack.enter_context(BagWriter(self._path))
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._stack.__exit__(*error)
        except OSError as err:
            self.error = err

    def add(self, item: BagFrame, prediction: Prediction) -> None:
        """Write a frame, at the time at which its image was received."""
        if self._writer is None:
            return
        try:
            write_input(self._writer, item)
            for topic, message in _outputs(item, prediction):
                self._writer.write_message(f'{NODE}/{topic}', item.time, message)
        except OSError as err:
            self.error, self._writer = err, None
            self._stack.__exit__(type(err), err, err.__traceback__)


def write_input(writer: BagWriter, item: BagFrame) -> None:
    """Write the image, its CameraInfo and its ground truth as they were.

    Raises:
        OSError: they cannot be written.
    """
    if item.is_calibrated:
        topic = f'{item.image.topic.removesuffix("/compressed").rpartition("/")[0]}/camera_info'
        writer.write(topic, CAMERA_INFO, item.time, serialize(item.info))
    for message in (item.image, *item.truth):
        writer.write(message.topic, message.type, item.time, message.data)


def _outputs(item: BagFrame, prediction: Prediction) -> Iterator[tuple[str, Any]]:
    """Yield what the node publishes: names relative to it, and messages."""
    image, head = item.frame.image, item.header
    height, width = image.shape[:2]
    maps = prediction.resized(height, width)
    for topic, picture in MAP_TOPICS.items():
        values = picture(maps)
        if values is not None:
            message = map_message if values.ndim == 2 else rgb_message
            yield topic, message(values, head)
    if maps.depth is not None:
        yield 'depth/camera_info', camera_info_scaled(item.info, width, height, head)
    yield 'overlay/image', rgb_message(prediction.overlay(image), head)


def _line(row: Row) -> dict[str, Any]:
    scores, change = row.judgement.scores, row.judgement.change
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
    }


def any_truth(metrics: Metrics) -> bool:
    """Return whether there was ground truth for any task."""
    return any((metrics['semantic'], metrics['instance'], metrics['depth']))


def _share(value: float | None) -> str:
    return '–' if value is None else f'{value:.1%}'


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and a.tobytes() == b.tobytes()
