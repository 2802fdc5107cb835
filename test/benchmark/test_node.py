# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the node, as a user starts it."""

import json
import os

import pytest

from mtl_perception.commands import main

NODE = ('node', 'never_waits')
TIMED = ('node', 'never_waits', 'relay')


@pytest.fixture(scope='module')
def output(tiny_checkpoint, tmp_path_factory) -> dict:
    """Return the figures of a short run with all comparisons."""
    path = tmp_path_factory.mktemp('benchmark') / 'figures.json'
    arguments = ['--checkpoint', str(tiny_checkpoint), '--size', '48x64', '--rate', '10']
    arguments += ['--seconds', '1', '--compare', '--json', str(path)]
    assert main(['benchmark', 'node', *arguments]) == 0
    return json.loads(path.read_text())


def test_rate_and_latency_are_measured(output):
    assert (output['subject'], output['size']) == ('node', [48, 64])
    assert output['machine']['cores'] == os.cpu_count()
    for name in TIMED:
        run = output[name]
        assert run['fps'] == pytest.approx(run['latency']['calls'] / run['seconds'])
        assert 0 < run['latency']['median'] <= run['latency']['p99']
    assert output['node']['rate'] == output['relay']['rate'] == 10
    assert output['never_waits']['rate'] > output['alone']['fps']
    assert output['share_of_alone'] == pytest.approx(
        output['never_waits']['fps'] / output['alone']['fps']
    )


def test_every_image_sent_is_accounted_for(output):
    for name in NODE:
        run = output[name]
        assert run['published'] >= run['latency']['calls'] > 0
        assert run['sent'] == run['published'] + run['overtaken'] + run['lost']


def test_stages_add_up_to_the_frame(output):
    stages = output['node']['stages']
    frame, _ = stages.pop('frame'), stages.pop('age')
    assert set(stages) - {'configure'} == {
        *('waiting', 'decode', 'preprocess', 'network', 'instance', 'depth', 'publish')
    }
    # Each value is rounded to a tenth.
    assert sum(stages.values()) == pytest.approx(frame, abs=0.4)
    others = sum(stages[stage] for stage in ('decode', 'preprocess', 'depth', 'publish'))
    assert output['node']['besides_network_and_grouping'] == pytest.approx(others)
    assert output['node']['besides_network'] == pytest.approx(others + stages['instance'])


def test_what_the_node_holds_is_counted(output):
    for moment in ('start', 'end'):
        found = output['node'][moment]
        assert found['memory'] > 50
        assert found['threads'] > 4
        assert found['descriptors'] > 4
    start, end = (output['node'][moment]['cpu'] for moment in ('start', 'end'))
    assert end > start
    results = output['node']['latency']['calls']
    assert output['node']['cpu'] == pytest.approx((end - start) * 1e3 / results)
