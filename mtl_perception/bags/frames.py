# SPDX-License-Identifier: Apache-2.0
"""Frames of a bag: images with calibration, ground truth and published maps."""

import dataclasses
import itertools
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mtl_perception.bags.messages import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    camera_info_message,
    deserialize,
    published_prediction,
)
from mtl_perception.bags.reader import BagReader, Message
from mtl_perception.bags.topics import Topics
from mtl_perception.frame import Camera, Frame
from mtl_perception.labels import INSTANCE_ID_BASE, NUM_LABELS
from mtl_perception.messages import MessageError
from mtl_perception.messages.calibration import intrinsics
from mtl_perception.messages.pixels import compressed_to_rgb, image_to_map, image_to_rgb
from mtl_perception.messages.stamps import SECOND, format_stamp, header_stamp, nanoseconds
from mtl_perception.prediction import Prediction
from mtl_perception.tasks import TASKS

DECODERS = {IMAGE: image_to_rgb, COMPRESSED_IMAGE: compressed_to_rgb}
MAP_DTYPES = {'semantic': np.uint8, 'instance': np.uint16, 'depth': np.float32}

LOOK_AHEAD = SECOND
"""Nanoseconds between an image and the messages that belong to it, at most."""


@dataclass(frozen=True)
class Selection:
    """Selection of images, and rules for matching messages to them.

    Attributes:
        start: Seconds after the beginning of the bag.
        duration: Seconds; ``None`` for the rest of the bag.
        every: Step between selected images.
        limit: Largest number of frames.
        tolerance: Largest difference of the stamps of an image and its ground truth, in seconds.
        focal_length: Pixels, without CameraInfo; ``None`` for Cityscapes' field of view.
    """

    start: float = 0.0
    duration: float | None = None
    every: int = 1
    limit: int | None = None
    tolerance: float = 0.005
    focal_length: float | None = None


@dataclass(frozen=True)
class BagFrame:
    """One image and the messages that belong to it.

    Attributes:
        stamp: Stamp in the header of the image, in nanoseconds.
        time: Time of reception of the image, in nanoseconds.
        header: Header of the image.
        frame: Image, ground truth and camera.
        info: CameraInfo from the bag, or an assumed one.
        is_calibrated: Whether ``info`` is from the bag.
        image: Message of the image.
        truth: Messages of the ground truth.
        published: Maps that a node published; ``None`` unless the bag holds all of them.
        milliseconds: Duration of decoding.
    """

    stamp: int
    time: int
    header: Any
    frame: Frame
    info: Any
    is_calibrated: bool
    image: Message
    truth: tuple[Message, ...]
    published: Prediction | None
    milliseconds: float


@dataclass
class Matches:
    """Counts of the messages of one ground-truth topic.

    Attributes:
        matched: Messages that became ground truth of a frame.
        images_without: Frames without a message.
        without_image: Messages that match no image.
        unusable: Messages that match an image but cannot be used.
        problem: Problem of the first unusable message.
    """

    matched: int = 0
    images_without: int = 0
    without_image: int = 0
    unusable: int = 0
    problem: str = ''


@dataclass
class Tally:
    """Counts of the images in the selected part of a bag.

    Attributes:
        images: Images in the selected time span.
        frames: Images that became frames.
        unreadable: Images that could not be decoded.
        out_of_order: Images whose stamp is not later than the previous one.
        problem: Problem of the first unreadable image.
        uncalibrated: Frames whose focal length is unknown.
        truth: Counts of the ground-truth messages, by task.
    """

    images: int = 0
    frames: int = 0
    unreadable: int = 0
    out_of_order: int = 0
    problem: str = ''
    uncalibrated: int = 0
    truth: dict[str, Matches] = field(default_factory=dict)

    def notes(self) -> Iterator[str]:
        """Yield a sentence on each problem."""
        if self.unreadable:
            yield f'{self.unreadable} images cannot be used, the first: {self.problem}'
        if self.out_of_order:
            yield f'{self.out_of_order} images have stamps that are not later than the previous one'
        if self.uncalibrated:
            yield (
                f'{self.uncalibrated} frames have no usable CameraInfo of their frame_id; '
                "their depth assumes Cityscapes' field of view"
            )
        for task, found in self.truth.items():
            if found.images_without:
                yield f'{task}: {found.images_without} frames have no ground truth with their stamp'
            if found.without_image:
                yield f'{task}: {found.without_image} messages of ground truth match no image'
            if found.unusable:
                yield (
                    f'{task}: {found.unusable} messages of ground truth cannot be used, '
                    f'the first: {found.problem}'
                )


class BagFrames:
    """Frames of a bag in the order in which their images were received, iterated once.

    Messages belong to an image by their stamps. They may have been received before the image, or
    up to ``LOOK_AHEAD`` after it. A message of ground truth belongs to at most one image. An image
    has the CameraInfo of its frame_id with the nearest stamp.

    Attributes:
        topics: Topics of the frames, as ``find_topics`` returns them.
        selection: Selection of images.
        tally: Counts of the images; complete after the last frame.
    """

    def __init__(self, bag: BagReader, topics: Topics, selection: Selection) -> None:
        self.topics = topics
        self.selection = selection
        self.tally = Tally(truth={task: Matches() for task in topics.truth})
        self._bag = bag
        self._start = bag.start + round(selection.start * SECOND)
        self._stop = bag.end + 1
        if selection.duration is not None:
            self._stop = min(self._stop, self._start + round(selection.duration * SECOND))
        self._waiting: deque[_Waiting] = deque()
        partners = (*topics.truth.values(), *topics.published.values())
        self._partners: dict[str, dict[int, Message]] = {topic: {} for topic in partners}
        self._calibrations: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)
        self._last_stamp = -math.inf

    @property
    def image_type(self) -> str:
        """Type of the image topic, ``package/msg/Name``."""
        return self._bag.topics[self.topics.image].type

    def notes(self) -> list[str]:
        """Return a sentence on each problem of the bag and of its frames so far."""
        return [*self._bag.notes, *self.tally.notes()]

    def figures(self) -> dict[str, Any]:
        """Return path, counts and notes under their names in ``metrics.json``."""
        counts = dataclasses.asdict(self.tally)
        return {'path': str(self._bag.path), **counts, 'notes': self.notes()}

    def __len__(self) -> int:
        """Return the expected number of frames, estimated from rate and duration."""
        images = self._bag.topics[self.topics.image].count
        length = max(1, self._bag.end + 1 - self._bag.start)
        share = max(0.0, (self._stop - self._start) / length)
        frames = -(-round(images * share) // self.selection.every)
        return min(frames, self.selection.limit or frames)

    def __iter__(self) -> Iterator[BagFrame]:
        return itertools.islice(self._frames(), self.selection.limit)

    def _frames(self) -> Iterator[BagFrame]:
        names = [self.topics.image, *self._partners]
        first_info: Iterable[Message] = ()
        if self.topics.camera_info is not None:
            names.append(self.topics.camera_info)
            # It may be the only CameraInfo, and precede the start.
            first_info = itertools.islice(self._bag.messages([self.topics.camera_info]), 1)
        start, stop = self._start - LOOK_AHEAD, self._stop + LOOK_AHEAD
        for message in itertools.chain(first_info, self._bag.messages(names, start, stop)):
            self._store(message)
            while self._waiting and self._is_complete(self._waiting[0], message.time):
                yield from self._frames_of(self._waiting.popleft())
        for image in self._waiting:
            yield from self._frames_of(image)
        self._forget(math.inf)

    def _store(self, message: Message) -> None:
        is_image = message.topic == self.topics.image
        is_counted = is_image and self._is_in_range(message)
        is_selected = is_counted and self.tally.images % self.selection.every == 0
        self.tally.images += is_counted
        try:
            stamp = header_stamp(message.data)
            if message.topic == self.topics.camera_info:
                info = deserialize(message.data, CAMERA_INFO)
                self._calibrations[info.header.frame_id].append((stamp, message.time, info))
        except MessageError as err:
            if is_counted:
                self._skip(err)
            return
        if is_image:
            self._waiting.append(_Waiting(message, stamp, is_selected))
        elif message.topic in self._partners:
            self._partners[message.topic][stamp] = message

    def _is_in_range(self, message: Message) -> bool:
        return self._start <= message.time < self._stop

    def _is_complete(self, image: '_Waiting', now: int) -> bool:
        if now - image.message.time > LOOK_AHEAD:
            return True
        has_calibration = self.topics.camera_info is None or any(
            stamp == image.stamp for infos in self._calibrations.values() for stamp, *_ in infos
        )
        return has_calibration and all(
            image.stamp in messages for messages in self._partners.values()
        )

    def _frames_of(self, image: '_Waiting') -> Iterator[BagFrame]:
        """Yield the frame of an image if the image is selected and usable."""
        tolerance = round(self.selection.tolerance * SECOND)
        partners = {
            topic: _take(messages, image.stamp, tolerance)
            for topic, messages in self._partners.items()
        }
        before = image.message.time - LOOK_AHEAD
        self._forget(before)
        for infos in self._calibrations.values():
            while len(infos) > 1 and infos[1][1] < before:
                del infos[0]
        if image.is_selected:
            self.tally.out_of_order += image.stamp <= self._last_stamp
            self._last_stamp = image.stamp
            try:
                frame = self._frame(image, partners)
            except MessageError as err:
                self._skip(err)
            else:
                self.tally.frames += 1
                yield frame

    def _forget(self, before: float) -> None:
        """Drop messages received earlier than ``before``; count unmatched ground truth."""
        for topic, messages in self._partners.items():
            old = [stamp for stamp, message in messages.items() if message.time < before]
            dropped = [messages.pop(stamp) for stamp in old]
            for task, found in self.tally.truth.items():
                if self.topics.truth[task] == topic:
                    found.without_image += sum(map(self._is_in_range, dropped))

    def _skip(self, err: MessageError) -> None:
        self.tally.unreadable += 1
        self.tally.problem = self.tally.problem or str(err)

    def _frame(self, image: '_Waiting', partners: Mapping[str, Message | None]) -> BagFrame:
        began = time.perf_counter()
        message = deserialize(image.message.data, image.message.type)
        rgb = DECODERS[image.message.type](message)
        info, camera, is_calibrated = self._calibration(message.header, rgb)
        truth = {
            task: found
            for task, topic in self.topics.truth.items()
            if (found := self._truth(task, partners[topic], rgb)) is not None
        }
        maps = {task: values for task, (_, values) in truth.items()}
        return BagFrame(
            stamp=image.stamp,
            time=image.message.time,
            header=message.header,
            frame=Frame(
                format_stamp(image.stamp),
                rgb,
                labels=maps.get('semantic'),
                instances=maps.get('instance'),
                depth=maps.get('depth'),
                camera=camera,
            ),
            info=info,
            is_calibrated=is_calibrated,
            image=image.message,
            truth=tuple(used for used, _ in truth.values()),
            published=self._published(partners),
            milliseconds=(time.perf_counter() - began) * 1e3,
        )

    def _calibration(self, header: Any, rgb: np.ndarray) -> tuple[Any, Camera, bool]:
        height, width = rgb.shape[:2]
        infos = self._calibrations.get(header.frame_id)
        if infos:
            stamp = nanoseconds(header)
            info = min(infos, key=lambda entry: abs(entry[0] - stamp))[2]
            try:
                return info, intrinsics(info, width, height), True
            except MessageError:
                pass  # the node assumes a camera too
        self.tally.uncalibrated += not self.selection.focal_length
        camera = Camera.assumed(height, width, self.selection.focal_length)
        return camera_info_message(camera, width, height, header), camera, False

    def _truth(
        self, task: str, message: Message | None, rgb: np.ndarray
    ) -> tuple[Message, np.ndarray] | None:
        found = self.tally.truth[task]
        if message is None:
            found.images_without += 1
            return None
        try:
            values = image_to_map(deserialize(message.data, message.type))
            _check_truth(task, values, rgb)
        except MessageError as err:
            found.unusable += 1
            found.problem = found.problem or str(err)
            return None
        found.matched += 1
        return message, values

    def _published(self, partners: Mapping[str, Message | None]) -> Prediction | None:
        published = {
            task: message.data
            for task, topic in self.topics.published.items()
            if (message := partners[topic]) is not None
        }
        return published_prediction(published) if len(published) == len(TASKS) else None


@dataclass(frozen=True)
class _Waiting:
    """An image that waits for the messages that belong to it."""

    message: Message
    stamp: int
    is_selected: bool


def _take(messages: dict[int, Message], stamp: int, tolerance: int) -> Message | None:
    """Remove and return the message with the nearest stamp within ``tolerance``."""
    nearest = min(messages, key=lambda other: abs(other - stamp), default=None)
    if nearest is None or abs(nearest - stamp) > tolerance:
        return None
    return messages.pop(nearest)


def _check_truth(task: str, values: np.ndarray, rgb: np.ndarray) -> None:
    if values.dtype != MAP_DTYPES[task]:
        text = f'{values.dtype.name} values, expected {np.dtype(MAP_DTYPES[task]).name}'
        raise MessageError(text)
    if values.shape != rgb.shape[:2]:
        text = (
            f'{values.shape[1]}×{values.shape[0]} pixels, '
            f'but the image has {rgb.shape[1]}×{rgb.shape[0]}'
        )
        raise MessageError(text)
    if task == 'depth':
        return
    highest = values.max()
    label = highest if highest < INSTANCE_ID_BASE else highest // INSTANCE_ID_BASE
    if label >= NUM_LABELS:
        text = f'{highest} is not a {task} ID'
        raise MessageError(text)
