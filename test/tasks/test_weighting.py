# SPDX-License-Identifier: Apache-2.0
"""Weighting of losses: optimum, limits and absent tasks."""

import math

import pytest
import torch

from mtl_perception.tasks.weighting import FixedWeighting, UncertaintyWeighting


def test_the_total_is_the_formula():
    weighting = UncertaintyWeighting()
    for task, s in {'semantic': 0.5, 'instance': 1.0, 'depth': -2.0}.items():
        weighting.log_variance[task].data.fill_(s)
    losses = {
        'semantic': torch.tensor(3.0),
        'instance': torch.tensor(4.0),
        'depth': torch.tensor(0.5),
    }
    expected = (
        math.exp(-0.5) * 3 + 0.5 * math.exp(-1) * 4 + 0.5 * math.exp(2) * 0.5 + 0.5 * (0.5 + 1 - 2)
    )
    assert float(weighting(losses).detach()) == pytest.approx(expected)


def test_uncertainties_move_to_their_analytic_optimum():
    losses = {
        'semantic': torch.tensor(0.7),
        'instance': torch.tensor(6.0),
        'depth': torch.tensor(0.02),
    }
    weighting = UncertaintyWeighting()
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    for _ in range(2000):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    found = {task: float(s) for task, s in weighting.log_variance.items()}
    assert found == pytest.approx(
        {'semantic': math.log(2 * 0.7), 'instance': math.log(6.0), 'depth': math.log(0.02)},
        abs=1e-3,
    )


def test_an_absent_task_leaves_its_uncertainty_alone():
    weighting = UncertaintyWeighting()
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1, momentum=0.9)
    losses = {'semantic': torch.tensor(3.0), 'depth': torch.tensor(2.0)}
    weighting({**losses, 'instance': torch.tensor(9.0)}).backward()
    optimizer.step()
    before = float(weighting.log_variance['instance'])
    for _ in range(3):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    assert float(weighting.log_variance['instance']) == before
    assert float(weighting.log_variance['depth']) != 0


def test_the_uncertainty_is_clamped_and_the_total_can_be_negative():
    weighting = UncertaintyWeighting(['depth'])
    weighting.log_variance['depth'].data.fill_(-50.0)
    total = weighting({'depth': torch.tensor(0.0)})
    assert float(total.detach()) == -5.0
    assert float(weighting.weights()['depth']) == pytest.approx(0.5 * math.exp(10))


def test_an_uncertainty_at_its_limit_can_come_back():
    weighting = UncertaintyWeighting(['depth'])
    weighting.log_variance['depth'].data.fill_(-50.0)
    weighting({'depth': torch.tensor(3.0)}).backward()
    assert weighting.log_variance['depth'].grad < 0


def test_fixed_weights_are_what_they_say():
    weighting = FixedWeighting({'semantic': 0.89, 'instance': 0.01, 'depth': 0.1})
    losses = {
        'semantic': torch.tensor(2.0),
        'instance': torch.tensor(100.0),
        'depth': torch.tensor(5.0),
    }
    assert float(weighting(losses)) == pytest.approx(0.89 * 2 + 1 + 0.5)
    assert not list(weighting.parameters())


@pytest.mark.parametrize('weights', [{'semantics': 1.0}, {'depth': -1.0}, {'depth': 0.0}, {}])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r'unknown|negative'):
        FixedWeighting(weights)
