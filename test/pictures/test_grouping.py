# SPDX-License-Identifier: Apache-2.0
import numpy as np

from mtl_perception.pictures.grouping import draw_explanation
from mtl_perception.pictures.maps import color_instances
from mtl_perception.tasks.instance import group_instances


def explained(labels: np.ndarray) -> np.ndarray:
    image = np.full((*labels.shape, 3), 90, np.uint8)
    offsets = np.zeros((2, *labels.shape), np.float32)
    offsets[:, 10:30, 10:30] = 20 - np.indices((20, 20))[::-1] - 10
    return draw_explanation(image, group_instances(labels, np.full_like(labels, 255), offsets))


def test_a_class_has_a_plot_and_an_instance_its_colour():
    labels = np.full((48, 96), 7, np.uint8)
    nothing = explained(labels)
    labels[10:30, 10:30] = 26
    one = explained(labels)
    labels[30:48, 40:90] = 24
    two = explained(labels)
    assert one.shape[0] < two.shape[0]
    color = color_instances(np.array([[26000]]))[0, 0]
    share = [(picture == color).all(2).mean() for picture in (nothing, one, two)]
    assert share[0] == 0
    assert share[1] > 0.05


def test_an_image_without_things_is_a_picture_too():
    picture = explained(np.full((48, 96), 7, np.uint8))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
