# SPDX-License-Identifier: Apache-2.0
"""A bag replayed through the node, which is a process of its own here."""

import csv
import json
import subprocess
from pathlib import Path

import pytest
from sensor_msgs.msg import Image

from mtl_perception.bags.dataset import write_dataset_bag
from mtl_perception.commands import main
from mtl_perception.data.cityscapes import find_frames

TASKS = ('frames', 'measured', 'semantic', 'instance', 'depth')


@pytest.fixture
def node(ros, tiny_checkpoint) -> subprocess.Popen:
    """Start a node that takes raw images."""
    parameters = {'checkpoint': tiny_checkpoint, 'device': 'cpu'}
    words = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    return ros.start('mtl_perception.ros.node', '--ros-args', *words)


def replay(bag: Path, checkpoint: Path, output: Path, *words: str) -> int:
    arguments = [str(bag), '--checkpoint', str(checkpoint), '--device', 'cpu']
    return main(['replay', *arguments, '--output', str(output), *words])


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / 'metrics.json').read_text())


def test_lockstep_loses_nothing_and_says_what_the_offline_replay_says(
    node, ros, street_bag, tiny_checkpoint, tmp_path
):
    assert replay(street_bag, tiny_checkpoint, tmp_path / 'live', '--live') == 0, ros.logs()
    assert node.poll() is None
    assert replay(street_bag, tiny_checkpoint, tmp_path / 'offline') == 0
    live, offline = metrics_of(tmp_path / 'live'), metrics_of(tmp_path / 'offline')
    assert live['live']['sent'] == live['live']['published'] == live['live']['identical'] == 8
    assert live['live']['lost'] == live['live']['overtaken'] == 0
    assert {task: live[task] for task in TASKS} == {task: offline[task] for task in TASKS}
    assert live['stability'] == offline['stability']
    assert 0 < live['live']['latency_ms']['median'] <= live['live']['latency_ms']['max']
    with (tmp_path / 'live' / 'per_frame.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['identical'] for row in rows] == ['True'] * 8
    assert all(float(row['latency_ms']) > 0 for row in rows)


def test_in_real_time_every_image_is_published_overtaken_or_lost(
    node, ros, streets, tiny_checkpoint, tmp_path
):
    frames = [paths.read() for paths in find_frames(streets, 'train')] * 5
    write_dataset_bag(frames, tmp_path / 'bag', rate=30)
    images = ros.collect(Image, '/mtl_perception/image', 100)
    output = tmp_path / 'out'
    status = replay(tmp_path / 'bag', tiny_checkpoint, output, '--live', '--rate', '10', '--no-bag')
    assert status == 0, ros.logs()
    assert node.poll() is None
    fates = metrics_of(output)['live']
    assert fates['sent'] == 40
    assert fates['published'] >= 1
    fates_sum = sum(fates[fate] for fate in ('published', 'overtaken', 'lost', 'failed'))
    assert fates_sum == 40
    assert metrics_of(output)['frames'] == fates['published']
    assert not (output / 'bag').exists()
    ros.spin_until(lambda: len(images) == 41)
    stamps = [image.header.stamp.nanosec for image in images[:3]]
    assert stamps[0] == stamps[1] != stamps[2]  # the first image warms up the node


@pytest.mark.usefixtures('ros')
def test_a_node_that_is_not_there_is_one_line(
    street_bag, tiny_checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr('mtl_perception.live.recorder.DISCOVERY_TIMEOUT', 1.0)
    assert replay(street_bag, tiny_checkpoint, tmp_path, '--live', '--node', '/absent') == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('mtl replay: no node /absent is running in this ROS domain')


def test_a_node_that_is_not_active_or_takes_other_images_is_one_line(
    ros, streets, street_bag, tiny_checkpoint, tmp_path, capsys
):
    ros.start('mtl_perception.ros.node', '--ros-args', '-p', 'autostart:=false')
    assert replay(street_bag, tiny_checkpoint, tmp_path, '--live') == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert '/mtl_perception is not active: not configured' in error
    ros.processes[0].terminate()
    ros.processes[0].wait()

    ros.start(
        *('mtl_perception.ros.node', '--ros-args', '-r', '__node:=other'),
        *('-p', f'checkpoint:={tiny_checkpoint}', '-p', 'device:=cpu'),
    )
    frames = (paths.read() for paths in find_frames(streets, 'val'))
    write_dataset_bag(frames, tmp_path / 'jpeg', codec='jpeg')
    assert replay(tmp_path / 'jpeg', tiny_checkpoint, tmp_path, '--live', '--node', '/other') == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'set its parameter image_transport to compressed' in error


def test_a_node_whose_network_lacks_a_task_is_one_line(
    ros, street_bag, tiny_checkpoint, partial_checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr('mtl_perception.live.replay.DISCOVERY_TIMEOUT', 10.0)
    part = partial_checkpoint('semantic', 'depth')
    ros.start('mtl_perception.ros.node', '--ros-args', '-p', f'checkpoint:={part}')
    assert replay(street_bag, tiny_checkpoint, tmp_path, '--live') == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'does not publish /mtl_perception/instance/image;' in error
