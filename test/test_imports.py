# SPDX-License-Identifier: Apache-2.0
"""Imports: a module imports only what its row of the table in CONTRIBUTING.md allows."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = 'mtl_perception'
SOURCE = Path(__file__).resolve().parents[1]
HEADER = '| module | what it holds | may import |\n| --- | --- | --- |\n'
FAMILIES = {
    'ROS': r'rclpy|launch|launch_ros|ament_index_python|cv_bridge|\w+_msgs|\w+_interfaces',
    'torch': r'torch|torchvision',
    'Lightning': r'lightning|tensorboard|jsonargparse',
}


class Row(NamedTuple):
    """Row of the table; ``families`` are keys of ``FAMILIES`` or ``'ROS types'``."""

    modules: list[str]
    allowed: set[str]
    families: set[str]
    text: str


class Import(NamedTuple):
    """Import somewhere in a module, under ``if TYPE_CHECKING`` or not."""

    line: int
    name: str
    for_types: bool


def read_table(text: str) -> list[Row]:
    rows: list[Row] = []
    above: set[str] = set()
    for line in text.partition(HEADER)[2].partition('\n\n')[0].splitlines():
        first, _, cell = (cell.strip() for cell in line.strip('|').split('|'))
        own, _, families = cell.partition('; ')
        modules, allowed = re.findall(r'`(\w+)`', first), set(re.findall(r'`(\w+)`', own))
        if own.startswith('everything above'):
            allowed = above - allowed
        rows.append(Row(modules, allowed, set(families.split(', ')) - {''}, cell))
        above |= set(modules)
    return rows


ROWS = read_table((SOURCE / 'CONTRIBUTING.md').read_text())
ROW_OF = {module: row for row in ROWS for module in row.modules}


def imports(code: str, package: str) -> Iterator[Import]:
    tree = ast.parse(code)
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test)
    ]
    for_types = {node for block in blocks for part in block.body for node in ast.walk(part)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name('.' * node.level + (node.module or ''), package)
            names = [f'{module}.{alias.name}' for alias in node.names]
        for name in names:
            yield Import(node.lineno, name, node in for_types)


def is_allowed(found: Import, row: Row) -> bool:
    first, *below = found.name.split('.')
    if first == PACKAGE:
        module = below[0] if below and below[0] in ROW_OF else '__init__'
        return module in row.allowed or module in row.modules
    if 'ROS types' in row.families and found.for_types and re.fullmatch(FAMILIES['ROS'], first):
        return True
    return not any(
        re.fullmatch(pattern, first) and family not in row.families
        for family, pattern in FAMILIES.items()
    )


def violations(path: Path, code: str, row: Row) -> list[str]:
    return [
        f'{path}:{found.line} imports {found.name}; {", ".join(row.modules)} may import {row.text}'
        for found in imports(code, '.'.join(path.parent.parts))
        if not is_allowed(found, row)
    ]


def files(row: Row) -> Iterator[Path]:
    for module in row.modules:
        folder = SOURCE / PACKAGE / module
        yield from sorted(folder.rglob('*.py')) if folder.is_dir() else [folder.with_suffix('.py')]


def test_every_module_has_one_row():
    found = (SOURCE / PACKAGE).rglob('*.py')
    listed = [path for row in ROWS for path in files(row)]
    assert sorted(listed) == sorted(found)


def test_a_row_names_only_rows_above_it():
    above: set[str] = set()
    for row in ROWS:
        assert row.allowed <= above, f'{row.modules}: {row.allowed - above} are not above'
        assert row.families <= {*FAMILIES, 'ROS types'}
        above |= set(row.modules)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.modules[0])
def test_a_module_imports_what_its_row_allows(row):
    found = [
        violation
        for path in files(row)
        for violation in violations(path.relative_to(SOURCE), path.read_text(), row)
    ]
    assert not found, '\n'.join(['', *found])


@pytest.mark.parametrize(
    ('module', 'code'),
    [
        ('frame', 'from mtl_perception import tasks'),
        ('frame', 'import mtl_perception'),
        ('frame', 'def f():\n    from mtl_perception.tasks import TASKS'),
        ('frame', 'if TYPE_CHECKING:\n    from mtl_perception.prediction import Prediction'),
        ('messages', 'from sensor_msgs.msg import Image'),
        ('ros', 'import torch.nn'),
        ('ros', 'from .. import training'),
        ('bags', 'try:\n    import rclpy\nexcept ImportError:\n    pass'),
        ('evaluation', 'from lightning.pytorch import Trainer'),
    ],
)
def test_an_import_that_the_row_lacks_is_found_wherever_it_is(module, code):
    (found,) = violations(Path(PACKAGE, module, 'new.py'), f'import numpy\n{code}', ROW_OF[module])
    assert found.startswith(f'{PACKAGE}/{module}/new.py:')
    assert found.endswith(f'{module} may import {ROW_OF[module].text}')


@pytest.mark.slow
def test_modules_without_ros_or_lightning_do_not_load_them_indirectly():
    names = [
        '.'.join(path.relative_to(SOURCE).with_suffix('').parts)
        for row in ROWS
        if not row.families & {'ROS', 'Lightning'}
        for path in files(row)
    ]
    code = 'import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n'
    code += 'print(*{name.partition(".")[0] for name in sys.modules})'
    result = subprocess.run(
        [sys.executable, '-c', code, *names],
        check=True,
        capture_output=True,
        text=True,
        cwd=SOURCE,
    )
    unwanted = re.compile(f'{FAMILIES["ROS"]}|{FAMILIES["Lightning"]}')
    assert not [name for name in result.stdout.split() if unwanted.fullmatch(name)]


def test_every_file_that_contributing_names_exists():
    text = (SOURCE / 'CONTRIBUTING.md').read_text()
    paths = re.findall(r'`((?:mtl_perception|test|config|docs)/[\w./]*)`', text)
    assert paths
    assert [path for path in paths if not (SOURCE / path).exists()] == []
