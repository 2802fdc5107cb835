# SPDX-License-Identifier: Apache-2.0
"""The commit-msg hook."""

import subprocess
from pathlib import Path

import pytest

HOOK = Path(__file__).resolve().parents[1] / '.githooks' / 'commit-msg'


def run(message: str, folder: Path) -> subprocess.CompletedProcess:
    path = folder / 'COMMIT_EDITMSG'
    path.write_bytes(message.encode())
    return subprocess.run(['sh', HOOK, path], capture_output=True, text=True)


@pytest.mark.parametrize(
    'message',
    [
        'Add a camera',
        'Add a camera\n\nThe reason, with a comma; and a semicolon.\n',
        'Add a camera\r\n\r\nThe reason.\r\n',
        '\n# a comment\nNeed fewer pages\n# another comment\n',
        'Pass ' + 'é' * 67,
        'Merge branch main, as it was, into a branch.\nand more',
        'Revert "add a camera, and more."',
        'fixup! add a camera, and more.',
    ],
)
def test_a_subject_of_one_thought_passes(message, tmp_path):
    result = run(message, tmp_path)
    assert (result.returncode, result.stderr) == (0, '')


@pytest.mark.parametrize(
    ('message', 'reason'),
    [
        ('', 'capitalized'),
        ('add a camera', 'capitalized'),
        ('Added a camera', 'imperative'),
        ('Adds a camera', 'imperative'),
        ('Adding a camera', 'imperative'),
        ('Add a camera.', 'without a period'),
        ('Add a camera.\r\n', 'without a period'),
        ('Add a camera, remove a recorder', 'one thought'),
        ('Add a camera; remove a recorder', 'one thought'),
        ('Merge colours, and draw them', 'one thought'),
        ('Pass ' + 'x' * 68, '72 characters, it has 73'),
        ('Add a camera\nfor all', 'second line'),
    ],
)
def test_any_other_subject_is_refused_with_the_reason(message, reason, tmp_path):
    result = run(message, tmp_path)
    assert result.returncode == 1
    assert reason in result.stderr
    assert message.partition('\n')[0].rstrip() in result.stderr


def test_git_can_run_the_hook():
    assert HOOK.stat().st_mode & 0o111 == 0o111
