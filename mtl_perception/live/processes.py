# SPDX-License-Identifier: Apache-2.0
"""Start a node in a process of its own, and record it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtl_perception.live.recorder import (
    END_TIMEOUT,
    LOSSLESS_QOS,
    START_TIMEOUT,
    NodeError,
    Recorder,
    recording,
)
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.ros.transport import transport_environment

MAX_DOMAIN = 100
"""Largest domain ID that leaves room for ports on every system."""


def camera_topic(namespace: str) -> str:
    """Return the image topic of a ``recorded_node``."""
    return f'{namespace}/camera/image'


@contextlib.contextmanager
def recorded_node(
    namespace: str,
    topics: Mapping[str, type],
    log: Path,
    *,
    keep_data: bool = True,
    **parameters: Any,
) -> Iterator[tuple[Recorder, int]]:
    """Start a node and record it; end it with SIGINT, as Ctrl+C would.

    The node takes images from ``camera_topic`` and CameraInfo from the topic next to it. This
    process and its children get a ROS domain of their own, so ROS must not run yet.

    Args:
        namespace: Namespace of the node.
        topics: Message classes of the outputs to record, by fully qualified topic.
        log: File for the output of the node.
        keep_data: Whether to keep the messages in addition to their arrival.
        parameters: Parameters of the node.

    Yields:
        Recorder of the running node, which raises NodeError once the node has ended, and the
        process ID of the node.

    Raises:
        NodeError: The node does not start.
    """
    image = camera_topic(namespace)
    command = [sys.executable, '-m', 'mtl_perception.ros.node', '--ros-args']
    command += ['--remap', f'__ns:={namespace}', '--remap', f'~/image:={image}']
    command += ['--remap', f'~/camera_info:={image.rpartition("/")[0]}/camera_info']
    for topic in topics:
        # The recorder must not miss a message, even when it is late.
        parameters[f'qos_overrides.{topic}.publisher.depth'] = LOSSLESS_QOS.depth
    for parameter, value in parameters.items():
        command += ['--param', f'{parameter}:={value}']

    def check() -> None:
        if process.poll() is not None:
            last_line = log.read_text(errors='replace').rstrip().rpartition('\n')[2]
            msg = f'the node ended with status {process.returncode}: {last_line}'
            raise NodeError(msg)

    _isolate()
    name = f'{namespace}/{NODE_NAME}'
    with log.open('w') as file, subprocess.Popen(command, stdout=file, stderr=file) as process:  # noqa: S603
        try:
            with recording(topics, name, keep_data=keep_data, check=check) as recorder:
                recorder.expect(lambda: recorder.statuses, START_TIMEOUT, 'the node did not start')
                yield recorder, process.pid
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                print(
                    f'the node did not end within {END_TIMEOUT:.0f} s; see {log}', file=sys.stderr
                )


def _isolate() -> None:
    """Keep away from the robot and from other users, and let images of any size through."""
    os.environ.update(transport_environment(os.environ))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    domain = 1 + os.getpid() % MAX_DOMAIN
    if str(domain) == os.environ.get('ROS_DOMAIN_ID'):
        domain = 1 + domain % MAX_DOMAIN
    os.environ['ROS_DOMAIN_ID'] = str(domain)
