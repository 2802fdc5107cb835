# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools

import numpy as np
import pytest

from mtl_perception.labels import LABELS
from mtl_perception.pictures.maps import (
    color_depth,
    color_instances,
    color_labels,
    color_offsets,
    depth_legend,
    draw_overlay,
)
from mtl_perception.prediction import Prediction

ROAD = 7


def test_labels_have_the_colours_of_the_table():
    colors = color_labels(np.uint8([[label.id for label in LABELS]]))
    assert [tuple(color) for color in colors[0].tolist()] == [label.color for label in LABELS]


def test_values_beyond_the_table_are_black():
    assert not color_labels(np.uint8([[255]])).any()


def test_stuff_and_groups_are_black_and_instances_are_not():
    colors = color_instances(np.int32([[7, 26, 999, 1000, 26000, 33999]]))[0]
    assert colors.any(axis=1).tolist() == [False, False, False, True, True, True]


def test_instances_of_a_frame_have_colours_far_apart():
    ids = [label * 1000 + k for label in (24, 25, 26) for k in range(4)]
    colors = color_instances(np.uint16([ids]))[0].astype(int)
    distances = [np.abs(a - b).max() for a, b in itertools.combinations(colors, 2)]
    assert min(distances) > 20
    neighbours = color_instances(np.uint16([range(26000, 26020)]))[0].astype(int)
    assert np.abs(np.diff(neighbours, axis=0)).max(axis=1).min() > 100


def test_an_instance_keeps_its_colour_whatever_else_is_there():
    alone = color_instances(np.uint16([[26003]]))
    among = color_instances(np.int32([[26003, 26000, 7]]))
    assert np.array_equal(alone[0, 0], among[0, 0])


def test_depth_goes_from_bright_near_to_dark_far_and_black_unknown():
    colors = color_depth(np.float32([[1, 2, 5, 20, 80, np.inf, np.nan]]))[0].astype(int)
    brightness = colors @ [0.299, 0.587, 0.114]
    assert np.array_equal(colors[0], colors[1])
    assert (np.diff(brightness[1:5]) < 0).all()
    assert np.array_equal(colors[4], colors[5])
    assert colors[5].any()
    assert not colors[6].any()


def test_offsets_are_coloured_by_direction_and_length():
    offsets = np.zeros((2, 1, 160), np.float32)
    offsets[:, 0, :5] = [[3, -3, 0, 99, np.nan], [0, 0, 0, 0, 1]]
    right, left, nothing, far, unknown = color_offsets(offsets)[0, :5].astype(int)
    assert right[0] > right[1]
    assert left[0] < left[1]
    assert nothing.tolist() == [255, 255, 255]
    assert far.min() < right.min()
    assert unknown.tolist() == [0, 0, 0]


def test_the_legend_runs_from_near_to_far():
    bar = depth_legend(300)
    assert np.array_equal(bar[0, 0], color_depth(np.float32([[2]]))[0, 0])
    assert np.array_equal(bar[0, -1], color_depth(np.float32([[80]]))[0, 0])


def test_the_overlay_has_the_size_of_the_image_and_leaves_it_alone(prediction):
    image = np.full((240, 360, 3), 100, np.uint8)
    overlay = draw_overlay(image, prediction)
    assert overlay.shape == image.shape
    assert (image == 100).all()
    assert (
        np.abs(overlay[0, 0] - (0.55 * 100 + 0.45 * color_labels(np.uint8([[ROAD]]))[0, 0])).max()
        < 1
    )


def test_the_overlay_outlines_every_side_of_an_instance_and_names_it(prediction):
    image = np.zeros((240, 360, 3), np.uint8)
    overlay = draw_overlay(image, prediction)
    white = (overlay == 255).all(axis=2)
    assert white[119, 60:120].all()
    assert white[179, 60:120].all()
    assert white[120:140, 59].all()
    assert white[120:140, 119].all()
    assert overlay[140:160, 65:115].min(axis=2).max() > 200
    assert not white[:100].any()


def test_the_overlay_shows_the_distance(prediction):
    image = np.zeros((240, 360, 3), np.uint8)
    nearer = dataclasses.replace(prediction, depth=prediction.depth / 2)
    assert not np.array_equal(draw_overlay(image, prediction), draw_overlay(image, nearer))


def test_a_caption_never_covers_that_of_a_larger_instance(prediction):
    image = np.zeros((240, 360, 3), np.uint8)
    instances = prediction.instances.copy()
    instances[24, 20:23] = 33000
    together = dataclasses.replace(prediction, instances=instances)
    alone = dataclasses.replace(prediction, instances=np.where(instances < 33000, instances, ROAD))
    box = slice(140, 160), slice(62, 118)
    inside = draw_overlay(image, together)[box]
    assert np.array_equal(inside, draw_overlay(image, alone)[box])


@pytest.mark.parametrize('distance', [np.inf, np.nan])
def test_the_overlay_copes_with_a_distance_that_is_no_number(prediction, distance):
    prediction.depth[:] = distance
    assert draw_overlay(np.zeros((40, 60, 3), np.uint8), prediction).any()


def test_the_overlay_shows_labels_alone_where_nothing_else_was_predicted(prediction):
    labels = Prediction(prediction.labels, prediction.confidence)
    overlay = draw_overlay(np.zeros((40, 60, 3), np.uint8), labels)
    assert len(np.unique(overlay.reshape(-1, 3), axis=0)) == 2
