"""The node and a camera in processes of their own, and a recorder here of what the node publishes.

Whoever starts them calls ``isolate`` first.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header

from mtl_perception.frame import Frame
from mtl_perception.live.recorder import QUEUE_DEPTH, Recorder
from mtl_perception.messages.stamps import nanoseconds
from mtl_perception.ros.camera import CameraNode
from mtl_perception.ros.node import NODE_NAME
from mtl_perception.ros.transport import transport_environment

START_TIMEOUT = 120.0
END_TIMEOUT = 20.0
"""Seconds to wait for the node to be active, and for a process to end."""

MAX_DOMAIN = 100
"""Domain IDs up to this leave room for ports on every system."""

POLL = 0.1


@dataclass(frozen=True)
class Sent:
    """An image that the camera published: its name in the source, and its stamp in nanoseconds."""

    name: str
    stamp: int


def isolate() -> None:
    """Keep this process and those it starts on this machine, in a domain of their own.

    That is away from the user's robot, and from whoever else does the same. Images of any size get
    through. It works through the environment, so it must come before ROS starts.
    """
    os.environ.update(transport_environment(os.environ))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    domain = 1 + os.getpid() % MAX_DOMAIN
    if str(domain) == os.environ.get('ROS_DOMAIN_ID'):
        domain = 1 + domain % MAX_DOMAIN
    os.environ['ROS_DOMAIN_ID'] = str(domain)


class RecordedNode:
    """The node's process and what is recorded of it.

    Attributes:
        recorder: subscribes to the node's outputs and diagnostics.
        pid: of the node's process.
    """

    def __init__(
        self, process: subprocess.Popen, recorder: Recorder, topics: int, log: Path
    ) -> None:
        self.recorder = recorder
        self.pid = process.pid
        self._process = process
        self._topics = topics
        self._log = log

    def wait_until_active(self) -> None:
        """Wait until the node takes images and knows that its outputs are subscribed to.

        Raises:
            ValueError: it did not come to that; the text says why.
        """

        def is_ready() -> bool:
            values = self.recorder.diagnostics
            return values.get('state') == 'active' and int(values['subscribers']) >= self._topics

        self.spin_until(is_ready, START_TIMEOUT, 'the node was not active')

    def wait_until_idle(self) -> None:
        """Wait until the node has said, after its last image, what became of all of them.

        Raises:
            ValueError: it could not use an image, or did not finish.
        """
        recorder = self.recorder
        seen = recorder.diagnostics_count

        def is_idle() -> bool:
            # The next status may have been made before the last image was done.
            if recorder.diagnostics_count < seen + 2:
                return False
            values = recorder.diagnostics
            if int(values['bad messages']) or int(values['failed']):
                msg = f'the node could not use an image: {values["last problem"]}'
                raise ValueError(msg)
            published = int(values['published'])
            done = published + int(values['overtaken'])
            return done == int(values['received']) and len(recorder.complete()) == published

        self.spin_until(is_idle, END_TIMEOUT, 'the node did not finish its images')

    def spin_until(self, is_done: Callable[[], bool], timeout: float, problem: str) -> None:
        """Record until ``is_done``.

        Raises:
            ValueError: the node ended, or it took more than ``timeout`` seconds; then the text is
                ``problem``, and why.
        """
        deadline = time.monotonic() + timeout
        while not is_done():
            rclpy.spin_once(self.recorder, timeout_sec=POLL)
            if self._process.poll() is not None:
                msg = f'the node ended with status {self._process.returncode}: {self._last_words()}'
                raise ValueError(msg)
            if time.monotonic() > deadline:
                why = self.recorder.diagnostics_message or 'it says nothing on /diagnostics'
                msg = f'{problem} within {timeout:.0f} s: {why}'
                raise ValueError(msg)

    def _last_words(self) -> str:
        return self._log.read_text(errors='replace').rstrip().rpartition('\n')[2]


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
    """Start the node and record it; at the end let it end by SIGINT, as Ctrl+C would.

    Args:
        namespace: of the node.
        topics: of the outputs to record, fully qualified, and their message classes.
        image: topic to take images from.
        camera_info: topic to take calibrations from.
        parameters: of the node.
        log: file for what it prints.
        keep_data: see ``Recorder``.
    """
    command = [sys.executable, '-m', 'mtl_perception.ros.node', '--ros-args']
    command += ['--remap', f'__ns:={namespace}', '--remap', f'~/image:={image}']
    command += ['--remap', f'~/camera_info:={camera_info}']
    for name, value in parameters.items():
        command += ['--param', f'{name}:={value}']
    for topic in topics:
        # The recorder must miss nothing, however late it is.
        command += ['--param', f'qos_overrides.{topic}.publisher.depth:={QUEUE_DEPTH}']
    with log.open('w') as file, subprocess.Popen(command, stdout=file, stderr=file) as process:  # noqa: S603
        try:
            with recording(topics, f'{namespace}/{NODE_NAME}', keep_data=keep_data) as recorder:
                yield RecordedNode(process, recorder, len(topics), log)
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
    """Start ROS in this process, with a recorder; the arguments are ``Recorder``'s."""
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
