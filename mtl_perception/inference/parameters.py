"""The node's parameter file, for commands that run the network without the node."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.share import share_file
from mtl_perception.tasks.depth import MAX_DEPTH_RANGE
from mtl_perception.tasks.instance import GroupingParameters

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
