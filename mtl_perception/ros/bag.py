"""Write serialized ROS 2 messages to a bag."""

import errno
import shutil
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import Stores, get_typestore


class BagWriter:
    """Writes an MCAP bag; a context manager.

    The bag appears, in place of an older one, once it is complete.

    Args:
        path: the bag's folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f'.{path.name}.incomplete')
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)

    def __enter__(self) -> 'BagWriter':
        if self._path.exists() and not (self._path / 'metadata.yaml').is_file():
            msg = 'exists and is not a bag, so it is not replaced'
            raise FileExistsError(errno.EEXIST, msg, str(self._path))
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.parent.mkdir(parents=True, exist_ok=True)
        self._writer = Writer(
            self._temporary, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP
        )
        try:
            self._writer.open()
        except WriterError as err:
            msg = f'{self._path}: the bag cannot be written: {err}'
            raise OSError(msg) from err
        self._connections: dict[str, Connection] = {}
        return self

    def write(self, topic: str, message_type: type, nanoseconds: int, data: bytes) -> None:
        """Write one message.

        Args:
            topic: with its leading slash.
            message_type: class of the message.
            nanoseconds: when it was received; a topic's messages should be in order.
            data: the message in CDR.
        """
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(
                topic, type_name(message_type), typestore=self._typestore
            )
            self._connections[topic] = connection
        self._writer.write(connection, nanoseconds, data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        if kind is None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._temporary.rename(self._path)
        else:
            shutil.rmtree(self._temporary, ignore_errors=True)


def type_name(message_type: type) -> str:
    """Return ``package/msg/Name`` of a message class."""
    return f'{message_type.__module__.partition(".")[0]}/msg/{message_type.__name__}'
