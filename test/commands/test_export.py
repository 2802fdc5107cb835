# SPDX-License-Identifier: Apache-2.0
"""``mtl export`` on the command line."""

import pytest

from mtl_perception.commands import main


@pytest.mark.slow
def test_export_writes_a_file_and_says_where(tiny_checkpoint, tmp_path, capsys):
    options = ('--format', 'onnx', '--checkpoint', tiny_checkpoint, '--output', tmp_path)
    assert main(['export', *map(str, options), '--size', '64x96']) == 0
    assert (tmp_path / 'tiny-64x96.onnx').is_file()
    printed = capsys.readouterr().out
    assert f'written to {tmp_path}/tiny-64x96.onnx' in printed
    assert 'trained on nothing' in printed


def test_a_size_that_does_not_fit_is_one_line(tiny_checkpoint, tmp_path, capsys):
    options = ('--format', 'onnx', '--checkpoint', tiny_checkpoint, '--output', tmp_path)
    assert main(['export', *map(str, options), '--size', '64x100']) == 1
    assert capsys.readouterr().err == ('mtl export: the size 64x100 is not in multiples of 32\n')
