# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import cv2
import numpy as np
import pytest

from mtl_perception.data.cityscapes import find_frames, write_frame
from mtl_perception.evaluation.evaluate import Evaluation, evaluate
from mtl_perception.inference.predictor import Predictor


def test_a_prediction_that_repeats_the_truth_is_perfect(make_frame, repeat_truth):
    evaluation = Evaluation()
    for size in ((64, 96), (80, 120)):
        frame = make_frame(height=size[0], width=size[1])
        evaluation.add(frame, repeat_truth(frame))
    metrics = evaluation.compute()
    assert metrics['frames'] == 2
    assert metrics['semantic']['iou_class'] == 1.0
    assert metrics['instance']['ap'] == 1.0
    assert metrics['instance']['mean_error_px'] == pytest.approx(0, abs=1e-5)
    assert metrics['depth']['delta1'] == 1.0
    assert metrics['depth']['abs_rel'] < 0.05
    assert metrics['depth']['mean_disparity_error_px'] < 0.1


def test_offsets_and_disparity_are_measured_in_pixels_of_the_output_map(make_frame, repeat_truth):
    frame = make_frame()
    truth = repeat_truth(frame)
    shifted = dataclasses.replace(
        truth, offsets=truth.offsets + np.reshape([3, 4], (2, 1, 1)), disparity=truth.disparity + 2
    )
    errors = []
    for prediction in (truth, shifted):
        evaluation = Evaluation()
        evaluation.add(frame, prediction)
        metrics = evaluation.compute()
        errors.append(
            (metrics['instance']['mean_error_px'], metrics['depth']['mean_disparity_error_px'])
        )
    assert errors[1][0] - errors[0][0] == pytest.approx(5, abs=1e-4)
    assert errors[1][1] - errors[0][1] == pytest.approx(2, abs=0.1)


def test_depth_of_the_sky_does_not_count(make_frame, repeat_truth):
    frame = make_frame()
    everywhere = dataclasses.replace(frame, depth=np.full_like(frame.depth, 20))
    prediction = repeat_truth(everywhere)
    prediction.depth[prediction.labels == 23] = 5
    evaluation = Evaluation()
    evaluation.add(everywhere, prediction)
    assert evaluation.compute()['depth']['abs_rel'] == 0


def test_a_frame_scores_what_all_frames_do_when_it_is_the_only_one(make_frame, repeat_truth):
    frame = make_frame()
    everywhere = dataclasses.replace(frame, depth=np.full_like(frame.depth, 20))
    prediction = repeat_truth(frame)
    prediction.labels[::3] = 33
    evaluation = Evaluation()
    scores = evaluation.add(everywhere, prediction)
    metrics = evaluation.compute()
    assert scores.iou_class == pytest.approx(metrics['semantic']['iou_class'], abs=1e-12)
    assert scores.abs_rel == metrics['depth']['abs_rel'] > 0
    assert scores.delta1 == metrics['depth']['delta1'] < 1


@pytest.mark.parametrize(
    ('attribute', 'task'), [('labels', 'semantic'), ('instances', 'instance'), ('depth', 'depth')]
)
def test_a_task_without_truth_is_null_and_the_others_are_measured(
    make_frame, repeat_truth, attribute, task
):
    frame = make_frame()
    evaluation = Evaluation()
    evaluation.add(dataclasses.replace(frame, **{attribute: None}), repeat_truth(frame))
    metrics = evaluation.compute()
    assert {key for key, value in metrics.items() if value is None} == {task}


def test_a_prediction_without_a_map_contributes_nothing_to_its_task(make_frame, repeat_truth):
    frame = make_frame()
    prediction = dataclasses.replace(
        repeat_truth(frame), instances=None, depth=None, offsets=None, disparity=None
    )
    evaluation = Evaluation()
    evaluation.add(frame, prediction)
    metrics = evaluation.compute()
    assert metrics['semantic']['iou_class'] == 1.0
    assert metrics['instance'] is metrics['depth'] is None


def test_labels_are_scored_by_groups_where_that_is_asked_for(make_frame, repeat_truth):
    frame = make_frame()
    prediction = repeat_truth(frame)
    prediction.labels[prediction.labels == 11] = 12  # a wall for a building
    evaluation = Evaluation('camvid')
    evaluation.add(frame, prediction)
    semantic = evaluation.compute()['semantic']
    assert semantic['per_class']['building'] == 0.0
    groups = semantic['groups']['camvid']
    assert groups['iou'] == groups['per_group']['building, wall'] == 1.0
    assert groups['per_group']['fence'] is None
    assert 'groups' not in Evaluation().compute()


def test_evaluate_writes_what_it_returns(make_frame, tiny_checkpoint, tmp_path):
    for i, size in enumerate([(64, 96), (80, 120)]):
        write_frame(tmp_path / 'data', 'val', make_frame(f'aa_{i:06d}_000000', *size))
    frames = find_frames(tmp_path / 'data', 'val')
    metrics = evaluate(Predictor(tiny_checkpoint, device='cpu'), frames, tmp_path / 'out')
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text()) == metrics
    assert cv2.imread(str(tmp_path / 'out' / 'frames.png')).shape[1] > 7 * 300
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'frames.png',
        'metrics.json',
    ]
    assert metrics['frames'] == 2
    assert list(metrics['semantic']) == [
        'iou_class', 'iou_category', 'iiou_class', 'iiou_category',
        'per_class', 'labels', 'confusion',
    ]  # fmt: skip
    assert list(metrics['instance']) == [
        'ap', 'ap50', 'mean_error_px', 'rms_error_px', 'per_class'
    ]  # fmt: skip
    assert list(metrics['depth']) == [
        'abs_rel', 'rmse', 'delta1', 'mean_disparity_error_px', 'rms_disparity_error_px'
    ]  # fmt: skip
    assert 0 <= metrics['semantic']['iou_class'] < 1
    assert metrics['instance']['mean_error_px'] > 0


def test_a_truth_that_holds_no_label_is_refused_by_name(make_frame, tiny_checkpoint, tmp_path):
    frame = make_frame('aa_000007_000000')
    write_frame(tmp_path, 'val', dataclasses.replace(frame, labels=frame.labels + 40))
    frames = find_frames(tmp_path, 'val')
    with pytest.raises(ValueError, match=r'aa_000007_000000: true label ID 66'):
        evaluate(Predictor(tiny_checkpoint, device='cpu'), frames, tmp_path / 'out')
