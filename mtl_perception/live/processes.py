"""Start a node and a camera in processes of their own, and record the node.

Call ``isolate`` before the first process is started.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header

from mtl_perception.frame import Frame
from mtl_perception.live.recorder import LOSSLESS_QOS, Recorder
from mtl_perception.messages.stamps import nanoseconds
from mtl_perception.ros.camera import CameraNode
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.ros.transport import transport_environment

START_TIMEOUT = 120.0
"""Longest time until the node is active or publishes its first result, in seconds."""

END_TIMEOUT = 20.0
"""Longest time until a process has ended or the node has finished its images, in seconds."""

MAX_DOMAIN = 100
"""Largest domain ID that leaves room for ports on every system."""


@dataclass(frozen=True)
class Sent:
    """An image that the camera published: its name in the source, and its stamp in nanoseconds."""

    name: str
    stamp: int


def isolate() -> None:
    """Keep this process and its children in a ROS domain of their own on this machine.

    This separates them from the robot and from other users, and lets images of any size through.
    It sets environment variables, so call it before ROS starts.
    """
    os.environ.update(transport_environment(os.environ))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    domain = 1 + os.getpid() % MAX_DOMAIN
    if str(domain) == os.environ.get('ROS_DOMAIN_ID'):
        domain = 1 + domain % MAX_DOMAIN
    os.environ['ROS_DOMAIN_ID'] = str(domain)


class RecordedNode:
    """Process of a node and its recorder.

    Attributes:
        recorder: Subscriber of the node's outputs and diagnostics.
        pid: Process ID of the node.
    """

    def __init__(self, process: subprocess.Popen, recorder: Recorder, log: Path) -> None:
        self.recorder = recorder
        self.pid = process.pid
        self._process = process
        self._log = log

    def wait_until_active(self) -> None:
        """Wait until the node accepts images and has found all subscribers.

        Raises:
            ValueError: The node ended or was not active in time.
        """

        def is_ready() -> bool:
            situation = self.recorder.status.situation
            topics = len(self.recorder.topics)
            return situation.phase == 'active' and situation.subscribers >= topics

        self.spin_until(is_ready, START_TIMEOUT, 'the node was not active')

    def wait_until_idle(self) -> None:
        """Wait until the node has finished all images and their results have arrived.

        Raises:
            ValueError: The node ended, could not use an image, or did not finish in time.
        """
        recorder = self.recorder
        is_idle = partial(recorder.is_idle, recorder.statuses)
        self.spin_until(is_idle, END_TIMEOUT, 'the node did not finish its images')
        if recorder.counts.bad or recorder.counts.failed:
            msg = f'the node could not use an image: {recorder.status.snapshot.problem}'
            raise ValueError(msg)

    def spin_until(self, condition: Callable[[], object], timeout: float, problem: str) -> None:
        """Record until ``condition`` holds.

        Args:
            condition: Condition to wait for.
            timeout: Longest time to wait, in seconds.
            problem: Text of the error if the condition does not hold in time.

        Raises:
            ValueError: The node ended, or the time is over.
        """
        recorder, process = self.recorder, self._process
        recorder.spin_until(lambda: process.poll() is not None or condition(), timeout)
        self.check_running()
        if not condition():
            msg = f'{problem} within {timeout:.0f} s: {recorder.status.message}'
            raise ValueError(msg)

    def spin_for(self, seconds: float) -> None:
        """Record for ``seconds``.

        Raises:
            ValueError: The node ended.
        """
        self.recorder.spin_for(seconds)
        self.check_running()

    def check_running(self) -> None:
        """Check that the node is running.

        Raises:
            ValueError: The node ended.
        """
        if self._process.poll() is not None:
            last_line = self._log.read_text(errors='replace').rstrip().rpartition('\n')[2]
            msg = f'the node ended with status {self._process.returncode}: {last_line}'
            raise ValueError(msg)


@contextlib.contextmanager
def recorded_node(
    namespace: str,
    topics: Mapping[str, type],
    *,
    image: str,
    camera_info: str,
    parameters: Mapping[str, Any],
    log: Path,
    keep_data: bool = True,
) -> Iterator[RecordedNode]:
    """Start the node and record it; end it with SIGINT, as Ctrl+C would.

    Args:
        namespace: Namespace of the node.
        topics: Message classes of the outputs to record, by fully qualified topic.
        image: Image topic.
        camera_info: CameraInfo topic.
        parameters: Parameters of the node.
        log: File for the output of the process.
        keep_data: Whether to keep the messages in addition to their arrival.
    """
    command = [sys.executable, '-m', 'mtl_perception.ros.node', '--ros-args']
    command += ['--remap', f'__ns:={namespace}', '--remap', f'~/image:={image}']
    command += ['--remap', f'~/camera_info:={camera_info}']
    for name, value in parameters.items():
        command += ['--param', f'{name}:={value}']
    for topic in topics:
        # The recorder must not miss a message, even when it is late.
        command += ['--param', f'qos_overrides.{topic}.publisher.depth:={LOSSLESS_QOS.depth}']
    with log.open('w') as file, subprocess.Popen(command, stdout=file, stderr=file) as process:  # noqa: S603
        try:
            with recording(topics, f'{namespace}/{NODE_NAME}', keep_data=keep_data) as recorder:
                yield RecordedNode(process, recorder, log)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                print(
                    f'the node did not end within {END_TIMEOUT:.0f} s; see {log}', file=sys.stderr
                )


@contextlib.contextmanager
def recording(
    topics: Mapping[str, type], node_name: str, *, keep_data: bool = True
) -> Iterator[Recorder]:
    """Start ROS in this process and yield a ``Recorder`` with these arguments."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    with contextlib.ExitStack() as stack:
        stack.callback(rclpy.try_shutdown)
        recorder = Recorder(topics, node_name, keep_data=keep_data)
        stack.callback(recorder.destroy_node)
        yield recorder


class CameraProcess:
    """A camera's process, and what it says of the images it sent."""

    def __init__(self, process: multiprocessing.process.BaseProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.is_alive()

    def stop(self) -> list[Sent]:
        """Let the camera end; return what it sent.

        Raises:
            ValueError: it does not end.
        """
        self._pipe.send('stop')
        if not self._pipe.poll(END_TIMEOUT):
            msg = f'the camera did not end within {END_TIMEOUT:.0f} s'
            raise ValueError(msg)
        return self._pipe.recv()


@contextlib.contextmanager
def camera_process(
    images: Iterable[Frame],
    rate: float,
    *,
    topic: str,
    frame_id: str,
    focal_length: float | None = None,
) -> Iterator[CameraProcess]:
    """Start a camera that publishes ``images`` again and again, from the first subscriber on.

    Args:
        images: what to publish; sent to the process as a pickle.
        rate: Hz.
        topic: of the image; camera_info lies beside it.
        frame_id: of the optical frame.
        focal_length: Pixels, of images without a camera; ``None``: unknown.
    """
    options = {
        'rate': rate,
        'topic': topic,
        'frame_id': frame_id,
        'focal_length': focal_length,
    }
    with piped_process(_publish, images, options) as (process, pipe):
        yield CameraProcess(process, pipe)


@contextlib.contextmanager
def piped_process(
    target: Callable[..., None], *arguments: Any
) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    """Run ``target``, with the other end of a pipe as its last argument, in a new process.

    It should have ended soon after the context; after an error it is killed.
    """
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    try:
        yield process, ours
    except BaseException:
        process.kill()
        raise
    process.join(END_TIMEOUT)


def _publish(images: Iterable[Frame], options: Mapping[str, Any], pipe: Connection) -> None:
    """Publish until the pipe says stop; then send what was published."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's
    sent: list[Sent] = []

    def on_published(image: Frame, header: Header) -> None:
        sent.append(Sent(image.name, nanoseconds(header)))
        if pipe.poll():
            camera.stop()

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    camera = CameraNode(
        images, loop=True, wait_for_subscriber=True, on_published=on_published, **options
    )
    camera.run()
    pipe.send(sent)
    rclpy.try_shutdown()
