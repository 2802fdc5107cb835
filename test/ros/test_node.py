# SPDX-License-Identifier: Apache-2.0
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.exceptions import InvalidParameterValueException, ParameterException
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from mtl_perception import resources
from mtl_perception.inference.predictor import Predictor
from mtl_perception.labels import LABELS
from mtl_perception.ros.messages import Converter, rgb_to_compressed, rgb_to_image
from mtl_perception.ros.node import PerceptionNode, main
from mtl_perception.ros.outputs import OUTPUTS
from mtl_perception.tasks.instance import GroupingParameters

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
Create = Callable[..., PerceptionNode]
PICTURE = np.random.default_rng(0).integers(0, 256, (72, 128, 3), np.uint8)


class LabelInfo:
    """Stand-in for the message of vision_msgs, which no package registry has."""

    def __init__(self) -> None:
        self.header = Header()
        self.class_map: list[Any] = []


@pytest.fixture
def create(ros, tiny_checkpoint: Path) -> Create:
    """Return a function that creates a node with the tiny network in this process."""

    def create_node(cli_args: list[str] | None = None, **parameters) -> PerceptionNode:
        parameters = {'autostart': False, 'checkpoint': str(tiny_checkpoint), **parameters}
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        options = {'parameter_overrides': overrides, 'cli_args': cli_args}
        return ros.add(PerceptionNode(context=ros.context, **options))

    return create_node


@pytest.fixture
def perception(create: Create) -> PerceptionNode:
    return create()


def activate(node: PerceptionNode) -> None:
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS


def set_parameter(node: PerceptionNode, name: str, value) -> tuple[bool, str]:
    (result,) = node.set_parameters([Parameter(name, value=value)])
    return result.successful, result.reason


def image(seconds: int = 1) -> Image:
    header = Header(frame_id='optical')
    header.stamp.sec = seconds
    return rgb_to_image(PICTURE, header)


def connect(ros, node: PerceptionNode, topic: str = 'semantic/image') -> tuple[Any, list[Image]]:
    """Return a publisher of images for an active node, and its collected results."""
    results = ros.collect(Image, f'/mtl_perception/{topic}')
    publisher = ros.node.create_publisher(Image, '/mtl_perception/image', 1)
    ros.spin_until(lambda: publisher.get_subscription_count() and count(node))
    return publisher, results


def values(found: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in found.values}


def entities(node: PerceptionNode) -> tuple[int, int, int]:
    return tuple(len(list(found)) for found in (node.publishers, node.subscriptions, node.timers))


def test_repeated_cycles_leave_nothing_behind(perception: PerceptionNode) -> None:
    counts = []
    for _ in range(3):
        activate(perception)
        assert perception.trigger_deactivate() == SUCCESS
        activated_again = perception.trigger_activate()
        assert activated_again == SUCCESS
        assert perception.trigger_deactivate() == SUCCESS
        assert perception.trigger_cleanup() == SUCCESS
        counts.append(entities(perception))
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.parametrize('before', ['unconfigured', 'inactive', 'active'])
def test_the_node_can_be_shut_down_from_any_state(perception: PerceptionNode, before: str) -> None:
    idle = entities(perception)
    if before != 'unconfigured':
        perception.trigger_configure()
    if before == 'active':
        perception.trigger_activate()
    assert perception.trigger_shutdown() == SUCCESS
    assert entities(perception) == idle


def test_a_missing_checkpoint_fails_the_transition_and_says_so(
    ros, create: Create, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    absent = tmp_path / 'absent.safetensors'
    node = create(checkpoint=str(absent))
    collected = ros.collect(DiagnosticArray, '/diagnostics')
    assert node.trigger_configure() == FAILURE
    log = capfd.readouterr().err
    assert 'cannot configure' in log
    assert str(absent) in log
    found = ros.status(collected, f'not configured: {absent}')
    assert found.level == DiagnosticStatus.ERROR


@pytest.mark.parametrize('name', ['', 'street'])
def test_an_embedded_checkpoint_that_is_not_there_fails_the_transition(
    create: Create,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(resources, 'share_directory', lambda: tmp_path)
    assert create(checkpoint=name).trigger_configure() == FAILURE
    assert (name or 'no checkpoint named') in capfd.readouterr().err


def test_after_a_failure_the_node_can_be_configured_with_better_parameters(
    create: Create, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    garbage = tmp_path / 'garbage.safetensors'
    garbage.write_bytes(b'no checkpoint')
    node = create(checkpoint=str(garbage))
    assert node.trigger_configure() == FAILURE
    assert set_parameter(node, 'checkpoint', str(tiny_checkpoint)) == (True, '')
    activate(node)


def test_an_unknown_device_fails_the_transition(
    create: Create, capfd: pytest.CaptureFixture
) -> None:
    assert create(device='abacus').trigger_configure() == FAILURE
    assert "unknown device 'abacus'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ('name', 'value'),
    [('max_depth', -1.0), ('instance.min_samples', 0), ('focal_length', -5.0)],
)
def test_a_value_out_of_range_is_refused_at_start_and_later(
    create: Create, name: str, value: float
) -> None:
    with pytest.raises(InvalidParameterValueException, match=f'{name} out of range'):
        create(**{name: value})
    node = create()
    activate(node)
    accepted, reason = set_parameter(node, name, value)
    assert not accepted
    assert f'{name} out of range' in reason


@pytest.mark.usefixtures('ros')
def test_a_refused_parameter_ends_the_process_with_one_line(capsys: pytest.CaptureFixture) -> None:
    assert main(['mtl_node', '--ros-args', '-p', 'max_depth:=-1.0']) == 1
    error = capsys.readouterr().err
    assert 'max_depth out of range' in error
    assert error.count('\n') == 1


def test_an_unknown_choice_is_refused_at_start_and_later(create: Create) -> None:
    expected = 'output_size must be input or network'
    with pytest.raises((ValueError, ParameterException), match=expected):
        create(output_size='huge')
    accepted, reason = set_parameter(create(), 'output_size', 'huge')
    assert not accepted
    assert expected in reason


def test_live_parameters_take_effect_at_once(ros, perception: PerceptionNode) -> None:
    activate(perception)
    publisher, found = connect(ros, perception, 'depth/image')

    def newest(condition: Callable[[Image], bool]) -> None:
        def is_there() -> bool:
            publisher.publish(image())
            return any(map(condition, found))

        ros.spin_until(is_there)
        found.clear()

    newest(lambda msg: (msg.height, msg.width) == PICTURE.shape[:2])
    assert set_parameter(perception, 'output_size', 'network') == (True, '')
    newest(lambda msg: (msg.height, msg.width) == (32, 64))
    newest(lambda msg: (np.frombuffer(msg.data, np.float32) < np.inf).all())
    assert set_parameter(perception, 'max_depth', 1.0) == (True, '')
    newest(lambda msg: not (np.frombuffer(msg.data, np.float32) < np.inf).any())


def count(node: PerceptionNode) -> int:
    return sum(node.count_subscribers(f'/mtl_perception/{output.topic}') for output in OUTPUTS)


def test_a_network_for_labels_alone_publishes_what_it_has(
    ros, create: Create, partial_checkpoint: Callable[..., Path], capfd: pytest.CaptureFixture
) -> None:
    node = create(checkpoint=str(partial_checkpoint('semantic')))
    publisher = ros.node.create_publisher(Image, '/mtl_perception/image', 1)
    found = {
        topic: ros.collect(Image, f'/mtl_perception/{topic}/image')
        for topic in ('semantic', 'overlay')
    }
    activate(node)
    for output in OUTPUTS:
        expected = output.topic.startswith(('semantic', 'overlay'))
        assert node.count_publishers(f'/mtl_perception/{output.topic}') == expected, output.topic
    assert '~/points' in capfd.readouterr().err

    def is_there() -> bool:
        publisher.publish(image())
        return all(found.values())

    ros.spin_until(is_there)


def test_grouping_parameters_are_those_of_the_instance_task(create: Create) -> None:
    node = create()
    for parameter in dataclasses.fields(GroupingParameters):
        name = f'instance.{parameter.name}'
        assert node.get_parameter(name).value == parameter.default
        assert node.describe_parameter(name).description == parameter.metadata['help']
    activate(node)
    assert set_parameter(node, 'instance.min_samples', 3) == (True, '')


def test_what_needs_a_reload_is_refused_while_configured(perception: PerceptionNode) -> None:
    activate(perception)
    for name, value in (('checkpoint', 'x'), ('device', 'cpu'), ('image_transport', 'compressed')):
        accepted, reason = set_parameter(perception, name, value)
        assert not accepted
        assert f'{name} can only be changed while the node is unconfigured' in reason
    assert set_parameter(perception, 'image_transport', 'raw') == (True, '')  # unchanged
    perception.trigger_deactivate()
    perception.trigger_cleanup()
    assert set_parameter(perception, 'device', 'cpu') == (True, '')


def test_label_names_can_be_read_but_not_set(perception: PerceptionNode) -> None:
    names = perception.get_parameter('label_names').value
    assert names == [label.name for label in LABELS]
    accepted, reason = set_parameter(perception, 'label_names', ['x'])
    assert not accepted
    assert 'read-only' in reason


def test_qos_of_inputs_and_outputs_can_be_overridden(create: Create) -> None:
    node = create(
        **{
            'qos_overrides./mtl_perception/image.subscription.reliability': 'reliable',
            'qos_overrides./mtl_perception/overlay/image.publisher.depth': 7,
        }
    )
    activate(node)
    (subscription,) = (s for s in node.subscriptions if s.topic_name == '/mtl_perception/image')
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    (info,) = node.get_subscriptions_info_by_topic('/mtl_perception/image')
    assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    (info,) = node.get_publishers_info_by_topic('/mtl_perception/semantic/image')
    assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert (
        node.get_parameter('qos_overrides./mtl_perception/overlay/image.publisher.depth').value == 7
    )


def test_a_bad_qos_override_fails_the_activation_and_says_so(
    ros, create: Create, capfd: pytest.CaptureFixture
) -> None:
    name = 'qos_overrides./mtl_perception/image.subscription.reliability'
    node = create(**{name: 'perhaps'})
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == FAILURE
    assert 'cannot activate' in capfd.readouterr().err
    collected = ros.collect(DiagnosticArray, '/diagnostics')
    ros.status(collected, 'not activated')
    assert node.trigger_cleanup() == SUCCESS
    ros.status(collected, 'not configured: send the transition configure')


def test_a_configuration_that_fails_at_a_publisher_leaves_nothing_behind(
    create: Create, capfd: pytest.CaptureFixture
) -> None:
    name = f'qos_overrides./mtl_perception/{OUTPUTS[-1].topic}.publisher.reliability'
    node = create(**{name: 'perhaps'})
    idle = entities(node)
    assert node.trigger_configure() == FAILURE
    assert 'cannot configure' in capfd.readouterr().err
    assert entities(node) == idle


def test_a_failing_cleanup_is_logged_and_leaves_the_node_usable(
    perception: PerceptionNode, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    def fail(_self: Predictor) -> None:
        msg = 'the device is gone'
        raise RuntimeError(msg)

    assert perception.trigger_configure() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, 'close', fail)
        assert perception.trigger_cleanup() == SUCCESS
    assert 'cannot clean up: the device is gone' in capfd.readouterr().err
    assert perception.trigger_configure() == SUCCESS


def test_a_bad_image_is_counted_and_the_next_one_served(
    ros, perception: PerceptionNode, capfd: pytest.CaptureFixture
) -> None:
    activate(perception)
    collected = ros.collect(DiagnosticArray, '/diagnostics')
    publisher, results = connect(ros, perception)
    bad = image()
    bad.encoding = 'nonsense'
    publisher.publish(bad)
    found = ros.status(collected, 'images cannot be used')
    assert found.level == DiagnosticStatus.ERROR
    assert "encoding 'nonsense'" in found.message
    assert values(found)['bad messages'] == '1'
    assert "encoding 'nonsense'" in capfd.readouterr().err
    publisher.publish(image(seconds=7))
    ros.spin_until(lambda: results)
    assert results[0].header.stamp.sec == 7


@pytest.mark.parametrize('stage', ['infer', 'postprocess'])
def test_a_failing_network_is_counted_and_the_next_image_served(
    ros, perception: PerceptionNode, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    activate(perception)
    collected = ros.collect(DiagnosticArray, '/diagnostics')
    publisher, results = connect(ros, perception)
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, stage, lambda *_, **__: 1 / 0)
        publisher.publish(image())
        found = ros.status(collected, 'ZeroDivisionError')
    assert values(found)['failed'] == '1'
    publisher.publish(image(seconds=7))
    ros.spin_until(lambda: results)
    assert results[0].header.stamp.sec == 7


@pytest.mark.parametrize(
    ('topic', 'needed'),
    [
        ('semantic/color', {'instances': False, 'depth': False}),
        ('instance/image', {'instances': True, 'depth': False}),
        ('depth/image', {'instances': False, 'depth': True}),
        ('overlay/image', {'instances': True, 'depth': True}),
    ],
)
def test_only_what_is_subscribed_to_is_computed(
    ros, perception: PerceptionNode, monkeypatch: pytest.MonkeyPatch, topic: str, needed: dict
) -> None:
    activate(perception)
    asked = []
    infer, postprocess = Predictor.infer, Predictor.postprocess

    def spy_on_infer(self: Predictor, *arguments):
        asked.append('network')
        return infer(self, *arguments)

    def spy_on_postprocess(self: Predictor, *arguments, **options):
        asked.append(options)
        return postprocess(self, *arguments, **options)

    monkeypatch.setattr(Predictor, 'infer', spy_on_infer)
    monkeypatch.setattr(Predictor, 'postprocess', spy_on_postprocess)
    collected = ros.collect(DiagnosticArray, '/diagnostics')
    publisher = ros.node.create_publisher(Image, '/mtl_perception/image', 1)
    ros.spin_until(publisher.get_subscription_count)
    publisher.publish(image())
    found = ros.status(collected, 'nobody subscribes')
    assert values(found)['without subscriber'] == '1'
    assert asked == []
    results = ros.collect(Image, f'/mtl_perception/{topic}')
    ros.spin_until(lambda: count(perception))
    publisher.publish(image())
    ros.spin_until(lambda: results)
    assert asked == ['network', needed]


def test_a_changed_image_size_needs_no_new_configuration(ros, perception: PerceptionNode) -> None:
    activate(perception)
    publisher, results = connect(ros, perception)
    sizes = [(72, 128), (60, 80), (97, 131)]
    for i, (height, width) in enumerate(sizes):
        publisher.publish(rgb_to_image(np.zeros((height, width, 3), np.uint8), Header()))
        ros.spin_until(lambda n=i: len(results) > n)
    assert [(msg.height, msg.width) for msg in results] == sizes


def test_compressed_images_are_taken_below_the_remapped_topic(ros, create: Create) -> None:
    remapping = ['--ros-args', '-r', '~/image:=/camera/image_raw']
    node = create(remapping, image_transport='compressed')
    activate(node)
    results = ros.collect(Image, '/mtl_perception/semantic/image')
    publisher = ros.node.create_publisher(CompressedImage, '/camera/image_raw/compressed', 1)
    ros.spin_until(lambda: publisher.get_subscription_count() and count(node))
    publisher.publish(rgb_to_compressed(PICTURE, Header(frame_id='jpeg')))
    ros.spin_until(lambda: results)
    assert results[0].header.frame_id == 'jpeg'


def test_diagnostics_tell_why_there_are_no_images(ros, perception: PerceptionNode) -> None:
    collected = ros.collect(DiagnosticArray, '/diagnostics')
    found = ros.status(collected, 'not configured')
    assert found.name == 'mtl_perception: pipeline'
    perception.trigger_configure()
    ros.status(collected, 'inactive')
    perception.trigger_activate()
    found = ros.status(collected, 'no publisher on /mtl_perception/image')
    assert values(found)['image conversion'] == Converter().description
    compressed = ros.node.create_publisher(CompressedImage, '/mtl_perception/image/compressed', 1)
    ros.status(collected, 'has one: set image_transport: compressed')
    ros.node.destroy_publisher(compressed)
    elsewhere = ros.node.create_publisher(Image, '/front/image_raw', 1)
    ros.status(collected, 'images are published on /front/image_raw: remap ~/image')
    ros.node.destroy_publisher(elsewhere)
    ros.status(collected, 'no publisher on /mtl_perception/image')
    ros.node.create_publisher(Image, '/mtl_perception/image', 1)
    ros.status(collected, 'though it has a publisher')


def test_label_names_are_published_latched_where_vision_msgs_is_installed(
    perception: PerceptionNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, topics = [], []

    def create_publisher(message_type: type, topic: str, qos: QoSProfile, **options: Any) -> Any:
        if message_type is not LabelInfo:
            return create(message_type, topic, qos, **options)
        topics.append((topic, qos.durability))
        return SimpleNamespace(publish=sent.append)

    create = perception.create_lifecycle_publisher
    messages = SimpleNamespace(LabelInfo=LabelInfo, VisionClass=SimpleNamespace)
    monkeypatch.setitem(sys.modules, 'vision_msgs', SimpleNamespace(msg=messages))
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', messages)
    monkeypatch.setattr(perception, 'create_lifecycle_publisher', create_publisher)
    activate(perception)
    assert topics == [('~/semantic/label_info', DurabilityPolicy.TRANSIENT_LOCAL)]
    (message,) = sent
    assert message.header.stamp.sec > 0
    assert [(entry.class_id, entry.class_name) for entry in message.class_map] == [
        (label.id, label.name) for label in LABELS
    ]
