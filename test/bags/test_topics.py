# SPDX-License-Identifier: Apache-2.0
"""Choice of the topics of a bag."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_perception.bags.messages import camera_info_message, header, rgb_message
from mtl_perception.bags.reader import BagError, BagReader
from mtl_perception.bags.topics import Topics, find_topics
from mtl_perception.frame import Camera

HEIGHT, WIDTH = 4, 6
HEADER = header(1, 'front')
IMAGE = rgb_message(np.zeros((HEIGHT, WIDTH, 3), np.uint8), HEADER)
CAMERA_INFO = camera_info_message(Camera(5, 5, 3, 2), WIDTH, HEIGHT, HEADER)


def find(path: Path, **names: Any) -> Topics:
    with BagReader(path) as bag:
        return find_topics(bag, **names)


def test_the_camera_info_beside_the_image_is_chosen_over_others(make_bag):
    topics = ('/front/image_raw', '/rear/camera_info', '/front/camera_info')
    path = make_bag([(topic, 1, CAMERA_INFO if 'info' in topic else IMAGE) for topic in topics])
    assert find(path) == Topics('/front/image_raw', '/front/camera_info')
    assert find(path, camera_info='/rear/camera_info').camera_info == '/rear/camera_info'


def test_a_bag_without_an_image_topic_says_what_it_has(make_bag):
    path = make_bag([('/camera_info', 1, CAMERA_INFO)])
    with pytest.raises(BagError, match=r'no image topic.*/camera_info \(sensor_msgs'):
        find(path)


def test_of_several_image_topics_one_must_be_chosen(make_bag):
    path = make_bag([('/left', 1, IMAGE), ('/right', 2, IMAGE), ('/right', 3, IMAGE)])
    with pytest.raises(
        BagError, match=r'2 image topics, one must be named: /left \(1\), /right \(2\)'
    ):
        find(path)
    assert find(path, image='/right').image == '/right'
    with pytest.raises(BagError, match='no topic /rear; topics of this type: /left, /right'):
        find(path, image='/rear')


def test_a_named_topic_of_another_type_is_refused(make_bag):
    path = make_bag([('/camera_info', 1, CAMERA_INFO), ('/image', 1, IMAGE)])
    with pytest.raises(BagError, match='/camera_info is sensor_msgs/msg/CameraInfo, expected'):
        find(path, truth={'depth': '/camera_info'})
