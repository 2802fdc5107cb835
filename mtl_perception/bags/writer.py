"""Write messages to a bag; needs no ROS installation."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from mtl_perception.bags.messages import TYPESTORE, serialize


class BagWriter:
    """Writes an MCAP bag, its chunks compressed; a context manager.

    The bag appears, in place of an older one, once it is complete. Where it cannot be completed
    nothing is left of it.

    Args:
        path: the bag's folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f'.{path.name}.incomplete')

    def __enter__(self) -> 'BagWriter':
        if self._path.exists() and not (self._path / 'metadata.yaml').is_file():
            msg = 'exists and is not a bag, so it is not replaced'
            raise FileExistsError(errno.EEXIST, msg, str(self._path))
        shutil.rmtree(self._temporary, ignore_errors=True)
        # Its files have the name of the folder that they are written to.
        self._writer = Writer(
            self._temporary / self._path.name,
            version=Writer.VERSION_LATEST,
            storage_plugin=StoragePlugin.MCAP,
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with self._named_errors():
            self._temporary.mkdir(parents=True)
            self._writer.open()
        self._connections: dict[str, Connection] = {}
        return self

    def write(
        self, topic: str, message_type: type | str, nanoseconds: int, data: bytes | memoryview
    ) -> None:
        """Write one serialized message.

        Args:
            topic: with its leading slash.
            message_type: class of the message, or ``package/msg/Name``.
            nanoseconds: when it was received; a topic's messages should be in order.
            data: the message in CDR.

        Raises:
            OSError: it cannot be written; ``filename`` is the bag.
        """
        connection = self._connections.get(topic)
        if connection is None:
            name = message_type if isinstance(message_type, str) else type_name(message_type)
            connection = self._writer.add_connection(topic, name, typestore=TYPESTORE)
            self._connections[topic] = connection
        with self._named_errors():
            self._writer.write(connection, nanoseconds, data)

    def write_message(self, topic: str, nanoseconds: int, message: Any) -> None:
        """Write one message of ``bag_messages``; see ``write``."""
        self.write(topic, type(message), nanoseconds, serialize(message))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with self._named_errors():
                    self._writer.close()
                    shutil.rmtree(self._path, ignore_errors=True)
                    (self._temporary / self._path.name).rename(self._path)
        finally:
            # What made it fail may well make closing its file fail too.
            with contextlib.suppress(OSError):
                self._writer.abort()
            shutil.rmtree(self._temporary, ignore_errors=True)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except WriterError as err:
            msg = f'{self._path}: the bag cannot be written: {err}'
            raise OSError(msg) from err
        except OSError as err:
            msg = f'the bag cannot be written ({err.strerror})'
            raise OSError(err.errno, msg, str(self._path)) from err


def type_name(message_type: type) -> str:
    """Return ``package/msg/Name`` of a message class, ROS's own or that of rosbags."""
    named: str | None = getattr(message_type, '__msgtype__', None)
    return named or f'{message_type.__module__.partition(".")[0]}/msg/{message_type.__name__}'
