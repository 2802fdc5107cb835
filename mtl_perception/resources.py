"""Where the package's own launch files, configurations and checkpoints lie."""

from pathlib import Path

PACKAGE_NAME = 'mtl_perception'

EMBEDDED_CHECKPOINTS = ('street', 'synthetic')
"""Names of the checkpoints that the package brings; the first is used where no other is named."""


def share_directory() -> Path:
    """Return the folder that holds ``launch/``, ``config/`` and ``checkpoints/``.

    That is the root of a source checkout, or ``share/mtl_perception`` under the prefix that the
    package was installed to, by colcon as well as by pip; no environment variable is needed.

    Raises:
        FileNotFoundError: the package was copied without its share files.
    """
    module = Path(__file__).resolve()
    source = module.parents[1]
    prefixes = [parent / 'share' / PACKAGE_NAME for parent in module.parents]
    for candidate in (source, *prefixes):
        if (candidate / 'package.xml').is_file():
            return candidate
    msg = (
        f'{PACKAGE_NAME} at {module.parent} was installed without its share files; '
        'install it with colcon build or pip install'
    )
    raise FileNotFoundError(msg)


def share_file(*parts: str) -> Path:
    """Return the path of one share file, ``share_file('config', 'node.yaml')``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = share_directory().joinpath(*parts)
    if not path.is_file():
        msg = f'{path}: not among the files of {PACKAGE_NAME}; reinstall the package'
        raise FileNotFoundError(msg)
    return path


def checkpoint_path(checkpoint: str | Path) -> Path:
    """Return the file of an embedded checkpoint where ``checkpoint`` is its name, else the path.

    Raises:
        ValueError: ``checkpoint`` is empty.
        FileNotFoundError: the package was copied without its share files.
    """
    if not str(checkpoint):
        msg = f'no checkpoint named: give a file, or {" or ".join(EMBEDDED_CHECKPOINTS)}'
        raise ValueError(msg)
    if checkpoint in EMBEDDED_CHECKPOINTS:
        return share_file('checkpoints', f'{checkpoint}.safetensors')
    return Path(checkpoint).expanduser()
