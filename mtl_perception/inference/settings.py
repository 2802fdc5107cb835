"""The node's parameter file, for commands that run the network without the node."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.inference.runtimes import RUNTIMES
from mtl_perception.resources import EMBEDDED_CHECKPOINTS, share_file
from mtl_perception.tasks.depth import MAX_DEPTH_RANGE
from mtl_perception.tasks.instance import GroupingParameters


@dataclass(frozen=True)
class Setting:
    """One parameter; its type is the default's.

    Attributes:
        name: of the parameter.
        default: its value where none is given.
        help: what it is for, with its unit.
        minimum: least value of a number.
        maximum: largest value of a number.
        choices: the values that a text may have; empty: any.
        live: whether it may be changed while the node is configured.
    """

    name: str
    default: bool | int | float | str
    help: str
    minimum: float = 0.0
    maximum: float = 0.0
    choices: tuple[str, ...] = ()
    live: bool = False


GROUPING_PREFIX = 'instance.'

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
        'what runs the network; auto: the fastest on the device',
        choices=('auto', *RUNTIMES),
    ),
    Setting(
        'image_transport',
        'raw',
        'which input to subscribe to: raw is ~/image, compressed is ~/image/compressed',
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
        'vertical focal length in pixels of the input image, used where there is no camera_info; '
        "0: that of Cityscapes' field of view",
        minimum=0.0,
        maximum=1e5,
        live=True,
    ),
    Setting(
        'max_depth',
        100.0,
        'metres beyond which depth is +Inf',
        minimum=MAX_DEPTH_RANGE[0],
        maximum=MAX_DEPTH_RANGE[1],
        live=True,
    ),
    *(
        Setting(
            GROUPING_PREFIX + parameter.name,
            # mypy knows only that a field has some default.
            parameter.default,  # type: ignore[arg-type]
            parameter.metadata['help'],
            minimum=parameter.metadata['minimum'],
            maximum=parameter.metadata['maximum'],
            live=True,
        )
        for parameter in dataclasses.fields(GroupingParameters)
    ),
)

NODES = ('**', '*', 'mtl_perception')
"""Last parts of the names of nodes whose parameters these may be."""


def read_parameters(path: Path) -> dict[str, Any]:
    """Return ``max_depth`` and ``grouping`` as ``Predictor`` takes them, if the file sets them.

    Args:
        path: a ROS 2 parameter file: a copy of config/node.yaml, or what ``ros2 param dump`` says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no parameter file of this node, or a value cannot be used.
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
        msg = f'{path}: not a file of ROS 2 parameters, such as config/node.yaml'
        raise ValueError(msg) from err
    if not sections:
        msg = f'{path}: has no parameters for a node mtl_perception'
        raise ValueError(msg)
    types = {f'instance.{field.name}': type(field.default) for field in fields(GroupingParameters)}
    types['max_depth'] = float
    names = _names()
    for name in values:
        if name not in names and (close := get_close_matches(name, names, 1, 0.9)):
            msg = f'{path}: unknown parameter {name}; did you mean {close[0]}?'
            raise ValueError(msg)
    known = {name: values[name] for name in types if name in values}
    for name, value in known.items():
        if type(value) is not types[name]:  # as strict as the node is
            wanted = 'a whole number' if types[name] is int else 'a number with a decimal point'
            msg = f'{path}: {name} must be {wanted}, got {value!r}'
            raise ValueError(msg)
    result = {'max_depth': known.pop('max_depth')} if 'max_depth' in known else {}
    lowest, highest = MAX_DEPTH_RANGE
    if not lowest <= result.get('max_depth', lowest) <= highest:
        msg = f'{path}: max_depth must be from {lowest:g} to {highest:g} metres'
        raise ValueError(msg)
    try:
        grouping = {name.removeprefix('instance.'): value for name, value in known.items()}
        return {**result, 'grouping': GroupingParameters(**grouping)}
    except ValueError as err:
        msg = f'{path}: instance.{err}'
        raise ValueError(msg) from err


def _names() -> list[str]:
    """Return the names of all parameters of the node."""
    sections = yaml.safe_load(share_file('config', 'node.yaml').read_text())
    return [name for name, _ in _flat(sections['/**']['ros__parameters'])]


def _flat(section: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the parameters of a section, whose names may be nested or have dots."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
