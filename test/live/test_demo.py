"""The demo: camera, node and recorder in processes of their own, over DDS."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from mtl_perception.commands import main
from mtl_perception.data.cityscapes import find_frames
from mtl_perception.frame import Camera, Frame
from mtl_perception.live.demo import _calibrated

FRAMES = 6


@pytest.fixture(scope='module')
def output(streets, tiny_checkpoint, tmp_path_factory) -> Path:
    """Return what a short demo on frames with ground truth wrote."""
    folder = tmp_path_factory.mktemp('demo')
    source = streets / 'leftImg8bit' / 'train'
    arguments = ['--source', str(source), '--checkpoint', str(tiny_checkpoint), '--rate', '10']
    arguments += ['--frames', str(FRAMES), '--output', str(folder)]
    assert main(['demo', *arguments]) == 0
    return folder


@pytest.fixture(scope='module')
def metrics(output) -> dict:
    return json.loads((output / 'metrics.json').read_text())


def test_every_frame_sent_was_published_overtaken_or_lost(metrics):
    assert metrics['frames_published'] >= FRAMES
    assert metrics['frames_sent'] == (
        metrics['frames_published'] + metrics['frames_overtaken'] + metrics['frames_lost']
    )


def test_the_figures_are_numbers(metrics):
    assert metrics['fps'] > 0
    assert 0 < metrics['latency_ms']['median'] <= metrics['latency_ms']['p99']
    assert 0 <= metrics['semantic']['iou_class'] <= 1
    assert 0 <= metrics['instance']['ap50'] <= 1
    for key in ('abs_rel', 'rmse', 'mean_disparity_error_px'):
        assert metrics['depth'][key] > 0
    assert metrics['instance']['mean_error_px'] > 0


def test_the_bag_holds_input_and_outputs_of_every_published_frame(output, metrics, streets):
    sizes = {frame.read().image.shape[:2] for frame in find_frames(streets, 'train')}
    stamps: dict[str, list[int]] = {}
    with AnyReader([output / 'bag']) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert message.header.frame_id == 'demo_camera'
            assert (message.height, message.width) in sizes
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            stamps.setdefault(connection.topic.partition('mtl_demo/')[2], []).append(stamp)
    assert set(stamps) == {
        'camera/image',
        'camera/camera_info',
        'mtl_perception/semantic/image',
        'mtl_perception/instance/image',
        'mtl_perception/depth/image',
        'mtl_perception/depth/camera_info',
    }
    expected = stamps['camera/image']
    assert len(expected) == metrics['frames_published']
    assert all(found == expected for found in stamps.values())


def test_the_overview_shows_predictions_beside_the_truth(output):
    sheet = cv2.imread(str(output / 'overview.png'))
    panels = np.array_split(sheet[40:], 7, axis=1)
    # A random network may see one thing everywhere; the street holds more.
    assert all(panel.std() > 5 for panel in (panels[0], *panels[1::2]))
    for prediction, truth in zip(panels[2::2], panels[1::2], strict=True):
        width = min(prediction.shape[1], truth.shape[1])
        assert (prediction[:, :width] != truth[:, :width]).any()


def test_a_checkpoint_that_is_missing_ends_with_one_line(tmp_path, capsys):
    missing = tmp_path / 'absent.safetensors'
    assert main(['demo', '--checkpoint', str(missing), '--output', str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f'mtl demo: {missing}: no such checkpoint')


def test_the_focal_length_that_is_given_is_that_of_images_without_one():
    image = np.zeros((48, 64, 3), np.uint8)
    own = Camera(50.0, 50.0, 30.0, 20.0)
    assert _calibrated(Frame('own', image, camera=own), 100.0).camera == own
    found = _calibrated(Frame('none', image), 100.0)
    assert (found.camera.fx, found.camera.cx, found.camera.cy) == (100.0, 31.5, 23.5)
    assert found.focal_length == 100.0
    assert _calibrated(Frame('none', image), 0.0).camera is None
