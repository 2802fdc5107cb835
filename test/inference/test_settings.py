# SPDX-License-Identifier: Apache-2.0
"""The node's parameters and their file, without ROS."""

import math

import pytest

from mtl_perception.inference.settings import SETTINGS, read_parameters, read_values
from mtl_perception.resources import share_file
from mtl_perception.tasks.instance import GroupingParameters


def test_the_shipped_file_and_the_table_agree():
    stated = read_values(share_file('config', 'node.yaml'))
    assert stated == {setting.name: setting.default for setting in SETTINGS}
    for setting in SETTINGS:
        setting.check(stated[setting.name])


@pytest.mark.parametrize(
    ('name', 'value', 'expected'),
    [
        ('autostart', 'yes', 'true or false'),
        ('device', 0, 'text'),
        ('output_size', 'huge', 'input or network'),
        ('focal_length', 500, 'a number with a decimal point'),
        ('focal_length', -1.0, 'from 0 to 100000'),
        ('max_depth', math.nan, 'from 1 to 10000'),
        ('instance.min_samples', True, 'a whole number'),
        ('instance.min_pixels', 0, 'from 1 to 100000'),
    ],
)
def test_a_value_of_another_type_range_or_choice_is_refused(name, value, expected):
    (setting,) = (setting for setting in SETTINGS if setting.name == name)
    with pytest.raises(ValueError, match=f'{name} must be {expected}, got {value!r}'):
        setting.check(value)


def test_the_shipped_file_gives_the_predictor_its_defaults():
    assert read_parameters(share_file('config', 'node.yaml')) == {
        'max_depth': 100.0,
        'grouping': GroupingParameters(),
    }


@pytest.mark.parametrize('node', ['/**', '/mtl_perception', '/front/mtl_perception'])
def test_what_a_file_does_not_set_keeps_its_default(node, tmp_path):
    file = tmp_path / 'tuned.yaml'
    file.write_text(
        f'/camera:\n  ros__parameters: {{max_depth: 1.0}}\n'
        f'{node}:\n  ros__parameters:\n    instance.cut: 2.5\n    instance: {{min_pixels: 7}}\n'
        '    use_sim_time: true\n    device_id: 5\n'
    )
    assert read_parameters(file) == {'grouping': GroupingParameters(cut=2.5, min_pixels=7)}


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ('max_depth: 5.0', 'no parameters for a node mtl_perception'),
        ('mtl_perception: {max_depth: 5.0}', 'not a ROS 2 parameter file'),
        ('[', 'not a ROS 2 parameter file'),
        ('', 'not a ROS 2 parameter file'),
        (
            '/**: {ros__parameters: {instance: {cut: high}}}',
            'instance.cut must be a number with a decimal point',
        ),
        ('/**: {ros__parameters: {max_depth: 80}}', 'max_depth must be a number with a decimal'),
        (
            '/**: {ros__parameters: {max_depth: -5.0}}',
            'max_depth must be from 1 to 10000, got -5.0',
        ),
        (
            '/**: {ros__parameters: {max_dpth: 5.0}}',
            r'unknown parameter max_dpth; did you mean max_depth\?',
        ),
        (
            '/**: {ros__parameters: {instance: {cutt: 5.0}}}',
            r'unknown parameter instance\.cutt; did you mean instance\.cut\?',
        ),
        (
            '/**: {ros__parameters: {instance: {min_samples: 10.0}}}',
            'instance.min_samples must be a whole number',
        ),
        ('/**: {ros__parameters: {instance: {cut: 0.0}}}', 'instance.cut must be from 0.1 to 100'),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(content, reason, tmp_path):
    file = tmp_path / 'tuned.yaml'
    file.write_text(content)
    with pytest.raises(ValueError, match=reason) as raised:
        read_parameters(file)
    assert str(raised.value).startswith(str(file))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'tuned\.yaml: no such parameter file'):
        read_parameters(tmp_path / 'tuned.yaml')
