# SPDX-License-Identifier: Apache-2.0
"""Replays without ROS: figures equal to mtl evaluate, result bags that other readers accept."""

import csv
import itertools
import json
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader

from mtl_perception.bags.messages import IMAGE, deserialize, header, rgb_message
from mtl_perception.bags.replay import Replayed, prefetched
from mtl_perception.bags.writer import BagWriter
from mtl_perception.commands import main
from mtl_perception.data.cityscapes import find_frames
from mtl_perception.evaluation.evaluate import Evaluation
from mtl_perception.evaluation.stability import StabilityScores
from mtl_perception.inference.predictor import Predictor
from mtl_perception.messages.pixels import image_to_map
from mtl_perception.messages.stamps import header_stamp

OUTPUTS = {
    f'/mtl_perception/{topic}'
    for topic in (
        'semantic/image',
        'semantic/color',
        'instance/image',
        'instance/color',
        'depth/image',
        'depth/camera_info',
        'overlay/image',
    )
}
INPUTS = {
    '/camera/image_raw',
    '/camera/camera_info',
    '/ground_truth/semantic/image',
    '/ground_truth/instance/image',
    '/ground_truth/depth/image',
}
TASKS = ('frames', 'measured', 'semantic', 'instance', 'depth')


def run(command: str, *words: object) -> int:
    return main([command, '--device', 'cpu', *map(str, words)])


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / 'metrics.json').read_text())


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / 'per_frame.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def written(bag: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield topic, time and data, read by the reference library of MCAP."""
    (path,) = bag.glob('*.mcap')
    with path.open('rb') as file:
        for _, channel, message in make_reader(file).iter_messages():
            yield channel.topic, message.log_time, message.data


@pytest.fixture(scope='module')
def replayed(street_bag, tiny_checkpoint, tmp_path_factory) -> Path:
    """Return the output of a replay of all frames."""
    output = tmp_path_factory.mktemp('replay')
    assert run('replay', street_bag, '--checkpoint', tiny_checkpoint, '--output', output) == 0
    return output


def test_the_metrics_are_those_of_evaluate_to_the_last_digit(
    replayed, streets, tiny_checkpoint, tmp_path
):
    arguments = ('--split', 'train', '--checkpoint', tiny_checkpoint, '--output', tmp_path)
    assert run('evaluate', '--data', streets, *arguments) == 0
    metrics = metrics_of(replayed)
    assert {task: metrics[task] for task in TASKS} == metrics_of(tmp_path)
    assert metrics['frames'] == 8
    assert metrics['depth']['abs_rel'] > 0


def test_the_result_bag_holds_input_and_predictions_with_stamps_untouched(replayed, street_bag):
    source = {(topic, time): data for topic, time, data in written(street_bag)}
    result = {(topic, time): data for topic, time, data in written(replayed / 'bag')}
    assert Counter(topic for topic, _ in result) == dict.fromkeys(INPUTS | OUTPUTS, 8)
    for (topic, stamp), data in result.items():
        if topic in INPUTS:
            assert data == source[topic, stamp], topic
        assert header_stamp(data) == stamp


def test_a_network_for_labels_alone_is_measured_on_them(street_bag, partial_checkpoint, tmp_path):
    words = ('--checkpoint', partial_checkpoint('semantic'), '--output', tmp_path, '--limit', 2)
    assert run('replay', street_bag, *words) == 0
    metrics = metrics_of(tmp_path)
    assert metrics['instance'] is metrics['depth'] is metrics['stability']['depth_change'] is None
    assert metrics['semantic']['iou_class'] is not None
    assert {row['instances'] for row in rows_of(tmp_path)} == {''}
    topics = {topic for topic, *_ in written(tmp_path / 'bag')}
    names = ('semantic/image', 'semantic/color', 'overlay/image')
    assert topics == INPUTS | {f'/mtl_perception/{name}' for name in names}


def test_the_maps_in_the_result_bag_are_the_predictors(replayed, streets, tiny_checkpoint):
    found: dict[str, list[np.ndarray]] = {}
    for topic, _, data in written(replayed / 'bag'):
        if topic.startswith('/mtl_perception') and topic.endswith('image') and 'over' not in topic:
            found.setdefault(topic.split('/')[2], []).append(image_to_map(deserialize(data, IMAGE)))
    predictor = Predictor(tiny_checkpoint, device='cpu')
    for i, paths in enumerate(find_frames(streets, 'train')):
        frame = paths.read()
        maps = predictor.predict(frame.image, frame.focal_length).resized(*frame.image.shape[:2])
        np.testing.assert_array_equal(found['semantic'][i], maps.labels)
        np.testing.assert_array_equal(found['instance'][i], maps.instances)
        np.testing.assert_array_equal(found['depth'][i], maps.depth)


def test_every_frame_has_a_line_and_every_stage_a_time(replayed):
    rows, metrics = rows_of(replayed), metrics_of(replayed)
    assert [row['stamp'][-11:] for row in rows] == [f'0.{i}00000000' for i in range(8)]
    assert np.mean([float(row['abs_rel']) for row in rows]) > 0
    assert [row['label_change'] == '' for row in rows] == [True] + 7 * [False]
    stages = {'decode', 'preprocess', 'network', 'instance', 'depth', 'metrics', 'write'}
    assert stages <= set(metrics['milliseconds'])
    for stage in stages:
        values = [float(row[f'{stage}_ms']) for row in rows]
        assert metrics['milliseconds'][stage]['median'] == pytest.approx(
            np.median(values), abs=0.01
        )
    assert metrics['stability']['pairs'] == 7
    assert metrics['fps'] > 0
    assert metrics['bag']['truth']['depth']['matched'] == 8


def test_the_table_states_a_share_of_labels_and_the_mean_change_of_depth():
    def line(depth_change: float | None) -> str:
        stability = StabilityScores(
            pairs=1, valid=0.5, label_change=0.125, depth_change=depth_change
        )
        return str(Replayed(Evaluation().compute(), stability, [], 1.0, None)).splitlines()[-1]

    assert line(0.8264) == (
        'stability 12.5 % of labels change; depth changes by 0.826 on average (|ln ratio|); '
        'flow tracks 50.0 % of all pixels'
    )
    assert 'depth changes by – on average' in line(None)


def test_the_worst_frames_are_pictured(replayed):
    sheet = cv2.imread(str(replayed / 'frames.png'))
    # A heading and six frames with a caption each; seven panels.
    assert sheet.shape[1] == 7 * 320 + 6 * 4
    assert sheet.shape[0] == 28 + 6 * (22 + 160)


def test_without_truth_there_is_a_report_all_the_same(streets, tiny_checkpoint, tmp_path):
    images = [paths.read_image() for paths in find_frames(streets, 'train')]
    with BagWriter(tmp_path / 'bag') as bag:
        for i, image in enumerate(images, 1):
            bag.write_message('/cam', i, rgb_message(image, header(i, 'cam')))
    output = tmp_path / 'out'
    arguments = ('--checkpoint', tiny_checkpoint, '--output', output, '--no-bag', '--every', 2)
    assert run('replay', tmp_path / 'bag', *arguments) == 0
    metrics = metrics_of(output)
    assert metrics['frames'] == 4
    assert set(metrics['measured'].values()) == {0}
    assert metrics['semantic'] is metrics['instance'] is metrics['depth'] is None
    assert metrics['stability']['pairs'] == 3
    sheet = cv2.imread(str(output / 'frames.png'))
    assert sheet.shape[1] == 4 * 320 + 3 * 4
    assert not (output / 'bag').exists()


@pytest.mark.slow
def test_ros_is_not_needed(street_bag, tiny_checkpoint, tmp_path):
    code = (
        'import sys\n'
        "sys.modules['rclpy'] = sys.modules['sensor_msgs'] = sys.modules['std_msgs'] = None\n"
        'from mtl_perception.commands import main\n'
        "if __name__ == '__main__':\n"
        '    sys.exit(main(sys.argv[1:]))\n'
    )
    script = tmp_path / 'script.py'
    script.write_text(code)
    words = ['replay', street_bag, '--checkpoint', tiny_checkpoint, '--device', 'cpu']
    words += ['--output', tmp_path, '--limit', 2]
    subprocess.run([sys.executable, script, *map(str, words)], check=True, capture_output=True)
    assert metrics_of(tmp_path)['frames'] == 2
    assert {topic for topic, *_ in written(tmp_path / 'bag')} == INPUTS | OUTPUTS


def write_noise(path: Path, frames: int, size: int) -> None:
    """Write a bag that cannot be compressed."""
    images = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3), np.uint8)
    with BagWriter(path) as bag:
        for i, image in enumerate(images, 1):
            bag.write_message('/cam', i, rgb_message(image, header(i, 'cam')))


def test_a_disk_that_fills_up_costs_the_result_bag_alone(tiny_checkpoint, tmp_path):
    write_noise(tmp_path / 'noise', frames=40, size=128)
    output = tmp_path / 'out'
    words = ['replay', tmp_path / 'noise', '--checkpoint', tiny_checkpoint, '--output', output]
    # In a process of its own: libraries of this one may write files meanwhile.
    result = subprocess.run(
        [sys.executable, '-m', 'mtl_perception', *map(str, words)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, 2_500_000)),
    )
    assert result.returncode == 1
    error = result.stderr.splitlines()[-1]
    assert error == f'mtl replay: {output / "bag"}: the bag cannot be written (File too large)'
    assert metrics_of(output)['frames'] == len(rows_of(output)) == 40
    assert {path.name for path in output.iterdir()} == {
        'frames.png',
        'metrics.json',
        'per_frame.csv',
    }


def test_a_truncated_bag_is_measured_up_to_its_end(tiny_checkpoint, tmp_path, capsys):
    write_noise(tmp_path / 'bag', frames=20, size=256)
    (path,) = (tmp_path / 'bag').glob('*.mcap')
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    arguments = ('--checkpoint', tiny_checkpoint, '--output', tmp_path / 'out')
    assert run('replay', tmp_path / 'bag', *arguments) == 0
    metrics = metrics_of(tmp_path / 'out')
    assert 0 < metrics['frames'] < 20
    assert any('cut off' in note for note in metrics['bag']['notes'])
    assert 'cut off' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (('absent',), 'absent: no such bag'),
        (('empty',), 'not a bag'),
        (('{bag}', '--image-topic', '/none'), 'no topic /none'),
        (('{bag}', '--rate', '2'), '--rate needs --live'),
        (('{bag}', '--start', '60'), 'no image of the bag can be used'),
    ],
)
def test_what_cannot_be_replayed_is_one_line(
    street_bag, tiny_checkpoint, tmp_path, monkeypatch, capsys, words, reason
):
    monkeypatch.chdir(tmp_path)
    Path('empty').mkdir()
    arguments = [word.format(bag=street_bag) for word in words]
    assert run('replay', *arguments, '--checkpoint', tiny_checkpoint) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('mtl replay: ')
    assert reason in error


def test_a_bag_with_two_image_topics_names_the_option(make_bag, tmp_path, capsys):
    image = rgb_message(np.zeros((4, 6, 3), np.uint8), header(1, 'cam'))
    path = make_bag([('/left', 1, image), ('/right', 1, image)])
    assert run('replay', path, '--output', tmp_path / 'out') == 1
    assert '/right (1); choose one with --image-topic' in capsys.readouterr().err


def test_frames_without_calibration_are_noted_with_the_option(
    make_bag, tiny_checkpoint, tmp_path, capsys
):
    path = make_bag([('/cam', 1, rgb_message(np.zeros((64, 96, 3), np.uint8), header(1, 'cam')))])
    arguments = ('--checkpoint', tiny_checkpoint, '--output', tmp_path / 'out', '--no-bag')
    assert run('replay', path, *arguments) == 0
    printed = capsys.readouterr().out
    assert '1 frames have no usable CameraInfo' in printed
    assert '--focal-length' in printed
    (note,) = metrics_of(tmp_path / 'out')['bag']['notes']
    assert note.startswith('1 frames have no usable CameraInfo')
    assert '--focal-length' not in note


def test_items_are_taken_in_advance_and_in_order():
    taken = []

    def items() -> Iterator[int]:
        for i in range(6):
            taken.append(i)
            yield i

    stream = prefetched(items(), 3)
    assert next(stream) == 0
    deadline = time.monotonic() + 10
    while len(taken) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(stream) == [1, 2, 3, 4, 5]


def test_an_error_while_reading_reaches_the_reader():
    def items() -> Iterator[int]:
        yield 1
        msg = 'broken'
        raise ValueError(msg)

    stream = prefetched(items(), 3)
    assert next(stream) == 1
    with pytest.raises(ValueError, match='broken'):
        next(stream)


def test_a_closed_stream_has_no_thread():
    before = threading.active_count()
    stream = prefetched(itertools.count(), 3)
    assert next(stream) == 0
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before


def test_stages_work_on_different_items_at_the_same_time():
    last = 5
    meeting = threading.Barrier(2, timeout=10)

    def first(item: int) -> int:
        if item != 0:
            meeting.wait()
        return item

    def second(item: int) -> int:
        if item != last:
            meeting.wait()
        return item

    done = prefetched(map(first, range(last + 1)), 3)
    assert list(prefetched(map(second, done), 3)) == list(range(last + 1))
