import numpy as np
import pytest

from mtl_perception.evaluation.metrics import (
    GROUPS,
    DepthMetrics,
    OffsetMetrics,
    SemanticMetrics,
    group_scores,
)
from mtl_perception.labels import EVALUATED_IDS

ROAD, SIDEWALK, PARKING, BUILDING, SKY = 7, 8, 9, 11, 23


def semantic(*pairs):
    metrics = SemanticMetrics()
    for predicted, true in pairs:
        metrics.update(np.uint8([predicted]), np.uint8([true]))
    return metrics.compute()


def test_iou_is_intersection_over_union_of_hand_counted_pixels():
    scores = semantic(([ROAD, ROAD, SIDEWALK, SKY, ROAD], [ROAD, ROAD, ROAD, SKY, SKY]))
    assert scores['per_class']['road'] == 2 / 4
    assert scores['per_class']['sky'] == 1 / 2
    assert scores['iou_class'] == pytest.approx((2 / 4 + 1 / 2) / 2)


def test_a_confusion_within_a_category_costs_the_class_and_not_the_category():
    scores = semantic(([SIDEWALK, ROAD], [ROAD, ROAD]))
    assert scores['iou_class'] == 0.5
    assert scores['iou_category'] == 1.0


def test_iou_is_pooled_over_pixels_and_not_averaged_over_frames():
    small = [ROAD], [ROAD]
    large = [SKY] * 9 + [ROAD], [ROAD] * 10
    scores = semantic(small, large)
    assert scores['per_class']['road'] == 2 / 11
    assert scores['per_class']['road'] != pytest.approx((1 / 1 + 1 / 10) / 2)


def test_void_truth_does_not_count_and_a_void_prediction_is_wrong():
    scores = semantic(([ROAD, PARKING, ROAD, ROAD], [ROAD, ROAD, 0, 255]))
    assert scores['per_class']['road'] == 1 / 2
    assert sum(map(sum, scores['confusion'])) == 1


def test_a_class_that_is_absent_from_the_truth_is_left_out_of_the_mean():
    scores = semantic(([ROAD, BUILDING], [ROAD, ROAD]))
    assert scores['per_class']['building'] is None
    assert scores['iou_class'] == 0.5
    assert scores['iou_category'] == 0.5


def test_confusion_is_indexed_by_truth_then_prediction_in_the_order_of_labels():
    scores = semantic(([SKY, SKY], [ROAD, ROAD]))
    road, sky = (scores['labels'].index(label) for label in (ROAD, SKY))
    assert scores['confusion'][road][sky] == 2
    assert scores['confusion'][sky][road] == 0
    assert len(scores['labels']) == len(scores['confusion']) == 19


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


def test_a_predicted_value_that_is_no_label_is_refused():
    with pytest.raises(ValueError, match='200'):
        semantic(([200], [ROAD]))


def test_no_truth_gives_no_scores():
    assert semantic() is None
    assert semantic(([ROAD], [0])) is None
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
