# SPDX-License-Identifier: Apache-2.0
import json
import math

import pytest

from mtl_perception.evaluation.evaluate import Evaluation
from mtl_perception.evaluation.report import metrics_table
from mtl_perception.files import write_json


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
