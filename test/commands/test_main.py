# SPDX-License-Identifier: Apache-2.0
"""The command line in general: help, exit statuses and one-line errors."""

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


@pytest.mark.parametrize(
    'arguments',
    [
        ['predict', '{empty}'],
        pytest.param(['camera', '{empty}'], marks=pytest.mark.ros),
        pytest.param(
            ['demo', '--source', '{empty}', '--checkpoint', '{checkpoint}', '--output', '{new}'],
            marks=pytest.mark.ros,
        ),
    ],
)
def test_a_folder_without_pictures_is_named(arguments, tmp_path, tiny_checkpoint, capsys):
    empty = tmp_path / 'empty'
    empty.mkdir()
    places = {'empty': empty, 'checkpoint': tiny_checkpoint, 'new': tmp_path / 'new'}
    assert main([argument.format(**places) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'mtl {arguments[0]}: {empty}: no picture')
    assert error.count('\n') == 1


@pytest.mark.parametrize('command', [pytest.param('demo', marks=pytest.mark.ros), 'synthesize'])
def test_an_output_folder_that_cannot_be_written_is_named_before_the_work(
    command, tmp_path, tiny_checkpoint, capsys
):
    (tmp_path / 'file').write_text('')
    output = tmp_path / 'file' / 'folder'
    arguments = ['--checkpoint', str(tiny_checkpoint)] if command == 'demo' else []
    assert main([command, '--output', str(output), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'mtl {command}: {output}: cannot be created')
    assert error.count('\n') == 1


@pytest.mark.parametrize(
    'words', [['--guessed'], ['--guessed', 'predict'], ['predict', 'x', '--guessed']]
)
def test_an_unknown_option_is_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert 'unrecognized arguments: --guessed' in capsys.readouterr().err


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
