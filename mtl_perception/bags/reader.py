# SPDX-License-Identifier: Apache-2.0
"""Reading of bags, and of the intact part of damaged bags."""

import itertools
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import yaml
from rosbags.rosbag2 import Reader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

METADATA_FILE = 'metadata.yaml'
STORAGE_SUFFIXES = ('.mcap', '.db3')
COMPRESSED_SUFFIX = '.zstd'

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
"""First bytes of a message compressed on its own; CDR begins with a zero."""


class BagError(ValueError):
    """A path is not a bag, or the bag lacks usable content; the message names it."""


class Message(NamedTuple):
    """One message of a bag in CDR, with its time of reception in nanoseconds."""

    topic: str
    type: str
    time: int
    data: bytes


@dataclass(frozen=True)
class Topic:
    """A topic of a bag with its type, ``package/msg/Name``, and number of messages."""

    name: str
    type: str
    count: int


class BagReader:
    """Context manager that reads rosbag2 in MCAP or SQLite, also split or compressed.

    Each file is read on its own, so a damaged file does not affect the others. A bag without
    ``metadata.yaml`` can be read too.

    Attributes:
        path: Folder or file of the bag.
        topics: Topics by name.
        start: Time of the first message, in nanoseconds.
        end: Time of the last message, in nanoseconds.
        notes: Sentences on missing or damaged parts; ``messages`` appends what it finds.

    Args:
        path: Folder of the bag, or one of its files.

    Raises:
        FileNotFoundError: The path does not exist.
        BagError: The path is not a bag, or no file of the bag can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._expected = 0
        self._storages: list[tuple[str, _IntactFile | _TruncatedMcap]] = []
        if not path.exists():
            msg = f'{path}: no such bag'
            raise FileNotFoundError(msg)
        with ExitStack() as stack:
            for file in self._files():
                self._open(file, stack)
            if not self._storages:
                msg = '; '.join([f'{path}: no file of this bag can be read', *self.notes])
                raise BagError(msg)
            self._stack = stack.pop_all()
        self.topics = _merged(topic for _, storage in self._storages for topic in storage.topics)
        found = sum(topic.count for topic in self.topics.values())
        if self._expected > found:
            self.notes.append(
                f'{METADATA_FILE} counts {self._expected} messages, of which {found} can be read'
            )
        self.start = min(storage.start for _, storage in self._storages)
        self.end = max(storage.end for _, storage in self._storages)

    def __enter__(self) -> 'BagReader':
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(
        self, topics: Collection[str], start: int = 0, stop: int = 2**63 - 1
    ) -> Iterator[Message]:
        """Yield the messages of some topics, file by file, ordered by time.

        Args:
            topics: Names of the topics.
            start: Earliest time, in nanoseconds.
            stop: End of the time span, in nanoseconds; exclusive.
        """
        for name, storage in self._storages:
            count = 0
            try:
                for message in storage.messages(topics, start, stop):
                    if message.data[:4] == ZSTD_MAGIC:
                        message = message._replace(data=zstd.decompress(message.data))
                    yield message
                    count += 1
            except Exception as err:  # damaged data makes both libraries raise errors of any type
                self.notes.append(
                    f'{name}: damaged after {count} messages ({_reason(err)}); the rest is skipped'
                )

    def _files(self) -> list[Path]:
        is_folder = self.path.is_dir()
        if is_folder and (named := self._named_files()) is not None:
            self.notes += [f'{file.name}: missing' for file in named if not file.exists()]
            return [file for file in named if file.exists()]
        files = sorted(self.path.iterdir(), key=_natural_order) if is_folder else [self.path]
        found = [file for file in files if _is_storage(file)]
        if not found:
            expected = f'a {" or ".join(STORAGE_SUFFIXES)} file, or a folder with such files'
            msg = f'{self.path}: not a bag; expected {expected}'
            raise BagError(msg)
        if is_folder:
            self.notes.append(
                f'no {METADATA_FILE}; read {len(found)} files in the order of their names'
            )
        return found

    def _named_files(self) -> list[Path] | None:
        """Return the files named by the metadata; ``None`` if the metadata cannot be read."""
        path = self.path / METADATA_FILE
        try:
            content: Any = yaml.safe_load(path.read_text())
            information = content['rosbag2_bagfile_information']
            names = information['relative_file_paths']
            self._expected = int(information.get('message_count', 0))
            return [self.path / PurePath(name).name for name in names]
        except FileNotFoundError:
            return None
        except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError) as err:
            self.notes.append(f'{METADATA_FILE}: unreadable ({_reason(err)})')
            return None

    def _open(self, file: Path, stack: ExitStack) -> None:
        try:
            readable = _decompressed(file, stack) if file.suffix == COMPRESSED_SUFFIX else file
            try:
                storage: _IntactFile | _TruncatedMcap = _IntactFile(readable, stack)
            except Exception:
                if readable.suffix != '.mcap':
                    raise
                storage = _TruncatedMcap(readable)
                found = sum(topic.count for topic in storage.topics)
                self.notes.append(
                    f'{file.name}: {storage.damage}; {found} messages before the damage can be read'
                )
        except Exception as err:  # see ``messages``
            self.notes.append(f'{file.name}: cannot be read ({_reason(err)})')
        else:
            self._storages.append((file.name, storage))


class _IntactFile:
    """A file that rosbags can open."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._reader = stack.enter_context(Reader(path))
        connections = self._reader.connections
        self.topics = [Topic(c.topic, c.msgtype, c.msgcount) for c in connections]
        self.start, self.end = self._reader.start_time, self._reader.end_time - 1

    def messages(self, topics: Collection[str], start: int, stop: int) -> Iterator[Message]:
        connections = [c for c in self._reader.connections if c.topic in topics]
        if connections:
            for connection, time, data in self._reader.messages(connections, start, stop):
                yield Message(connection.topic, connection.msgtype, time, data)


class _TruncatedMcap:
    """An MCAP file whose index, at its end, is lost; read in the order of writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage = 'index damaged'
        counts: Counter[tuple[str, str]] = Counter()
        times = []
        try:
            for message in self._scan():
                counts[message.topic, message.type] += 1
                times.append(message.time)
        except Exception as err:  # see ``BagReader.messages``
            self.damage = f'damaged or cut off ({_reason(err)})'
        if not counts:
            raise BagError(self.damage)
        self._count = len(times)
        self.topics = [Topic(name, kind, count) for (name, kind), count in counts.items()]
        self.start, self.end = min(times), max(times)

    def messages(self, topics: Collection[str], start: int, stop: int) -> Iterator[Message]:
        # Stop before the error at the end, which is known already.
        for message in itertools.islice(self._scan(), self._count):
            if message.topic in topics and start <= message.time < stop:
                yield message

    def _scan(self) -> Iterator[Message]:
        # Imported here because ROS distributions lack it, and only truncated files need it.
        from mcap.records import Channel, Schema
        from mcap.records import Message as McapMessage
        from mcap.stream_reader import StreamReader

        schemas: dict[int, str] = {}
        channels: dict[int, tuple[str, str]] = {}
        with self._path.open('rb') as file:
            for record in StreamReader(file).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record.name
                elif isinstance(record, Channel):
                    channels[record.id] = record.topic, schemas.get(record.schema_id, '')
                elif isinstance(record, McapMessage):
                    yield Message(*channels[record.channel_id], record.log_time, record.data)


def _is_storage(path: Path) -> bool:
    name = path.name.removesuffix(COMPRESSED_SUFFIX)
    return name.endswith(STORAGE_SUFFIXES) and path.is_file()


def _natural_order(path: Path) -> list[tuple[str, int]]:
    """Return a sort key that puts ``bag_10`` after ``bag_9``."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r'(\D*)(\d*)', path.name)]


def _decompressed(file: Path, stack: ExitStack) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='mtl_bag_'))
    result = Path(folder, file.stem)
    with file.open('rb') as raw, zstd.open(raw, 'rb') as source, result.open('wb') as target:
        shutil.copyfileobj(source, target)
    return result


def _merged(topics: Iterator[Topic]) -> dict[str, Topic]:
    result: dict[str, Topic] = {}
    for topic in topics:
        known = result.get(topic.name, Topic(topic.name, topic.type, 0))
        result[topic.name] = Topic(topic.name, known.type, known.count + topic.count)
    return result


def _reason(err: Exception) -> str:
    if isinstance(err, ModuleNotFoundError):
        return f'needs the package {err.name}; pip install {err.name}'
    return ' '.join(str(err).split()) or type(err).__name__
