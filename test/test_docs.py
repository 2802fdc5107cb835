# SPDX-License-Identifier: Apache-2.0
"""The documentation: short, without dead links, and in agreement with the code."""

import io
import re
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest

from mtl_perception.commands import COMMANDS, main
from mtl_perception.inference.settings import SETTINGS
from mtl_perception.labels import LABELS

SOURCE = Path(__file__).resolve().parents[1]
README = SOURCE / 'README.md'
NODE, COMMAND_PAGE = SOURCE / 'docs' / 'node.md', SOURCE / 'docs' / 'commands.md'
PAGES = sorted([README, SOURCE / 'checkpoints' / 'README.md', *(SOURCE / 'docs').glob('*.md')])

BENCHMARKS = ('network', 'instances', 'node', 'replay', 'training')

pages = pytest.mark.parametrize(
    'page', PAGES, ids=[str(path.relative_to(SOURCE)) for path in PAGES]
)


def test_the_readme_is_one_page():
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 120] == []


@pages
def test_links_lead_to_files(page):
    links = re.findall(r'\]\((?!\w+:|#)([^)#]+)', page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pages
def test_options_in_commands_exist(page):
    unknown = [
        ' '.join(('mtl', *command, option))
        for command, options in _commands(page.read_text())
        for option in options
        if not re.search(rf'{re.escape(option)}\b', _help(*command))
    ]
    assert unknown == []


@pages
def test_options_named_alone_exist(page):
    subjects = [('benchmark', subject) for subject in BENCHMARKS]
    others = [(command,) for command in COMMANDS if command not in ('benchmark', 'train')]
    known = ''.join(_help(*command) for command in [('train', 'fit'), *subjects, *others])
    options = re.findall(r'(?<!`)`(--[\w.-]+)', page.read_text())
    assert [option for option in options if not re.search(rf'{re.escape(option)}\b', known)] == []


def test_every_command_has_a_row():
    rows = [row[0].split()[1] for row in _table(COMMAND_PAGE, 'command')]
    assert sorted(rows) == sorted(COMMANDS)


def test_the_parameter_table_is_the_one_in_the_code():
    rows = [row[:3] for row in _table(NODE, 'parameter')]
    assert rows == [
        [setting.name, _as_yaml(setting.default), 'live' if setting.live else '']
        for setting in SETTINGS
    ]


def test_the_table_of_labels_is_the_one_in_the_code():
    rows = [
        [number, name, re.match('[0-9, ]*', color)[0].strip(), objects]
        for number, name, color, objects in _table(NODE, 'ID')
    ]
    assert rows == [
        [
            str(label.id),
            label.name,
            ', '.join(map(str, label.color)),
            'yes' if label.has_instances else '',
        ]
        for label in LABELS
        if label.evaluated
    ]


def test_the_readme_lists_every_topic():
    topics = [row[0] for row in _table(README, 'topic')]
    assert topics == [row[0] for row in _table(NODE, 'output')]


def _commands(text: str) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return each ``mtl`` command in code: the words that select its parser, and its options."""
    blocks = re.findall(r'```sh\n(.*?)```', text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    found = []
    for code in lines + re.findall(r'(?<!`)`([^`]+)`(?!`)', text):
        code = code.partition(' # ')[0]
        match = re.search(r'(?:^|-m )mtl(?:_perception)? ([a-z]+)(.*)', code, re.DOTALL)
        if match is None or match[1] not in COMMANDS:
            continue
        words = match[2].split()
        subject = words[:1] if match[1] in ('benchmark', 'train') else []
        found.append(((match[1], *subject), [word for word in words if word.startswith('--')]))
    return found


@cache
def _help(*command: str) -> str:
    with redirect_stdout(io.StringIO()) as text, pytest.raises(SystemExit):
        main([*command, '--help'])
    return text.getvalue()


def _table(page: Path, title: str) -> list[list[str]]:
    """Return the cells, without backquotes, of the table whose first column is ``title``."""
    pattern = rf'^\| {title}\b.*\n\| ---.*\n((?:\|.*\n)+)'
    rows = re.search(pattern, page.read_text(), re.MULTILINE)[1]
    return [
        [cell.strip().replace('`', '') for cell in row.strip('|').split('|')]
        for row in rows.splitlines()
    ]


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
