# SPDX-License-Identifier: Apache-2.0
"""The launch files, and the configuration files that belong to them."""

import importlib.util
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml

from mtl_perception.resources import share_file


def load(name: str) -> ModuleType:
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    path = share_file('launch', name)
    spec = importlib.util.spec_from_file_location(name.partition('.')[0], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launch_file() -> ModuleType:
    return load('mtl.launch.py')


def commands(launch_file: ModuleType, **arguments: str) -> list[str]:
    """Return the command lines of the programs that a launch file starts, except nodes."""
    from launch import LaunchContext
    from launch_ros.actions import Node

    context = LaunchContext()
    context.launch_configurations.update(arguments)

    def processes(entity: Any) -> Iterator[Any]:
        # Visited depth-first, as in the launch service; visiting a process would start it.
        if hasattr(entity, 'cmd'):
            yield entity
        else:
            for part in entity.visit(context) or ():
                yield from processes(part)

    return [
        ' '.join(''.join(part.perform(context) for part in word) for word in process.cmd)
        for process in processes(launch_file.generate_launch_description())
        if not isinstance(process, Node)
    ]


def test_every_argument_says_what_it_is_for(launch_file: ModuleType) -> None:
    declared = launch_file.generate_launch_description().get_launch_arguments()
    assert all(argument.description for argument in declared)
    names = {argument.name for argument in declared}
    assert names >= {'namespace', 'use_sim_time', 'params_file', 'autostart', 'log_level', 'source'}


def test_source_starts_a_camera_on_the_image_topic(launch_file: ModuleType) -> None:
    assert commands(launch_file) == []
    (command,) = commands(launch_file, source='synthetic', image='/front/image')
    assert 'mtl_perception camera synthetic --topic /front/image' in command


def test_replay_plays_the_images_and_their_calibration_with_a_clock() -> None:
    replay = load('replay.launch.py')
    declared = replay.generate_launch_description().get_launch_arguments()
    assert all(argument.description for argument in declared)
    (command,) = commands(replay, bag='drive', image_transport='compressed', rate='0.5')
    assert command.startswith('ros2 bag play drive --clock --rate 0.5')
    assert '--topics /camera/image_raw/compressed /camera/camera_info /tf' in command
    assert '--loop' not in command


def test_replay_takes_the_arguments_of_the_other_launch_file_too(launch_file: ModuleType) -> None:
    replay = load('replay.launch.py')
    known, all_known = (
        {
            argument.name: argument
            for argument in file.generate_launch_description().get_launch_arguments()
        }
        for file in (launch_file, replay)
    )
    assert set(all_known) == set(known) | {'bag', 'rate', 'delay', 'loop'}
    ((rviz,), (transport,)) = (
        all_known[name].default_value for name in ('rviz', 'image_transport')
    )
    assert (rviz.text, transport.text) == ('true', 'raw')


def test_node_parameters_in_the_file_are_those_that_the_node_declares() -> None:
    from mtl_perception.inference.settings import SETTINGS

    def flat(values: dict, prefix: str = '') -> dict:
        result = {}
        for name, value in values.items():
            nested = isinstance(value, dict)
            result |= flat(value, f'{prefix}{name}.') if nested else {prefix + name: value}
        return result

    text = share_file('config', 'node.yaml').read_text()
    stated = flat(yaml.safe_load(text)['/**']['ros__parameters'])
    assert stated == {setting.name: setting.default for setting in SETTINGS}
    for name, value in stated.items():
        assert type(value) is type(next(s.default for s in SETTINGS if s.name == name)), name


@pytest.mark.ros
def test_rviz_shows_topics_that_the_node_publishes() -> None:
    from mtl_perception.ros.outputs import OUTPUTS

    config = yaml.safe_load(share_file('config', 'mtl.rviz').read_text())
    shown = {
        display['Topic']['Value']: display['Class']
        for display in config['Visualization Manager']['Displays']
        if 'Topic' in display
    }
    published = {f'/mtl_perception/{output.topic}': output.type.__name__ for output in OUTPUTS}
    assert set(shown) - {'/camera/image_raw'} <= set(published)
    for topic, display in shown.items():
        expected = published.get(topic, 'Image')
        assert display == f'rviz_default_plugins/{expected}'
