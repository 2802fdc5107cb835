# SPDX-License-Identifier: Apache-2.0
import numpy as np

from mtl_perception.pictures.maps import color_labels, color_offsets, draw_overlay
from mtl_perception.pictures.sheets import (
    by_kind,
    comparison_row,
    overview_row,
    overview_sheet,
    shrunk,
)

IMAGE = np.full((120, 180, 3), 90, np.uint8)


def test_a_sheet_holds_every_row_under_its_titles(prediction):
    row = overview_row(IMAGE, prediction, width=120)
    assert list(row) == ['input', 'semantic', 'instance', 'depth', 'overlay']
    assert {panel.shape for panel in row.values()} == {(80, 120, 3)}
    assert np.array_equal(row['overlay'], draw_overlay(row['input'], prediction))
    one = overview_sheet([row])
    two = overview_sheet([row, row], ['first', 'second'])
    assert one.shape[1] == two.shape[1] == 5 * 120 + 4 * 4
    assert np.array_equal(one[-80:], two[-80:])
    assert two.shape[0] > one.shape[0] + 80
    assert one[:20].max() > 200


def test_a_comparison_puts_truth_next_to_the_prediction_of_its_kind(prediction):
    other = by_kind(prediction) | {'semantic': np.zeros_like(prediction.labels)}
    row = comparison_row(IMAGE, by_kind(prediction), other, width=60)
    sides = ('truth', 'prediction')
    kinds = ('semantic', 'instance', 'depth')
    assert list(row) == [
        'input',
        *(f'{kind} {side}' for kind in kinds for side in sides),
    ]
    assert not row['semantic truth'].any()
    assert np.array_equal(row['semantic prediction'], color_labels(prediction.labels))
    assert np.array_equal(row['instance truth'], row['instance prediction'])


def test_offsets_are_compared_like_other_maps():
    offsets = np.random.default_rng(0).normal(0, 3, (2, 40, 60)).astype(np.float32)
    row = comparison_row(IMAGE, {'offset': offsets}, {'offset': None}, width=60)
    assert np.array_equal(row['offset prediction'], color_offsets(offsets))
    assert (row['offset truth'][0] == 40).all()


def test_a_shrunk_image_keeps_its_aspect_ratio_and_a_row():
    assert shrunk(IMAGE, 60).shape == (40, 60, 3)
    assert shrunk(np.zeros((1, 900, 3), np.uint8), 90).shape == (1, 90, 3)
