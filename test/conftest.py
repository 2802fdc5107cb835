"""Fixtures that several tests share."""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rclpy.context import Context
    from rclpy.node import Node
    from rclpy.qos import QoSProfile


@pytest.fixture(scope='session', autouse=True)
def _caches_of_this_run() -> Iterator[None]:
    """Keep what is cached, compiled models above all, out of the user's folder."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', folder)
        yield


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of a small network for inputs of 64 rows.

    Its weights are random, its biases such that it sees a few cars, and everything metres away.
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
    """Return a function that writes ``tiny_checkpoint`` without the heads of all but some tasks."""
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


@pytest.fixture(scope='session')
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small dataset of synthetic streets: 8 frames to train on, 2 to validate on."""
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
    """Return a function that writes (topic, time, message) to a bag."""
    from mtl_perception.bags.writer import BagWriter

    def make(entries: list[tuple[str, int, Any]]) -> Path:
        with BagWriter(tmp_path / 'bag') as bag:
            for topic, time, message in entries:
                bag.write_message(topic, time, message)
        return tmp_path / 'bag'

    return make


# Runs of several users of one machine should not meet, nor one test its predecessor.
_domains = (1 + (os.getpid() + i) % 100 for i in itertools.count())


class Ros:
    """What a test needs of ROS: nodes spun together, collected messages, other processes."""

    def __init__(self, context: 'Context', logs: Path) -> None:
        self.context = context
        from rclpy.executors import SingleThreadedExecutor

        self.executor = SingleThreadedExecutor(context=context)
        self.processes: list[subprocess.Popen] = []
        self._logs = logs
        self._node: Node | None = None

    @property
    def node(self) -> 'Node':
        """The test's own node."""
        from rclpy.node import Node

        if self._node is None:
            self._node = self.add(Node('test', context=self.context))
        return self._node

    def add(self, node: Any) -> Any:
        self.executor.add_node(node)
        return node

    def collect(self, message_type: type, topic: str, qos: 'QoSProfile | int' = 10) -> list:
        """Return a list that the topic's messages are appended to."""
        messages: list = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def spin_until(self, condition: Callable[[], Any], timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f'not within {timeout} s; {self.logs()}'
            self.executor.spin_once(timeout_sec=0.05)
            time.sleep(0.001)  # else, while there is always a callback, no other thread runs

    def start(self, *arguments: str) -> subprocess.Popen:
        """Run ``python -m`` with these arguments in this test's domain."""
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
    rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
    from rclpy.context import Context

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
    world = Ros(context, logs)
    yield world
    world.close()
