# SPDX-License-Identifier: Apache-2.0
"""The order of samples: a function of seed and position, shared by processes and groups."""

from collections import Counter

import numpy as np
import pytest

from mtl_perception.training.sampling import SampleOrder


def order(sizes=(10,), weights=(1.0,), *, step=2, processes=1, rank=0, seed=0, position=0):
    return SampleOrder(
        sizes,
        weights,
        step_size=step,
        processes=processes,
        rank=rank,
        seed=seed,
        position=lambda: position,
    )


def test_an_epoch_shows_every_frame_once_and_the_next_in_another_order():
    first, second = order().order(0), order().order(1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert (first != second).any()
    assert (first != order(seed=1).order(0)).any()


def test_from_any_position_the_rest_of_the_epoch_follows():
    whole = list(order())
    assert list(order(position=4)) == whole[4:]
    next_epoch = list(order(position=10))
    assert [draw.position for draw in next_epoch] == list(range(10, 20))
    assert [draw.frame for draw in next_epoch] == list(order().order(1))


def test_processes_share_the_batches_of_a_single_one():
    alone = list(order(sizes=(12,), step=4))
    shares = [list(order(sizes=(12,), step=4, processes=2, rank=rank)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == len(order(sizes=(12,), step=4, processes=2)) == 6
    for batch in range(3):
        joined = [draw for share in shares for draw in share[2 * batch : 2 * batch + 2]]
        assert sorted(joined) == sorted(alone[4 * batch : 4 * batch + 4])


@pytest.mark.parametrize('position', [1, 9, 10, 11])
def test_a_run_resumed_within_a_step_has_as_many_batches_in_every_process(position):
    shares = [
        list(order(sizes=(12,), step=4, processes=2, rank=rank, position=position))
        for rank in (0, 1)
    ]
    assert len(shares[0]) == len(shares[1])
    assert len(shares[0]) * 2 % 4 == 0
    assert min(draw.position for share in shares for draw in share) == position // 4 * 4


def test_frames_that_make_no_whole_step_come_in_the_next_epoch():
    samples = order(sizes=(11,), step=4)
    assert samples.epoch_size == 8
    drawn = Counter(frame for epoch in range(11) for frame in samples.order(epoch).tolist())
    assert drawn == dict.fromkeys(range(11), 8)


@pytest.mark.parametrize('seed', range(3))
def test_every_batch_has_its_share_of_every_group(seed):
    """4, 3 and 1 of 8 samples belong to the groups, although the last has the fewest frames."""
    samples = order(sizes=(400, 96, 3), weights=(4.0, 3.0, 1.0), step=8, seed=seed)
    frames = samples.order(0).reshape(-1, 8)
    group = np.searchsorted([400, 496, 499], frames, side='right')
    counts = np.stack([(group == k).sum(1) for k in range(3)], 1)
    assert np.abs(counts - [4, 3, 1]).max() <= 1
    np.testing.assert_allclose(counts.mean(0), [4, 3, 1], atol=0.05)


def test_a_group_is_shown_evenly_however_often_it_is_drawn():
    samples = order(sizes=(90, 3), weights=(1.0, 1.0), step=3)
    drawn = Counter(int(frame) for frame in samples.order(0) if frame >= 90)
    assert max(drawn.values()) - min(drawn.values()) <= 1


def test_the_rarest_group_is_not_forgotten():
    samples = order(sizes=(1000, 1), weights=(1000.0, 0.001))
    assert 1000 in samples.order(0)


@pytest.mark.parametrize('weights', [(1.0,) * 9, (3.4, 3.4, *(0.2,) * 6)])
def test_a_few_frames_in_many_groups_still_make_an_epoch(weights):
    samples = order(sizes=(1,) * len(weights), weights=weights, step=8)
    for epoch in range(3):
        assert len(samples.order(epoch)) == 8
        assert len(set(samples.order(epoch).tolist())) == 8
