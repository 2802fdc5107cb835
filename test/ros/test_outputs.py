# SPDX-License-Identifier: Apache-2.0
"""Table of the output topics, compared with the documentation."""

import re
from pathlib import Path

import pytest

from mtl_perception.ros.outputs import OUTPUTS, available_outputs
from mtl_perception.tasks import TASKS

ROOT = Path(__file__).parents[2]

OTHERS = {'semantic/label_info', '/diagnostics'}
"""Documented topics that show no prediction."""


@pytest.mark.parametrize(
    ('page', 'heading'), [('README.md', 'topic under'), ('docs/node.md', 'output')]
)
def test_the_documentation_lists_every_topic(page: str, heading: str):
    table = re.search(rf'^\| {heading}.*\n((\|.*\n)+)', (ROOT / page).read_text(), re.MULTILINE)
    topics = re.findall(r'^\| `(.+?)` \|', table[1], re.MULTILINE)
    assert len(topics) == len(set(topics))
    assert set(topics) == {output.topic for output in OUTPUTS} | OTHERS


def test_a_network_with_all_tasks_fills_every_topic():
    assert available_outputs(TASKS) == list(OUTPUTS)
