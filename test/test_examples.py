# SPDX-License-Identifier: Apache-2.0
"""The programs in examples/ run and write correct results."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mtl_perception import Predictor
from mtl_perception.data.cityscapes import find_frames
from mtl_perception.network.checkpoint import load_checkpoint

EXAMPLES = Path(__file__).parent.parent / 'examples'

pytestmark = pytest.mark.slow


def run(name: str, *words: object) -> str:
    """Run an example and return its output."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def image(streets) -> Path:
    return find_frames(streets, 'val')[0].image


def overlay_of(image: np.ndarray, checkpoint: Path) -> np.ndarray:
    """Return the overlay of a BGR image, BGR."""
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    overlay = Predictor(checkpoint).predict(rgb, 90.0).overlay(rgb)
    return cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR)


def test_the_picture_example_prints_objects_and_writes_the_overlay(
    image, tiny_checkpoint, tmp_path
):
    overlay = tmp_path / 'overlay.png'
    words = (image, overlay, '--checkpoint', tiny_checkpoint, '--focal-length', 90)
    lines = run('picture.py', *words).splitlines()
    pixels = cv2.imread(str(image))
    prediction = Predictor(tiny_checkpoint).predict(pixels[..., ::-1].copy(), 90.0)
    objects = prediction.resized(*pixels.shape[:2]).objects()
    assert [line.partition(':')[0] for line in lines] == [found.name for found in objects]
    assert f'distance {objects[0].depth:.1f} m' in lines[0]
    assert str(objects[0].box) in lines[0]
    written = cv2.imread(str(overlay))
    assert written.shape == pixels.shape
    assert (written != pixels).any()


def test_the_video_example_draws_every_frame(image, tiny_checkpoint, tmp_path):
    frame = cv2.imread(str(image))
    height, width = frame.shape[:2]
    codec = cv2.VideoWriter_fourcc(*'mp4v')
    writer = cv2.VideoWriter(str(tmp_path / 'drive.mp4'), codec, 10, (width, height))
    for shift in range(3):
        writer.write(np.roll(frame, 8 * shift, axis=1))
    writer.release()
    words = ('--checkpoint', tiny_checkpoint, '--focal-length', 90)
    run('video.py', tmp_path / 'drive.mp4', tmp_path / 'overlay.mp4', *words)
    before, after = (
        cv2.VideoCapture(str(tmp_path / name)) for name in ('drive.mp4', 'overlay.mp4')
    )
    assert after.get(cv2.CAP_PROP_FPS) == 10
    for _ in range(3):
        expected = overlay_of(before.read()[1], tiny_checkpoint).astype(int)
        found = after.read()[1].astype(int)
        assert np.abs(found - expected).mean() < 10  # of the codec
    assert not after.read()[0]


def test_the_bag_example_draws_and_compares_with_the_truth(street_bag, tiny_checkpoint, tmp_path):
    words = (street_bag, tmp_path, '--checkpoint', tiny_checkpoint, '--limit', 2)
    table = run('bag.py', *words)
    assert table.startswith('frames    2\n')
    assert 'not measured' not in table
    pictures = [cv2.imread(str(path)) for path in sorted(tmp_path.iterdir())]
    assert [picture.shape for picture in pictures] == [(64, 128, 3)] * 2
    assert all(picture.std() > 0 for picture in pictures)


def test_the_training_example_changes_the_checkpoint(streets, tiny_checkpoint, tmp_path):
    path = tmp_path / 'tuned.safetensors'
    words = (streets, path, '--initial', tiny_checkpoint, '--steps', 2)
    assert 'val/iou' in run('train.py', *words)
    (before, _), (after, info) = load_checkpoint(tiny_checkpoint), load_checkpoint(path)
    assert info.data == f'nothing; {streets.name}'
    assert info.input_height == 64
    changed = [
        not torch.equal(old, new)
        for old, new in zip(before.parameters(), after.parameters(), strict=True)
    ]
    assert np.mean(changed) > 0.5


def test_an_absent_file_ends_an_example_with_one_line(tmp_path):
    for name in ('picture.py', 'video.py'):
        command = [sys.executable, str(EXAMPLES / name), str(tmp_path / 'absent'), 'out']
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1
        assert f'{tmp_path / "absent"}: cannot be' in done.stderr.splitlines()[-1]
