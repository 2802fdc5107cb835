# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: its files, names, licence and installation."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mtl_perception
from mtl_perception.network.checkpoint import read_info
from mtl_perception.resources import (
    EMBEDDED_CHECKPOINTS,
    checkpoint_path,
    share_directory,
    share_file,
)

SOURCE = Path(__file__).resolve().parents[1]
LICENCE = '# SPDX-License-Identifier: Apache-2.0\n'


def test_the_version_is_the_same_everywhere():
    manifest = re.search(r'<version>(.+)</version>', (SOURCE / 'package.xml').read_text())[1]
    setup = re.search(r"version='([^']+)'", (SOURCE / 'setup.py').read_text())[1]
    assert mtl_perception.__version__ == manifest == setup


def test_the_public_names_are_listed_and_load_nothing_before_their_use():
    code = 'import sys, mtl_perception as m; print(*dir(m), "torch" in sys.modules, m.Object)'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    found = "Object Prediction Predictor __version__ False <class 'mtl_perception.objects.Object'>"
    assert (result.stdout.strip(), result.stderr) == (found, '')


def test_share_files_are_found_in_a_source_checkout():
    assert share_directory() == SOURCE
    assert share_file('config', 'node.yaml').is_file()


def test_a_share_file_that_is_missing_is_named():
    with pytest.raises(FileNotFoundError, match=r'config/absent\.yaml'):
        share_file('config', 'absent.yaml')


def test_every_source_file_begins_with_its_licence():
    scripts = [SOURCE / '.ci' / 'run', SOURCE / '.githooks' / 'commit-msg', SOURCE / 'setup.py']
    folders = [SOURCE / name for name in ('docs', 'examples', 'launch', 'mtl_perception', 'test')]
    paths = scripts + [path for folder in folders for path in sorted(folder.rglob('*.py'))]
    texts = {path: path.read_text().removeprefix('#!/bin/sh\n') for path in paths}
    missing = [path for path, text in texts.items() if not text.startswith(LICENCE)]
    assert not missing, f'{len(missing)} files without {LICENCE!r}: {missing[0]} ...'


@pytest.fixture(scope='module')
def installed(tmp_path_factory) -> Path:
    """Return the prefix to which a copy of the package was installed."""
    folder = tmp_path_factory.mktemp('installed')
    source, prefix = folder / 'source', folder / 'prefix'
    ignored = shutil.ignore_patterns('.*', 'out', 'build', 'install', 'log', '*.egg-info')
    shutil.copytree(SOURCE, source, ignore=ignored)
    options = ['--quiet', '--no-deps', '--no-build-isolation', '--ignore-installed']
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', *options, '--prefix', prefix, source],
        check=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )
    shutil.rmtree(source)
    return prefix


@pytest.mark.slow
def test_an_installed_package_finds_its_share_files(installed):
    code = 'from mtl_perception.resources import *; print(share_file("launch", "mtl.launch.py"))'
    (packages,) = installed.glob('lib/python3*/site-packages')
    result = subprocess.run(
        [sys.executable, '-c', code],
        check=True,
        capture_output=True,
        text=True,
        cwd=installed,
        env={**os.environ, 'PYTHONPATH': str(packages)},
    )
    assert Path(result.stdout.strip()) == installed / 'share/mtl_perception/launch/mtl.launch.py'


@pytest.mark.slow
def test_everything_that_ros_looks_for_is_installed(installed):
    share = installed / 'share' / 'mtl_perception'
    assert (share / 'package.xml').is_file()
    assert (installed / 'share/ament_index/resource_index/packages/mtl_perception').is_file()
    for folder in ('launch', 'config', 'checkpoints'):
        shipped = {path.name for path in (SOURCE / folder).iterdir() if path.is_file()}
        assert {path.name for path in (share / folder).iterdir() if path.is_file()} == shipped
    for executable in ('mtl', 'mtl_node'):
        assert (installed / 'bin' / executable).is_file()


@pytest.mark.parametrize('name', EMBEDDED_CHECKPOINTS)
def test_embedded_checkpoints_are_found_by_name_and_say_what_they_are(name):
    path = checkpoint_path(name)
    assert path == SOURCE / 'checkpoints' / f'{name}.safetensors'
    assert path.stat().st_size < 40e6
    info = read_info(path)
    assert 'synthetic streets' in info.data
    assert info.recipe['steps'] > 0
    assert info.metrics['synthetic test']['semantic']['iou_class'] > 0.4
    assert ('non-commercial' in info.terms) == (name == 'street')


def test_any_other_checkpoint_is_a_path():
    assert checkpoint_path('~/mine.safetensors') == Path.home() / 'mine.safetensors'
