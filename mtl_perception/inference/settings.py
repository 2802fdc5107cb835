# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table that the node, its file and the commands are checked against."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.inference.runtimes import RUNTIMES
from mtl_perception.resources import EMBEDDED_CHECKPOINTS
from mtl_perception.tasks.depth import MAX_DEPTH_RANGE
from mtl_perception.tasks.instance import GroupingParameters

TYPES = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number with a decimal point',
    str: 'text',
}
"""Types of parameters, as error messages name them."""


@dataclass(frozen=True)
class Setting:
    """Parameter of the node.

    Attributes:
        name: Name; a prefix that ends with a dot groups parameters.
        default: Value where none is given, and thereby the type.
        help: Purpose and unit.
        range: Smallest and largest value of a number; ``None``: any.
        choices: Accepted values of a text; empty: any.
        live: Whether the value may change while the node is configured.
    """

    name: str
    default: bool | int | float | str
    help: str
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    def check(self, value: Any) -> None:
        """Check the type, range and choice of a value.

        Raises:
            ValueError: The value is refused; the message names the parameter and the remedy.
        """
        if type(value) is not type(self.default):  # as strict as ROS: 80 is not a double
            expected = TYPES[type(self.default)]
        elif self.choices and value not in self.choices:
            expected = ' or '.join(self.choices)
        elif self.range and not self.range[0] <= float(value) <= self.range[1]:
            expected = f'from {self.range[0]:g} to {self.range[1]:g}'
        else:
            return
        msg = f'{self.name} must be {expected}, got {value!r}'
        raise ValueError(msg)


GROUPING_PREFIX = 'instance.'
"""Prefix of the parameters that are fields of ``GroupingParameters``."""

SETTINGS = (
    Setting('autostart', True, 'configure and activate without waiting for a lifecycle manager'),
    Setting(
        'checkpoint',
        EMBEDDED_CHECKPOINTS[0],
        f'.safetensors file, or an embedded checkpoint: {" or ".join(EMBEDDED_CHECKPOINTS)}',
    ),
    Setting('device', 'auto', 'auto, cpu, cuda or cuda:N'),
    Setting(
        'runtime',
        'auto',
        'library that runs the network; auto: the fastest on the device',
        choices=('auto', *RUNTIMES),
    ),
    Setting(
        'image_transport',
        'raw',
        'input to subscribe to: raw is ~/image, compressed is ~/image/compressed',
        choices=('raw', 'compressed'),
    ),
    Setting(
        'output_size',
        'input',
        "size of the published maps: the input image's, or the network's own",
        choices=('input', 'network'),
        live=True,
    ),
    Setting(
        'focal_length',
        0.0,
        'vertical focal length in pixels of the input image, used without camera_info; '
        "0: Cityscapes' field of view",
        range=(0.0, 1e5),
        live=True,
    ),
    Setting(
        'max_depth', 100.0, 'metres beyond which depth is +Inf', range=MAX_DEPTH_RANGE, live=True
    ),
    *(
        Setting(
            GROUPING_PREFIX + parameter.name,
            # mypy knows only that a field has some default.
            parameter.default,  # type: ignore[arg-type]
            parameter.metadata['help'],
            range=parameter.metadata['range'],
            live=True,
        )
        for parameter in fields(GroupingParameters)
    ),
)

NODES = ('**', '*', 'mtl_perception')
"""Last parts of node names in a parameter file that may stand for this node."""


def grouping_parameters(values: Mapping[str, Any]) -> GroupingParameters:
    """Return the parameters among ``values`` that group votes; the others keep their defaults."""
    names = {field.name: GROUPING_PREFIX + field.name for field in fields(GroupingParameters)}
    return GroupingParameters(**{k: values[name] for k, name in names.items() if name in values})


def read_parameters(path: Path) -> dict[str, Any]:
    """Return arguments of ``Predictor``: ``grouping``, and ``max_depth`` if the file sets it.

    The file is a copy of config/node.yaml, or output of ``ros2 param dump``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has no parameters of this node, an unknown one or a refused value.
    """
    values = read_values(path)
    names = [setting.name for setting in SETTINGS]
    for name in values:
        if name not in names and (close := get_close_matches(name, names, 1, 0.9)):
            msg = f'{path}: unknown parameter {name}; did you mean {close[0]}?'
            raise ValueError(msg)
    try:
        for setting in SETTINGS:
            if setting.name in values and setting.name.startswith(('max_depth', GROUPING_PREFIX)):
                setting.check(values[setting.name])
    except ValueError as err:
        msg = f'{path}: {err}'
        raise ValueError(msg) from err
    depth = {'max_depth': values['max_depth']} if 'max_depth' in values else {}
    return {**depth, 'grouping': grouping_parameters(values)}


def read_values(path: Path) -> dict[str, Any]:
    """Return all values for this node in a ROS 2 parameter file, unchecked, by full name.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a parameter file, or has no section for this node.
    """
    if not path.is_file():
        msg = f'{path}: no such parameter file'
        raise FileNotFoundError(msg)
    try:
        content = yaml.safe_load(path.read_text())
        sections = [
            section['ros__parameters']
            for node, section in content.items()
            if str(node).rpartition('/')[2] in NODES
        ]
        values = {name: value for section in sections for name, value in _flat(section)}
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError, yaml.YAMLError) as err:
        msg = f'{path}: not a ROS 2 parameter file such as config/node.yaml'
        raise ValueError(msg) from err
    if not sections:
        msg = f'{path}: no parameters for a node mtl_perception'
        raise ValueError(msg)
    return values


def _flat(section: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield full names and values; names may be nested, have dots, or both."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
