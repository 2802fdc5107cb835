# SPDX-License-Identifier: Apache-2.0
"""Timing in turns, the summary of times, and the description of the machine."""

import os
import time

import pytest
import torch

from mtl_perception.benchmark.measuring import (
    WARM_UP_FROM,
    Times,
    describe_machine,
    time_in_turns,
    times_of,
)


def test_functions_are_called_in_turns():
    calls = []
    times = time_in_turns(
        {'a': (lambda: calls.append('a'), 3), 'b': (lambda: calls.append('b'), 2)}, 'test'
    )
    assert ''.join(calls) == 'ababa'
    assert (times['a'].calls, times['b'].calls) == (3, 2)


def test_a_warm_up_call_is_not_timed():
    calls = []
    times = time_in_turns({'a': (lambda: calls.append('a'), WARM_UP_FROM)}, 'test')
    assert len(calls) == times['a'].calls + 1 == WARM_UP_FROM + 1


def test_more_work_takes_longer():
    times = time_in_turns(
        {
            'long': (lambda: time.sleep(0.02), 3),
            'short': (lambda: time.sleep(0.01), 3),
            'nothing': (lambda: None, 3),
        },
        'test',
    )
    assert times['long'].median >= 20
    assert times['long'].median > times['short'].median >= 10
    assert times['short'].median > times['nothing'].median > 0


def test_times_are_summarized_by_their_percentiles():
    times = times_of(list(range(101, 0, -1)))
    assert times == Times(calls=101, median=51, p99=100, spread=50)
    assert str(times).split() == ['51.0', 'ms', '100.0', 'ms']


def test_the_machine_is_this_one():
    machine = describe_machine()
    assert machine.cores == os.cpu_count()
    assert machine.torch == torch.__version__
    assert (machine.gpu is not None) == torch.cuda.is_available()
    assert str(machine) == f'{machine.cpu}, {machine.cores} cores'


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_gpu_is_the_one_of_the_device():
    device = torch.device('cuda', torch.cuda.device_count() - 1)
    assert describe_machine(device).gpu == torch.cuda.get_device_name(device)
