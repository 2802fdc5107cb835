# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several tests share, and the rule for tests that need ROS."""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node
    from rclpy.qos import QoSProfile

ROS_TESTS = [Path(__file__).parent / name for name in ('ros', 'live', 'benchmark/test_node.py')]
"""Folders and files that import ROS; all their tests have the marker ``ros``."""

HAS_ROS = all(map(find_spec, ('rclpy', 'sensor_msgs', 'diagnostic_msgs')))


class _Unimportable(pytest.File):
    """File that imports ROS where ROS is not installed or wanted: one test that is skipped."""

    def collect(self) -> Iterator[pytest.Item]:
        yield _Skipped.from_parent(self, name='needs_ros')


class _Skipped(pytest.Item):
    def runtest(self) -> None:
        pytest.fail('pytest_runtest_setup skips this test')


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    if not any(module_path.is_relative_to(path) for path in ROS_TESTS):
        return None
    # ROS starts threads when it is imported: a process for the other tests should not import it.
    is_deselected = 'not ros' in parent.config.option.markexpr
    kind = pytest.Module if HAS_ROS and not is_deselected else _Unimportable
    module = kind.from_parent(parent, path=module_path)
    module.add_marker('ros')
    return module


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker('ros') and not HAS_ROS:
        pytest.skip('rclpy or its messages are not installed')


@pytest.fixture(scope='session', autouse=True)
def _caches_of_this_run() -> Iterator[None]:
    """Keep the caches of the tests, mostly compiled models, out of the user's folder."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', folder)
        yield


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a small network for inputs of 64 rows.

    The weights are random. The biases make it predict a few cars, and depths of some metres.
    """
    import torch

    from mtl_perception.network.checkpoint import CheckpointInfo, save_checkpoint
    from mtl_perception.network.multitask import MultiTaskNetwork, NetworkConfig

    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig(encoder='resnet18', stride=16, head_width=16))
    with torch.no_grad():
        network.heads['semantic'][-1].bias[26] += 0.7
        network.heads['instance'][-1].bias.copy_(torch.tensor([-24.0, 0.0]))
        network.heads['depth'][-1].bias.fill_(1.0)
    path = tmp_path_factory.mktemp('checkpoint') / 'tiny.safetensors'
    save_checkpoint(path, network, CheckpointInfo(network.config, input_height=64, data='nothing'))
    return path


@pytest.fixture(scope='session')
def partial_checkpoint(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Return a function that writes ``tiny_checkpoint`` with the heads of some tasks only."""
    from dataclasses import replace

    from mtl_perception.network.checkpoint import load_checkpoint, save_checkpoint
    from mtl_perception.network.multitask import MultiTaskNetwork

    network, info = load_checkpoint(tiny_checkpoint)

    def write(*tasks: str) -> Path:
        config = replace(info.network, tasks=tasks)
        part = MultiTaskNetwork(config)
        part.load_state_dict(network.state_dict(), strict=False)
        path = tmp_path_factory.mktemp('checkpoint') / 'partial.safetensors'
        save_checkpoint(path, part, replace(info, network=config))
        return path

    return write


@pytest.fixture
def frame() -> Any:
    """Return a frame of blocks whose colour, label, instance and depth belong together."""
    import numpy as np

    from mtl_perception.frame import Camera, Frame

    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 4, (8, 16)).repeat(8, 0).repeat(8, 1)
    return Frame(
        name='blocks',
        image=np.array([[10] * 3, [80] * 3, [160] * 3, [240] * 3], np.uint8)[blocks],
        labels=np.array([7, 23, 26, 24], np.uint8)[blocks],
        instances=np.array([7, 23, 26000, 24005], np.uint16)[blocks],
        depth=np.array([4.0, np.inf, 12.0, 30.0], np.float32)[blocks],
        camera=Camera(140.0, 140.0, 63.5, 31.5),
    )


@pytest.fixture(scope='session')
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of synthetic streets with 8 training and 2 validation frames."""
    from mtl_perception.data.cityscapes import write_frame
    from mtl_perception.synthetic import synthetic_frame

    root = tmp_path_factory.mktemp('streets')
    for split, seed, count in (('train', 0, 8), ('val', 1, 2)):
        for index in range(count):
            write_frame(root, split, synthetic_frame(seed, index, height=64, width=128))
    return root


@pytest.fixture(scope='session')
def street_bag(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of the 8 training frames of ``streets``, at 10 Hz, with ground truth."""
    from mtl_perception.bags.dataset import write_dataset_bag
    from mtl_perception.data.cityscapes import find_frames

    path = tmp_path_factory.mktemp('bags') / 'streets'
    write_dataset_bag((frame.read() for frame in find_frames(streets, 'train')), path)
    return path


@pytest.fixture
def make_bag(tmp_path: Path) -> Callable[[list[tuple[str, int, Any]]], Path]:
    """Return a function that writes (topic, nanoseconds, message) entries to a bag."""
    from mtl_perception.bags.writer import BagWriter

    def make(entries: list[tuple[str, int, Any]]) -> Path:
        with BagWriter(tmp_path / 'bag') as bag:
            for topic, time, message in entries:
                bag.write_message(topic, time, message)
        return tmp_path / 'bag'

    return make


# Test runs of several users of one machine need different domains, and so do successive tests.
_domains = (1 + (os.getpid() + i) % 100 for i in itertools.count())


class Ros:
    """Node of a test, nodes spun with it, collected messages and other processes."""

    def __init__(self, node: 'Node', executor: 'Executor', logs: Path) -> None:
        self.node = node
        self.context = node.context
        self.executor = executor
        self.processes: list[subprocess.Popen] = []
        self._logs = logs
        self.add(node)

    def add(self, node: Any) -> Any:
        self.executor.add_node(node)
        return node

    def collect(self, message_type: type, topic: str, qos: 'QoSProfile | int' = 10) -> list:
        """Return a list to which every new message of the topic is appended."""
        messages: list = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def spin_until(self, condition: Callable[[], Any], timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f'not within {timeout} s; {self.logs()}'
            self.executor.spin_once(timeout_sec=0.05)
            time.sleep(0.001)  # without a pause, frequent callbacks starve the other threads

    def status(self, diagnostics: list, text: str) -> Any:
        """Spin until the latest diagnostics contain ``text``; return that status."""
        self.spin_until(lambda: diagnostics and text in diagnostics[-1].status[0].message)
        return diagnostics[-1].status[0]

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start ``python -m`` with these arguments in the domain of the test."""
        log = (self._logs / f'{len(self.processes)}.log').open('w')
        with log:
            process = subprocess.Popen(
                [sys.executable, '-m', *arguments], stdout=log, stderr=subprocess.STDOUT
            )
        self.processes.append(process)
        return process

    def logs(self) -> str:
        return '\n'.join(path.read_text() for path in sorted(self._logs.glob('*.log')))

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=30)
        for node in list(self.executor.get_nodes()):
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ros]:
    """Return ROS in a domain of its own."""
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor

    from mtl_perception.ros.transport import transport_environment

    domain = next(_domains)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    for name, value in transport_environment(os.environ).items():
        monkeypatch.setenv(name, value)
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    logs = tmp_path / 'processes'
    logs.mkdir()
    node = rclpy.create_node('test', context=context)
    world = Ros(node, SingleThreadedExecutor(context=context), logs)
    yield world
    world.close()
