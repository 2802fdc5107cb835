"""Files that appear complete or not at all."""

import os
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` under a temporary name and rename it; make its folder if need be.

    Raises:
        OSError: the folder cannot be made or written; ``filename`` is the folder.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as err:
        temporary_left = isinstance(err, IsADirectoryError) or path.parent.is_dir()
        if temporary_left:
            temporary.unlink(missing_ok=True)
        reason = f'{err.strerror}; nothing can be written to this folder'
        raise type(err)(err.errno, reason, str(path.parent)) from err
