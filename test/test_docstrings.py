# SPDX-License-Identifier: Apache-2.0
"""Examples in docstrings give the output that they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import mtl_perception

ROOT = Path(mtl_perception.__file__).parent.parent
MODULES = [
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
    for path in sorted((ROOT / 'mtl_perception').rglob('*.py'))
    if '>>> ' in path.read_text()
]


@pytest.mark.parametrize('name', MODULES)
def test_examples_in_docstrings_are_true(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted
    assert not results.failed


def test_the_public_vocabulary_has_examples():
    assert {
        'mtl_perception',
        'mtl_perception.frame',
        'mtl_perception.inference.predictor',
        'mtl_perception.objects',
        'mtl_perception.prediction',
    } <= set(MODULES)
