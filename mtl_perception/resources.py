# SPDX-License-Identifier: Apache-2.0
"""Paths of the installed launch files, configurations and checkpoints."""

from pathlib import Path

PACKAGE_NAME = 'mtl_perception'

EMBEDDED_CHECKPOINTS = ('street', 'synthetic')
"""Names of the checkpoints in the package; the first is the default."""


def share_directory() -> Path:
    """Return the folder that holds ``launch/``, ``config/`` and ``checkpoints/``.

    It is the root of a source checkout, or ``share/mtl_perception`` under the prefix that colcon or
    pip installed to. No environment variable is needed.

    Raises:
        FileNotFoundError: The package was copied without its share files.
    """
    module = Path(__file__).resolve()
    installed = [parent / 'share' / PACKAGE_NAME for parent in module.parents]
    for candidate in (module.parents[1], *installed):
        if (candidate / 'package.xml').is_file():
            return candidate
    msg = (
        f'{PACKAGE_NAME} at {module.parent} was installed without its share files; '
        'install it with colcon build or pip install'
    )
    raise FileNotFoundError(msg)


def share_file(*parts: str) -> Path:
    """Return the path of a share file, as in ``share_file('config', 'node.yaml')``.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    path = share_directory().joinpath(*parts)
    if not path.is_file():
        msg = f'{path}: missing from the installation of {PACKAGE_NAME}; reinstall the package'
        raise FileNotFoundError(msg)
    return path


def checkpoint_path(checkpoint: str | Path) -> Path:
    """Return the file of a checkpoint, given its path or the name of an embedded one.

    Raises:
        ValueError: ``checkpoint`` is empty.
        FileNotFoundError: The package was copied without its share files.
    """
    if not str(checkpoint):
        msg = f'no checkpoint named: give a file, or {" or ".join(EMBEDDED_CHECKPOINTS)}'
        raise ValueError(msg)
    if checkpoint in EMBEDDED_CHECKPOINTS:
        return share_file('checkpoints', f'{checkpoint}.safetensors')
    return Path(checkpoint).expanduser()
