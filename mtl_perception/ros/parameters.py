"""The node's parameters: one table that they are declared from and checked against."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from mtl_perception.inference.settings import GROUPING_PREFIX, SETTINGS, Setting
from mtl_perception.labels import LABELS
from mtl_perception.tasks.instance import GroupingParameters

_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Values:
    """The parameters' values, checked."""

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
        rclpy.exceptions.ParameterException: a value that the node was started with is refused.
    """
    for setting in SETTINGS:
        node.declare_parameter(setting.name, setting.default, _descriptor(setting))
    node.declare_parameter(
        'label_names',
        [label.name for label in LABELS],
        ParameterDescriptor(
            description='names of the labels; the position is the label ID', read_only=True
        ),
        ignore_override=True,
    )


def read(node: Node, changes: Iterable[Parameter] = ()) -> Values:
    """Return the values of all parameters, as they would be after ``changes``.

    Raises:
        ValueError: a value is refused; the text says why.
    """
    values = {setting.name: node.get_parameter(setting.name).value for setting in SETTINGS}
    values.update({change.name: change.value for change in changes if change.name in _BY_NAME})
    for name, value in values.items():
        _check_choice(_BY_NAME[name], value)
    grouping = {
        name.removeprefix(GROUPING_PREFIX): values.pop(name)
        for name in list(values)
        if name.startswith(GROUPING_PREFIX)
    }
    return Values(
        grouping=GroupingParameters(**grouping),
        **values,
    )


def not_live(changes: Iterable[Parameter]) -> list[str]:
    """Return the names among ``changes`` that cannot be changed while the node is configured."""
    settings = (_BY_NAME.get(change.name) for change in changes)
    return [setting.name for setting in settings if setting is not None and not setting.live]


def _check_choice(setting: Setting, value: Any) -> None:
    if setting.choices and value not in setting.choices:
        msg = f'{setting.name} must be {" or ".join(setting.choices)}, got {value!r}'
        raise ValueError(msg)


def _descriptor(setting: Setting) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=setting.help)
    if setting.choices:
        descriptor.additional_constraints = 'one of: ' + ', '.join(setting.choices)
    if setting.minimum == setting.maximum:
        return descriptor
    if isinstance(setting.default, int):
        limits = IntegerRange(from_value=int(setting.minimum), to_value=int(setting.maximum))
        descriptor.integer_range = [limits]
    else:
        limits = FloatingPointRange(from_value=setting.minimum, to_value=setting.maximum)
        descriptor.floating_point_range = [limits]
    return descriptor
