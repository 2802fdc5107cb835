# SPDX-License-Identifier: Apache-2.0
"""The parameters of ``inference.settings`` on a ROS 2 node."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from mtl_perception.inference.settings import SETTINGS, Setting, grouping_parameters
from mtl_perception.labels import LABELS
from mtl_perception.tasks.instance import GroupingParameters

_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Values:
    """Checked values of all parameters; ``grouping`` holds the ``instance.*`` ones.

    A field has the name and the type of its ``Setting``.
    """

    autostart: bool
    checkpoint: str
    device: str
    runtime: str
    image_transport: str
    output_size: str
    focal_length: float
    max_depth: float
    grouping: GroupingParameters


def declare(node: Node) -> None:
    """Declare all parameters on ``node``.

    Raises:
        rclpy.exceptions.ParameterException: A value that the node was started with is refused.
    """
    for setting in SETTINGS:
        node.declare_parameter(setting.name, setting.default, _descriptor(setting))
    node.declare_parameter(
        'label_names',
        [label.name for label in LABELS],
        ParameterDescriptor(description='label names, indexed by label ID', read_only=True),
        ignore_override=True,
    )


def read(node: Node, changes: Iterable[Parameter] = ()) -> Values:
    """Return the values of all parameters, as they would be after ``changes``.

    Raises:
        ValueError: A value is refused; the message names the parameter and the remedy.
    """
    values = {name: node.get_parameter(name).value for name in _BY_NAME}
    values |= {change.name: change.value for change in changes if change.name in _BY_NAME}
    for name, value in values.items():
        _BY_NAME[name].check(value)
    grouping = grouping_parameters(values)
    names = (field.name for field in fields(Values) if field.name != 'grouping')
    return Values(grouping=grouping, **{name: values[name] for name in names})


def fixed(node: Node, changes: Iterable[Parameter]) -> list[str]:
    """Return the names of real changes that a configured node must refuse."""
    names = {setting.name for setting in SETTINGS if not setting.live}
    return [
        change.name
        for change in changes
        if change.name in names and node.get_parameter(change.name).value != change.value
    ]


def _descriptor(setting: Setting) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=setting.help)
    if setting.choices:
        descriptor.additional_constraints = 'one of: ' + ', '.join(setting.choices)
    if setting.range is not None:
        low, high = map(type(setting.default), setting.range)
        if isinstance(setting.default, int):
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor
