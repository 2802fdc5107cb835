# SPDX-License-Identifier: Apache-2.0
"""Lifecycle node ``mtl_perception``: images in, labels, instances and depth out.

This module joins the parts: transitions, parameters, subscriptions and publishers.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import (
    LifecycleNode,
    LifecyclePublisher,
    LifecycleState,
    TransitionCallbackReturn,
)
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mtl_perception.inference.predictor import Predictor
from mtl_perception.labels import LABELS
from mtl_perception.memory import release_freed_memory, reuse_freed_memory
from mtl_perception.resources import checkpoint_path
from mtl_perception.ros import parameters
from mtl_perception.ros.diagnostics import Phase, Situation, Snapshot
from mtl_perception.ros.heartbeat import Heartbeat, State
from mtl_perception.ros.outputs import OUTPUTS, Output, available_outputs
from mtl_perception.ros.pipeline import Pipeline, warm_up
from mtl_perception.ros.transport import transport_environment

NODE_NAME = 'mtl_perception'

SPIN_TIMEOUT = 1.0
"""Longest time between two checks for shutdown, in seconds."""

OVERRIDABLE: dict[str, Any] = {
    'qos_overriding_options': QoSOverridingOptions.with_default_policies()
}
"""Options of publishers and subscriptions that let parameters override the QoS."""

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """Node that runs the network on the newest image; docs/node.md lists topics and parameters.

    Args:
        options: Options of ``rclpy.lifecycle.LifecycleNode``.

    Raises:
        rclpy.exceptions.ParameterException: A parameter has a wrong type or is out of range.
        ValueError: A parameter is not among its choices.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NODE_NAME, **options)
        self._phase: Phase = 'unconfigured'
        self._failure = ''
        self._predictor: Predictor | None = None
        self._pipeline: Pipeline | None = None
        self._image_input: Subscription | None = None
        self._camera_info_input: Subscription | None = None
        self._publish_label_info: Callable[[], None]
        # The heartbeat reads publishers and subscriptions that a transition may be destroying.
        self._entities = threading.Lock()
        self._heartbeat = Heartbeat(self, self._state, self._entities)
        # rclpy destroys even a node whose parameters are refused, so all of the above comes first.
        parameters.declare(self)
        self._values = parameters.read(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._autostart = self.create_timer(
            0.0, self._start, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._heartbeat.start()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the checkpoint and create the publishers."""
        self._phase, self._failure = 'loading', ''
        try:
            self._configure()
        except Exception as err:
            self._refuse('configure', err)
            self._release()
            self._phase = 'unconfigured'
            return FAILURE
        self._phase = 'inactive'
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, start the pipeline and subscribe."""
        self._failure = ''
        result = super().on_activate(state)
        try:
            self._activate()
        except Exception as err:
            self._refuse('activate', err)
            self._deactivate()
            super().on_deactivate(state)
            return FAILURE
        with self._entities:
            self._heartbeat.problems = 0
            self._phase = 'active'
        self.get_logger().info(f'active: subscribed to {self._image_topic()}')
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, finish the images in work and disable the publishers."""
        self._leave('deactivate', self._deactivate, 'inactive')
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the network and the publishers."""
        self._leave('clean up', self._release, 'unconfigured')
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the network, the publishers and the subscriptions, from any state."""
        self._leave('shut down', self._release, 'finalized')
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release all resources, so that the node can be configured again."""
        self._leave('recover', self._release, 'unconfigured')
        return super().on_error(state)

    def destroy_node(self) -> None:
        """Release all resources, including the node's services."""
        self._heartbeat.stop()
        self._release()
        super().destroy_node()

    def _start(self) -> None:
        self._autostart.cancel()
        if not self._values.autostart or self._phase != 'unconfigured':
            return
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _configure(self) -> None:
        values = self._values
        checkpoint = checkpoint_path(values.checkpoint)
        self.get_logger().info(f'loading {checkpoint}')
        self._predictor = predictor = Predictor(
            checkpoint,
            device=values.device,
            runtime=values.runtime,
            max_depth=values.max_depth,
            grouping=values.grouping,
        )
        self.get_logger().info(predictor.description)
        self.get_logger().info('warming up; the first run compiles code for this machine')
        outputs = available_outputs(predictor.tasks)
        warm_up(predictor, outputs)
        release_freed_memory()
        with self._entities:
            self._publish_label_info = _label_info_publisher(self)
            create = self.create_lifecycle_publisher
            publishers: dict[Output, LifecyclePublisher] = {
                output: create(output.type, f'~/{output.topic}', 1, **OVERRIDABLE)
                for output in outputs
            }
            self._pipeline = Pipeline(
                predictor,
                publishers,
                values,
                expects_camera_info=self._expects_camera_info,
                context=self.context,
                clock=self.get_clock(),
                logger=self.get_logger(),
            )
        absent = [f'~/{output.topic}' for output in OUTPUTS if output not in outputs]
        if absent:
            self.get_logger().warning(
                f'the network has only the tasks {", ".join(predictor.tasks)}: no publisher of '
                f'{", ".join(absent)}'
            )

    def _activate(self) -> None:
        if self._pipeline is None:
            msg = 'the node is not configured'
            raise RuntimeError(msg)
        self._pipeline.start()
        self._publish_label_info()
        self._camera_info_input = self._subscribe(
            CameraInfo, '~/camera_info', self._pipeline.on_camera_info
        )
        image_type = CompressedImage if self._values.image_transport == 'compressed' else Image
        self._image_input = self._subscribe(
            image_type, self._image_topic(), self._pipeline.on_image
        )

    def _subscribe(self, message_type: type, topic: str, callback: Any) -> Subscription:
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        return self.create_subscription(message_type, topic, callback, qos, **OVERRIDABLE)

    def _image_topic(self) -> str:
        """Return the topic of the images; remapping ~/image moves the compressed topic too."""
        image = self.resolve_topic_name('~/image')
        return f'{image}/compressed' if self._values.image_transport == 'compressed' else image

    def _expects_camera_info(self) -> bool:
        return self.count_publishers(self.resolve_topic_name('~/camera_info')) > 0

    def _deactivate(self) -> None:
        with self._entities:
            for subscription in filter(None, (self._image_input, self._camera_info_input)):
                self.destroy_subscription(subscription)
            self._image_input = self._camera_info_input = None
        if self._pipeline is not None:
            self._pipeline.stop()

    def _release(self) -> None:
        self._deactivate()
        with self._entities:
            self._pipeline = None
            for publisher in list(self.publishers):
                if isinstance(publisher, LifecyclePublisher):
                    self.destroy_lifecycle_publisher(publisher)
        predictor, self._predictor = self._predictor, None
        if predictor is not None:
            predictor.close()
            release_freed_memory()

    def _leave(self, transition: str, work: Callable[[], None], phase: Phase) -> None:
        """Run a transition that cannot be refused; rclpy does not log its failure."""
        self._failure = ''
        try:
            work()
        except Exception as err:
            self._refuse(transition, err)
        self._phase = phase

    def _refuse(self, transition: str, err: Exception) -> None:
        self.get_logger().debug(''.join(traceback.format_exception(err)))
        self._failure = ' '.join(str(err).split()) or type(err).__name__
        if self.context.ok():
            self.get_logger().error(f'cannot {transition}: {self._failure}')

    def _on_set_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        fixed = parameters.fixed(self, changes)
        if fixed and self._phase != 'unconfigured':
            reason = (
                f'{", ".join(fixed)} can only be changed while the node is unconfigured: send the '
                'transitions deactivate and cleanup first'
            )
            return SetParametersResult(successful=False, reason=reason)
        try:
            self._values = parameters.read(self, changes)
        except ValueError as err:
            return SetParametersResult(successful=False, reason=str(err))
        if self._pipeline is not None:
            self._pipeline.apply(self._values)
        return SetParametersResult(successful=True)

    def _state(self) -> State:
        predictor, pipeline = self._predictor, self._pipeline
        facts = {
            'checkpoint': self._values.checkpoint,
            'network': '' if predictor is None else predictor.description,
            'device': self._values.device,
            'image conversion': '' if pipeline is None else pipeline.converter.description,
            'focal length': '' if pipeline is None else pipeline.focal_length,
        }
        situation = Situation(self._phase, self._failure, self._image_topic(), facts=facts)
        if pipeline is None:
            return State(situation, Snapshot(), self._image_input, ())
        snapshot, outputs = pipeline.statistics.snapshot(), pipeline.publishers.values()
        return State(situation, snapshot, self._image_input, outputs)


def _label_info_publisher(node: LifecycleNode) -> Callable[[], None]:
    """Return a function that publishes the label names, if vision_msgs is installed."""
    try:
        from vision_msgs.msg import LabelInfo, VisionClass
    except ImportError:
        node.get_logger().info(
            'no semantic/label_info, as vision_msgs is not installed; the parameter label_names '
            'lists the names too'
        )
        return lambda: None
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_lifecycle_publisher(LabelInfo, '~/semantic/label_info', latched)

    def publish() -> None:
        msg = LabelInfo()
        msg.header.stamp = node.get_clock().now().to_msg()
        msg.class_map = [VisionClass(class_id=label.id, class_name=label.name) for label in LABELS]
        publisher.publish(msg)

    return publish


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until shutdown; return 1 if its parameters are refused, else 0."""
    os.environ.update(transport_environment(os.environ))
    reuse_freed_memory()
    # The network occupies all cores; OpenCV's threads would only wait for it.
    cv2.setNumThreads(1)
    try:
        rclpy.init(args=None if arguments is None else list(arguments))
        node = PerceptionNode()
    except (ParameterException, NameValidationException, RuntimeError, ValueError) as err:
        print(f'mtl_node: {err}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        # Not spin(): a signal just before a wait without timeout may not end the wait.
        while node.context.ok():
            executor.spin_once(timeout_sec=SPIN_TIMEOUT)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # ROS may have been shut down while a callback ran.
        if node.context.ok():
            raise
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
