# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mtl_perception.evaluation.metrics import (
    DepthMetrics,
    OffsetMetrics,
    group_scores,
)
from mtl_perception.labels import EVALUATED_IDS, GROUPS

ROAD, SIDEWALK, PARKING, BUILDING, SKY = 7, 8, 9, 11, 23


def test_the_score_of_a_group_forgives_confusions_within_it_alone():
    confusion = np.zeros((34, 34), int)
    confusion[BUILDING, 12] = 6  # a wall, in the same group
    confusion[BUILDING, SKY] = 2
    confusion[SKY, SKY] = 6
    confusion[PARKING, SKY] = 50  # void
    scores = group_scores(confusion, GROUPS['camvid'])
    assert scores['per_group']['building, wall'] == 6 / 8
    assert scores['per_group']['sky'] == 6 / 8
    assert scores['per_group']['road'] is None
    assert scores['iou'] == 6 / 8


def test_the_groups_of_camvid_hold_every_evaluated_label_once():
    members = [label for group in GROUPS['camvid'].values() for label in group]
    assert len(GROUPS['camvid']) == 11
    assert sorted(members) == list(EVALUATED_IDS)


def test_no_truth_gives_no_scores():
    assert OffsetMetrics().compute() is None
    assert DepthMetrics().compute() is None


def test_offset_error_is_the_length_of_the_difference_over_valid_pixels():
    metrics = OffsetMetrics()
    true = np.float32([[[0, 1, np.nan]], [[0, 1, np.nan]]])
    metrics.update(np.float32([[[3, 1, 100]], [[4, 1, 100]]]), true)
    metrics.update(np.float32([[[1]], [[2]]]), np.float32([[[1]], [[1]]]))
    scores = metrics.compute()
    assert scores['mean_error_px'] == pytest.approx((5 + 0 + 1) / 3)
    assert scores['rms_error_px'] == pytest.approx(np.sqrt((25 + 0 + 1) / 3))


def test_depth_errors_equal_those_computed_by_hand():
    metrics = DepthMetrics()
    metrics.update(np.float32([[11, 30]]), np.float32([[10, 20]]))
    metrics.update(np.float32([[5]]), np.float32([[5]]))
    scores = metrics.compute()
    assert scores['abs_rel'] == pytest.approx((0.1 + 0.5 + 0) / 3)
    assert scores['rmse'] == pytest.approx(np.sqrt((1 + 100 + 0) / 3))
    assert scores['delta1'] == pytest.approx(2 / 3)
    assert scores['mean_disparity_error_px'] is None


@pytest.mark.parametrize('true', [np.nan, np.inf, 80.5, 0.0])
def test_depth_is_measured_only_where_truth_is_within_80_metres(true):
    metrics = DepthMetrics()
    metrics.update(np.float32([[10]]), np.float32([[true]]))
    assert metrics.compute() is None


@pytest.mark.parametrize(('predicted', 'counts_as'), [(np.inf, 80), (95, 80), (np.nan, 0)])
def test_infinite_depth_counts_as_80_metres_and_no_answer_as_none(predicted, counts_as):
    metrics = DepthMetrics()
    metrics.update(np.float32([[predicted]]), np.float32([[40]]))
    scores = metrics.compute()
    assert scores['rmse'] == pytest.approx(abs(counts_as - 40), abs=0.01)
    assert scores['abs_rel'] == pytest.approx(abs(counts_as - 40) / 40, abs=0.001)
    assert scores['delta1'] == 0


def test_disparity_error_is_taken_where_the_disparity_is_known():
    metrics = DepthMetrics()
    metrics.update_disparity(np.float32([[1, 5, 9]]), np.float32([[2, 2, np.nan]]))
    scores = metrics.compute()
    assert scores['mean_disparity_error_px'] == pytest.approx(2)
    assert scores['rms_disparity_error_px'] == pytest.approx(np.sqrt((1 + 9) / 2))
    assert scores['abs_rel'] is None
