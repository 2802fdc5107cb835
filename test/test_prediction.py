# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import numpy as np

from mtl_perception.prediction import (
    DEPTH_UNITS,
    FAR_CODE,
    Prediction,
    encode_depth,
    write_raw_maps,
)


def test_depth_survives_the_picture_to_a_512th_of_a_metre():
    depth = np.float32([[0.5, 12.345, 99.99]])
    assert np.allclose(encode_depth(depth) / DEPTH_UNITS, depth, atol=1 / (2 * DEPTH_UNITS))


def test_unknown_infinite_near_and_too_far_depth_have_their_codes():
    depth = np.float32([[np.nan, np.inf, 0.001, 300]])
    assert encode_depth(depth).tolist() == [[0, FAR_CODE, 1, FAR_CODE]]


def test_maps_and_instances_are_written_as_predicted(tmp_path):
    labels = np.uint8([[26, 26, 7]])
    instances = np.uint16([[26000, 26001, 7]])
    depth = np.float32([[10, np.inf, 3]])
    prediction = Prediction(labels, labels, instances, {26000: 0.5}, depth)
    write_raw_maps(tmp_path, 'a', prediction)

    def read(kind):
        return cv2.imread(str(tmp_path / f'a_{kind}.png'), cv2.IMREAD_UNCHANGED)

    assert np.array_equal(read('labels'), labels)
    assert np.array_equal(read('instances'), instances)
    assert read('instances').dtype == np.uint16
    assert read('depth').tolist() == [[2560, FAR_CODE, 768]]
    assert json.loads((tmp_path / 'a_instances.json').read_text()) == [
        {'id': 26000, 'class': 'car', 'score': 0.5, 'distance_m': 10.0},
        {'id': 26001, 'class': 'car', 'score': None, 'distance_m': None},
    ]


def test_what_was_not_predicted_is_not_written(tmp_path):
    labels = np.zeros((2, 2), np.uint8)
    write_raw_maps(tmp_path, 'a', Prediction(labels, labels))
    assert [path.name for path in tmp_path.iterdir()] == ['a_labels.png']
