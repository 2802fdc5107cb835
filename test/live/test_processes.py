# SPDX-License-Identifier: Apache-2.0
"""Nodes in processes of their own."""

import pytest

from mtl_perception.live.processes import recorded_node
from mtl_perception.live.recorder import NodeError


def test_a_node_that_ends_is_one_line_with_its_last_words(ros, tmp_path):  # noqa: ARG001 (environment)
    with (
        pytest.raises(NodeError, match=r'the node ended with status 1: mtl_node: .*output_size'),
        recorded_node('/test', {}, tmp_path / 'node.log', output_size='huge'),
    ):
        pass


def test_a_node_that_is_not_configured_is_one_line(ros, tmp_path):  # noqa: ARG001 (environment)
    with (
        recorded_node('/test', {}, tmp_path / 'node.log', checkpoint='/absent') as (recorder, _),
        pytest.raises(NodeError, match='is not active: not configured: /absent'),
    ):
        recorder.wait_until_active()
