"""The command line as a whole: help, exit statuses, and errors of one line."""

import subprocess
import sys

import pytest

from mtl_perception.commands import COMMANDS, OWN_PARSER, main


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--help'])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f'\n    {command}' in text for command in COMMANDS)


@pytest.mark.parametrize('command', [name for name in COMMANDS if name not in OWN_PARSER])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, '--help'])
    assert ended.value.code == 0
    assert f'usage: mtl {command}' in capsys.readouterr().out


@pytest.mark.parametrize('arguments', [[], ['unheard'], ['predict', 'x.png', '--limit', '0']])
def test_wrong_usage_ends_with_status_2(arguments):
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = ended.code
    assert status == 2


def test_what_cannot_be_done_ends_with_status_1_and_one_line(tmp_path):
    result = subprocess.run(
        [sys.executable, '-m', 'mtl_perception', 'predict', str(tmp_path / 'absent.png')],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith('mtl predict: ')
    assert len(result.stderr.strip().splitlines()) == 1
    assert str(tmp_path / 'absent.png') in result.stderr


def test_debug_shows_where_an_error_came_from(tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            '-m',
            'mtl_perception',
            '--debug',
            'predict',
            str(tmp_path / 'absent.png'),
        ],
        capture_output=True,
        text=True,
    )
    assert 'Traceback' in result.stderr
