# SPDX-License-Identifier: Apache-2.0
"""Topics of a bag: images, calibration, ground truth and published maps."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mtl_perception.bags.messages import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from mtl_perception.bags.reader import BagError, BagReader
from mtl_perception.tasks import TASKS

TRUTH_TOPICS = {task: f'/ground_truth/{task}/image' for task in TASKS}

IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)


class AmbiguousTopicError(BagError):
    """Error of a bag with several image topics of which none was named."""


@dataclass(frozen=True)
class Topics:
    """Topics of a bag from which frames are read.

    Attributes:
        image: Raw or compressed images.
        camera_info: Calibration of the camera, if the bag has it.
        truth: Ground truth by task.
        published: Maps that a node published, by task.
    """

    image: str
    camera_info: str | None = None
    truth: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)


def find_topics(
    bag: BagReader,
    *,
    image: str | None = None,
    camera_info: str | None = None,
    truth: Mapping[str, str] | None = None,
    published: Mapping[str, str] | None = None,
) -> Topics:
    """Return the topics of a bag's frames, searched where not named.

    A single image topic is found by itself. Its CameraInfo is in the same namespace, following
    image_transport, or is the only one of the bag.

    Args:
        bag: Bag to search.
        image: Topic of raw or compressed images.
        camera_info: Topic of their CameraInfo.
        truth: Topics of ground truth, by task; ``TRUTH_TOPICS`` by default.
        published: Topics of maps that a node published, by task.

    Raises:
        AmbiguousTopicError: The bag has several image topics and none was named.
        BagError: The bag has no image topic, lacks a named topic, or has it with another type.
    """
    named = {task: topic for task, topic in (truth or {}).items() if topic}
    for topic in named.values():
        _check(bag, topic, (IMAGE,))
    maps = {
        task: topic
        for task, topic in {**TRUTH_TOPICS, **named}.items()
        if topic in bag.topics and bag.topics[topic].type == IMAGE
    }
    published = published or {}
    if image is None:
        image = _only_image_topic(bag, {*maps.values(), *published.values()})
    _check(bag, image, IMAGE_TYPES)
    if camera_info is not None:
        _check(bag, camera_info, (CAMERA_INFO,))
    else:
        outputs = {f'{topic.rpartition("/")[0]}/camera_info' for topic in published.values()}
        camera_info = _camera_info_topic(bag, image, outputs)
    return Topics(image, camera_info, maps, published)


def _only_image_topic(bag: BagReader, others: set[str]) -> str:
    found = [
        topic
        for topic in bag.topics.values()
        if topic.type in IMAGE_TYPES and topic.count and topic.name not in others
    ]
    if len(found) == 1:
        return found[0].name
    if not found:
        existing = ', '.join(f'{topic.name} ({topic.type})' for topic in bag.topics.values())
        msg = f'{bag.path}: no image topic; its topics: {existing or "none"}'
        raise BagError(msg)
    choices = ', '.join(f'{topic.name} ({topic.count})' for topic in found)
    msg = f'{bag.path}: {len(found)} image topics, one must be named: {choices}'
    raise AmbiguousTopicError(msg)


def _camera_info_topic(bag: BagReader, image: str, others: set[str]) -> str | None:
    found = [
        topic.name
        for topic in bag.topics.values()
        if topic.type == CAMERA_INFO and topic.name not in others
    ]
    namespace = image.rpartition('/')[0]
    for folder in (namespace, namespace.rpartition('/')[0]):  # the latter for image/compressed
        if f'{folder}/camera_info' in found:
            return f'{folder}/camera_info'
    return found[0] if len(found) == 1 else None


def _check(bag: BagReader, name: str, types: tuple[str, ...]) -> None:
    topic = bag.topics.get(name)
    if topic is None:
        existing = ', '.join(t.name for t in bag.topics.values() if t.type in types)
        msg = f'{bag.path}: no topic {name}; topics of this type: {existing or "none"}'
        raise BagError(msg)
    if topic.type not in types:
        msg = f'{bag.path}: {name} is {topic.type}, expected {" or ".join(types)}'
        raise BagError(msg)
