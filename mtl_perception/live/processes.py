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
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions

from mtl_perception.frame import Frame
from mtl_perception.live.recorder import LOSSLESS_QOS, Recorder
from mtl_perception.ros.camera import CameraNode
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.ros.transport import transport_environment

START_TIMEOUT = 120.0
"""Longest time until the node is active or publishes its first result, in seconds."""

END_TIMEOUT = 20.0
"""Longest time until a process has ended or the node has finished its images, in seconds."""

MAX_DOMAIN = 100
"""Largest domain ID that leaves room for ports on every system."""


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
            status = self.recorder.status
            topics = len(self.recorder.topics)
            return status.phase == 'active' and status.subscribers >= topics

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
            msg = f'the node could not use an image: {recorder.status.problem}'
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


def camera_topic(namespace: str) -> str:
    """Return the image topic of a ``recorded_node``."""
    return f'{namespace}/camera/image'


@contextlib.contextmanager
def recorded_node(
    namespace: str,
    topics: Mapping[str, type],
    *,
    checkpoint: Path,
    device: str,
    runtime: str,
    log: Path,
    keep_data: bool = True,
) -> Iterator[RecordedNode]:
    """Start the node and record it; end it with SIGINT, as Ctrl+C would.

    The node takes images from ``camera_topic`` and CameraInfo from the topic next to it.

    Args:
        namespace: Namespace of the node.
        topics: Message classes of the outputs to record, by fully qualified topic.
        checkpoint: Checkpoint of the node.
        device: Device of the node.
        runtime: Runtime of the node.
        log: File for the output of the process.
        keep_data: Whether to keep the messages in addition to their arrival.
    """
    image = camera_topic(namespace)
    command = [sys.executable, '-m', 'mtl_perception.ros.node', '--ros-args']
    command += ['--remap', f'__ns:={namespace}', '--remap', f'~/image:={image}']
    command += ['--remap', f'~/camera_info:={image.rpartition("/")[0]}/camera_info']
    command += ['--param', f'checkpoint:={checkpoint.resolve()}', '--param', f'device:={device}']
    command += ['--param', f'runtime:={runtime}']
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


@contextlib.contextmanager
def camera_process(
    images: Iterable[Frame], rate: float, *, topic: str, frame_id: str
) -> Iterator[Callable[[], int]]:
    """Start a camera that publishes ``images`` in a loop once its topic has a subscriber.

    Args:
        images: Images to publish, sent to the process as a pickle.
        rate: Images per second.
        topic: Image topic; camera_info is next to it.
        frame_id: Optical frame of the camera.

    Yields:
        Function that ends the camera and returns the number of images it published; it raises
        ValueError if the camera does not end.
    """
    options = {'rate': rate, 'topic': topic, 'frame_id': frame_id}
    with piped_process(_publish, images, options) as pipe:

        def stop() -> int:
            pipe.send('stop')
            if not pipe.poll(END_TIMEOUT):
                msg = f'the camera did not end within {END_TIMEOUT:.0f} s'
                raise ValueError(msg)
            return pipe.recv()

        yield stop


@contextlib.contextmanager
def piped_process(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Run ``target`` in a new process and yield one end of a pipe to it.

    The other end is the last argument of ``target``. The process should end soon after the
    context; it is killed after an error.
    """
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    try:
        yield ours
    except BaseException:
        process.kill()
        raise
    process.join(END_TIMEOUT)


def _publish(images: Iterable[Frame], options: Mapping[str, Any], pipe: Connection) -> None:
    """Publish until the pipe has a message; answer with the number of published images."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent process handles Ctrl+C.

    def on_published(*_: object) -> None:
        if pipe.poll():
            camera.stop()

    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    camera = CameraNode(
        images, loop=True, wait_for_subscriber=True, on_published=on_published, **options
    )
    camera.run()
    pipe.send(camera.published)
    rclpy.try_shutdown()
