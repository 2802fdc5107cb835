import dataclasses
import json
import math

import numpy as np
import pytest

from mtl_perception.evaluation.evaluate import Evaluation
from mtl_perception.evaluation.report import metrics_table
from mtl_perception.files import write_json
from mtl_perception.pictures.sheets import FrameGallery


@pytest.fixture
def metrics(make_frame, repeat_truth):
    frame = make_frame()
    evaluation = Evaluation()
    evaluation.add(frame, repeat_truth(frame))
    return evaluation.compute()


def test_what_is_not_a_number_is_written_as_null(tmp_path, metrics):
    metrics['depth']['rmse'] = math.nan
    metrics['depth']['abs_rel'] = math.inf
    write_json(tmp_path / 'metrics.json', metrics)
    read = json.loads((tmp_path / 'metrics.json').read_text())
    assert read['depth']['rmse'] is read['depth']['abs_rel'] is None
    assert read['depth']['delta1'] == 1.0
    assert read['semantic'] == metrics['semantic']


def test_the_table_shows_each_figure_and_a_dash_where_there_is_none(metrics):
    rows = {line.split()[0]: line.split() for line in metrics_table(metrics).splitlines() if line}
    assert rows['semantic'][1:4] == ['IoU', '100.0', '%']
    assert rows['car'] == ['car', *['100.0', '%'] * 3]
    assert rows['road'] == ['road', '100.0', '%', '–', '–']
    assert rows['bus'] == ['bus', '–', '–', '–']


def test_the_table_names_tasks_without_ground_truth(metrics):
    text = metrics_table({**metrics, 'depth': None, 'instance': None})
    assert 'depth     not measured: no ground truth' in text
    assert 'instance  not measured: no ground truth' in text


def test_the_gallery_shows_the_worst_and_the_best_frames(make_frame, repeat_truth):
    frame = make_frame()
    truth = repeat_truth(frame).resized(*frame.labels.shape)
    gallery = FrameGallery()
    rows = frame.labels.shape[0]
    sizes = []
    for wrong in (30, 0, 60, 20, 50, 10, 40, 5):
        gallery.add(dataclasses.replace(frame, name=f'wrong{wrong}'), truth, 1 - wrong / rows)
        sizes.append(gallery.sheet().shape[0])
    assert [row.name for row in gallery._rows] == [
        *('wrong60', 'wrong50', 'wrong40'),
        *('wrong10', 'wrong5', 'wrong0'),
    ]
    assert sizes[5] == sizes[7] > sizes[4]


def test_the_gallery_is_empty_without_scores(make_frame, repeat_truth):
    frame = make_frame()
    gallery = FrameGallery()
    gallery.add(frame, repeat_truth(frame), None)
    assert gallery.sheet() is None


def test_the_gallery_puts_truth_beside_prediction(make_frame, repeat_truth):
    frame = make_frame()
    gallery = FrameGallery()
    gallery.add(frame, repeat_truth(frame).resized(*frame.labels.shape), 1.0)
    sheet = gallery.sheet()
    columns = [sheet[-200:, i * 324 : i * 324 + 320] for i in range(7)]
    assert np.array_equal(columns[1], columns[2])
    assert not np.array_equal(columns[2], columns[3])
