# SPDX-License-Identifier: Apache-2.0
"""Writing of bags, without a ROS installation."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from mtl_perception.bags.messages import TYPESTORE, serialize


class BagWriter:
    """Context manager that writes an MCAP bag of compressed chunks to a folder.

    A complete bag appears at once and replaces an older bag; an incomplete bag is removed.

    Raises:
        FileExistsError: On entering, the folder exists and is not a bag.
        OSError: On entering or leaving, the bag cannot be written; ``filename`` is the bag.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f'.{path.name}.incomplete')

    def __enter__(self) -> 'BagWriter':
        if self._path.exists() and not (self._path / 'metadata.yaml').is_file():
            msg = 'exists and is not a bag, so it is not replaced'
            raise FileExistsError(errno.EEXIST, msg, str(self._path))
        shutil.rmtree(self._temporary, ignore_errors=True)
        # The files are named after the folder that they are written to.
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
            topic: Name with its leading slash.
            message_type: Class of the message, or ``package/msg/Name``.
            nanoseconds: Time of reception; the messages of a topic should be in order.
            data: Message in CDR.

        Raises:
            OSError: The message cannot be written; ``filename`` is the bag.
        """
        connection = self._connections.get(topic)
        if connection is None:
            name = message_type if isinstance(message_type, str) else _type_name(message_type)
            connection = self._writer.add_connection(topic, name, typestore=TYPESTORE)
            self._connections[topic] = connection
        with self._named_errors():
            self._writer.write(connection, nanoseconds, data)

    def write_message(self, topic: str, nanoseconds: int, message: Any) -> None:
        """Serialize and write one message of rosbags; see ``write``."""
        self.write(topic, type(message), nanoseconds, serialize(message))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with self._named_errors():
                    self._writer.close()
                    shutil.rmtree(self._path, ignore_errors=True)
                    (self._temporary / self._path.name).rename(self._path)
        finally:
            # After a failure, closing the file may fail as well.
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


def _type_name(message_type: type) -> str:
    """Return ``package/msg/Name`` of a message class of ROS or rosbags."""
    named: str | None = getattr(message_type, '__msgtype__', None)
    return named or f'{message_type.__module__.partition(".")[0]}/msg/{message_type.__name__}'
