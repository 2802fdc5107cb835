"""A ROS 2 domain for each test, its nodes and its processes."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from mtl_perception.ros.transport import transport_environment

# Runs of several users of one machine should not meet, nor one test its predecessor.
_domains = (1 + (os.getpid() + i) % 100 for i in itertools.count())


class Ros:
    """What a test needs of ROS: nodes spun together, collected messages, other processes."""

    def __init__(self, context: Context, logs: Path) -> None:
        self.context = context
        self.executor = SingleThreadedExecutor(context=context)
        self.processes: list[subprocess.Popen] = []
        self._logs = logs
        self._node: Node | None = None

    @property
    def node(self) -> Node:
        """The test's own node."""
        if self._node is None:
            self._node = self.add(Node('test', context=self.context))
        return self._node

    def add(self, node: Any) -> Any:
        self.executor.add_node(node)
        return node

    def collect(self, message_type: type, topic: str, qos: QoSProfile | int = 10) -> list:
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
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope='session')
def street_bag(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of the 8 training frames of ``streets``, at 10 Hz, with ground truth."""
    from mtl_perception.data.cityscapes import find_frames
    from mtl_perception.ros.dataset_bag import write_dataset_bag

    path = tmp_path_factory.mktemp('bags') / 'streets'
    write_dataset_bag((frame.read() for frame in find_frames(streets, 'train')), path)
    return path


@pytest.fixture
def make_bag(tmp_path: Path) -> Callable[[list[tuple[str, int, Any]]], Path]:
    """Return a function that writes (topic, time, message) to a bag."""
    from mtl_perception.ros.bag import BagWriter

    def make(entries: list[tuple[str, int, Any]]) -> Path:
        with BagWriter(tmp_path / 'bag') as bag:
            for topic, time, message in entries:
                bag.write_message(topic, time, message)
        return tmp_path / 'bag'

    return make


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ros]:
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
