"""Which Fast DDS transports let camera images through, as environment variables; imports no ROS."""

from collections.abc import Mapping

from mtl_perception.share import share_file

PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
"""Where Fast DDS looks for a profile: since Kilted, and before it."""

USER_VARIABLES = (*PROFILE_VARIABLES, 'FASTDDS_BUILTIN_TRANSPORTS')
"""Each of these, once set, says that the user has chosen transports."""


def transport_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to ``environ`` so that large images arrive.

    By default Fast DDS loses almost every 720p frame between two processes. ``config/fastdds.xml``
    cures that, also when only one of the two processes uses it. Nothing is returned where
    ``environ`` shows that the user has chosen transports; other middlewares ignore the variables.

    Raises:
        FileNotFoundError: the package was installed without its profile.
    """
    if any(environ.get(name) for name in USER_VARIABLES):
        return {}
    profile = str(share_file('config', 'fastdds.xml'))
    return dict.fromkeys(PROFILE_VARIABLES, profile)
