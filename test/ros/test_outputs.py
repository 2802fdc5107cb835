# SPDX-License-Identifier: Apache-2.0
"""Table of the output topics, compared with the documentation."""

import re
from pathlib import Path

from mtl_perception.ros.outputs import OUTPUTS, available_outputs
from mtl_perception.tasks import TASKS

ROOT = Path(__file__).parents[2]

OTHERS = {'semantic/label_info', '/diagnostics'}
"""Documented topics that show no prediction."""


def test_the_documentation_of_the_node_lists_every_topic():
    page = (ROOT / 'docs' / 'node.md').read_text()
    table = re.search(r'^\| output .*\n((\|.*\n)+)', page, re.MULTILINE)[1]
    topics = re.findall(r'^\| `(.+?)` \|', table, re.MULTILINE)
    assert sorted(topics) == sorted({output.topic for output in OUTPUTS} | OTHERS)


def test_a_network_with_all_tasks_fills_every_topic():
    assert available_outputs(TASKS) == list(OUTPUTS)
