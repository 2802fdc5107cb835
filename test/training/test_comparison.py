# SPDX-License-Identifier: Apache-2.0
"""The comparison of an ablation's finished runs: figures, table and curves."""

import cv2
import pytest
from torch.utils.tensorboard import SummaryWriter

from mtl_perception.training.comparison import read_results, table, write_comparison


def test_the_comparison_has_mean_and_deviation_over_seeds_beside_the_others_figures(
    tmp_path, finish
):
    for seed, iou in ((0, 0.4), (1, 0.5), (10, 0.6)):
        finish(tmp_path / 'all' / f'seed_{seed}', iou=iou, disparity_px=0.8)
    finish(tmp_path / 'depth' / 'seed_0', disparity_px=1.25)
    results = read_results(tmp_path)
    rows = {result.key: result.figures() for result in results}
    assert list(rows['all']['seeds']) == [0, 1, 10]
    assert rows['all']['mean']['iou'] == pytest.approx(0.5)
    assert rows['all']['deviation']['iou'] == pytest.approx(0.1)
    assert rows['all']['paper']['iou'] == 0.634
    assert rows['all']['weights'] == 'learned'
    assert rows['depth']['mean'] == {'disparity_px': 1.25}
    assert rows['depth']['deviation'] == {}
    assert rows['semantic']['seeds'] == {}
    lines = table(results).splitlines()
    assert len(lines) == 2 + 9
    cells = [cell.strip() for cell in lines[-1].strip('|').split('|')]
    assert cells == [
        'all three', 'learned', '3', '50.0 ± 10.0', '–', '–', '0.800 ± 0.000', '–',
        '63.4, 3.50, 0.522', '42.9, 3.32, 0.710',
    ]  # fmt: skip
    assert '| depth only | 0 / 0 / 1 | 1 | – | – | – | 1.250 | – |' in lines[4]


def test_curves_are_drawn_once_a_finished_run_has_logged_some(tmp_path, finish):
    finish(tmp_path / 'all' / 'seed_0', iou=0.5)
    assert '1 | 50.0 |' in write_comparison(tmp_path)
    assert not (tmp_path / 'curves.png').exists()
    finish(tmp_path / 'semantic' / 'seed_0', iou=0.5)
    with SummaryWriter(str(tmp_path / 'semantic' / 'seed_0' / 'log')) as writer:
        writer.add_scalar('val/iou', 0.5, 1)
    assert write_comparison(tmp_path).endswith('are on Cityscapes.')
    assert cv2.imread(str(tmp_path / 'curves.png')) is not None
