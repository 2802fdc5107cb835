# SPDX-License-Identifier: Apache-2.0
"""Fast DDS settings for large images, as environment variables; imports no ROS."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from mtl_perception.resources import share_file

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
"""Variable with the path of a Fast DDS profile; Kilted and later warn about the older name."""

OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
OLD_DISTRIBUTIONS = ('humble', 'iron', 'jazzy')

USER_VARIABLES = (PROFILE_VARIABLE, OLD_PROFILE_VARIABLE, 'FASTDDS_BUILTIN_TRANSPORTS')
"""Variables with which users choose transports."""

SHARED_MEMORY = Path('/dev/shm')  # noqa: S108 (the folder that Fast DDS uses)

SEGMENT = 2**26
"""Bytes of shared memory that each process allocates by ``config/fastdds.xml``."""


def transport_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable to add to ``environ`` so that large images arrive.

    By default, Fast DDS loses almost every 720p frame between two processes. ``config/fastdds.xml``
    fixes this in the sending process and helps little in the receiving one. The result is empty if
    ``environ`` shows that the user has chosen transports, or has confined Humble to this host,
    which a profile would undo. Other middlewares ignore the variable.

    Raises:
        FileNotFoundError: The package was installed without its profile.
    """
    if any(environ.get(name) for name in USER_VARIABLES):
        return {}
    if environ.get('ROS_DISTRO') == 'humble' and environ.get('ROS_LOCALHOST_ONLY') == '1':
        return {}
    return _profile(environ)


def loss_hint(environ: Mapping[str, str], middleware: str) -> str:
    """Return a remedy for images lost on the way to this process, as text.

    ``environ`` is of this process, ``middleware`` the identifier of the RMW implementation.
    """
    if 'fastrtps' not in middleware:
        return (
            f'raise net.core.rmem_max and the receive buffer of {middleware} to megabytes, or use '
            'compressed images'
        )
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).total < 2 * SEGMENT:
        return (
            f'{SHARED_MEMORY} is too small for {SEGMENT >> 20} MiB each for camera and node: '
            'docker run --shm-size=1g, or use compressed images'
        )
    ours = _profile(environ)
    chosen = {name: environ[name] for name in USER_VARIABLES if environ.get(name)}
    if chosen.items() <= ours.items():
        name, profile = next(iter(ours.items()))
        return f"set {name}={profile} for the camera's process, or use compressed images"
    texts = ', '.join(f'{name}={value}' for name, value in chosen.items())
    return f'{texts} may be the reason: Fast DDS needs the settings of config/fastdds.xml'


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    old = environ.get('ROS_DISTRO') in OLD_DISTRIBUTIONS
    name = OLD_PROFILE_VARIABLE if old else PROFILE_VARIABLE
    return {name: str(share_file('config', 'fastdds.xml'))}
