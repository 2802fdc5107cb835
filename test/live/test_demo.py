# SPDX-License-Identifier: Apache-2.0
"""The demo: pictures replayed over DDS to a node in a process of its own."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from mtl_perception.commands import main
from mtl_perception.data.cityscapes import find_frames
from mtl_perception.files import write_picture
from mtl_perception.frame import Camera

FRAMES = 10
"""More than the source has, so that it is repeated."""


@pytest.fixture(scope='module')
def output(streets, tiny_checkpoint, tmp_path_factory) -> Path:
    """Return the results of a short demo on frames with ground truth."""
    folder = tmp_path_factory.mktemp('demo')
    demo(streets / 'leftImg8bit' / 'train', tiny_checkpoint, folder)
    return folder


@pytest.fixture(scope='module')
def metrics(output) -> dict:
    return json.loads((output / 'metrics.json').read_text())


def demo(source: Path, checkpoint: Path, output: Path, *words: str) -> None:
    arguments = ['--source', str(source), '--checkpoint', str(checkpoint), '--rate', '10']
    arguments += ['--frames', str(FRAMES), '--output', str(output)]
    assert main(['demo', *arguments, *words]) == 0


def test_every_frame_sent_was_published_overtaken_or_lost(metrics):
    live = metrics['live']
    assert live['sent'] == FRAMES
    assert 1 <= live['published'] == metrics['frames']
    assert live['failed'] == live['resent'] == 0
    assert live['published'] + live['overtaken'] + live['lost'] == FRAMES


def test_the_figures_are_numbers(metrics):
    assert metrics['live']['fps'] > 0
    latency = metrics['live']['latency_ms']
    assert 0 < latency['median'] <= latency['p99'] <= latency['max']
    assert 0 <= metrics['semantic']['iou_class'] <= 1
    assert 0 <= metrics['instance']['ap50'] <= 1
    for key in ('abs_rel', 'rmse', 'mean_disparity_error_px'):
        assert metrics['depth'][key] > 0
    assert metrics['instance']['mean_error_px'] > 0


def test_the_node_publishes_the_maps_of_the_predictor_here(metrics, output):
    assert metrics['live']['identical'] == metrics['frames']
    with (output / 'per_frame.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['identical'] for row in rows] == ['True'] * metrics['frames']
    latencies = [float(row['latency_ms']) for row in rows]
    assert np.median(latencies) == pytest.approx(metrics['live']['latency_ms']['median'])


def test_the_bag_holds_input_and_outputs_of_every_published_frame(output, metrics, streets):
    sizes = {frame.read().image.shape[:2] for frame in find_frames(streets, 'train')}
    stamps: dict[str, list[int]] = {}
    with AnyReader([output / 'bag']) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert message.header.frame_id == 'demo_camera'
            assert (message.height, message.width) in sizes
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            stamps.setdefault(connection.topic, []).append(stamp)
    assert set(stamps) == {
        '/mtl_demo/camera/image',
        '/mtl_demo/camera/camera_info',
        '/mtl_demo/mtl_perception/semantic/image',
        '/mtl_demo/mtl_perception/instance/image',
        '/mtl_demo/mtl_perception/depth/image',
        '/mtl_demo/mtl_perception/depth/camera_info',
        '/ground_truth/semantic/image',
        '/ground_truth/instance/image',
        '/ground_truth/depth/image',
    }
    expected = stamps['/mtl_demo/camera/image']
    assert len(expected) == metrics['live']['published']
    assert all(found == expected for found in stamps.values())


def test_the_overview_shows_predictions_beside_the_truth(output):
    sheet = cv2.imread(str(output / 'overview.png'))
    panels = np.array_split(sheet[40:], 7, axis=1)
    # A random network may predict one class everywhere; the street has several.
    assert all(panel.std() > 5 for panel in (panels[0], *panels[1::2]))
    for prediction, truth in zip(panels[2::2], panels[1::2], strict=True):
        width = min(prediction.shape[1], truth.shape[1])
        assert (prediction[:, :width] != truth[:, :width]).any()


def test_a_checkpoint_that_is_missing_ends_with_one_line(tmp_path, capsys):
    missing = tmp_path / 'absent.safetensors'
    assert main(['demo', '--checkpoint', str(missing), '--output', str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f'mtl demo: {missing}: no such checkpoint')


def test_the_focal_length_that_is_given_is_that_of_images_without_one(
    streets, tiny_checkpoint, tmp_path, capsys
):
    image = find_frames(streets, 'train')[0].read().image
    write_picture(tmp_path / 'picture.png', image)
    for name, words in (('unknown', ()), ('given', ('--focal-length', '100'))):
        demo(tmp_path / 'picture.png', tiny_checkpoint, tmp_path / name, *words)
    assert capsys.readouterr().out.count('focal length unknown') == 1
    height, assumed = len(image), Camera.assumed(*image.shape[:2]).fy
    assert assumed != 100
    depths = []
    for name, focal_length in (('unknown', assumed), ('given', 100.0)):
        maps = {}
        with AnyReader([tmp_path / name / 'bag']) as reader:
            for connection, _, data in reader.messages():
                message = reader.deserialize(data, connection.msgtype)
                maps.setdefault(connection.topic.rpartition('mtl_demo/')[2], message)
        info = maps['mtl_perception/depth/camera_info']
        assert info.p[5] == pytest.approx(focal_length * info.height / height)
        depths.append(maps['mtl_perception/depth/image'].data.view(np.float32))
        assert 'camera/camera_info' not in maps
    assert np.allclose(depths[1] * assumed, depths[0] * 100)
