# SPDX-License-Identifier: Apache-2.0
import copy
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from cityscapesscripts.evaluation import (
    evalInstanceLevelSemanticLabeling,
    evalPixelLevelSemanticLabeling,
)

from mtl_perception.evaluation.official import OfficialInstance, OfficialSemantic
from mtl_perception.labels import EVALUATED_IDS

VOID, ROAD, SIDEWALK, PARKING, BUILDING, SKY, CAR = 0, 7, 8, 9, 11, 23, 26
SIZE = 40, 60


def street(*cars):
    """Return instance IDs with 20 × 20 cars at the given columns."""
    ids = np.full(SIZE, ROAD, np.int32)
    for k, x in enumerate(cars):
        ids[10:30, x : x + 20] = CAR * 1000 + k
    return ids


def average_precision(predicted, true, scores=None):
    official = OfficialInstance()
    official.add(predicted, scores or {}, true)
    return official.compute()


def semantic(*pairs):
    """Return the scores of frames of one row, each as its prediction and its truth."""
    official = OfficialSemantic()
    for predicted, true in pairs:
        official.add(np.uint8([predicted]), np.uint8([true]))
    return official.compute()


def labels_of(instances):
    """Return the labels of instance IDs."""
    return np.where(instances < 1000, instances, instances // 1000).astype(np.uint8)


def random_labels(seed, shape, agreement=0.7):
    random = np.random.default_rng(seed)
    true = random.integers(0, 34, shape).astype(np.uint8)
    other = random.choice(EVALUATED_IDS, shape)
    return np.where(random.random(shape) < agreement, true, other).astype(np.uint8), true


def random_instances(seed):
    """Return a truth of several frames, and the same shifted, with parts missing, and scores."""
    random = np.random.default_rng(seed)
    for i in range(3):
        true = np.full((120, 160), ROAD, np.int32)
        for k in range(6):
            y, x = random.integers(0, (90, 130))
            true[y : y + 30, x : x + 30] = random.choice([24, 26, 33]) * 1000 + k
        true[:, :8] = CAR if i else VOID
        predicted = np.roll(true, random.integers(0, 8), axis=1).astype(np.uint16)
        scores = {key: float(random.random()) for key in np.unique(predicted).tolist()}
        yield predicted, scores, true


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
    scores = semantic(([ROAD, PARKING, ROAD], [ROAD, ROAD, VOID]))
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


def test_a_perfect_prediction_scores_one():
    semantic = OfficialSemantic()
    _, true = random_labels(0, (40, 50))
    semantic.add(true, true)
    scores = semantic.compute()
    assert scores['iou_class'] == scores['iou_category'] == 1.0
    assert set(scores['per_class'].values()) == {1.0}
    assert scores['iiou_class'] is scores['iiou_category'] is None

    semantic = OfficialSemantic()
    semantic.add(labels_of(street(0, 40)), labels_of(street(0, 40)), street(0, 40))
    assert semantic.compute()['iiou_class'] == semantic.compute()['iiou_category'] == 1.0

    precision = average_precision(street(0, 40), street(0, 40))
    assert precision['ap'] == precision['ap50'] == 1.0
    assert precision['per_class']['car'] == {'ap': 1.0, 'ap50': 1.0}
    assert precision['per_class']['bus'] == {'ap': None, 'ap50': None}


def test_semantic_scores_are_those_of_the_script_run_on_files(tmp_path):
    official, predictions, truths = OfficialSemantic(), [], []
    for i, (predicted, _, true) in enumerate(random_instances(2)):
        official.add(labels_of(predicted), labels_of(true), true)
        predictions.append(str(tmp_path / f'{i}.png'))
        truths.append(str(tmp_path / f'{i}_gtFine_labelIds.png'))
        cv2.imwrite(predictions[-1], labels_of(predicted))
        cv2.imwrite(truths[-1], labels_of(true))
        cv2.imwrite(str(tmp_path / f'{i}_gtFine_instanceIds.png'), true.astype(np.uint16))
    arguments = copy.copy(evalPixelLevelSemanticLabeling.args)
    arguments.quiet, arguments.JSONOutput = True, False
    expected = evalPixelLevelSemanticLabeling.evaluateImgLists(predictions, truths, arguments)
    scores = official.compute()
    for ours, theirs in (
        ('iou_class', 'averageScoreClasses'),
        ('iou_category', 'averageScoreCategories'),
        ('iiou_class', 'averageScoreInstClasses'),
        ('iiou_category', 'averageScoreInstCategories'),
    ):
        assert scores[ours] == pytest.approx(expected[theirs], abs=1e-12), ours
    assert 0.1 < scores['iiou_class'] < scores['iiou_category'] < 1


def test_every_instance_weighs_the_same_in_iiou_however_small_it_is():
    true = street(0)
    true[10:20, 40:50] = CAR * 1000 + 1
    semantic = OfficialSemantic()
    semantic.add(labels_of(street(0)), labels_of(true), true)
    scores = semantic.compute()
    assert scores['per_class']['car'] == pytest.approx(400 / 500)
    assert scores['iiou_class'] == scores['iiou_category'] == pytest.approx(1 / 2)


def test_frames_without_instance_truth_leave_iiou_alone():
    semantic = OfficialSemantic()
    semantic.add(labels_of(street(0)), labels_of(street(0)), street(0))
    semantic.add(labels_of(street(0)), labels_of(street(40)))
    scores = semantic.compute()
    assert scores['per_class']['car'] == pytest.approx(400 / (400 + 800))
    assert scores['iiou_class'] == 1.0


def test_average_precision_is_that_of_the_script_run_on_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    official, predictions, truths = OfficialInstance(), [], []
    for i, (predicted, scores, true) in enumerate(random_instances(1)):
        official.add(predicted, scores, true)
        truths.append(str(tmp_path / f'{i}_gtFine_instanceIds.png'))
        cv2.imwrite(truths[-1], true.astype(np.uint16))
        lines = []
        for instance_id in np.unique(predicted[predicted >= 1000]).tolist():
            mask = f'{i}_{instance_id}.png'
            cv2.imwrite(str(tmp_path / mask), np.uint8(predicted == instance_id))
            lines.append(f'{mask} {instance_id // 1000} {scores[instance_id]!r}\n')
        predictions.append(str(tmp_path / f'{i}.txt'))
        (tmp_path / f'{i}.txt').write_text(''.join(lines))
    arguments = copy.copy(evalInstanceLevelSemanticLabeling.args)
    arguments.quiet, arguments.JSONOutput = True, False
    arguments.gtInstancesFile = str(tmp_path / 'truth.json')
    arguments.predictionPath = str(tmp_path)
    expected = evalInstanceLevelSemanticLabeling.evaluateImgLists(predictions, truths, arguments)[
        'averages'
    ]
    precision = official.compute()
    assert precision['ap'] == pytest.approx(expected['allAp'], abs=1e-12)
    assert precision['ap50'] == pytest.approx(expected['allAp50%'], abs=1e-12)
    assert 0.05 < precision['ap'] < 0.95


def test_one_of_two_cars_found_is_half_the_precision():
    assert average_precision(street(0), street(0, 40))['ap'] == pytest.approx(0.5)


def test_a_mask_that_overlaps_by_five_eighths_counts_up_to_that_overlap():
    predicted = street(0)
    predicted[:, 12:20] = np.where(predicted[:, 12:20] >= 1000, ROAD, predicted[:, 12:20])
    predicted[10:30, 12] = np.where(np.arange(20) < 10, CAR * 1000, ROAD)
    precision = average_precision(predicted, street(0))
    assert precision['ap50'] == 1.0
    assert precision['ap'] == pytest.approx(3 / 10)


def test_a_false_alarm_costs_more_when_it_is_surer_than_the_find():
    predicted, true = street(0, 40), street(0)
    sure = average_precision(predicted, true, {26000: 0.5, 26001: 0.9})
    unsure = average_precision(predicted, true, {26000: 0.5, 26001: 0.1})
    assert sure['ap'] < unsure['ap'] <= 1.0


def test_predictions_on_void_alone_leave_a_missed_class_at_zero():
    true = street(0)
    true[:, 30:] = VOID
    precision = average_precision(street(40), true)
    assert precision['per_class']['car'] == {'ap': 0.0, 'ap50': 0.0}


def test_truth_under_a_hundred_pixels_is_no_truth():
    true = np.full(SIZE, ROAD, np.int32)
    true[:9, :11] = CAR * 1000
    assert average_precision(true, true)['ap'] is None


def test_no_frame_gives_no_scores():
    assert semantic() is None
    assert semantic(([ROAD], [VOID])) is None
    assert OfficialInstance().compute() is None


def test_instances_of_what_has_none_do_not_count():
    true = np.where(street() == ROAD, ROAD * 1000 + 1, VOID)
    semantic = OfficialSemantic()
    semantic.add(labels_of(true), labels_of(true), true)
    assert semantic.compute()['iou_class'] == 1.0
    assert semantic.compute()['iiou_class'] is None
    assert average_precision(true, true)['ap'] is None


def test_a_value_that_is_no_label_is_refused():
    labels = np.full((4, 4), 34, np.uint8)
    with pytest.raises(ValueError, match='true label ID 34'):
        OfficialSemantic().add(labels - 1, labels)
    with pytest.raises(ValueError, match='predicted label ID 40'):
        OfficialInstance().add(street(0) + 14000, {}, street(0))
    for wrong in (-1, 500, 34_000, 65_536 + ROAD):
        with pytest.raises(ValueError, match='true label ID'):
            OfficialInstance().add(street(0), {}, np.where(street(0) == ROAD, wrong, street(0)))


def test_differing_sizes_are_refused():
    with pytest.raises(ValueError, match=r'\(2, 2\).*\(3, 3\)'):
        OfficialSemantic().add(np.zeros((2, 2), np.uint8), np.zeros((3, 3), np.uint8))


def test_nothing_is_left_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    average_precision(street(0, 40), street(0, 40))
    assert not list(tmp_path.iterdir())


def test_the_environment_of_cityscapesscripts_does_not_matter():
    environment = os.environ | {
        'CITYSCAPES_EXPORT_DIR': '/nonexistent',
        'CITYSCAPES_DATASET': '/nonexistent',
    }
    code = (
        'from mtl_perception.evaluation.official import *; OfficialSemantic(); OfficialInstance()'
    )
    subprocess.run([sys.executable, '-c', code], env=environment, check=True)
